"""Every setting as a row: for `tellwire config show` with its effective value, for the reference page as declared.

A secret's value is never in a row. A default stands in the source, so it is shown also where the setting is a secret.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from stream.settings import Settings, declared, variable_of
from stream.settings_source import read_file

MASK: Final = "********"
Origin = Literal["default", "environment", "file"]


class SettingRow(BaseModel):
    """One setting."""

    name: str
    variable: str
    value: str
    default: str
    origin: Origin
    type: str
    allowed: str
    """Bounds of the value, empty where its type says all."""
    description: str


def rows(settings: Settings, config_file: Path | None = None) -> list[SettingRow]:
    """List every setting with its effective value (secrets masked) and where it came from."""
    variables = {name.upper() for name in os.environ}
    in_file = _flatten(read_file(config_file)[1])
    found = []
    for row, section, name, field in _declared():
        value = getattr(getattr(settings, section), name)
        if row.variable in variables:
            row.origin = "environment"
        elif row.name in in_file:
            row.origin = "file"
        if value != _default(field):
            row.value = _show(value)
        found.append(row)
    return found


def declared_rows() -> list[SettingRow]:
    """List every setting with its default; reads neither environment nor file."""
    return [row for row, *_ in _declared()]


def _declared() -> list[tuple[SettingRow, str, str, FieldInfo]]:
    found = []
    for section, name, field in declared():
        default = _default(field)
        shown = default.get_secret_value() if isinstance(default, SecretStr) else _show(default)
        row = SettingRow(
            name=f"{section}.{name}",
            variable=variable_of(section, name),
            value=shown,
            default=shown,
            origin="default",
            type=_type_name(field.annotation),
            allowed=_allowed(field),
            description=field.description or "",
        )
        found.append((row, section, name, field))
    return found


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def _flatten(values: Mapping[str, Any]) -> set[str]:
    return {f"{s}.{n}" for s, section in values.items() if isinstance(section, dict) for n in section}


def _show(value: Any) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else "(empty)"
    if value is None:
        return "(unset)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        shown = {k: MASK if _looks_secret(k) else v for k, v in value.items()}
        return "{" + ", ".join(f"{k}={v}" for k, v in sorted(shown.items())) + "}"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _looks_secret(name: str) -> bool:
    return any(word in name for word in ("password", "secret", "key.pem", "token", "jaas", "oauth"))


def _type_name(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " | ".join(str(choice) for choice in get_args(annotation))
    if origin is dict:
        return "object"
    if origin is not None:
        return " | ".join(_type_name(choice) for choice in get_args(annotation) if choice is not type(None))
    names = {SecretStr: "secret", Path: "path", str: "text", bool: "true | false", int: "integer", float: "number"}
    return names[annotation]


def _allowed(field: FieldInfo) -> str:
    found = []
    for bound in field.metadata:
        # Pydantic keeps each bound as an object of its own, told apart by the attribute that it has.
        for attribute, sign in (("ge", ">= "), ("gt", "> "), ("le", "<= "), ("pattern", "")):
            limit = getattr(bound, attribute, None)
            if limit is not None:
                found.append(f"{sign}{limit:g}" if isinstance(limit, float) else f"{sign}{limit}")
        if getattr(bound, "min_length", None) is not None:
            found.append("not empty")
    return ", ".join(found)
