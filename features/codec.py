"""A session as bytes: magic, state version, checksum, session id, Meta and the row's non-zero numbers.

A blob is read only by the version that wrote it and only for the session that it belongs to; anything else raises
`StateMismatch`, so foreign or old state is never used silently.
"""

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numba
import numpy as np
import numpy.typing as npt

from features import movement
from features.camera import Camera
from features.fold import STATE_DTYPE, STATE_WIDTH
from features.meta import BLOCKS, SEQUENCE_WINDOW, Compared, Meta, SignalRecord, Upstream
from features.registry import REGISTRY_HASH, TABLES
from features.velocity import WHATS, WINDOWS

_NUMBERS = 2
"""Version of the packing of a row's numbers."""


def _layout() -> list[Any]:
    records = (Meta, SignalRecord, Upstream, Camera, Compared)
    return [
        [[table.family, table.revision, table.slots, table.added] for table in (*TABLES, movement.T)],
        STATE_WIDTH,
        np.dtype(STATE_DTYPE).name,
        [[field.name for field in msgspec.structs.fields(record)] for record in records],
        BLOCKS,
        SEQUENCE_WINDOW,
        [[entity, whats, WINDOWS] for entity, whats in WHATS.items()],
        REGISTRY_HASH,
        _NUMBERS,
    ]


STATE_VERSION: str = hashlib.sha256(msgspec.json.encode(_layout())).hexdigest()[:12]
"""Version of the stored state: 12 hex digits of the hash of the layout and of the features' definitions."""

