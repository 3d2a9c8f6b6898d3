"""What the dead-letter topic says of each input record, kept in a temporary database: a large topic takes no memory.

The unit is the input record: a dead letter that was published twice counts once, one that failed again after a redrive
is the same record with one attempt more. Records of the topic may be added in any order of its partitions.
"""

import errno
import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self

import msgspec

Identity = tuple[str, str, int, int]
"""Input topic, its id, partition and offset: the first place of an input record."""

Id = tuple[int, int]
"""Partition and offset in the dead-letter topic."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter, without the input's bytes."""

    partition: int
    offset: int
    time_ms: int
    """When it was published, epoch ms."""
    source: Identity
    source_time_ms: int | None
    """Append time of the input record, epoch ms."""
    attempts: int
    """How often the record was tried, from 1."""
    reason: str
    path: str
    detail: str
    app_version: str
    size_bytes: int
    """Of the whole value, also where only a part of it was kept."""
    truncated: bool
    failed_at: Id | None
    """Partition and offset at which a redriven record failed again."""

    @property
    def id(self) -> str:
        """What a person calls it: `<partition>:<offset>` in the dead-letter topic."""
        return f"{self.partition}:{self.offset}"


class Known(NamedTuple):
    """What the topic says of one input record."""

    letter: DeadLetter
    """Its latest dead letter."""
    redriven: bool
    """Whether that was sent again, and did not fail again since."""
    repeats: int
    """Dead letters of the record beyond one for each attempt that is known."""


class Count(NamedTuple):
    """Records that have something in common."""

    name: str
    records: int
    waiting: int
    """Of these, not sent again yet, or failed again since."""


class Filter(NamedTuple):
    """Which records are meant; an empty part lets all through."""

    reasons: Collection[str] = ()
    """Of the latest dead letter."""
    partitions: Collection[int] = ()
    """Of the input topic."""


ALL: Final = Filter()

Group = Literal["reason", "topic", "place"]
Order = Literal["latest", "place"]
"""The latest dead letters first, or as they lie in the topic."""

_CACHE_KIB: Final = 32 * 1024
"""Memory that the database takes; what is more lies in a temporary file that has no name."""
_TRIED: Final = """
    CREATE TABLE tried (
        topic, topic_id, partition, offset, attempts, letters, noted,
        at_partition, at_offset, time_ms, reason, letter,
        PRIMARY KEY (topic, topic_id, partition, offset, attempts)
    ) WITHOUT ROWID
"""
"""A row for each attempt of each record: how many dead letters there are of it, whether one was noted to be sent again,
and the first of them: where it is, and all of it encoded."""
_ADD_LETTER: Final = """
    INSERT INTO tried VALUES (?, ?, ?, ?, ?, 1, 0, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        letters = letters + 1,
        at_partition = COALESCE(at_partition, excluded.at_partition),
        at_offset = COALESCE(at_offset, excluded.at_offset),
        time_ms = COALESCE(time_ms, excluded.time_ms),
        reason = COALESCE(reason, excluded.reason),
        letter = COALESCE(letter, excluded.letter)
"""
_ADD_NOTE: Final = """
    INSERT INTO tried (topic, topic_id, partition, offset, attempts, letters, noted) VALUES (?, ?, ?, ?, ?, 0, 1)
    ON CONFLICT DO UPDATE SET noted = 1
"""
_RECORDS: Final = """
    CREATE TABLE record AS
    SELECT topic, topic_id, partition, offset, at_partition, at_offset, time_ms, reason, letter, redriven, repeats
    FROM tried JOIN (
        SELECT topic, topic_id, partition, offset,
            MAX(CASE WHEN letters > 0 THEN attempts END) AS attempts,
            COALESCE(MAX(CASE WHEN noted THEN attempts END) >= MAX(CASE WHEN letters > 0 THEN attempts END), 0)
                AS redriven,
            SUM(letters) - SUM(letters > 0) AS repeats
        FROM tried GROUP BY topic, topic_id, partition, offset
    ) USING (topic, topic_id, partition, offset, attempts)
"""
"""A row for each record of which there is a dead letter: the latest one."""
_ONE: Final = """
    SELECT letter, redriven, repeats FROM record WHERE (topic, topic_id, partition, offset) = (?, ?, ?, ?)
"""
_IN_ORDER: Final[dict[Order, str]] = {
    "latest": """
        SELECT letter, redriven, repeats FROM record WHERE is_meant(reason, partition)
        ORDER BY time_ms DESC, at_partition, at_offset DESC LIMIT ?
    """,
    "place": """
        SELECT letter, redriven, repeats FROM record WHERE is_meant(reason, partition)
        ORDER BY at_partition, at_offset LIMIT ?
    """,
}
_COUNTS: Final[dict[Group, str]] = {
    "reason": """
        SELECT reason, COUNT(*), SUM(NOT redriven) FROM record WHERE is_meant(reason, partition) GROUP BY reason
    """,
    "topic": """
        SELECT topic, COUNT(*), SUM(NOT redriven) FROM record WHERE is_meant(reason, partition) GROUP BY topic
    """,
    "place": """
        SELECT topic || '[' || partition || ']' AS place, COUNT(*), SUM(NOT redriven) FROM record
        WHERE is_meant(reason, partition) GROUP BY place
    """,
}
_REPEATS: Final = "SELECT COALESCE(SUM(repeats), 0) FROM record WHERE is_meant(reason, partition)"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DeadLetter).decode


