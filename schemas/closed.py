"""The published JSON Schemas: closed, self-contained renderings of the message structs.

Published schemas are closed (`additionalProperties: false` in every object) so that a producer's misspelt field is
found before it is sent, and so that adding an optional field is a compatible change. Reading is tolerant all the same.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from schemas.base import END
from schemas.meanings import meanings_of
from schemas.signals import Signal
from schemas.topics import TOPICS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_RULES: Final[Mapping[str, dict[str, Any]]] = {
    # What a struct checks by itself and JSON Schema can say.
    Signal.__name__: {
        "if": {"properties": {"outcome": {"const": "scored"}}, "required": ["outcome"]},
        "then": {
            "required": ["score", "direction"],
            "properties": {"score": {"type": "number"}, "direction": {"type": "string"}},
        },
    }
}


def message_types() -> tuple[type[msgspec.Struct], ...]:
    """Every message type of the topics table, once, in its order."""
    return tuple(dict.fromkeys(message for topic in TOPICS for message in topic.messages))


def tag_of(message: type[msgspec.Struct]) -> str:
    """The `type` on the wire, with its version: `risk.event.v1`."""
    return str(message.__struct_config__.tag)


def components(messages: Iterable[type[msgspec.Struct]], ref_template: str) -> dict[str, dict[str, Any]]:
    """Closed schemas of the messages and of every struct in them, by struct name.

    `ref_template` says how they refer to one another, for example `#/$defs/{name}`. A reference with a description
    beside it stands alone in an `allOf`, which every JSON Schema draft reads alike.
    """
    _, found = msgspec.json.schema_components(list(messages), ref_template=ref_template)
    return {name: _closed(name, schema) for name, schema in found.items()}


def closed_schema(message: type[msgspec.Struct]) -> dict[str, Any]:
    """One message's self-contained schema (JSON Schema 2020-12), nested structs under `$defs`."""
    parts = components([message], "#/$defs/{name}")
    root = parts.pop(message.__name__)
    schema = {"$schema": DIALECT, "$id": f"{tag_of(message)}.schema.json", **root}
    if parts:
        schema["$defs"] = dict(sorted(parts.items()))
    return schema


def _closed(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    closed: dict[str, Any] = {
        "title": name,
        "description": inspect.cleandoc(schema["description"]),
        "type": "object",
        "additionalProperties": False,
        "required": schema.get("required", []),
        "properties": {field: _property(field, rendered) for field, rendered in schema.get("properties", {}).items()},
    }
    return closed | _RULES.get(name, {})


def _property(field: str, schema: dict[str, Any]) -> dict[str, Any]:
    if field == "type" and list(schema) == ["enum"]:
        return {"description": "Message type and version.", "type": "string", "const": schema["enum"][0]}
    out: dict[str, Any] = _plain(schema)
    if "$ref" in out:
        out = {"description": out["description"], "allOf": [{"$ref": out["$ref"]}]}
    meanings = meanings_of(enum_of(out))
    if meanings:
        out["x-meanings"] = dict(meanings)
    return out


def enum_of(schema: Mapping[str, Any]) -> list[str]:
    """The values of the closed set in a property's schema, also where it may be null or is an array's item; else []."""
    if "enum" in schema:
        return list(schema["enum"])
    for inner in (*schema.get("anyOf", ()), schema.get("items")):
        found = enum_of(inner) if isinstance(inner, dict) else []
        if found:
            return found
    return []


def _plain(node: Any) -> Any:
    """The same schema with patterns as JSON Schema's regular expressions have them, and enum values typed."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _plain(value) for key, value in node.items()}
    if isinstance(out.get("pattern"), str):
        out["pattern"] = out["pattern"].replace(END, "$")
    if "enum" in out and "type" not in out:
        out["type"] = "string"
    return out
