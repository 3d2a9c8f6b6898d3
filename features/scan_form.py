"""The compiled reader's form block: fields of single numbers, counts and flags, in the order of their folding."""

from features import scan_table as t
from features.kernel import inner
from features.scan_json import (
    CLOSE,
    CLOSE_LIST,
    FALSE,
    FIRST_OF_NULL,
    FIRST_OF_TRUE,
    NAN,
    NULL,
    OPEN,
    OPEN_LIST,
    QUOTE,
    TRUE,
    after,
    behind,
    byte,
    copy_up_to,
    id_end,
    read_key,
    read_number,
    read_whole,
    skip_space,
    value_end,
)

_KIND, _SLOT, _LONGEST, _NULL = t.KIND, t.SLOT, t.LONGEST, t.MAY_BE_NULL
_FIRST, _REQUIRED = t.FIRST, t.REQUIRED
_HESITATION = t.HESITATION_SLOT
EFFECTIVE, HAS_DEVICE, SUBMITTED, SUBMIT_MS = range(4)
"""Of an event's head: its single numbers outside the blocks of samples."""


@inner
def _single(b, i, member):  # type: ignore[no-untyped-def]
    """Read a member that is one number, count or flag: (index behind it, number); (-1, 0.0) in doubt. NaN for null."""
    kind = _KIND[member]
    if byte(b, i) == FIRST_OF_NULL:
        return (after(b, i, NULL) if _NULL[member] else -1), NAN
    if kind == t.NUMBER:
        return read_number(b, i, member)
    if kind == t.COUNT:
        i, count = read_whole(b, i)
        return i, float(count)
    if byte(b, i) == FIRST_OF_TRUE:
        return after(b, i, TRUE), 1.0
    return after(b, i, FALSE), 0.0


@inner
def _field(b, i, into):  # type: ignore[no-untyped-def]
    """Read a form field that begins at i into its numbers; return the index behind it, or -1 in doubt."""
    if byte(b, i) != OPEN:
        return -1
    into[:] = 0.0
    into[_HESITATION] = NAN
    first = _FIRST[t.FIELD]
    hint = first
    seen = 0
    i = skip_space(b, i + 1)
    is_over = False
    while not is_over:
        i, member = read_key(b, i, t.FIELD, hint)
        # Fields are cut out of the skeleton, and a value under an unknown key with them: nobody else would check it.
        if i < 0 or member < 0:
            return -1
        hint = member + 1
        bit = 1 << (member - first)
        if seen & bit != 0:
            return -1
        seen |= bit
        if _KIND[member] == t.ID:
            i = id_end(b, i) if byte(b, i) == QUOTE else -1
        else:
            i, into[_SLOT[member]] = _single(b, i, member)
        i, is_over = behind(b, i, CLOSE)
    return i + 1 if i >= 0 and seen & _REQUIRED[t.FIELD] == _REQUIRED[t.FIELD] else -1


@inner
def _fields(b, i, longest, into):  # type: ignore[no-untyped-def]
    """Read the fields of a form (i: behind the bracket): (index of the closing one, count); -1 in doubt."""
    n = 0
    i = skip_space(b, i)
    is_over = byte(b, i) == CLOSE_LIST
    while not is_over:
        if n == longest:
            return -1, 0
        i = _field(b, i, into[n * t.FIELD_WIDTH : (n + 1) * t.FIELD_WIDTH])
        n += 1
        i, is_over = behind(b, i, CLOSE_LIST)
    return i, n


@inner
def read_form(b, i, scratch, sizes, copied, skeleton, head):  # type: ignore[no-untyped-def]
    """Read the form that begins at i; return the index behind it, or -1 in doubt. Sets its part of head and sizes."""
    first = _FIRST[t.FORM_GROUP]
    hint = first
    seen = 0
    i = skip_space(b, i + 1)
    is_over = False
    while not is_over:
        i, member = read_key(b, i, t.FORM_GROUP, hint)
        if i < 0:
            return -1
        if member < 0:
            i = value_end(b, i)
        else:
            hint = member + 1
            bit = 1 << (member - first)
            if seen & bit != 0:
                return -1
            seen |= bit
            if _KIND[member] == t.FIELDS:
                if byte(b, i) != OPEN_LIST:
                    return -1
                begin = i + 1
                i, n = _fields(b, begin, _LONGEST[member], scratch[t.OF_FIELDS])
                if i < 0:
                    return -1
                sizes[t.OF_FIELDS] = n * t.FIELD_WIDTH
                copy_up_to(b, begin, copied, skeleton)
                copied[0] = i
                i += 1
            elif _KIND[member] == t.FLAG:
                i, head[SUBMITTED] = _single(b, i, member)
            else:
                i, head[SUBMIT_MS] = _single(b, i, member)
        i, is_over = behind(b, i, CLOSE)
    return i + 1 if i >= 0 and seen & _REQUIRED[t.FORM_GROUP] == _REQUIRED[t.FORM_GROUP] else -1