class DeadLetterIndex:
    """All dead letters that were added, record by record. Close it: it is a context manager.

    Raises OSError where the temporary file does not fit on the disk.
    """

    def __init__(self, named: Collection[Id] = ()) -> None:
        """`named` are dead letters that `at` will be asked for."""
        self.unreadable_total = 0
        """Records of the topic that name no input place: not written by a worker."""
        self._named: dict[Id, Identity | None] = dict.fromkeys(named)
        self._settled = False
        self._db = sqlite3.connect("", isolation_level=None)
        # Nothing of it outlives the process, and a transaction that never ends is the cheapest.
        self._db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.execute(_TRIED)
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._db.close()

    def add(self, letter: DeadLetter) -> None:
        """Take one dead letter."""
        place = (letter.partition, letter.offset)
        if place in self._named:
            self._named[place] = letter.source
        with _on_disk():
            self._db.execute(
                _ADD_LETTER, (*letter.source, letter.attempts, *place, letter.time_ms, letter.reason, _encode(letter))
            )

    def add_note(self, source: Identity, attempts: int) -> None:
        """Take the note that a record's dead letter of this attempt was sent again."""
        with _on_disk():
            self._db.execute(_ADD_NOTE, (*source, attempts))

    def at(self, place: Id) -> Known | None:
        """Return the record of one of the named dead letters, None where there is none."""
        source = self._named[place]
        if source is None:
            return None
        (row,) = self._ask(_ONE, source)
        return _known(row)

    def records(self, chosen: Filter = ALL, order: Order = "place", limit: int = -1) -> Iterator[Known]:
        """Yield the records that are meant; at most `limit`, where that is not negative."""
        for row in self._ask(_IN_ORDER[order], (limit,), chosen):
            yield _known(row)

    def counts(self, by: Group, chosen: Filter = ALL) -> list[Count]:
        """Count the records that are meant, most first, equal counts by name."""
        found = [Count(*row) for row in self._ask(_COUNTS[by], (), chosen)]
        return sorted(found, key=lambda one: (-one.records, one.name))

    def repeats(self, chosen: Filter = ALL) -> int:
        """Return how many dead letters there are of the records that are meant, beyond one for each attempt."""
        ((found,),) = self._ask(_REPEATS, (), chosen)
        return int(found)

    def _ask(self, sql: str, values: Sequence[object], chosen: Filter = ALL) -> Iterator[tuple[Any, ...]]:
        reasons, partitions = frozenset(chosen.reasons), frozenset(chosen.partitions)

        def is_meant(reason: str, partition: int) -> bool:
            return (not reasons or reason in reasons) and (not partitions or partition in partitions)

        with _on_disk():
            if not self._settled:
                self._db.execute(_RECORDS)
                self._settled = True
            self._db.create_function("is_meant", 2, is_meant, deterministic=True)
            yield from self._db.execute(sql, values)


def _known(row: Sequence[Any]) -> Known:
    letter, redriven, repeats = row
    return Known(_decode(letter), bool(redriven), repeats)


@contextmanager
def _on_disk() -> Iterator[None]:
    """Tell of a full disk as any other writer does."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in _NO_ROOM:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a temporary file") from None


_NO_ROOM: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""What a disk without room looks like; the upper bits of a code say in which call."""
