"""Near-duplicate movements: how one is packed, what counts as another session's, how near it came, and the raw score.

A packed movement (`ENTRY_BYTES`) is all that is kept of it beside its cells: keyed tags of its session and its owner,
its place in the log, its duration and its turned coordinates. One is compared with those that came before it in the
log, of other sessions and other owners, of nearly the same duration; what counts is the distance to the nearest over
how dense people's movements lie there.
"""

import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import numba
import numpy as np

from features.movement import WIDTH
from models.movement_key import TABLES, Described, MovementKey

TAG_BYTES: Final = 6
_PLACE_AT: Final = TAG_BYTES
PLACE_BYTES: Final = 10
"""Append time (ms, 6 bytes), offset (its last 3 bytes), and partition with the number in its event (1 byte)."""
ID_BYTES: Final = TAG_BYTES + PLACE_BYTES
"""What tells a movement from all others: so one that is written twice is kept once."""
_OWNER_AT: Final = ID_BYTES
_DURATION_AT: Final = _OWNER_AT + TAG_BYTES
_COORDINATES_AT: Final = _DURATION_AT + 1
ENTRY_BYTES: Final = _COORDINATES_AT + WIDTH
_REST: Final = struct.Struct(f"<f{TABLES}Q")
_BODY: Final = np.dtype([("duration", "u1"), ("coordinates", "i1", WIDTH), ("usual", "<f4"), ("cells", "<u8", TABLES)])
PENDING_BYTES: Final = ENTRY_BYTES + _REST.size
"""An entry with what is needed to look it up: how usual its shape is, and its cells."""
MAX_PENDING: Final = 12
"""Movements of a session that wait for an answer, at most; the oldest are given up."""
MAX_KEPT: Final = 64
"""Movements of one session that are kept for later ones; all are compared."""
MAX_ENTRIES: Final = 32
"""Movements of a bucket; of more the oldest go."""
MAX_VALUE_BYTES: Final = MAX_ENTRIES * ENTRY_BYTES

DURATION_STEPS: Final = 6
"""Difference of ln duration, in steps of 1/80, up to which a movement may be a copy of another (slowed by 7 %)."""
NEAR_STEP: Final = 0.01
"""Unit of a remembered nearness."""
FAR: Final = 255
"""Nothing within 2.55 of what is usual."""
WINDOW: Final = 10
"""Latest movements of a session that its score rests on."""
MATCHING: Final = 3
"""The so manieth nearest of them decides: one usual movement that fits by chance is no replay."""
BAR: Final = 0.2
"""Nearer than this, so many copies are sure: a quarter less than anybody's came by chance (see the detection page)."""
_REACH: Final = 1.5 * BAR
SAME: Final = 0
"""The very same movement again, within a hundredth of what is usual: one says as much as three copies. Of 20 144
recorded movements none came nearer than 0.098 to one of another session, people's own other sessions included."""


class Pending(NamedTuple):
    """A movement that waits for its answer."""

    entry: bytes
    usual: float
    cells: tuple[int, ...]


def place_of(ingested_ms: int, partition: int, offset: int, number: int) -> bytes:
    """Where a movement lies in the log: append time, then offset; places of one partition sort as the log does."""
    last = (partition & 0x3F) << 2 | number & 3
    return (ingested_ms & 0xFFFFFFFFFFFF).to_bytes(6, "big") + (offset & 0xFFFFFF).to_bytes(3, "big") + bytes((last,))


def packed_bodies(described: Described) -> list[bytes]:
    """Described movements as bytes: each is a packed one (`PENDING_BYTES`) behind session's tag, place, owner's tag."""
    rows = np.empty(len(described.duration), dtype=_BODY)
    rows["duration"] = described.duration
    rows["coordinates"] = described.coordinates
    rows["usual"] = described.usual
    rows["cells"] = described.cells
    text, size = rows.tobytes(), _BODY.itemsize
    return [text[at : at + size] for at in range(0, len(text), size)]


def unpack(packed: bytes) -> Pending:
    """Read a packed movement. ValueError for what is none."""
    if len(packed) != PENDING_BYTES:
        raise ValueError(f"a packed movement has {PENDING_BYTES} bytes, not {len(packed)}")
    rest = _REST.unpack_from(packed, ENTRY_BYTES)
    return Pending(packed[:ENTRY_BYTES], rest[0], rest[1:])


