"""Takes records in doubt one by one, each with a durable note around it, and condemns the one that ends the process.

Who is in doubt, and why, is crash_note.py; when it begins and ends is crash_guard.py.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from confluent_kafka import Message
from msgspec.structs import replace

from schemas.deadletter import DeadLetterReason
from schemas.envelope import Rejected
from stream.crash_note import CONDEMNED_IN_A_ROW, Note, encode
from stream.records import offset_of, place
from stream.state import StateStore, StoreError
from stream.transport import Chunk, PartitionKey
from stream.waits import Wait

log = logging.getLogger(__name__)

NOTE_TTL_MS: Final = 24 * 3_600_000
"""How long a note is kept, ms: longer than any pause that an orchestrator makes between two starts."""
ALIVE_S: Final = 2.0
"""A process that still lives so long after it began with a record waits for others: the record does not end it."""

CALM_S: Final = (1.0, 4.0)
"""Before a record that one process has died of is tried again, this one lives on for so long, drawn anew each time:
what ends every process soon after its start, or at a certain time, ends it before that."""
_STEP_S: Final = 0.2

Work = Callable[[list[Message]], Awaitable[None]]
Condemn = Callable[[Message, Rejected], Awaitable[None]]

_RETRY_S: Final = 0.5


class OneByOne(Protocol):
    """How the chunks of a partition are taken while some partition's records are in doubt."""

    async def process(self, chunk: Chunk, work: Work, condemn: Condemn) -> None:
        """Process a chunk to its end (its `done` is the caller's): `work` is given records to process together.

        Raises NotCurrent where the chunk is no longer ours, CrashLimit, and whatever `work` and `condemn` raise.
        """


class NotCurrent(Exception):  # noqa: N818 - nothing failed
    """The chunk is no longer ours."""


class CrashLimit(Exception):  # noqa: N818 - the state that the caller handles
    """The process ends whatever the record is: no more of them may become dead letters. The message says so."""


class NotePlace:
    """Where one partition's note is stored, and what this owner knows to be stored there."""

    def __init__(self, store: StateStore, key: PartitionKey, stored: bytes | None) -> None:
        self._store = store
        self._key = key
        self.stored = stored
        self._found = stored
        self._tried: bytes | None = None
        self.is_one_by_one = False

    async def put(self, note: Note | None) -> bool:
        """Replace the note that is known to be stored; False where another is. Raises StoreError."""
        new = None if note is None else encode(note)
        found = await self._replace(new)
        if found != new and found == self._tried:
            # An earlier attempt had arrived, though its answer did not.
            self.stored = found
            found = await self._replace(new)
        self._tried = new
        self._found = found
        if found != new:
            return False
        self.stored = new
        self.is_one_by_one = note is not None and note.is_one_by_one
        return True

    def adopt(self) -> None:
        """Take what was found instead as known."""
        self.stored = self._found

    async def _replace(self, new: bytes | None) -> bytes | None:
        try:
            return await self._store.replace_crash_note(*self._key, self.stored, new, NOTE_TTL_MS)
        except StoreError:
            self._tried = new
            raise


class Bystander:
    """Takes chunks of a partition without doubts, while another's records go one by one: never at the same time.

    Whatever ends the process then, it is not the other's record that gets the blame for it.
    """

    def __init__(self, turn: asyncio.Lock) -> None:
        self._turn = turn

    async def process(self, chunk: Chunk, work: Work, _: Condemn) -> None:
        """Process a chunk, all at once. See `OneByOne`."""
        async with self._turn:
            await work(chunk.records)


