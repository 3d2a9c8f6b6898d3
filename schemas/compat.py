"""Compatibility of the published schemas with every released version: a structural comparer of closed JSON Schemas.

Inputs are BACKWARD_TRANSITIVE: every record that a released schema allows is still allowed. Outputs are
FULL_TRANSITIVE: moreover, who reads by a released schema, ignoring fields that it does not know, can read every new
record. In both, a field is never removed and a default never changes within a message version: a new meaning is a new
version in `type`.

The comparer knows the keywords that `schemas.closed` writes. A keyword that it does not know must not change at all.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from schemas.topics import Compatibility

Json = Mapping[str, Any]
Direction = Literal["old records", "old readers"]

_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_UNDERSTOOD: Final = frozenset(
    {"type", "enum", "const", "anyOf", "$ref", "properties", "required", "additionalProperties", "items"}
    | {"title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", *_LOWER, *_UPPER}
)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One incompatible change: where it is (JSONPath), whom it hurts, and what it is."""

    path: str
    hurts: Direction
    change: str

    def __str__(self) -> str:
        return f"{self.path}: {self.change} ({self.hurts} break)"


def backward(old: Json, new: Json) -> list[Problem]:
    """What in `new` refuses or loses something that `old` allows. Empty: BACKWARD compatible."""
    return _Comparison(reader=new, writer=old, hurts="old records").run()


def full(old: Json, new: Json) -> list[Problem]:
    """`backward`, and what `new` may write that a tolerant reader of `old` cannot read. Empty: FULL compatible."""
    return [*backward(old, new), *_Comparison(reader=old, writer=new, hurts="old readers").run()]


class _Comparison:
    """Walks two schemas together and collects where the reader does not accept what the writer may write."""

    def __init__(self, *, reader: Json, writer: Json, hurts: Direction) -> None:
        self._reader_root = reader
        self._writer_root = writer
        self._hurts = hurts
        self._open: list[tuple[str, str]] = []

    def run(self) -> list[Problem]:
        return list(self._accepts(self._reader_root, self._writer_root, "$"))

    def _problem(self, path: str, reader: str, writer: str) -> Problem:
        """`reader` and `writer` say what each side has; the change is told from old to new."""
        old, new = (writer, reader) if self._hurts == "old records" else (reader, writer)
        return Problem(path=path, hurts=self._hurts, change=f"was {old}, is {new}")

    def _accepts(self, reader: Json, writer: Json, path: str) -> Iterator[Problem]:
        options = _alternatives(_resolve(reader, self._reader_root))
        for written in _alternatives(_resolve(writer, self._writer_root)):
            # What the change is told against: an alternative of the same type, and of these the one nearest.
            same_type = [option for option in options if self._same_type(option, written)]
            yield from min((list(self._accepts_one(option, written, path)) for option in same_type or options), key=len)

    def _same_type(self, reader: Json, writer: Json) -> bool:
        can_read = _resolve(reader, self._reader_root).get("type")
        can_write = _resolve(writer, self._writer_root).get("type")
        return can_read is None or can_read == can_write or (can_read, can_write) == ("number", "integer")

    def _accepts_one(self, reader: Json, writer: Json, path: str) -> Iterator[Problem]:
        pair = (_ref(reader), _ref(writer))
        if all(pair) and pair in self._open:
            return  # a recursive struct: the pair is being compared further up
        self._open.append(pair)
        yield from self._compare(_resolve(reader, self._reader_root), _resolve(writer, self._writer_root), path)
        self._open.pop()

    def _compare(self, reader: Json, writer: Json, path: str) -> Iterator[Problem]:
        can_read, can_write = reader.get("type"), writer.get("type")
        if not self._same_type(reader, writer):
            yield self._problem(path, str(can_read), str(can_write or "any type"))
            return
        yield from self._values(reader, writer, path)
        if can_write == "object" and can_read == "object":
            yield from self._object(reader, writer, path)
        if "items" in reader:
            yield from self._accepts(reader["items"], writer.get("items", {}), f"{path}[*]")

    def _values(self, reader: Json, writer: Json, path: str) -> Iterator[Problem]:
        allowed, written = _closed_values(reader), _closed_values(writer)
        if allowed is not None and written is None:
            yield self._problem(path, f"only {_listed(allowed)}", f"any {writer.get('type', 'value')}")
        elif written is not None:
            refused = [value for value in written if not _allows(reader, value)]
            if refused:
                yield self._problem(path, f"without {_listed(refused)}", f"with {_listed(refused)}")
        else:
            yield from self._bounds(reader, writer, path)

    def _bounds(self, reader: Json, writer: Json, path: str) -> Iterator[Problem]:
        for keyword in (*_LOWER, *_UPPER):
            limit, has = reader.get(keyword), writer.get(keyword)
            if limit is None:
                continue
            wider = has is None or (has < limit if keyword in _LOWER else has > limit)
            if wider and not _implied(keyword, limit, writer):
                yield self._problem(path, f"`{keyword}` {limit}", f"`{keyword}` {'absent' if has is None else has}")
        for keyword in sorted(set(reader) - _UNDERSTOOD):
            if not keyword.startswith("x-") and reader[keyword] != writer.get(keyword):
                has = writer.get(keyword, "absent")
                yield self._problem(path, f"`{keyword}` {reader[keyword]}", f"`{keyword}` {has}")

    def _default(self, reader: Json, writer: Json, path: str) -> Iterator[Problem]:
        """An absent field means its default: another default changes what records already written say."""
        was, now = writer.get("default"), reader.get("default")
        if self._hurts == "old records" and was is not None and was != now:
            yield Problem(path=path, hurts=self._hurts, change=f"default was {was!r}, is {now!r}")

    def _object(self, reader: Json, writer: Json, path: str) -> Iterator[Problem]:
        fields, written = reader.get("properties", {}), writer.get("properties", {})
        for name in sorted(set(reader.get("required", ())) - set(writer.get("required", ()))):
            yield self._problem(f"{path}.{name}", "required", "optional" if name in written else "absent")
        rest = reader.get("additionalProperties", True)
        for name, schema in written.items():
            if name in fields:
                yield from self._default(fields[name], schema, f"{path}.{name}")
                yield from self._accepts(fields[name], schema, f"{path}.{name}")
            elif rest is False and self._hurts == "old records":
                yield Problem(path=f"{path}.{name}", hurts=self._hurts, change="the field was removed")
            elif isinstance(rest, Mapping):
                yield from self._accepts(rest, schema, f"{path}.{name}")
        more = writer.get("additionalProperties", True)
        if isinstance(more, Mapping) and isinstance(rest, Mapping):
            yield from self._accepts(rest, more, f"{path}[...]")
        elif more is not False and isinstance(rest, Mapping):
            yield self._problem(path, "values of one schema", "values of any kind")
        elif more is not False and rest is False:
            yield self._problem(path, "closed", "open")


