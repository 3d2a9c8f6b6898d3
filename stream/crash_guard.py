"""Keeps the crash note of each owned partition: read and left behind at a takeover, removed when it is given up.

While all is well that is all there is, and a chunk costs nothing. What a note says and what follows from it is
crash_note.py; how records in doubt are taken is crash_isolation.py.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

from stream.crash_isolation import ALIVE_S, Bystander, Isolation, NotePlace, OneByOne
from stream.crash_note import Note, at_start, decode
from stream.metrics import Metrics
from stream.state import StateStore, StoreError
from stream.transport import PartitionKey, StartAt, StartRequest
from stream.waits import CALL_LIMIT_S, Dependency, Wait

log = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = ALIVE_S + 1.0
"""Who finds a record being worked on waits so long and looks again: the owner before may be alive, and say so."""
_BEGIN_TRIES: Final = 5


class CrashGuard:
    """The crash notes of all partitions that this process owns. Driven by the transport's hooks, on the event loop.

    `told(partition, text)` is called with what a person should see of a partition whose records go one by one, and
    with None when that is over.
    """

    def __init__(
        self,
        store: StateStore,
        metrics: Metrics,
        told: Callable[[PartitionKey, str | None], None] = lambda *_: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        call_limit_s: float = CALL_LIMIT_S,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._told = told
        self._sleep = sleep
        self._call_limit_s = call_limit_s
        self._requests: dict[PartitionKey, tuple[StartRequest, int, bytes | None]] = {}
        self._held: dict[PartitionKey, NotePlace] = {}
        self._isolated: dict[PartitionKey, Isolation] = {}
        self._turn = asyncio.Lock()
        self._wait = Wait()
        self._bystander = Bystander(self._turn)

    async def look(self, requests: Sequence[StartRequest], starts: Mapping[PartitionKey, StartAt]) -> None:
        """Read what the owners before have left; nothing is written. Raises StoreError."""
        found: dict[PartitionKey, bytes | None] = {}
        for topic in {request.topic for request in requests}:
            numbers = [request.partition for request in requests if request.topic == topic]
            found |= await self._read(topic, numbers)
            working = [number for number in numbers if _is_working(found[topic, number])]
            if working:
                await self._sleep(LOOK_AGAIN_S)
                found |= await self._read(topic, working)
        for request in requests:
            key = (request.topic, request.partition)
            self._requests[key] = (request, starts[key].offset, found[key])

    async def begin(self, partitions: Sequence[PartitionKey]) -> None:
        """Leave a note for each partition that was taken over, before its first chunk. Raises nothing."""
        await asyncio.gather(*(self._begin(key) for key in partitions if key in self._requests))

    async def left(self, partitions: Sequence[PartitionKey]) -> None:
        """Partitions were given up in order: the next start counts from one. Raises nothing.

        Records in doubt stay in doubt, and the next owner goes on with them one by one.
        """
        places = [self._drop(key) for key in partitions]
        await asyncio.gather(*(_remove(place) for place in places if place is not None and not place.is_one_by_one))

    def lost(self, partitions: Sequence[PartitionKey]) -> None:
        """Partitions were taken away: what is noted of them is the next owner's now."""
        for key in partitions:
            self._drop(key)

    def isolation(self, topic: str, partition: int) -> OneByOne | None:
        """Return how to take the chunks of a partition while some partition's records are in doubt, otherwise None."""
        if not self._isolated:
            return None
        return self._isolated.get((topic, partition), self._bystander)

    def shared(self, waits: dict[str, Dependency], places: Iterable[str]) -> dict[str, Dependency]:
        """Return who waits for what, given who does by itself: while partitions take turns, all wait with the first."""
        if self._isolated:
            found = self._wait.noticed(self._call_limit_s) or next(iter(waits.values()), None)
            if found is not None:
                return dict.fromkeys(places, found)
        return waits

    def _drop(self, key: PartitionKey) -> NotePlace | None:
        self._over(key)
        return self._held.pop(key, None)

    def _over(self, key: PartitionKey) -> None:
        if self._isolated.pop(key, None) is not None:
            self._told(key, None)
            self._metrics.crash_suspects.remove(key[0], str(key[1]))

    async def _read(self, topic: str, numbers: Sequence[int]) -> dict[PartitionKey, bytes | None]:
        return {(topic, number): note for number, note in (await self._store.crash_notes(topic, numbers)).items()}

    async def _begin(self, key: PartitionKey) -> None:
        request, start, found = self._requests.pop(key)
        place = NotePlace(self._store, key, found)
        owner = secrets.token_hex(8)
        note = None
        try:
            for _ in range(_BEGIN_TRIES):
                note = at_start(
                    decode(place.stored), owner=owner, topic_id=request.topic_id, start=start, end=request.high
                )
                if await place.put(note):
                    self._held[key] = place
                    break
                # The owner before has just said that it ended in order: what was read is out of date.
                place.adopt()
        except StoreError as error:
            log.warning("no crash note: %s", error, extra={"topic": key[0], "partition": key[1]})
        if note is not None and start < request.high:
            self._tell(key, place, note)

    def _tell(self, key: PartitionKey, place: NotePlace, note: Note) -> None:
        at = {"topic": key[0], "partition": key[1], "offset": note.offset}
        if note.starts > 1 or note.is_one_by_one:
            self._metrics.unclean_starts.inc()
            log.warning(
                "the process before ended at this offset and got nowhere", extra={**at, "unclean_starts": note.starts}
            )
        if note.is_one_by_one:
            log.error(
                "a record here may be what ends the process: records go one by one",
                extra={**at, "until": note.until, "deaths": note.deaths},
            )
            self._told(key, f"offsets {note.offset} to {note.until} go one by one: one of them may end the process")
            gauge = self._metrics.crash_suspects.labels(key[0], str(key[1]))
            self._isolated[key] = Isolation(
                place, note, self._turn, self._wait, sleep=self._sleep, left=gauge.set, over=lambda: self._over(key)
            )


async def _remove(place: NotePlace) -> None:
    try:
        await place.put(None)
    except StoreError as error:
        log.warning("a crash note stays behind, and an orderly end will be counted as none: %s", error)


def _is_working(stored: bytes | None) -> bool:
    note = None if stored is None else decode(stored)
    return note is not None and note.working