class Isolation:
    """Takes the records in doubt of one partition one by one, each with a durable note around it.

    Of all records of the process only one is worked on alone at a time.
    """

    def __init__(
        self,
        place: NotePlace,
        note: Note,
        turn: asyncio.Lock,
        wait: Wait,
        *,
        sleep: Callable[[float], Awaitable[None]],
        left: Callable[[float], object],
        over: Callable[[], object],
    ) -> None:
        self._place = place
        self._wait = wait
        self._note = note
        self._turn = turn
        self._sleep = sleep
        self._left = left
        self._over = over
        self._lock = asyncio.Lock()
        self._withdrawing: set[asyncio.Task[None]] = set()
        left(float(note.until - note.offset + 1))

    async def process(
        self,
        chunk: Chunk,
        work: Work,
        condemn: Condemn,
    ) -> None:
        """Process a chunk: `work` is given one record, or all that are beyond the last in doubt. See `OneByOne`."""
        try:
            await self._process(chunk, work, condemn)
        except BaseException:
            self._withdraw()
            raise

    async def _process(self, chunk: Chunk, work: Work, condemn: Condemn) -> None:
        records = chunk.records
        for at, record in enumerate(records):
            offset = offset_of(record)
            if offset > self._note.until:
                await self._end(chunk)
                async with self._turn:
                    await work(records[at:])
                return
            if offset == self._note.offset and self._note.is_condemned:
                await self._condemn(chunk, record, condemn)
            else:
                if offset == self._note.offset and self._note.deaths:
                    await self._calm(chunk)
                async with self._turn:
                    await self._alone(chunk, record, work)
        if chunk.next_offset > self._note.until:
            await self._end(chunk)
        elif chunk.next_offset > self._note.offset:
            await self._write(chunk, replace(self._note, offset=chunk.next_offset, deaths=0, working=False))

    async def _calm(self, chunk: Chunk) -> None:
        left_s = random.uniform(*CALM_S)  # noqa: S311 - no secret
        while left_s > 0:
            if not chunk.is_current():
                raise NotCurrent
            await self._sleep(min(_STEP_S, left_s))
            left_s -= _STEP_S

    async def _alone(self, chunk: Chunk, record: Message, work: Work) -> None:
        offset = offset_of(record)
        if offset < self._note.offset:
            # It was done alone before, and comes again because that was not committed: it is not what we look for.
            await work([record])
            return
        deaths = self._note.deaths if offset == self._note.offset else 0
        await self._write(chunk, replace(self._note, offset=offset, deaths=deaths, working=True))
        timer = asyncio.get_running_loop().call_later(ALIVE_S, self._withdraw)
        try:
            await work([record])
        finally:
            timer.cancel()
        self._note = replace(self._note, condemned=0)

    async def _condemn(self, chunk: Chunk, record: Message, condemn: Condemn) -> None:
        note = self._note
        if note.condemned >= CONDEMNED_IN_A_ROW:
            # The next start tries this record again: by then somebody may have mended what is really wrong.
            await self._write(chunk, replace(note, deaths=0, working=False))
            at = place(chunk.topic, chunk.partition)
            msg = (
                f"{at}: {note.condemned} records in a row have ended the process, and none between them survived: "
                "is the input to blame, or the machine (memory limit, a broken installation)? Mend it and restart"
            )
            raise CrashLimit(msg)
        log.error(
            "this record has ended the process, alone, again and again; it becomes a dead letter",
            extra={"topic": chunk.topic, "partition": chunk.partition, "offset": note.offset},
        )
        detail = "the process ended while it worked on this record alone, more than once; see the worker's log"
        await condemn(record, Rejected(DeadLetterReason.CRASHES_PROCESS, "$", detail))
        self._note = replace(note, offset=note.offset + 1, deaths=0, working=False, condemned=note.condemned + 1)

    async def _end(self, chunk: Chunk) -> None:
        await self._write(chunk, None)
        log.info("no record is in doubt any more", extra={"topic": chunk.topic, "partition": chunk.partition})
        self._over()

    async def _write(self, chunk: Chunk, note: Note | None) -> None:
        """Store a note, as long as it takes and the chunk is ours."""
        async with self._lock:
            while chunk.is_current():
                self._wait.begin("store")
                try:
                    found = await self._place.put(note)
                    self._wait.end("store")
                    if found:
                        self._note = replace(self._note, working=False) if note is None else note
                        self._left(float(self._note.until - self._note.offset + 1))
                        return
                    # The partition is ours, so this is not: an owner of before, or a store that went back.
                    self._place.adopt()
                except StoreError as error:
                    log.warning("the state store does not take a crash note yet: %s", error)
                    await asyncio.sleep(_RETRY_S)
        self._wait.end("store")
        raise NotCurrent

    def _withdraw(self) -> None:
        """Say, without waiting for it, that this process lives: what ends it from now on is not the record."""
        task = asyncio.get_running_loop().create_task(self._say_alive(self._note))
        self._withdrawing.add(task)
        task.add_done_callback(self._withdrawing.discard)

    async def _say_alive(self, note: Note) -> None:
        while True:
            async with self._lock:
                if self._note is not note or not note.working:
                    return
                alive = replace(note, working=False)
                try:
                    await self._place.put(alive)
                except StoreError:
                    pass  # The next try may do: until then the store can't be read by the next owner either.
                else:
                    if self._note is note:
                        self._note = alive
                    return
            await asyncio.sleep(_RETRY_S)