def _ref(schema: Json) -> str:
    if "$ref" in schema:
        return str(schema["$ref"])
    whole = schema.get("allOf")
    return str(whole[0]["$ref"]) if whole and "$ref" in whole[0] else ""


def _resolve(schema: Json, root: Json) -> Json:
    ref = _ref(schema)
    if not ref:
        return schema
    target: Json = root["$defs"][ref.rpartition("/")[2]]
    return target


def _alternatives(schema: Json) -> list[Json]:
    return list(schema.get("anyOf", (schema,)))


def _closed_values(schema: Json) -> frozenset[Any] | None:
    if "const" in schema:
        return frozenset((schema["const"],))
    return frozenset(schema["enum"]) if "enum" in schema else None


def _allows(reader: Json, value: object) -> bool:
    """Whether a reader of one type allows one of the writer's listed values (texts, in our schemas)."""
    allowed = _closed_values(reader)
    if allowed is not None:
        return value in allowed
    length = len(str(value))
    short_enough = reader.get("minLength", 0) <= length <= reader.get("maxLength", length)
    return short_enough and re.search(reader.get("pattern", ""), str(value)) is not None


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(sorted(map(repr, values)))


def _implied(keyword: str, limit: float, writer: Json) -> bool:
    """Whether another bound of the writer already keeps the reader's: an exclusive one, or a stricter inclusive one."""
    if keyword == "minimum":
        return bool(writer.get("exclusiveMinimum", float("-inf")) >= limit)
    if keyword == "maximum":
        return bool(writer.get("exclusiveMaximum", float("inf")) <= limit)
    if keyword == "exclusiveMinimum":
        return bool(writer.get("minimum", float("-inf")) > limit)
    if keyword == "exclusiveMaximum":
        return bool(writer.get("maximum", float("inf")) < limit)
    return False


def compare_release(released: Json, current: Json, compatibility: Mapping[str, Compatibility]) -> list[str]:
    """All incompatible changes from a released AsyncAPI document to the current one, one line each.

    Topics and the messages on them may be added, never taken away, and keep their key; each message is compared by the
    rule of `compatibility` (message name to rule), or as an output where it is not named.
    """
    lines = []
    for channel_id, channel in released["channels"].items():
        now = current["channels"].get(channel_id)
        if now is None:
            lines.append(f"{channel['address']}: the topic was removed")
            continue
        lines += [
            f"{channel['address']}: the message {name} was removed"
            for name in sorted(set(channel["messages"]) - set(now["messages"]))
        ]
        if now["address"] != channel["address"]:
            lines.append(f"{channel['address']}: the topic was renamed to {now['address']}")
    was, now_messages = released["components"]["messages"], current["components"]["messages"]
    for name in sorted(set(was) & set(now_messages)):
        if was[name]["bindings"] != now_messages[name]["bindings"]:
            lines.append(f"{name}: the record key changed")
        before, after = _rooted(released, name), _rooted(current, name)
        if before is None or after is None:
            continue
        compare = backward if compatibility.get(name) == "BACKWARD_TRANSITIVE" else full
        lines += [f"{name} {problem}" for problem in compare(before, after)]
    return lines


def _rooted(document: Json, name: str) -> Json | None:
    """A message's schema with all schemas of the document as its definitions; None for a message without one."""
    schemas = document["components"]["schemas"]
    return {**schemas[name], "$defs": schemas} if name in schemas else None
