"""Hypothesis strategies for every message: values within all bounds of the contracts, edges included.

`hypothesis.strategies.from_type` does not see msgspec's bounds, so the strategies are built from msgspec's own
description of the types. What a struct checks by itself (columns of one length, a scored signal) is arranged here.
"""

import string
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from schemas.base import END
from schemas.signals import Signal

_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+" + END
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/+-]*" + END
_NO_SURROGATES: tuple[Literal["Cs"], ...] = ("Cs",)
_NAME_TAIL = string.ascii_letters + string.digits + "._:/+-"

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Pointer": ("t", "x", "y", "kind", "button"),
    "Touch": ("t", "x", "y", "kind", "id", "radius_px", "force"),
    "Scroll": ("t", "x", "y"),
    "Keys": ("down", "up", "key_class"),
    "Motion": ("t", "ax", "ay", "az", "rx", "ry", "rz"),
    "Focus": ("t", "kind"),
    "Capture": ("frame_t", "media_t", "capture_t"),
}
"""Which columns of a block must have one length."""


@cache
def messages(message: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any valid value of one message type."""
    return _struct(inspect.type_info(message))  # type: ignore[arg-type]


def _struct(info: inspect.StructType) -> st.SearchStrategy[Any]:
    columns = COLUMNS.get(info.cls.__name__, ())
    plain = {field.name: _field(field) for field in info.fields if field.name not in columns}
    if columns:
        return st.integers(0, 5).flatmap(
            lambda n: st.builds(
                info.cls,
                **plain,
                **{field.name: _field(field, n) for field in info.fields if field.name in columns},
            )
        )
    if info.cls is Signal:
        return st.fixed_dictionaries(plain).map(_consistent_signal)
    return st.builds(info.cls, **plain)


def _consistent_signal(fields: dict[str, Any]) -> Signal:
    if fields["outcome"] == "scored":
        fields["score"] = 0.5 if fields["score"] is None else fields["score"]
        fields["direction"] = fields["direction"] or "high_is_risk"
    low, high = fields["score_min"], fields["score_max"]
    if low is not None and high is not None and low >= high:
        fields["score_max"] = None
    return Signal(**fields)


def _field(field: inspect.Field, items: int | None = None) -> st.SearchStrategy[Any]:
    return _any(field.type, items)


def _any(info: inspect.Type, items: int | None = None) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911 - one line a kind of type
    match info:
        case inspect.Metadata():
            return _any(info.type, items)
        case inspect.UnionType():
            return st.one_of([_any(option, items) for option in info.types])
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case inspect.IntType():
            low = -(2**53) if info.ge is None else info.ge
            high = 2**53 if info.le is None else info.le
            return st.integers(low, high)
        case inspect.FloatType():
            return st.floats(
                min_value=info.gt if info.ge is None else info.ge,
                max_value=info.lt if info.le is None else info.le,
                exclude_min=info.gt is not None,
                allow_nan=False,
                allow_infinity=False,
            )
        case inspect.StrType():
            return _text(info)
        case inspect.BytesType():
            return st.binary(max_size=32)
        case inspect.ListType():
            most = min(4, info.max_length or 4)
            return st.lists(_any(info.item_type), min_size=items or 0, max_size=most if items is None else items)
        case inspect.DictType():
            return st.dictionaries(_any(info.key_type), _any(info.value_type), max_size=3)
        case inspect.StructType():
            return _struct(info)
    msg = f"no strategy for {info}"
    raise TypeError(msg)


def _text(info: inspect.StrType) -> st.SearchStrategy[str]:
    short, long = info.min_length or 0, min(info.max_length or 40, 128)
    if info.pattern is None:
        return st.text(st.characters(exclude_categories=_NO_SURROGATES), min_size=short, max_size=long)
    if info.pattern == _PRINTABLE:
        return st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=short, max_size=long)
    if info.pattern == _NAME:
        first = st.sampled_from(string.ascii_letters + string.digits)
        rest = st.text(_NAME_TAIL, max_size=long - 1)
        return st.builds(str.__add__, first, rest)
    # ISO codes: two or three capital letters.
    return st.from_regex(info.pattern.removesuffix(END), fullmatch=True).map(lambda text: text.rstrip("\n"))
