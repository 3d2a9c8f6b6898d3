"""The telemetry event as a client may send it: the contract's own types, closed at every depth.

Workers read tolerantly. The gateway does not: a field that the contract does not know could hold anything, and would be
kept with the rest. So gateways are upgraded before collectors.
"""

import types
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from schemas.telemetry import GATEWAY_FIELDS, Telemetry

CLIENT_FIELDS: Final = tuple(name for name in ("type", *Telemetry.__struct_fields__) if name not in GATEWAY_FIELDS)
"""What a client says, in the contract's order."""


@cache
def closed(struct: type[msgspec.Struct]) -> type[Any]:
    """Return a subclass that takes the same values, and no field that `struct` does not know, at any depth."""
    hints = get_type_hints(struct, include_extras=True)
    fields: list[tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(struct):
        annotation = _closed_type(hints[field.name])
        if field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.name, annotation, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((field.name, annotation, field.default))
    config = struct.__struct_config__
    return msgspec.defstruct(
        struct.__name__,
        fields,
        bases=(struct,),
        module=__name__,
        kw_only=True,
        omit_defaults=config.omit_defaults,
        gc=config.gc,
        forbid_unknown_fields=True,
        tag_field=config.tag_field,
        tag=config.tag,
    )


def _closed_type(annotation: Any) -> Any:
    """The same annotation with closed structs in it."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return closed(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None or origin is Literal:
        return annotation
    if origin is Annotated:
        return Annotated[(_closed_type(arguments[0]), *annotation.__metadata__)]
    inside = [_closed_type(argument) for argument in arguments]
    if origin in (Union, types.UnionType):
        return reduce(or_, inside)
    return origin[tuple(inside)]


ClosedTelemetry: Final[type[Telemetry]] = closed(Telemetry)
