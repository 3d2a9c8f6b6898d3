"""The telemetry contract as TypeScript types, for the collector: rendered from the same declarations as all else."""

from enum import IntEnum
from typing import Any, Final

from schemas.closed import closed_schema
from schemas.telemetry import GATEWAY_FIELDS, FocusKind, KeyClass, PointerKind, Telemetry

_PLAIN: Final = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}

_HEAD: Final = """\
// Generated from schemas/telemetry.py: change that, then run `make contracts`. What a browser may send, and its units.
"""


def render() -> str:
    """`collector/src/contract.ts`: codes, blocks, and `TelemetryEvent`, the event without what the gateway adds."""
    schema = closed_schema(Telemetry)
    parts = [_HEAD, *(_codes(codes) for codes in (PointerKind, KeyClass, FocusKind))]
    for name, block in schema["$defs"].items():
        if name != "Network":
            parts.append(_interface(name, block))
    own = {name: field for name, field in schema["properties"].items() if name not in GATEWAY_FIELDS}
    event = schema | {"properties": own, "required": [*(one for one in schema["required"] if one in own), "nonce"]}
    parts.append(_interface("TelemetryEvent", event))
    return "\n".join(parts)


def _codes(codes: type[IntEnum]) -> str:
    lines = [f"  {code.name} = {code.value}," for code in codes]
    return "\n".join([_comment(codes.__doc__ or ""), f"export const enum {codes.__name__} {{", *lines, "}", ""])


def _interface(name: str, schema: dict[str, Any]) -> str:
    lines = [_comment(schema["description"]), f"export interface {name} {{"]
    for field, rendered in schema["properties"].items():
        optional = "" if field in schema["required"] else "?"
        lines += [_comment(rendered["description"], "  "), f"  {field}{optional}: {_type(rendered)};"]
    return "\n".join([*lines, "}", ""])


def _comment(text: str, indent: str = "") -> str:
    return f"{indent}/** {' '.join(text.split())} */"


def _type(node: dict[str, Any]) -> str:
    """The TypeScript type of a property; an optional one is left out, never null."""
    if "anyOf" in node:
        kinds = [_type(one) for one in node["anyOf"]]
        return " | ".join(kind for kind in kinds if kind != "null" or node.get("default", ...) is not None)
    if node.get("type") == "array":
        item = _type(node["items"])
        return f"({item})[]" if " " in item else f"{item}[]"
    values = [node["const"]] if "const" in node else node.get("enum")
    if values:
        return " | ".join(f'"{value}"' for value in values)
    reference = node if "$ref" in node else node.get("allOf", [{}])[0]
    return str(reference["$ref"]).rpartition("/")[2] if "$ref" in reference else _PLAIN[node["type"]]
