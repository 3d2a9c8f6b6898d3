"""The compiled reader of telemetry: samples of a chunk straight from JSON into columns, the rest left to the decoder.

It walks each record once, checks and reads the columns of samples, and copies everything else, with the columns
emptied, into a skeleton for the typed decoder: a fraction of the values, and no Python object a number. It accepts only
what it is certain of; any doubt (an escape in an identifier, an exponent, a key twice, anything out of bounds) leaves
the record as a whole to the typed decoder, which knows every error and its path.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from features import columns as c
from features import scan_table as t
from features.kernel import inner
from features.scan_form import EFFECTIVE, HAS_DEVICE, SUBMIT_MS, SUBMITTED, read_form
from features.scan_json import (
    CLOSE,
    CLOSE_LIST,
    COMMA,
    FIRST_OF_NULL,
    NAN,
    NULL,
    OPEN,
    OPEN_LIST,
    ZERO,
    after,
    behind,
    byte,
    copy_up_to,
    id_end,
    name_end,
    read_column,
    read_key,
    read_whole,
    skip_space,
    value_end,
)
from schemas.topics import MAX_TELEMETRY_BYTES

_KIND, _SLOT, _LONGEST, _NULL, _IS_GROUPED = t.KIND, t.SLOT, t.LONGEST, t.MAY_BE_NULL, t.IS_GROUPED
_FIRST, _REQUIRED, _GROUP_OF, _TAG = t.FIRST, t.REQUIRED, t.GROUP_OF, t.TAG_VALUE
_N_SLOTS, _N_COUNTS, _N_GROUPS = t.OF_FIELDS + 1, t.UNCOUNTED + 1, len(t.GROUPS)
WIDEST = max(int(t.LONGEST.max()), t.FIELD_WIDTH * t.MOST_FIELDS)


@inner
def _block(b, i, group, scratch, sizes, counts, lengths, copied, skeleton):  # type: ignore[no-untyped-def]
    """Read a block of samples that begins at i; return the index behind it, or -1 in doubt.

    Sets scratch (the columns that are folded), sizes (theirs, -1 for absent), counts, lengths (of the block).
    """
    first = _FIRST[group]
    hint = first
    seen = 0
    filled = 0
    length = -1
    i = skip_space(b, i + 1)
    is_over = False
    while not is_over:
        i, member = read_key(b, i, group, hint)
        if i < 0:
            return -1
        kind = t.OPAQUE
        if member >= 0:
            kind = _KIND[member]
            hint = member + 1
            bit = 1 << (member - first)
            if seen & bit != 0:
                return -1
            seen |= bit
        if kind == t.COLUMN and byte(b, i) == OPEN_LIST:
            begin = i + 1
            i, n = read_column(b, begin, member, scratch[_SLOT[member]])
            if i < 0:
                return -1
            if _IS_GROUPED[member]:
                if length >= 0 and n != length:
                    return -1
                length = n
            sizes[_SLOT[member]] = n
            filled |= 1 << (member - first)
            copy_up_to(b, begin, copied, skeleton)
            if n > 0 and member == first:
                # Whether there were samples at all is still seen.
                skeleton[copied[1]] = ZERO
                copied[1] += 1
            copied[0] = i
            i += 1
        elif kind != t.OPAQUE and byte(b, i) == FIRST_OF_NULL:
            i = after(b, i, NULL) if _NULL[member] else -1
        elif kind == t.COUNT:
            i, count = read_whole(b, i)
            counts[_SLOT[member]] = count
        elif kind == t.OPAQUE:
            i = value_end(b, i)
        else:
            return -1
        i, is_over = behind(b, i, CLOSE)
    if i < 0 or filled & _REQUIRED[group] != _REQUIRED[group]:
        return -1
    lengths[group] = length
    return i + 1


@inner
def _collector(b, i):  # type: ignore[no-untyped-def]
    """Check the collector that begins at i; return the index behind it, or -1 in doubt."""
    if byte(b, i) != OPEN:
        return -1
    hint = _FIRST[t.COLLECTOR_GROUP]
    i = skip_space(b, i + 1)
    is_over = False
    while not is_over:
        i, member = read_key(b, i, t.COLLECTOR_GROUP, hint)
        if i < 0:
            return -1
        i = name_end(b, i) if member >= 0 and _KIND[member] == t.NAME else value_end(b, i)
        if member >= 0:
            hint = member + 1
        i, is_over = behind(b, i, CLOSE)
    return i + 1 if i >= 0 else -1


@inner
def _record(b, i, scratch, sizes, counts, lengths, copied, skeleton, head):  # type: ignore[no-untyped-def]
    """Read the record that begins at i; return the index of the NUL behind it; -1 in doubt. head: see `EFFECTIVE`."""
    sizes[:] = -1
    lengths[:] = -1
    counts[:] = 0.0
    counts[t.P_COALESCED] = -1.0
    head[:] = 0.0
    head[SUBMIT_MS] = NAN
    copied[0] = i
    hint = 0
    seen = 0
    i = skip_space(b, i)
    if byte(b, i) != OPEN:
        return -1
    i = skip_space(b, i + 1)
    is_over = False
    while not is_over:
        i, member = read_key(b, i, t.TOP, hint)
        if i < 0:
            return -1
        kind = t.OPAQUE
        if member >= 0:
            kind = _KIND[member]
            hint = member + 1
            if seen & (1 << member) != 0:
                return -1
            seen |= 1 << member
        if kind == t.ID:
            i = id_end(b, i)
        elif kind == t.NAME:
            i = name_end(b, i)
        elif kind == t.TAG:
            i = after(b, i, _TAG)
        elif kind == t.EPOCH:
            i, number = read_whole(b, i)
            head[EFFECTIVE] = number
        elif kind == t.COLLECTOR:
            i = _collector(b, i)
        elif kind == t.BLOCK and byte(b, i) == OPEN:
            i = _block(b, i, _GROUP_OF[member], scratch, sizes, counts, lengths, copied, skeleton)
        elif kind == t.FORM and byte(b, i) == OPEN:
            i = read_form(b, i, scratch, sizes, copied, skeleton, head)
        elif t.BLOCK <= kind <= t.FORM and byte(b, i) != FIRST_OF_NULL:
            i = -1
        else:
            if kind == t.DEVICE and byte(b, i) == OPEN:
                head[HAS_DEVICE] = 1.0
            i = value_end(b, i)
        i, is_over = behind(b, i, CLOSE)
    if i < 0:
        return -1
    i = skip_space(b, i + 1)
    if seen & _REQUIRED[t.TOP] != _REQUIRED[t.TOP] or byte(b, i) != 0:
        return -1
    copy_up_to(b, i, copied, skeleton)
    return i


@inner
def _put(data, at, column, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        data[at + j] = column[j]
    return at + max(n, 0)


@inner
def _lay_out(data, at, scratch, sizes, counts, lengths, head):  # type: ignore[no-untyped-def]
    """Write an event's numbers as `columns.columns_of` lays them out; return the index behind them."""
    h = data[at : at + c.HEADER]
    h[:] = 0.0
    h[c.H_EFFECTIVE] = head[EFFECTIVE]
    h[c.H_DEVICE] = head[HAS_DEVICE]
    h[c.H_FIELDS] = max(sizes[t.OF_FIELDS], 0) / t.FIELD_WIDTH
    h[c.H_SUBMITTED] = head[SUBMITTED]
    h[c.H_SUBMIT_MS] = head[SUBMIT_MS]
    at += c.HEADER
    if lengths[t.POINTER] >= 0:
        h[c.H_POINTERS] = lengths[t.POINTER]
        h[c.H_POINTER_UNTRUSTED] = counts[t.P_UNTRUSTED]
        h[c.H_COALESCED] = counts[t.P_COALESCED]
        h[c.H_OFFSETS] = max(sizes[t.P_OFFSETS], 0)
        if sizes[t.P_KIND] >= 0:
            h[c.H_KINDS] = 1.0
    if lengths[t.KEYS] >= 0:
        h[c.H_KEYS] = lengths[t.KEYS]
        h[c.H_KEY_UNTRUSTED] = counts[t.K_UNTRUSTED]
        h[c.H_IME] = counts[t.K_IME]
        h[c.H_UNFOCUSED] = counts[t.K_UNFOCUSED]
    h[c.H_FOCUS] = max(lengths[t.FOCUS], 0)
    h[c.H_TOUCH] = max(lengths[t.TOUCH], 0)
    h[c.H_SCROLL] = max(lengths[t.SCROLL], 0)
    h[c.H_MOTION] = max(lengths[t.MOTION], 0)
    for slot in range(t.UNSTORED):
        at = _put(data, at, scratch[slot], sizes[slot])
    return _put(data, at, scratch[t.OF_FIELDS], sizes[t.OF_FIELDS])


