"""The crash note of a partition: what its owner leaves behind, and what the next owner makes of it. Pure.

An owner notes where it starts. The note is removed when the partition is given up in order, so an owner that finds one
for its own start offset knows that the one before ended there without getting anywhere. At the third such start the
records in doubt go one by one, and before each of them the note says that it is being worked on. A record that was
being worked on, alone, when two processes ended, is taken to be the cause: it becomes a dead letter (ADR 0007).
"""

import logging
from typing import Annotated, Final

import msgspec

log = logging.getLogger(__name__)

UNCLEAN_STARTS: Final = 3
"""Starts at one offset, without an orderly end in between, after which records go one by one."""
DEATHS_ALONE: Final = 2
"""Processes that must have ended while they worked on a record alone before it is condemned: one may be chance."""
IN_DOUBT_RECORDS: Final = 1_000
"""Most offsets that are in doubt at once. A cause further on is found by the starts that follow."""
CONDEMNED_IN_A_ROW: Final = 10
"""Condemned records without one that survives between them after which the input is not to blame any more."""

_MAX_OFFSET: Final = (1 << 63) - 1
_Offset = Annotated[int, msgspec.Meta(ge=0, le=_MAX_OFFSET)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What an owner notes. `owner` tells two assignments apart, `topic_id` two topics of the same name."""

    owner: Annotated[str, msgspec.Meta(max_length=64)]
    topic_id: Annotated[str, msgspec.Meta(max_length=128)]
    offset: _Offset
    """Where the owner started; one by one: the record it works on, or will work on next."""
    starts: _Count = 1
    """Starts at `offset` in a row, this one included, of which none before ended in order."""
    until: Annotated[int, msgspec.Meta(ge=-1, le=_MAX_OFFSET)] = -1
    """Last offset in doubt; -1: records do not go one by one."""
    deaths: _Count = 0
    """Processes that ended while they worked on the record at `offset` alone."""
    working: bool = False
    """The record at `offset` is being worked on at this moment."""
    condemned: _Count = 0
    """Records that became dead letters in a row, with none that survived between them."""

    @property
    def is_one_by_one(self) -> bool:
        """Whether records are in doubt."""
        return self.until >= 0

    @property
    def is_condemned(self) -> bool:
        """Whether the record at `offset` is taken to be what ends the process."""
        return self.deaths >= DEATHS_ALONE


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Note)


def encode(note: Note) -> bytes:
    """Return a note as it is stored."""
    return _encoder.encode(note)


def decode(stored: bytes | None) -> Note | None:
    """Return the note in a stored value; None where there is none that can be read: counting starts over."""
    if stored is None:
        return None
    try:
        return _decoder.decode(stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        log.warning("a stored crash note can't be read; unclean starts are counted from one again")
        return None


def at_start(found: Note | None, *, owner: str, topic_id: str, start: int, end: int) -> Note:
    """Return the note of an owner that reads `[start, end)` first, given the one that it found."""
    fresh = Note(owner=owner, topic_id=topic_id, offset=start)
    if found is None or found.topic_id != topic_id:
        return fresh
    if found.is_one_by_one:
        return _go_on(found, fresh)
    if found.offset != start:
        return fresh
    if end <= start:
        # Nothing to read: whatever ended the process, it was nothing here.
        return msgspec.structs.replace(fresh, starts=found.starts)
    note = msgspec.structs.replace(fresh, starts=min(found.starts + 1, UNCLEAN_STARTS))
    if note.starts < UNCLEAN_STARTS:
        return note
    return msgspec.structs.replace(note, until=min(start + IN_DOUBT_RECORDS, end) - 1)


def _go_on(found: Note, fresh: Note) -> Note:
    """Return the note of an owner that goes on one by one."""
    start = fresh.offset
    if not start <= found.until < start + 2 * IN_DOUBT_RECORDS:
        # All of them are done, or the state went far back: not the same records any more.
        return fresh
    going_on = msgspec.structs.replace(fresh, starts=found.starts, until=found.until, condemned=found.condemned)
    if found.offset < start:
        return going_on
    # Not done yet, so if it was being worked on, the process ended with it.
    deaths = min(found.deaths + found.working, DEATHS_ALONE)
    return msgspec.structs.replace(going_on, offset=found.offset, deaths=deaths)
