"""How inputs are broken: at the level of bytes, and of what JSON and MessagePack are made of. Seeded, no coverage.

Each mutator takes bytes and a `random.Random` and gives bytes back; the structured ones parse, change one to three
places of the tree, and write it again (also in ways that no encoder writes: duplicate keys, NaN, huge numbers).
"""

from __future__ import annotations

import copy
import json
import math
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

MAX_BYTES: Final = 1_300_000
"""Largest mutant: above the largest record that is accepted."""

Mutator = Callable[[bytes, random.Random], bytes]

NUMBERS: Final[tuple[bytes, ...]] = (
    b"0", b"-0", b"-0.0", b"1", b"-1", b"0.1", b"1e400", b"-1e400", b"1e-400", b"NaN", b"Infinity", b"-Infinity",
    b"127", b"128", b"255", b"256", b"65535", b"65536", b"2147483647", b"2147483648", b"4294967295", b"4294967296",
    b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"18446744073709551616", b"-9223372036854775809", b"253402300800000", b"1e308", b"-1e308", b"1.0", b"01", b"0x1",
    b"9" * 400, b"0." + b"1" * 5_000, b"9" * 100_000,
)  # fmt: skip
TEXTS: Final[tuple[bytes, ...]] = (
    b'""', b'"\\u0000"', b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\ud83d\\ude00"', b'"__proto__"', b'"__class__"',
    b'"../../etc/passwd"', b'"{}:*\\r\\n"', b'"%s%n"', b'"\xe2\x80\xae"', b'"\xff"', b'"\xed\xa0\x80"', b'"\x00"',
    b'"' + b"A" * 129 + b'"', b'"' + b"A" * 70_000 + b'"', b'"\xf0\x9f\x98\x80"', b'"e\\u0301"', b'"<script>"',
    b'"$.x - at `y`"', b"'a'", b'"\\x41"', b'"\\"',
)  # fmt: skip
OTHERS: Final[tuple[bytes, ...]] = (
    b"null", b"true", b"false", b"[]", b"{}", b"[null]", b"[[]]", b'{"":0}', b"", b",", b"}", b"]", b"[1,",
    b"\xef\xbb\xbf",
    b"[" * 63, b"[" * 64 + b"]" * 64, b"[" * 65 + b"]" * 65, b"[" * 100_000, b'{"a":' * 100_000,
    b"{" * 50_000 + b"}" * 50_000,
    b"/*x*/", b"//x\n", b"\x80\x04\x95", b"\x1f\x8b\x08", b"[" + b"0," * 5_000 + b"0]",
    b"[" + b"1e9," * 100_000 + b"0]",
)  # fmt: skip
BROKEN_VALUES: Final[tuple[bytes, ...]] = (
    b"1:2", b"tru", b"truee", b"nope", b"nulll", b"nul", b"fals", b"True", b"NaN", b"-Infinity", b"01", b"-01", b"-",
    b"--1", b"+1", b"1.", b".5", b"1e", b"1e+", b"1.e1", b"1.5.5", b"0x1", b"1_0", b"1 2", b"1\x7f", b"'a'", b"[1 2]",
    b"[1,]", b"[,1]", b"[1:2]", b"[1}", b"[{]}", b"[tru]", b"[01]", b"[-]", b"{1:2}", b'{"a"}', b'{"a":}', b'{"a":1,}',
    b'{"a" 1}', b'{"a":1 "b":2}', b'{"a","b"}', b"{,}", b'{"a":1]', b'"a":1', b'"a""b"', b'"\\x"', b'"\\u12"',
    b'"\\u00g0"', b'"\\U0041"', b'{"\\x":1}', b'"\t"', b'"\x1f"', b"/**/1",
)  # fmt: skip
"""No JSON, wherever a value may stand; brackets are as many as there must be."""
SOUND_VALUES: Final[tuple[bytes, ...]] = (
    b"0", b"-0", b"1", b"-1.5", b"1e5", b"1E-5", b"0.0e+0", b"9" * 30, b"true", b"false", b"null", b'""', b'"a"',
    b'"{"', b'"]"', b'"\\""', b'"\\\\"', b'"\\u00e4\\n\\/"', b'"\x7f"', b"[]", b"{}", b"[ ]", b"[1 , 2]",
    b'{"a":1,"a":2}', b'{ "a" : [ { } ] }', b'[[[["}"]]]]', b"\n1\t",
)  # fmt: skip
"""JSON of every kind, some of it as few encoders write it."""
WRAPPINGS: Final[tuple[bytes, ...]] = (b"[@]", b"[0,@]", b'[@,"x"]', b'{"q":@}', b'{"q":1,"r":@}', b'[{"q":@}]')
"""Values that hold another one, @."""
_SEPARATOR: Final = re.compile(rb"[\[{,:]")
_MEMBER: Final = re.compile(rb'"(\w+)":("(?:[^"\\]|\\.)*"|-?[\d.]+|true|false|null)')
_EDGE: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|(?P<first>\{)|(?P<last>\})', re.DOTALL)
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|[\[\]{},:]')