_SOURCES = (
    *("features/columns", "features/kernel", "features/scan", "features/scan_form", "features/scan_json"),
    *("features/scan_table", "schemas/base", "schemas/surroundings", "schemas/telemetry", "schemas/topics"),
)
"""Files whose text decides what the reader accepts: the longest identifier and record are compiled into it."""


def _salt() -> int:
    """A number out of this reader's sources and tables: a part of its cache key (see fold.py)."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((Path(__file__).parents[1] / f"{name}.py").read_bytes())
    for array in t.ARRAYS:
        digest.update(array.tobytes())
    return int.from_bytes(digest.digest()[:4], "little")


def _entry_point(salt: int) -> Callable[..., Any]:
    @numba.njit(nogil=True, cache=True, error_model="numpy")
    def scan_records(text, data, places, skeleton, scratch):  # type: ignore[no-untyped-def]
        sizes = np.empty(_N_SLOTS, dtype=np.int64)
        lengths = np.empty(_N_GROUPS, dtype=np.int64)
        counts = np.empty(_N_COUNTS, dtype=np.float64)
        copied = np.zeros(2, dtype=np.int64)
        head = np.zeros(4, dtype=np.float64)
        begin = salt & 0
        used = 0
        accepted = 0
        for i in range(len(places)):
            rollback = copied[1]
            skeleton[rollback] = OPEN_LIST if accepted == 0 else COMMA
            copied[1] += 1
            places[i, 0] = used
            end = _record(text, begin, scratch, sizes, counts, lengths, copied, skeleton, head)
            if 0 <= end <= begin + MAX_TELEMETRY_BYTES:
                places[i, 2] = rollback + 1
                places[i, 3] = copied[1]
                used = _lay_out(data, used, scratch, sizes, counts, lengths, head)
                accepted += 1
            else:
                copied[1] = rollback
                end = begin
                while byte(text, end) != 0:
                    end += 1
            places[i, 1] = used
            begin = end + 1
        if accepted == 0:
            skeleton[0] = OPEN_LIST
            copied[1] = 1
        skeleton[copied[1]] = CLOSE_LIST
        return used, copied[1] + 1, accepted

    return scan_records


scan_records = _entry_point(_salt())
"""scan_records(text, data, places, skeleton, scratch) -> (numbers in data, bytes in skeleton, records accepted).

text: uint8, as many records as places has rows, each followed by a NUL. Written: data (float64), places (int64[n, 4]:
first and last index in data, equal for what is refused; first and last index in skeleton), skeleton (uint8, a JSON list
of the accepted records' skeletons). scratch: float64[SCRATCH_ROWS, WIDEST].
"""
SCRATCH_ROWS = _N_SLOTS
"""Rows of `scratch`."""
