"""The reference page of topics and messages, `docs/reference/topics.md`, rendered from the tables of the schemas."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from schemas.base import MAX_EPOCH_MS, MAX_SAMPLES, MIN_EPOCH_MS
from schemas.closed import components, enum_of, tag_of
from schemas.envelope import MAX_DEPTH
from schemas.examples import examples_of
from schemas.meanings import HEADERS, REASONS, meanings_of
from schemas.topics import DAY_MS, MAX_TELEMETRY_BYTES, TOPICS, TopicSpec

Json = Mapping[str, Any]

_PATTERNS: Final[Mapping[str, str]] = {
    # What a pattern says, in words. A pattern that is not here is printed as it is.
    r"^[^\x00-\x1f\x7f-\x9f]+$": "no control characters",
    r"^[A-Za-z0-9][A-Za-z0-9._:/+-]*$": "letters, digits and `._:/+-`, a letter or digit first",
    r"^[A-Z]{2}$": "two capital letters",
    r"^[A-Z]{3}$": "three capital letters",
}

_COMPATIBILITY: Final[Mapping[str, str]] = {
    "BACKWARD_TRANSITIVE": (
        "`BACKWARD_TRANSITIVE`: every record that any released version allowed is still accepted. tellwire is upgraded "
        "first, then who writes. Compatible: a new optional field, a wider bound, a new value of a closed set."
    ),
    "FULL_TRANSITIVE": (
        "`FULL_TRANSITIVE`: old readers read new records and new readers old ones, over all released versions, so "
        "either side may be upgraded first. Compatible: a new optional field. A new value of a closed set, a wider "
        "bound or a field that becomes optional is not: it needs a new version of the message."
    ),
}

_INTRODUCTION: Final = f"""\
# Topics and messages

<!-- Generated from `schemas/` by `make contracts`. Edit the declarations, not this page. -->

The wire contracts of tellwire: what may be written to the input topics, and what is published. The same declarations
are rendered as [AsyncAPI 3.1](../../schemas/contracts/asyncapi.json) and as one closed JSON Schema a message in
[`schemas/contracts/`](../../schemas/contracts). What the events *mean*, and how to consume them, is in
[event semantics](../explanation/event-semantics.md).

## What every record obeys

- **The value is one JSON object in UTF-8**, without byte order mark, NaN or Infinity. `type` names the message and its
  version (`capture.telemetry.v1`); where it stands in the object does not matter.
- **The key of input is `session_id`, UTF-8**, placed by Kafka's `murmur2_random` partitioner (Java's default; set
  `partitioner=murmur2_random` in every librdkafka client). All of a session is then in one partition, in order. A
  record whose key is another one is a dead letter; one without a key is taken, wherever it lies.
- **Bounds come first.** A telemetry or signal record has at most {MAX_TELEMETRY_BYTES:,} bytes, a column at most
  {MAX_SAMPLES:,} samples, and arrays and objects nest at most {MAX_DEPTH} levels deep. What does not fit is a dead
  letter, whole: nothing is cut.
- **Absent means default.** A field that is not required may be absent: it then has the default of the table. Without
  a default, absent and null both mean that nothing is known, which is never the same as 0 or false. Published events
  leave out fields that have their default.
- **Whole numbers are written whole**: `12`, not `12.0` nor `"12"`. Nothing is converted.
- **Numbers are float64** and published with full precision, so that a score can be computed again from its event,
  exactly.
- **Times** are epoch milliseconds, or milliseconds from the event's start where the table says so. A value that can
  only be seconds or microseconds is refused.
- **Unknown fields are ignored** when read: they may come from a newer version. The published schemas are closed all the
  same, so that your own tests find a misspelt field: validate against them where you write.
- **Of duplicate keys in one object the last one counts** (a second, different `type` is refused). Don't send them.
- **Identifiers are opaque**: 1 to 128 characters without control characters. Apart from that any character is one,
  braces, colons and emoji included.

## Who may change what

Inputs are {_COMPATIBILITY["BACKWARD_TRANSITIVE"]}

Outputs are {_COMPATIBILITY["FULL_TRANSITIVE"]}

