"""The compiled reader's JSON: white space, strings, keys, numbers and values that are only passed over.

`b` is a text of records, each followed by a NUL, which no JSON holds: every loop here ends there at the latest, and
nothing behind it is read. -1 for an index says that there is doubt, and with it the record is the typed decoder's.

A number is the nearest double, as the typed decoder reads it: a whole number up to 2**53 over a power of ten that a
double holds exactly (Clinger 1990), any other of up to 18 digits by long division in integers.
"""

import math

import numba
import numpy as np

from features.kernel import inner
from features.scan_table import (
    FIRST,
    HIGH,
    IS_WHOLE,
    ITEM_MAY_BE_NULL,
    LONGEST,
    LONGEST_ID,
    LONGEST_NAME,
    LOW,
    NAME_AT,
    NAMES,
)

NAN = math.nan
DEEPEST = 16
"""Nesting inside a value that is passed over; what is deeper is left to the decoder."""
MOST_DIGITS = 18
EXACT = 2**53
QUOTE, BACKSLASH, COMMA, COLON, MINUS, POINT, ZERO, NINE = (ord(char) for char in '"\\,:-.09')
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST, FIRST_OF_NULL, FIRST_OF_TRUE = (ord(char) for char in "{}[]nt")
FIRST_PRINTABLE, LAST_ASCII = 0x20, 0x7F
NULL, TRUE, FALSE = (np.frombuffer(text, dtype=np.uint8) for text in (b"null", b"true", b"false"))

SPACE, PLAIN, PRINTABLE, ALPHANUMERIC, OF_NAME, OF_SCALAR, BETWEEN, OPENS, CLOSES = (1 << bit for bit in range(9))
"""Kinds of byte: white space; what a string holds as itself; the same without DEL; of machine names, first and later;
of numbers, true, false and null; between the strings and brackets of a value; brackets."""


def _kinds() -> "np.ndarray[tuple[int], np.dtype[np.uint16]]":
    kinds = np.zeros(256, dtype=np.uint16)
    for code in range(1, LAST_ASCII + 1):
        char = chr(code)
        kinds[code] = (
            SPACE * (char in " \t\n\r")
            | PLAIN * (code >= FIRST_PRINTABLE and char not in '"\\')
            | PRINTABLE * (FIRST_PRINTABLE <= code < LAST_ASCII and char not in '"\\')
            | ALPHANUMERIC * char.isalnum()
            | OF_NAME * (char.isalnum() or char in "._:/+-")
            | OF_SCALAR * (code > FIRST_PRINTABLE and char not in ',{}[]"')
            | BETWEEN * (char not in '{}[]"')
            | OPENS * (char in "{[")
            | CLOSES * (char in "}]")
        )
    return kinds


_KINDS = _kinds()
_POWERS = np.array([10.0**power for power in range(MOST_DIGITS + 1)])
_WHOLE_POWERS = np.array([10**power for power in range(MOST_DIGITS + 1)], dtype=np.int64)
# Names of this module, so that the kernels hold them as constants.
_NAMES, _NAME_AT, _FIRST, _LOW, _HIGH, _LONGEST = NAMES, NAME_AT, FIRST, LOW, HIGH, LONGEST
_IS_WHOLE, _ITEM_NULL = IS_WHOLE, ITEM_MAY_BE_NULL


@inner
def byte(b, i):  # type: ignore[no-untyped-def]
    """The byte at i, which is never negative: a signed index would be asked for its sign."""
    return b[numba.uint64(i)]


@inner
def skip_space(b, i):  # type: ignore[no-untyped-def]
    """Index of the first byte from i on that is no white space."""
    while _KINDS[byte(b, i)] & SPACE != 0:
        i += 1
    return i


