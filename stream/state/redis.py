"""`RedisStore`: state in Redis or Valkey, standalone or cluster, at most two round trips a chunk.

A chunk costs one exchange to load (sessions and watermark in one MGET, all entities in one script call) and one to
commit (one script call for links, sessions and watermark). On a cluster both fan out to the shards of the touched
entities, and a commit is two exchanges: links first, then sessions with the watermark.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from redis import exceptions

from features.velocity import Link
from models.movement_match import ENTRY_BYTES, ID_BYTES, MAX_VALUE_BYTES
from stream.state import scripts, tally
from stream.state.base import (
    CounterRead,
    Counters,
    Loaded,
    StoreMisconfigured,
    StoreUnavailable,
    Watermark,
    WatermarkConflict,
    check_commit,
    check_crash_note,
)
from stream.state.cluster import ClusterLink
from stream.state.connections import ConnectionOptions, Greeting, StandaloneLink, raised
from stream.state.counters import CAP, ENTITY_TTL_MS, RETAINED_BUCKETS, WINDOW_BUCKETS
from stream.state.keys import WATERMARK_TTL_MS, Keys, pack_expected, unpack_watermark
from stream.state.measured import Measured
from stream.state.movements import MovementAsk, check_asks
from stream.state.packing import count_replies, pack_link, pack_read
from stream.state.sentinel import SentinelLocator
from stream.state.server_checks import check_connection, check_server
from stream.state.stats import Observer, Operation, StoreStats
from stream.state.wire import Answer, Command

V = TypeVar("V")

SPILL: Final = 64
"""Members of a set that an entity's packed value holds; a larger set moves to a sorted set of its own."""
STRIDE: Final = 16
"""New members after which an entity's packed value is tidied: old members dropped, large sets moved."""


def link_to(
    options: ConnectionOptions, stats: StoreStats, *, greet: Greeting | None = None
) -> StandaloneLink | ClusterLink:
    """Return a link to the servers, not connected yet; `greet` may refuse a single server, see `Greeting`."""
    if options.cluster:
        return ClusterLink(options, stats)
    sentinels = options.sentinels()
    locate = None if sentinels is None else SentinelLocator(options, sentinels)
    return StandaloneLink(options, stats, greet=greet, locate=locate)