MAGIC = b"TWS1"
_VERSION = bytes.fromhex(STATE_VERSION)
_PREFIX = MAGIC + _VERSION
_HEAD = len(_PREFIX) + 4
_MOST_BYTES = 2 * ((STATE_WIDTH + 7) // 8) + 4 * STATE_WIDTH
_TOGETHER = 16
"""Rows packed in one call: few enough that what is packed stays in the processor's nearest cache."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Meta)

Row = npt.NDArray[np.float32]


class StateMismatch(Exception):  # noqa: N818 - it is named for what it says
    """A blob that must not be read: of another session, of another version, or damaged."""


# No other file's kernels are called here, so numba's cache sees every change by itself.
_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")


@_compiled
def _pack(rows, bits, slots, packed, ends):  # type: ignore[no-untyped-def]
    """Write the numbers of some rows one behind the other; `ends` becomes the end of each. bits: rows as uint32.

    Of a row: the mask of its non-zero numbers (bit i % 8 of byte i // 8); a mask of which of these are whole, from 1 to
    255; then the numbers, a whole one as a byte, any other little-endian in four. Most of a session's numbers are zero
    or small counts.
    """
    width = rows.shape[1]
    at = 0
    for k in range(len(slots)):
        slot = slots[k]
        mask = at
        small = mask + (width + 7) // 8
        used = 0
        for i in range(width):
            used += bits[slot, i] != 0
        at = small + (used + 7) // 8
        packed[mask:at] = 0
        seen = 0
        for i in range(width):
            value = bits[slot, i]
            if value == 0:
                continue
            number = rows[slot, i]
            packed[mask + (i >> 3)] |= 1 << (i & 7)
            # Never so for NaN, infinity or a negative number: all of them fail a comparison.
            if 1.0 <= number <= 255.0 and number == numba.uint8(number):
                packed[small + (seen >> 3)] |= 1 << (seen & 7)
                packed[at] = numba.uint8(number)
                at += 1
            else:
                for shift in range(0, 32, 8):
                    packed[at] = (value >> shift) & 255
                    at += 1
            seen += 1
        ends[k] = at


@_compiled
def _unpack(packed, row, bits):  # type: ignore[no-untyped-def]
    """Read a row that `_pack` wrote into `row` (zeroed before; bits: it as uint32).

    Returns the length read, or -1 where it ends too early.
    """
    small = (len(bits) + 7) // 8
    if len(packed) < small:
        return -1
    used = 0
    for i in range(len(bits)):
        used += packed[i >> 3] >> (i & 7) & 1
    at = small + (used + 7) // 8
    if len(packed) < at:
        return -1
    seen = 0
    for i in range(len(bits)):
        if packed[i >> 3] >> (i & 7) & 1:
            is_small = packed[small + (seen >> 3)] >> (seen & 7) & 1
            seen += 1
            if at + (1 if is_small else 4) > len(packed):
                return -1
            if is_small:
                row[i] = packed[at]
                at += 1
                continue
            value = numba.uint32(0)
            for shift in range(0, 32, 8):
                value |= numba.uint32(packed[at]) << numba.uint32(shift)
                at += 1
            bits[i] = value
    return at


def encode(session_id: str, meta: Meta, row: Row) -> bytes:
    """A session as bytes. row: float32[STATE_WIDTH], contiguous; read back bit for bit by `decode`."""
    return encode_all([(session_id, meta, 0)], row[np.newaxis])[0]


def encode_all(sessions: Sequence[tuple[str, Meta, int]], rows: Row) -> list[bytes]:
    """Each session as bytes, as by `encode`: its id, its meta and which of `rows` (float32[n, STATE_WIDTH]) is its."""
    found, bits = [], rows.view(np.uint32)
    for first in range(0, len(sessions), _TOGETHER):
        some = sessions[first : first + _TOGETHER]
        numbers = np.empty(len(some) * _MOST_BYTES, dtype=np.uint8)
        ends = np.empty(len(some), dtype=np.int64)
        _pack(rows, bits, np.array([slot for _, _, slot in some]), numbers, ends)
        view, start = numbers.data, 0
        for (session_id, meta, _), end in zip(some, ends.tolist(), strict=True):
            head, packed = session_id.encode(), _encoder.encode(meta)
            sizes = (len(head).to_bytes(2, "little"), len(packed).to_bytes(4, "little"))
            body = b"".join((sizes[0], head, sizes[1], packed, view[start:end]))
            found.append(_PREFIX + zlib.crc32(body).to_bytes(4, "little") + body)
            start = end
    return found


def decode(session_id: str, blob: bytes) -> tuple[Meta, Row]:
    """Read what `encode` wrote for this session. Raises StateMismatch; never returns another session's state."""
    if blob[: len(_PREFIX)] != _PREFIX:
        found = blob[4 : len(_PREFIX)].hex() if blob[:4] == MAGIC else "no state at all"
        msg = f"state has version {found}, this is {STATE_VERSION}"
        raise StateMismatch(msg)
    body = memoryview(blob)[_HEAD:]
    if zlib.crc32(body) != int.from_bytes(blob[len(_PREFIX) : _HEAD], "little"):
        msg = "state is damaged: its checksum differs"
        raise StateMismatch(msg)
    at = 2 + int.from_bytes(body[:2], "little")
    if body[2:at] != session_id.encode():
        msg = "state belongs to another session"
        raise StateMismatch(msg)
    end = at + 4 + int.from_bytes(body[at : at + 4], "little")
    try:
        meta = _decoder.decode(body[at + 4 : end])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The type alone: an error's text may quote what is stored, and it ends in the log.
        msg = f"state is damaged: {type(error).__name__} where its Meta should be"
        raise StateMismatch(msg) from None
    row = np.zeros(STATE_WIDTH, dtype=STATE_DTYPE)
    numbers = np.frombuffer(body[end:], dtype=np.uint8)
    if _unpack(numbers, row, row.view(np.uint32)) != len(numbers):
        msg = "state is damaged: its numbers end too early or too late"
        raise StateMismatch(msg)
    return meta, row


def warm_up() -> None:
    """Compile the codec's kernels, or load them from numba's cache."""
    decode("warm-up", encode("warm-up", Meta(), np.ones(STATE_WIDTH, dtype=STATE_DTYPE)))