def owner_tag(key: MovementKey, tenant: str, account: str | None, device: str | None, session: str) -> bytes:
    """Whose a movement is: the account's; without one the device's; without both the session's alone.

    What an owner repeats is a retry, not a replay.
    """
    if account is not None:
        return key.tag("owner", tenant, "account", account, size=TAG_BYTES)
    if device is not None:
        return key.tag("owner", tenant, "device", device, size=TAG_BYTES)
    return key.tag("owner", tenant, "session", session, size=TAG_BYTES)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _nearest_of_all(own, entries, ends, least):  # type: ignore[no-untyped-def]
    """Fill least[i] for the i-th entry of `own` and those up to ends[i] of `entries`, from where the last one's end."""
    begin = 0
    size = len(own) // len(ends)
    for i in range(len(ends)):
        least[i] = _nearest(own[i * size : (i + 1) * size], entries[begin : ends[i]])
        begin = ends[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _nearest(own, entries):  # type: ignore[no-untyped-def]
    """Least sum of squares, in coordinate steps, between an entry and those that count among `entries`; -1: none."""
    best = -1
    size = len(own)
    for begin in range(0, len(entries) - size + 1, size):
        other = entries[begin : begin + size]
        if abs(np.int64(own[_DURATION_AT]) - np.int64(other[_DURATION_AT])) > DURATION_STEPS:
            continue
        same_session = True
        same_owner = True
        for i in range(TAG_BYTES):
            same_session = same_session and own[i] == other[i]
            same_owner = same_owner and own[_OWNER_AT + i] == other[_OWNER_AT + i]
        if same_session or same_owner:
            continue
        earlier = False
        for i in range(_PLACE_AT, ID_BYTES):
            if own[i] != other[i]:
                earlier = other[i] < own[i]
                break
        if not earlier:
            continue
        total = np.int64(0)
        for i in range(_COORDINATES_AT, size):
            apart = np.int64(np.int8(own[i])) - np.int64(np.int8(other[i]))
            total += apart * apart
        if best < 0 or total < best:
            best = int(total)
    return best


def nearness(pending: Sequence[Pending], stored: Sequence[Iterable[bytes]]) -> list[int]:
    """How near the nearest of other owners' earlier movements came, in NEAR_STEP of what is usual; FAR: none near.

    `stored` are the values under each movement's cells; a value that is no row of entries counts as empty.
    """
    rows = [b"".join([value for value in values if len(value) % ENTRY_BYTES == 0]) for values in stored]
    ends = list(accumulate(map(len, rows)))
    if not ends or not ends[-1]:
        return [FAR] * len(rows)
    own, entries = (np.frombuffer(b"".join(of), dtype=np.uint8) for of in ([one.entry for one in pending], rows))
    least = np.empty(len(ends), dtype=np.int64)
    _nearest_of_all(own, entries, np.array(ends), least)
    return [
        FAR if squares < 0 else near_of(squares, one.usual)
        for squares, one in zip(least.tolist(), pending, strict=True)
    ]


def near_of(squares: int, usual: float) -> int:
    """A sum of squares (coordinate steps) as a nearness."""
    distance = (squares / WIDTH) ** 0.5 * 0.01
    return min(int(distance / max(usual, 1e-6) / NEAR_STEP), FAR)


def with_entry(before: bytes, entry: bytes) -> bytes:
    """A bucket's value after one more movement: the rule that movement.lua follows."""
    known = {before[at : at + ID_BYTES] for at in range(0, len(before), ENTRY_BYTES)}
    return before if entry[:ID_BYTES] in known else (before + entry)[-MAX_VALUE_BYTES:]


def with_answers(near: bytes, answers: Sequence[int]) -> bytes:
    """The remembered nearnesses after some more, oldest first, at most WINDOW."""
    return (near + bytes(answers))[-WINDOW:]


def matching(near: bytes) -> float:
    """The MATCHING-th nearest of the remembered ones; infinite where it is FAR, NaN before so many were compared."""
    if len(near) < MATCHING:
        return float("nan")
    found = sorted(near)[MATCHING - 1]
    return float("inf") if found == FAR else found * NEAR_STEP


def raw_of(near: bytes) -> float:
    """The raw score of remembered nearnesses: 1 at BAR and nearer, 0 at one and a half times it; NaN = no data.

    1 with one that is the same.
    """
    if SAME in near:
        return 1.0
    found = matching(near)
    return found if found != found else min(max((_REACH - found) / (_REACH - BAR), 0.0), 1.0)


def copies(near: bytes) -> int:
    """Movements among the remembered ones that came as near as copies do."""
    return sum(one * NEAR_STEP <= BAR for one in near)


def warm_up() -> None:
    """Compile or load the kernel."""
    entry = bytes(ENTRY_BYTES)
    nearness([Pending(entry, 1.0, ())], [[entry]])