@inner
def string_end(b, i):  # type: ignore[no-untyped-def]
    """Index behind the string whose text begins at i; -1 for what is not plain ASCII."""
    while True:
        while _KINDS[byte(b, i)] & PLAIN != 0:
            i += 1
        if byte(b, i) == QUOTE:
            return i + 1
        # What an escape stands for is the decoder's to say; here it must only not end the string.
        if byte(b, i) != BACKSLASH or byte(b, i + 1) < FIRST_PRINTABLE or byte(b, i + 1) > LAST_ASCII:
            return -1
        i += 2


@inner
def value_end(b, i):  # type: ignore[no-untyped-def]
    """Index behind the value that begins at i; -1 in doubt.

    What is no JSON is left to the decoder to find: only for values that are copied into the skeleton.
    """
    if byte(b, i) == QUOTE:
        return string_end(b, i + 1)
    if _KINDS[byte(b, i)] & OPENS == 0:
        begin = i
        while _KINDS[byte(b, i)] & OF_SCALAR != 0:
            i += 1
        return i if i > begin else -1
    depth = 0
    while True:
        while _KINDS[byte(b, i)] & BETWEEN != 0:
            i += 1
        kind = _KINDS[byte(b, i)]
        if byte(b, i) == QUOTE:
            i = string_end(b, i + 1)
            if i < 0:
                return -1
        elif kind & OPENS != 0:
            depth += 1
            if depth > DEEPEST:
                return -1
            i += 1
        elif kind & CLOSES != 0:
            depth -= 1
            i += 1
            if depth == 0:
                return i
        else:
            return -1


@inner
def after(b, i, text):  # type: ignore[no-untyped-def]
    """Index behind this text, which begins at i; -1 for anything else."""
    for j in range(len(text)):
        if byte(b, i + j) != text[j]:
            return -1
    return i + len(text)


@inner
def id_end(b, i):  # type: ignore[no-untyped-def]
    """Index behind the identifier that begins at i, or null; -1 in doubt."""
    if byte(b, i) == FIRST_OF_NULL:
        return after(b, i, NULL)
    if byte(b, i) != QUOTE:
        return -1
    begin = i + 1
    i = begin
    while _KINDS[byte(b, i)] & PRINTABLE != 0:
        i += 1
    return i + 1 if byte(b, i) == QUOTE and 1 <= i - begin <= LONGEST_ID else -1


@inner
def name_end(b, i):  # type: ignore[no-untyped-def]
    """Index behind the machine name that begins at i, or null; -1 in doubt."""
    if byte(b, i) == FIRST_OF_NULL:
        return after(b, i, NULL)
    if byte(b, i) != QUOTE or _KINDS[byte(b, i + 1)] & ALPHANUMERIC == 0:
        return -1
    begin = i + 1
    i = begin
    while _KINDS[byte(b, i)] & OF_NAME != 0:
        i += 1
    return i + 1 if byte(b, i) == QUOTE and i - begin <= LONGEST_NAME else -1


@inner
def _find(b, begin, end, group, hint):  # type: ignore[no-untyped-def]
    """Number of the group's member of this name, looked for from `hint` on; -1 for an unknown one."""
    first, last = _FIRST[group], _FIRST[group + 1]
    member = hint
    for _ in range(last - first):
        if member >= last:
            member = first
        at = _NAME_AT[member]
        if _NAME_AT[member + 1] - at == end - begin:
            same = True
            for j in range(end - begin):
                if byte(b, begin + j) != _NAMES[at + j]:
                    same = False
                    break
            if same:
                return member
        member += 1
    return -1


@inner
def behind(b, i, close):  # type: ignore[no-untyped-def]
    """What follows on a value that ends at i: (index of the next key or item, False), (index of `close`, True).

    (-1, True) in doubt, also where the value itself was (i is -1).
    """
    if i < 0:
        return -1, True
    i = skip_space(b, i)
    if byte(b, i) == COMMA:
        return skip_space(b, i + 1), False
    return i if byte(b, i) == close else -1, True