# --- bytes ---------------------------------------------------------------------------------------------


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if found:
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def set_bytes(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 16))):
        if found:
            found[rng.randrange(len(found))] = rng.choice(
                (0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x5C, 0x7B, rng.randrange(256))
            )
    return bytes(found)


def cut(data: bytes, rng: random.Random) -> bytes:
    first, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return rng.choice((data[:first], data[first:], data[:first] + data[end:]))


def repeat(data: bytes, rng: random.Random) -> bytes:
    first, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    end = min(end, first + 4_096)
    return data[:end] + data[first:end] * rng.choice((1, 2, 30)) + data[end:]


def insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((rng.randbytes(rng.randrange(1, 9)), rng.choice(OTHERS))) + data[at:]


def number_of_four_bytes(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a length or a count, as binary formats have them."""
    size = rng.choice((1, 2, 4, 8))
    at = rng.randrange(max(1, len(data) - size + 1))
    value = rng.choice((0, 1, 0x7F, 0x80, 0xFF, (1 << 8 * size) - 1, 1 << (8 * size - 1), len(data), len(data) + 1))
    made = (value & ((1 << 8 * size) - 1)).to_bytes(size, rng.choice(("little", "big")))
    return data[:at] + made + data[at + size :]


BYTES: Final[tuple[Mutator, ...]] = (flip_bits, set_bytes, cut, repeat, insert, number_of_four_bytes)


# --- JSON ----------------------------------------------------------------------------------------------


def _token(data: bytes, rng: random.Random) -> re.Match[bytes] | None:
    """Return some token behind a separator."""
    at = rng.randrange(len(data) + 1)
    separator = _SEPARATOR.search(data, at) or _SEPARATOR.search(data)
    return _TOKEN.search(data, separator.end() if separator is not None else 0)


def replace_token(data: bytes, rng: random.Random) -> bytes:
    """Put something else in the place of one value, key or bracket."""
    token = _token(data, rng)
    if token is None:
        return insert(data, rng)
    other = rng.choice(rng.choice((NUMBERS, NUMBERS, TEXTS, OTHERS)))
    return data[: token.start()] + other + data[token.end() :]


def swap_tokens(data: bytes, rng: random.Random) -> bytes:
    found = sorted(
        (token for token in (_token(data, rng), _token(data, rng)) if token is not None),
        key=lambda token: token.start(),
    )
    if len(found) < 2 or found[0].end() > found[1].start():
        return data
    one, two = found
    return data[: one.start()] + two.group() + data[one.end() : two.start()] + one.group() + data[two.end() :]


def change_tree(data: bytes, rng: random.Random) -> bytes:
    """Parse, change one to three places, write again."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return replace_token(data, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        tree = _changed(tree, rng)
    try:
        return json.dumps(tree, separators=(",", ":"), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return data


def duplicate_key(data: bytes, rng: random.Random) -> bytes:
    """Write a member twice, the second time with another value."""
    at = rng.randrange(len(data) + 1)
    member = _MEMBER.search(data, at) or _MEMBER.search(data)
    if member is None:
        return data
    other = rng.choice(rng.choice((NUMBERS[:20], TEXTS[:10], OTHERS[:8])))
    return data[: member.end()] + b',"' + member.group(1) + b'":' + other + data[member.end() :]


def edges_of_objects(data: bytes) -> list[int]:
    """Return where every object of a JSON text begins and ends: behind its opening, before its closing bracket."""
    return [
        match.end() if match.lastgroup == "first" else match.start()
        for match in _EDGE.finditer(data)
        if match.lastgroup is not None
    ]


def with_unknown(data: bytes, at: int, value: bytes) -> bytes:
    """Put a value under an unknown key at one of `edges_of_objects`, with the commas that it needs there."""
    before, behind = data[:at], data[at:]
    is_first, is_last = before.rstrip()[-1:] == b"{", behind.lstrip()[:1] == b"}"
    return before + b"," * (not is_first) + b'"unknown":' + value + b"," * (is_first and not is_last) + behind


def add_unknown(data: bytes, rng: random.Random) -> bytes:
    """Put a value, broken or sound, up to three levels deep, under an unknown key of some object."""
    edges = edges_of_objects(data)
    if not edges:
        return insert(data, rng)
    value = rng.choice(rng.choice((BROKEN_VALUES, SOUND_VALUES)))
    for _ in range(rng.choice((0, 0, 1, 2, 3))):
        value = rng.choice(WRAPPINGS).replace(b"@", value)
    return with_unknown(data, rng.choice(edges), value)


Node = dict[Any, Any] | list[Any]


def _place(tree: Any, rng: random.Random) -> tuple[Node, Any] | None:
    """Return some container of the tree and a key in it; the way down ends anywhere."""
    found: tuple[Node, Any] | None = None
    node = tree
    while isinstance(node, dict | list) and node:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        found = (node, key)
        node = node[key]
        if rng.random() < 0.25:
            break
    return found


def _changed(tree: Any, rng: random.Random) -> Any:
    place = _place(tree, rng)
    if place is None:
        return rng.choice((None, [], {}, tree, [tree]))
    node, key = place
    value = node[key]
    what = rng.randrange(6)
    if what == 0:
        del node[key]
    elif what == 1 and isinstance(node, dict):
        node[rng.choice(("unknown", "__proto__", "", "type", "sequence", "end", "x" * 300))] = node.pop(key)
    elif what == 2:
        other = _place(tree, rng)
        # A copy: a tree that holds itself has no text.
        node[key] = copy.deepcopy(other[0][other[1]]) if other is not None and rng.random() < 0.7 else [value]
    elif what <= 4:
        node[key] = _value_like(value, rng)
    else:
        node[key] = rng.choice(_VALUES)
    return tree


def _value_like(value: Any, rng: random.Random) -> Any:
    """Return another value of the same type, near the edges that such values have."""
    if isinstance(value, bool) or value is None:
        return rng.choice((not value, 0, 1))
    if isinstance(value, int) and value.bit_length() > 100:
        return 0
    if isinstance(value, int | float):
        return rng.choice((value + 1, value - 1, -value, value * 1_000, value * 1e300, float(value), str(value), 0))
    if isinstance(value, str):
        return rng.choice((value + "x", value[:-1], value.upper(), value * 50, value + "\u202e\x00", value + "\ud800"))
    if isinstance(value, list):
        return value * rng.choice((0, 2, 40)) if len(value) < 5_000 else value[: rng.randrange(len(value))]
    return rng.choice(_VALUES)


_VALUES: Final = (
    None, True, 0, -1, 1, 1.5, 2**31, 2**63, 2**64, -(2**63), "", "a", "\ud800", math.nan, math.inf, -0.0, 1e308
)  # fmt: skip


JSON: Final[tuple[Mutator, ...]] = (
    *BYTES,
    replace_token,
    replace_token,
    change_tree,
    change_tree,
    change_tree,
    swap_tokens,
    duplicate_key,
    add_unknown,
    add_unknown,
)


# --- MessagePack ---------------------------------------------------------------------------------------


def change_msgpack(data: bytes, rng: random.Random) -> bytes:
    """Decode without a schema, change one to three places, write again; else the bytes."""
    try:
        tree = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return rng.choice(BYTES)(data, rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        tree = _changed(tree, rng)
    try:
        return msgspec.msgpack.encode(tree)
    except (TypeError, OverflowError, UnicodeEncodeError, RecursionError):
        return data


def foreign_msgpack(data: bytes, rng: random.Random) -> bytes:
    """Put a marker where another one was: ext types, lengths that are not there, text that is not UTF-8."""
    at = rng.randrange(len(data) + 1)
    other = rng.choice(_FOREIGN)
    return data[:at] + other + data[at + rng.choice((0, 1, len(other))) :]


_FOREIGN: Final = (
    b"\xc1", b"\xc7\x08\xff", b"\xd4\x05\x00", b"\xd6\xff\x00\x00\x00\x00", b"\xdb\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xa3\xff\xfe\xfd",
    b"\xa3\xed\xa0\x80", b"\x91" * 5_000, b"\xcb\x7f\xf8" + b"\x00" * 6, b"\xcb\x7f\xf0" + b"\x00" * 6,
    b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\x00" * 7, b"\xc0", b"\xc2", b"\x80", b"\x90",
)  # fmt: skip

MSGPACK: Final[tuple[Mutator, ...]] = (*BYTES, change_msgpack, change_msgpack, change_msgpack, foreign_msgpack)


def mutated(data: bytes, mutators: Sequence[Mutator], rng: random.Random) -> bytes:
    """One to three mutations in a row; never longer than `MAX_BYTES`."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(mutators)(data, rng)[:MAX_BYTES]
    return data