In both, fields are never removed or renamed, types and units never change, defaults never change. What cannot be done
so is a new message version (`….v2`), published or accepted beside the old one until nobody needs that any more.
Open sets, to which values may be added at any time: reason codes, names of signals, counters, models, latency stages,
missing and degraded things, dead-letter reasons. Every change is checked against all released versions by the tests.
"""


def render_page() -> str:
    """The whole page as Markdown."""
    parts = [_INTRODUCTION, _overview()]
    done: set[str] = set()
    for topic in TOPICS:
        parts.append(_topic(topic))
        for message in topic.messages:
            if message.__name__ not in done:
                parts.append(_message(message, done))
                done.add(message.__name__)
        if not topic.messages:
            parts.append(_dead_letter())
    return "\n".join(parts)


def _overview() -> str:
    rows = [
        (
            f"[`{topic.name}`](#{_anchor(topic.name)})",
            {"in": "→ tellwire", "out": "tellwire →"}[topic.direction],
            ", ".join(f"[{message.__name__}](#{_anchor(tag_of(message))})" for message in topic.messages) or "bytes",
            _key(topic),
            topic.summary,
        )
        for topic in TOPICS
    ]
    return "## Topics\n\n" + _table(("Topic", "Direction", "Messages", "Key", "What"), rows)


def _topic(topic: TopicSpec) -> str:
    facts = [
        ("Partitions", f"{topic.partitions} by default" + _same_as(topic)),
        ("Replicas", f"{topic.replicas} in production"),
        *((f"`{key}`", _config(key, value)) for key, value in topic.config.items()),
        ("Evolution", f"`{topic.compatibility}`"),
    ]
    lines = [f"## {topic.name}\n", f"{topic.summary}\n", f"Key: {_key(topic)}.\n", _table(("Setting", "Value"), facts)]
    if topic.headers:
        optional = {"traceparent", "tracestate"}
        rows = [
            (f"`{name}`", "if there is one" if name in optional else "always", HEADERS[name]) for name in topic.headers
        ]
        lines.append("Headers:\n\n" + _table(("Header", "Present", "Meaning"), rows))
    elif topic.direction == "in":
        lines.append(
            "Headers: none needed. A valid W3C `traceparent` (with `tracestate`) is handed on to the output.\n"
        )
    seen = [f"[{message.__name__}](#{_anchor(tag_of(message))})" for message in topic.messages]
    if seen:
        lines.append(f"Messages: {', '.join(seen)}.\n")
    return "\n".join(lines)


def _key(topic: TopicSpec) -> str:
    is_words = " " in topic.key and not topic.key.startswith("<")
    return topic.key if is_words else f"`{topic.key}`"


def _same_as(topic: TopicSpec) -> str:
    partner = topic.co_partitioned_with
    return f"; always as many as `{partner}`, because records keep their partition" if partner else ""


def _config(key: str, value: str) -> str:
    if key.endswith("retention.ms"):
        return f"{value} ({int(value) // DAY_MS} days)"
    return value


def _message(message: type[msgspec.Struct], done: set[str]) -> str:
    found = components([message], "#/$defs/{name}")
    root = found.pop(message.__name__)
    lines = [f"### {tag_of(message)}\n", root["description"] + "\n", _fields(root)]
    for name in _in_order(root, found):
        if name not in done:
            done.add(name)
            lines += [f"#### {name}\n", found[name]["description"] + "\n", _fields(found[name])]
    for example in examples_of(message):
        text = json.dumps(msgspec.to_builtins(example.message), indent=2, ensure_ascii=False)
        lines.append(f"Example: {example.summary}\n\n```json\n{_short(text)}\n```\n")
    return "\n".join(lines)


def _in_order(schema: Json, found: Mapping[str, Json]) -> Iterator[str]:
    """Names of the structs that a schema refers to, each before those that it refers to itself."""
    for field in schema["properties"].values():
        for name in _refs(field):
            yield name
            yield from _in_order(found[name], found)


def _refs(schema: Json) -> Iterator[str]:
    if "$ref" in schema:
        yield str(schema["$ref"]).rpartition("/")[2]
    for keyword in ("anyOf", "allOf"):
        for option in schema.get(keyword, ()):
            yield from _refs(option)
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from _refs(schema[keyword])


def _fields(schema: Json) -> str:
    required = set(schema["required"])
    rows = [
        (
            f"`{name}`",
            _type(field),
            "yes" if name in required else _default(field),
            "; ".join(dict.fromkeys(_bounds(field))),
            _meaning(field),
        )
        for name, field in schema["properties"].items()
    ]
    return _table(("Field", "Type", "Required", "Bounds", "Meaning"), rows)


def _default(field: Json) -> str:
    default = field.get("default")
    return "no" if default is None else f"no, default `{json.dumps(default)}`"


def _type(field: Json) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    names = list(_refs({key: field[key] for key in ("$ref", "allOf") if key in field}))
    if names:
        return f"[{names[0]}](#{_anchor(names[0])})"
    if field.get("type") == "array":
        inner = _type(field["items"])
        return f"array of ({inner})" if " or " in inner else f"array of {inner}"
    if field.get("type") == "object":
        return f"map of {_type(field['additionalProperties'])}"
    return str(field["type"])


def _bounds(field: Json) -> Iterator[str]:
    """The bounds of a field in words; those of array items say so."""
    yield from _range(field)
    if "maxLength" in field:
        short = f"{field['minLength']} to" if field.get("minLength") else "up to"
        yield f"{short} {field['maxLength']:,} characters"
    if "pattern" in field:
        yield _PATTERNS.get(field["pattern"], f"`{field['pattern']}`")
    for keyword, words in (
        ("contentEncoding", "{}"),
        ("maxItems", "up to {:,} items"),
        ("maxProperties", "up to {:,} entries"),
    ):
        if keyword in field:
            yield words.format(field[keyword])
    if "items" in field:
        yield from (f"each {bound}" for bound in _bounds(field["items"]))
    for option in field.get("anyOf", ()):
        yield from _bounds(option)


def _range(field: Json) -> Iterator[str]:
    low, high = field.get("minimum"), field.get("maximum")
    if (low, high) == (MIN_EPOCH_MS, MAX_EPOCH_MS):
        yield "years 2000 to 2099"
    elif high is not None:
        above = "exclusiveMinimum" in field
        yield (
            f"above {_number(field['exclusiveMinimum'])}, up to" if above else f"{_number(low)} to"
        ) + f" {_number(high)}"
    elif low is not None:
        yield f"from {_number(low)}"


def _number(value: float | None) -> str:
    if value is None:
        return "-∞"
    return f"{int(value):,}" if float(value).is_integer() else str(value)


def _meaning(field: Json) -> str:
    values = enum_of(field)
    text = str(field["description"])
    if "const" in field:
        return f"{text} `{field['const']}`."
    if not values:
        return text
    meanings = meanings_of(values) or dict.fromkeys(values, "")
    listed = "<br>".join(f"`{value}`: {meaning}" if meaning else f"`{value}`" for value, meaning in meanings.items())
    return f"{text}<br>{listed}"


def _dead_letter() -> str:
    reasons = [(f"`{reason}`", meaning) for reason, meaning in REASONS.items()]
    return (
        "The value and the key are the input record's, byte for byte, and its own headers stand in front of the ones\n"
        "above, so that it can be sent again once the cause is mended. The `dlq_` headers hold no identifier and no\n"
        "value of the input; the bytes may, therefore the topic has its own access list and a short retention.\n\n"
        "`tellwire dlq redrive` sends a record again and leaves a note here: a record without key and value, with\n"
        "`dlq_redriven_at`, the first place and the place that it was sent to. A note is no dead letter.\n\n"
        "### Dead-letter reasons\n\n" + _table(("Reason", "When"), reasons)
    )


def _short(text: str) -> str:
    """JSON with lists of numbers and other short lists on one line each."""
    out: list[str] = []
    for line in text.splitlines():
        if out and out[-1].rstrip().endswith("[") and "{" not in line:
            out[-1] += line.strip()
        elif out and _open_list(out[-1]) and "{" not in line:
            out[-1] += ("" if line.strip().startswith("]") else " ") + line.strip()
        else:
            out.append(line)
    return "\n".join(out)


def _open_list(line: str) -> bool:
    return line.count("[") > line.count("]") and not line.rstrip().endswith("[")


def _anchor(heading: str) -> str:
    return "".join(char for char in heading.lower().replace(" ", "-") if char.isalnum() or char in "-_")


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
