"""A session as bytes: magic, state version, checksum, session id, Meta and the row's non-zero numbers.

A blob is read only by the version that wrote it and only for the session that it belongs to; anything else raises
`StateMismatch`, so foreign or old state is never used silently.
"""

import hashlib
import zlib
from typing import Any

import msgspec
import numba
import numpy as np
import numpy.typing as npt

from features.fold import STATE_DTYPE, STATE_WIDTH
from features.meta import BLOCKS, SEQUENCE_WINDOW, Meta, SignalRecord, Upstream
from features.registry import REGISTRY_HASH, TABLES
from features.velocity import PAIRS


def _layout() -> list[Any]:
    records = (Meta, SignalRecord, Upstream)
    return [
        [[table.family, table.revision, table.slots, table.added] for table in TABLES],
        STATE_WIDTH,
        np.dtype(STATE_DTYPE).name,
        [[field.name for field in msgspec.structs.fields(record)] for record in records],
        BLOCKS,
        SEQUENCE_WINDOW,
        PAIRS,
        REGISTRY_HASH,
    ]


STATE_VERSION: str = hashlib.sha256(msgspec.json.encode(_layout())).hexdigest()[:12]
"""Version of the stored state: 12 hex digits of the hash of the layout and of the features' definitions."""

MAGIC = b"TWS1"
_VERSION = bytes.fromhex(STATE_VERSION)
_PREFIX = MAGIC + _VERSION
_HEAD = len(_PREFIX) + 4
_MASK_BYTES = (STATE_WIDTH + 7) // 8

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Meta)

Row = npt.NDArray[np.float32]


class StateMismatch(Exception):  # noqa: N818 - it is named for what it says
    """A blob that must not be read: of another session, of another version, or damaged."""


# No other file's kernels are called here, so numba's cache sees every change by itself.
_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")


@_compiled
def _pack(bits, packed):  # type: ignore[no-untyped-def]
    """Write the mask of non-zero numbers (bit i % 8 of byte i // 8), then these, little-endian; return the length."""
    at = (len(bits) + 7) // 8
    packed[:at] = 0
    for i in range(len(bits)):
        value = bits[i]
        if value != 0:
            packed[i >> 3] |= 1 << (i & 7)
            for shift in range(0, 32, 8):
                packed[at] = (value >> shift) & 255
                at += 1
    return at


@_compiled
def _unpack(packed, bits):  # type: ignore[no-untyped-def]
    """Read what `_pack` wrote into bits (zeroed before); return the length read, or -1 where it ends too early."""
    at = (len(bits) + 7) // 8
    if len(packed) < at:
        return -1
    for i in range(len(bits)):
        if packed[i >> 3] >> (i & 7) & 1:
            if at + 4 > len(packed):
                return -1
            value = numba.uint32(0)
            for shift in range(0, 32, 8):
                value |= numba.uint32(packed[at]) << numba.uint32(shift)
                at += 1
            bits[i] = value
    return at


def encode(session_id: str, meta: Meta, row: Row) -> bytes:
    """A session as bytes. row: float32[STATE_WIDTH], contiguous; read back bit for bit by `decode`."""
    numbers = np.empty(_MASK_BYTES + 4 * STATE_WIDTH, dtype=np.uint8)
    length = _pack(row.view(np.uint32), numbers)
    head = session_id.encode()
    packed = _encoder.encode(meta)
    body = b"".join(
        (
            len(head).to_bytes(2, "little"),
            head,
            len(packed).to_bytes(4, "little"),
            packed,
            numbers[:length].data,
        )
    )
    return _PREFIX + zlib.crc32(body).to_bytes(4, "little") + body


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
    if _unpack(numbers, row.view(np.uint32)) != len(numbers):
        msg = "state is damaged: its numbers end too early or too late"
        raise StateMismatch(msg)
    return meta, row


def warm_up() -> None:
    """Compile the codec's kernels, or load them from numba's cache."""
    decode("warm-up", encode("warm-up", Meta(), np.ones(STATE_WIDTH, dtype=STATE_DTYPE)))