class RedisStore:
    """See `StateStore` for what every store promises.

    `state_version` names the layout of session values (`features.session.STATE_VERSION`); values of another version
    are not seen. `observe` is called with the duration of each operation. `cap`, `spill` and `stride` are for tests.

    `warnings` says, after `open`, what could not be checked because the server does not allow it.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        *,
        state_version: str,
        prefix: str = "tellwire",
        observe: Observer | None = None,
        cap: int = CAP,
        spill: int = SPILL,
        stride: int = STRIDE,
    ) -> None:
        if spill < 1 or stride < 1 or spill + stride > cap + 1:
            raise ValueError("spill + stride - 1 may not be above cap: packed sets are counted exactly")
        self.stats = StoreStats()
        self.warnings: tuple[str, ...] = ()
        self.keys = Keys(prefix, state_version)
        self._options = options
        self._observe = observe
        self._link: StandaloneLink | ClusterLink | None = None
        self._read_options = (cap, *WINDOW_BUCKETS)
        self._link_options = (cap, spill, stride, RETAINED_BUCKETS, ENTITY_TTL_MS)
        self._writer = secrets.token_hex(4)
        self._attempts = 0
        self._refused: str | None = None
        """Why nothing is read and written at the moment: what `check` found."""
        self._unanswered: dict[tuple[str, int], tuple[Watermark | None, Watermark, bytes]] = {}

    @property
    def links_turn(self) -> int:
        """Return a number that changes when a part of the cluster may be back. See `StateStore`."""
        return self._link.turn if isinstance(self._link, ClusterLink) else 0

    async def open(self) -> None:
        """Connect, check the server and load the scripts. See `StateStore`."""
        await self.close()
        tally.warm_up()
        link = link_to(self._options, self.stats, greet=check_connection)
        try:
            self._link, self._refused = link, None
            await self.check()
            await self._load_scripts()
        except BaseException:
            self._link = None
            await link.close()
            raise

    async def close(self) -> None:
        """Close all connections. See `StateStore`."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def check(self) -> None:
        """Look whether the servers still keep what they are given. See `StateStore`."""
        try:
            found = await check_server(self._opened(), cluster=self._options.cluster)
        except StoreMisconfigured as error:
            self._refused = str(error)
            raise
        self._refused = None
        self.warnings = found.warnings
        self.stats.evicted_keys_total = found.evicted_keys
        self.stats.memory_used_ratio = found.memory_used_ratio

    async def ping(self) -> float:
        """Return the slowest round trip to a server that holds state, s. See `StateStore`."""
        started = time.perf_counter()
        with self._measured("ping"):
            await self._opened().each(("PING",))
        return time.perf_counter() - started

    async def watermarks(self, topic: str, partitions: Sequence[int]) -> dict[int, Watermark | None]:
        """Return the stored watermarks. See `StateStore`."""
        if not partitions:
            return {}
        with self._measured("watermarks"):
            # Each partition has its own hash tag, so that a cluster needs a command for each.
            # Reading one keeps it: that of an idle partition lives as long as somebody owns the partition.
            values = await self._call(
                [("GETEX", self.keys.watermark(topic, partition), "PX", WATERMARK_TTL_MS) for partition in partitions]
            )
            return {partition: _watermark(_answer(value)) for partition, value in zip(partitions, values, strict=True)}

    async def crash_notes(self, topic: str, partitions: Sequence[int]) -> dict[int, bytes | None]:
        """Return the stored crash notes. See `StateStore`."""
        if not partitions:
            return {}
        with self._measured("crash_note"):
            values = await self._call([("GET", self.keys.crash_note(topic, partition)) for partition in partitions])
            return {partition: _answer(value) for partition, value in zip(partitions, values, strict=True)}

    async def replace_crash_note(
        self, topic: str, partition: int, expected: bytes | None, new: bytes | None, ttl_ms: int
    ) -> bytes | None:
        """Replace a crash note. See `StateStore`."""
        check_crash_note(new, ttl_ms)
        with self._measured("crash_note"):
            command = _script(
                scripts.NOTE, [self.keys.crash_note(topic, partition)], [expected or b"", new or b"", ttl_ms]
            )
            return _answer((await self._call([command]))[0]) or None

    async def load(
        self, topic: str, partition: int, session_ids: Sequence[str], reads: Sequence[CounterRead]
    ) -> Loaded:
        """Return session values, counters and the watermark, in one round trip. See `StateStore`."""
        with self._measured("load"):
            sessions = list(dict.fromkeys(session_ids))
            commands: list[Command] = [
                ("MGET", self.keys.watermark(topic, partition), *self.keys.sessions(topic, partition, sessions))
            ]
            groups = self._grouped((self.keys.entity(read.entity, read.ref), i) for i, read in enumerate(reads))
            for group in groups:
                arguments = [pack_read(reads[i]) for _, i in group]
                commands.append(_script(scripts.READ, [key for key, _ in group], [*self._read_options, *arguments]))
            answers = await self._call(commands)
            values = _answer(answers[0])
            blobs: dict[str, bytes | None] = dict(zip(sessions, values[1:], strict=True))
            counters: list[Counters | None] = [None] * len(reads)
            for group, answer in zip(groups, answers[1:], strict=True):
                for (_, i), found in zip(group, self._counted([reads[i] for _, i in group], answer), strict=True):
                    counters[i] = found
            stats = self.stats
            stats.sessions_read_total += len(sessions)
            for blob in blobs.values():
                if blob is not None:
                    stats.sessions_found_total += 1
                    stats.received_bytes_total += len(blob)
            return Loaded(blobs, counters, _watermark(values[0]))

    async def commit(  # noqa: PLR0917 - one chunk's write, whole
        self,
        topic: str,
        partition: int,
        expected: Watermark | None,
        new: Watermark,
        blobs: Mapping[str, bytes | None],
        links: Sequence[Link],
        ttl_ms: int,
    ) -> Sequence[Link]:
        """Write links, session values and watermark; return links that are left. See `StateStore`."""
        check_commit(expected, new, blobs, ttl_ms)
        with self._measured("commit"):
            keys = [self.keys.watermark(topic, partition), *self.keys.sessions(topic, partition, list(blobs))]
            arguments: list[Any] = [
                pack_expected(expected),
                self._stored_form(topic, partition, expected, new),
                len(blobs),
                ttl_ms,
                WATERMARK_TTL_MS,
                # What is removed travels as an empty value, which no session has.
                *[blob if blob is not None else b"" for blob in blobs.values()],
            ]
            left: Sequence[Link] = ()
            if links and self._options.cluster:
                left = await self._link_apart(links)
            elif links:
                entities = self._entities(links)
                keys.extend(entities)
                arguments.extend(self._link_options)
                arguments.extend(map(_pack_links, entities.values()))
            code, found = _answer((await self._call([_script(scripts.COMMIT, keys, arguments)]))[0])
            self._unanswered.pop((topic, partition), None)
            if code == 0:
                self.stats.conflicts_total += 1
                raise WatermarkConflict(topic, partition, expected, _watermark(found))
            self.stats.repeated_commits_total += code == 2
            self.stats.sessions_written_total += len(blobs)
            self.stats.links_written_total += len(links) - len(left)
            return left

    async def _link_apart(self, links: Sequence[Link]) -> list[Link]:
        """Write links on the shards of a cluster; return those whose server is away."""
        groups = self._grouped(self._entities(links).items())
        commands = [
            _script(scripts.LINK, [key for key, _ in group], [*self._link_options, *(_pack_links(v) for _, v in group)])
            for group in groups
        ]
        left: list[Link] = []
        for group, answer in zip(groups, await self._call(commands), strict=True):
            if isinstance(answer, StoreUnavailable):
                for _, of_entity in group:
                    left.extend(of_entity)
            else:
                _answer(answer)
        self.stats.links_left_total += len(left)
        return left

    async def movements(self, asks: Sequence[MovementAsk], ttl_ms: int) -> list[list[bytes] | None]:
        """Return what lies in movements' buckets and keep them. See `StateStore`."""
        check_asks(asks, ttl_ms)
        if not asks:
            return []
        with self._measured("movements"):
            groups = self._grouped(
                (key, (i, table)) for i, ask in enumerate(asks) for table, key in enumerate(self.keys.movement(ask))
            )
            options = (ENTRY_BYTES, ID_BYTES, MAX_VALUE_BYTES, ttl_ms)
            commands = [
                _script(
                    scripts.MOVEMENT,
                    [key for key, _ in group],
                    [*options, *(asks[i].entry if asks[i].keep else b"" for _, (i, _) in group)],
                )
                for group in groups
            ]
            found: list[list[bytes] | None] = [[b""] * len(ask.buckets) for ask in asks]
            for group, answer in zip(groups, await self._call(commands), strict=True):
                values = [None] * len(group) if isinstance(answer, StoreUnavailable) else _answer(answer)
                for (_, (i, table)), value in zip(group, values, strict=True):
                    held = found[i]
                    if value is None:
                        found[i] = None
                    elif held is not None:
                        held[table] = value
            self.stats.movements_asked_total += len(asks)
            self.stats.movements_missing_total += found.count(None)
            return found

    def _stored_form(self, topic: str, partition: int, expected: Watermark | None, new: Watermark) -> bytes:
        """Return the watermark as it is stored, with a mark of this attempt.

        A repeated commit whose first answer was lost gets the first one's mark again, so that the script can tell that
        it had arrived; no other writer, and no other commit of this one, has that mark.
        """
        before = self._unanswered.get((topic, partition))
        if before is not None and before[:2] == (expected, new):
            return before[2]
        self._attempts += 1
        stored = f"{new.topic_id}:{new.offset}|{self._writer}.{self._attempts}".encode()
        self._unanswered[topic, partition] = (expected, new, stored)
        return stored

    def _entities(self, links: Sequence[Link]) -> dict[bytes, list[Link]]:
        """Return the links of each touched entity, by key."""
        entities: dict[bytes, list[Link]] = {}
        for link in dict.fromkeys(links):
            entities.setdefault(self.keys.entity(link.entity, link.ref), []).append(link)
        return entities

    def _grouped(self, items: Iterable[tuple[bytes, V]]) -> list[list[tuple[bytes, V]]]:
        """Group items by what one script call may touch: everything on one server, one hash tag on a cluster."""
        if not self._options.cluster:
            group = list(items)
            return [group] if group else []
        groups: dict[bytes, list[tuple[bytes, V]]] = {}
        for key, value in items:
            groups.setdefault(key[: key.index(b"}")], []).append((key, value))
        return list(groups.values())

    def _counted(self, reads: Sequence[CounterRead], answer: Answer) -> list[Counters | None]:
        """Return the counters in one script's answer; None for each if it failed because its server is away."""
        self.stats.entities_read_total += len(reads)
        try:
            replies = _answer(answer)
        except StoreUnavailable:
            self.stats.counters_missing_total += len(reads)
            return [None] * len(reads)
        counted = count_replies(reads, replies)
        for found in counted:
            if found is None:
                # Somebody else's value is under the entity's key: unknown, until the next link replaces it.
                self.stats.unreadable_entities_total += 1
            elif found.part[-1]:
                self.stats.sampled_reads_total += 1
        return counted

    async def _call(self, commands: Sequence[Command]) -> list[Any]:
        """Exchange commands; where the server has forgotten a script, load it and send those commands again."""
        if self._refused is not None:
            raise StoreMisconfigured(self._refused)
        link = self._opened()
        answers = await link.exchange(commands)
        forgotten = [i for i, answer in enumerate(answers) if isinstance(answer, exceptions.NoScriptError)]
        if forgotten:
            self.stats.script_reloads_total += 1
            again = [commands[i] for i in forgotten]
            texts = [("SCRIPT LOAD", scripts.BY_SHA[command[1]].text) for command in again]
            for answer in await link.exchange(texts, at=[command[3] for command in again]):
                _answer(answer)
            for i, answer in zip(forgotten, await link.exchange(again), strict=True):
                answers[i] = answer
        return answers

    async def _load_scripts(self) -> None:
        for script in scripts.ALL:
            for _, sha in await self._opened().each(("SCRIPT LOAD", script.text)):
                if (sha if isinstance(sha, bytes) else str(sha).encode()) != script.sha:
                    raise StoreMisconfigured("the server gives a script another digest than SHA-1")

    def _opened(self) -> StandaloneLink | ClusterLink:
        if self._link is None:
            raise StoreUnavailable("the store is not open")
        return self._link

    def _measured(self, operation: Operation) -> Measured:
        return Measured(self.stats, self._observe, operation)


def _script(script: scripts.Script, keys: Sequence[bytes], arguments: Iterable[Any]) -> Command:
    return ("EVALSHA", script.sha, len(keys), *keys, *arguments)


def _answer(answer: Answer) -> Answer:
    """Return an answer; raise what an error answer means."""
    if isinstance(answer, exceptions.NoScriptError):
        # Loaded and forgotten again: a flush just then, or a slot on its way to a server that never had it.
        raise StoreUnavailable("Redis has forgotten a script again")
    return raised(answer)


def _pack_links(links: Iterable[Link]) -> bytes:
    return b"".join(map(pack_link, links))


def _watermark(value: bytes | None) -> Watermark | None:
    try:
        return unpack_watermark(value)
    except ValueError as error:
        raise StoreMisconfigured(f"{error}: is the key prefix also used by something else?") from None