@inner
def read_key(b, i, group, hint):  # type: ignore[no-untyped-def]
    """Read a key and its colon: (index of the value, number of the member or -1); (-1, -1) in doubt."""
    if byte(b, i) != QUOTE:
        return -1, -1
    begin = i + 1
    end = begin
    while _KINDS[byte(b, end)] & PLAIN != 0:
        end += 1
    if byte(b, end) != QUOTE:
        return -1, -1
    i = skip_space(b, end + 1)
    if byte(b, i) != COLON:
        return -1, -1
    return skip_space(b, i + 1), _find(b, begin, end, group, hint)


@inner
def read_whole(b, i):  # type: ignore[no-untyped-def]
    """Read a whole number of at most 15 digits: (index behind it, number); (-1, 0) in doubt."""
    begin = i
    number = 0
    while ZERO <= byte(b, i) <= NINE:
        number = number * 10 + (byte(b, i) - ZERO)
        i += 1
    if i == begin or i - begin > 15 or (byte(b, begin) == ZERO and i - begin > 1):
        return -1, 0
    return i, number


@inner
def divided(number, decimals):  # type: ignore[no-untyped-def]
    """The double nearest to number / 10**decimals, by long division; NaN where it is 2**53 or more."""
    divisor = _WHOLE_POWERS[decimals]
    quotient = number // divisor
    left = number - quotient * divisor
    if quotient >= EXACT:
        return NAN
    shift = -1
    while quotient < EXACT:
        # One bit more than a double holds.
        left *= 2
        quotient *= 2
        if left >= divisor:
            left -= divisor
            quotient += 1
        shift += 1
    is_half = quotient & 1
    quotient >>= 1
    if is_half == 1 and (left > 0 or quotient & 1 == 1):
        quotient += 1
    return quotient / (1 << shift)


@inner
def read_number(b, i, member):  # type: ignore[no-untyped-def]
    """Read a number of a member within its bounds: (index behind it, number); (-1, 0.0) in doubt."""
    is_negative = byte(b, i) == MINUS
    if is_negative:
        i += 1
    begin = i
    number = 0
    while ZERO <= byte(b, i) <= NINE:
        number = number * 10 + (byte(b, i) - ZERO)
        i += 1
    digits = i - begin
    if digits == 0 or (digits > 1 and byte(b, begin) == ZERO):
        return -1, 0.0
    decimals = 0
    if byte(b, i) == POINT:
        i += 1
        begin = i
        while ZERO <= byte(b, i) <= NINE:
            number = number * 10 + (byte(b, i) - ZERO)
            i += 1
        decimals = i - begin
        if decimals == 0 or _IS_WHOLE[member]:
            return -1, 0.0
    # More digits have overflowed. A whole -0 is read in two ways: which, is the decoder's to say.
    if digits + decimals > MOST_DIGITS or (is_negative and (_IS_WHOLE[member] or number + decimals == 0)):
        return -1, 0.0
    value = number / _POWERS[decimals] if number <= EXACT else divided(number, decimals)
    if is_negative:
        value = -value
    if not _LOW[member] <= value <= _HIGH[member]:
        return -1, 0.0
    return i, value


@inner
def read_column(b, i, member, into):  # type: ignore[no-untyped-def]
    """Read the numbers of a column (i: behind its bracket): (index of the closing one, count); -1 in doubt."""
    n = 0
    i = skip_space(b, i)
    is_over = byte(b, i) == CLOSE_LIST
    while not is_over:
        if n == _LONGEST[member]:
            return -1, 0
        if _ITEM_NULL[member] and byte(b, i) == FIRST_OF_NULL:
            i = after(b, i, NULL)
            into[n] = NAN
        else:
            i, into[n] = read_number(b, i, member)
        n += 1
        i, is_over = behind(b, i, CLOSE_LIST)
    return i, n


@inner
def copy_up_to(b, end, copied, skeleton):  # type: ignore[no-untyped-def]
    """Copy what was not copied yet, up to `end`. copied: [index in the text, index in the skeleton], advanced."""
    begin, to = copied[0], copied[1]
    for j in range(end - begin):
        skeleton[to + j] = byte(b, begin + j)
    copied[0] = end
    copied[1] = to + end - begin
