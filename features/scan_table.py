"""What the compiled reader of telemetry knows of the contract: keys, kinds and bounds, read off the published types.

Nothing is declared a second time: names, bounds and lengths come from `schemas.telemetry`, so that a changed contract
changes the reader. What has no kind of its own here is left to the typed decoder.
"""

from typing import Final

import msgspec
import numpy as np
from msgspec import inspect

from schemas.base import MAX_ID_CHARS
from schemas.telemetry import (
    Collector,
    Focus,
    Form,
    FormField,
    Keys,
    Motion,
    Pointer,
    Scroll,
    Telemetry,
    Touch,
)

(OPAQUE, ID, NAME, TAG, EPOCH, COLLECTOR, BLOCK, FORM, DEVICE, COLUMN, COUNT, NUMBER, FLAG, FIELDS) = range(14)
"""Kinds of member. OPAQUE: any value, copied for the typed decoder. From COLUMN on: of a block, read here."""

_TOP: Final = {
    **dict.fromkeys(("event_id", "session_id", "account_ref", "device_ref", "nonce"), ID),
    **dict.fromkeys(("tenant", "ref_key_version"), NAME),
    **dict.fromkeys(("pointer", "touch", "scroll", "keys", "motion", "focus"), BLOCK),
    "effective_at": EPOCH,
    "collector": COLLECTOR,
    "form": FORM,
    "device": DEVICE,
}
_UNGROUPED: Final = {"click_offset_px"}
"""Columns whose length is their own."""

GROUPS: Final[tuple[type[msgspec.Struct], ...]] = (
    *(Telemetry, Collector, Pointer, Touch, Scroll),
    *(Keys, Motion, Focus, Form, FormField),
)
TOP, COLLECTOR_GROUP, POINTER, TOUCH, SCROLL, KEYS, MOTION, FOCUS, FORM_GROUP, FIELD = range(len(GROUPS))

STORED: Final = (
    *((POINTER, name) for name in ("t", "x", "y", "kind", "click_offset_px")),
    *((KEYS, name) for name in ("down", "up", "key_class")),
    *((FOCUS, name) for name in ("t", "kind")),
)
"""Columns that are folded, in the order in which an event's numbers lie (columns.py)."""
P_T, P_X, P_Y, P_KIND, P_OFFSETS, K_DOWN, K_UP, K_CLASS, F_T, F_KIND = range(len(STORED))
UNSTORED: Final = len(STORED)
"""Columns that are only checked."""
OF_FIELDS: Final = UNSTORED + 1
"""Where the numbers of form fields are kept until they are laid out: `FIELD_WIDTH` a field, in the table's order."""
FIELD_WIDTH: Final = len(FormField.__struct_fields__) - 1
HESITATION_SLOT: Final = FormField.__struct_fields__.index("hesitation_ms") - 1
MOST_FIELDS: Final = 64
LONGEST_ID, LONGEST_NAME = MAX_ID_CHARS, 64

COUNTED: Final = (
    *((POINTER, name) for name in ("untrusted_count", "coalesced_count")),
    *((KEYS, name) for name in ("untrusted_count", "ime_count", "unfocused_count")),
)
P_UNTRUSTED, P_COALESCED, K_UNTRUSTED, K_IME, K_UNFOCUSED = range(len(COUNTED))
UNCOUNTED: Final = len(COUNTED)


class _Table:
    """Lists that become the kernel's constant arrays, one entry a member."""

    def __init__(self) -> None:
        self.names = bytearray()
        self.name_at = [0]
        self.kind: list[int] = []
        self.group: list[int] = []
        self.slot: list[int] = []
        self.low: list[float] = []
        self.high: list[float] = []
        self.longest: list[int] = []
        self.is_whole: list[bool] = []
        self.is_grouped: list[bool] = []
        self.may_be_null: list[bool] = []
        self.item_may_be_null: list[bool] = []
        self.first: list[int] = []
        self.required: list[int] = []

    def add_group(self, number: int, struct: type[msgspec.Struct]) -> None:
        """Add the members of one struct."""
        info = inspect.type_info(struct)
        assert isinstance(info, inspect.StructType)
        fields = list(info.fields)
        self.first.append(len(self.kind))
        required = 0
        if number == TOP:
            assert info.tag_field is not None
            self._add(number, info.tag_field, TAG)
            # The one member that the decoder of lean events, which has no other type to tell apart, can do without.
            required = 1
        for field in fields:
            name, (kind_of, may_be_null) = field.encode_name, without_null(field.type)
            if number == TOP:
                self._add(number, name, _TOP.get(name, OPAQUE))
            elif number == COLLECTOR_GROUP:
                self._add(number, name, NAME if isinstance(kind_of, inspect.StrType) else OPAQUE)
            else:
                if field.required:
                    required |= 1 << len(self.kind) - self.first[-1]
                self._add_member(number, name, kind_of, may_be_null=may_be_null)
        self.required.append(required)

    def _add_member(self, group: int, name: str, kind_of: inspect.Type, *, may_be_null: bool) -> None:
        # A form's fields have one number a member, in the order of the struct behind its first one, the name.
        slot = len(self.kind) - self.first[-1] - 1 if group == FIELD else 0
        if group == FIELD and slot < 0:
            self._add(group, name, ID)
        elif isinstance(kind_of, inspect.ListType) and isinstance(kind_of.item_type, inspect.StructType):
            assert kind_of.max_length == MOST_FIELDS
            self._add(group, name, FIELDS, longest=kind_of.max_length)
        elif isinstance(kind_of, inspect.ListType):
            self._add_column(group, name, kind_of, may_be_null=may_be_null)
        elif isinstance(kind_of, inspect.IntType):
            assert (kind_of.ge, kind_of.le) == (0, 2**53 - 1), name
            if group != FIELD:
                slot = COUNTED.index((group, name)) if (group, name) in COUNTED else UNCOUNTED
            self._add(group, name, COUNT, slot=slot, may_be_null=may_be_null)
        elif isinstance(kind_of, inspect.BoolType):
            self._add(group, name, FLAG, slot=slot)
        elif isinstance(kind_of, inspect.FloatType):
            assert kind_of.ge is not None and kind_of.le is not None, name  # noqa: PT018
            self._add(group, name, NUMBER, slot=slot, low=kind_of.ge, high=kind_of.le, may_be_null=may_be_null)
        else:
            self._add(group, name, OPAQUE)

    def _add_column(self, group: int, name: str, column: inspect.ListType, *, may_be_null: bool) -> None:
        item, item_may_be_null = without_null(column.item_type)
        assert isinstance(item, inspect.FloatType | inspect.IntType), name
        assert item.ge is not None and item.le is not None and column.max_length is not None, name  # noqa: PT018
        self._add(
            group,
            name,
            COLUMN,
            slot=STORED.index((group, name)) if (group, name) in STORED else UNSTORED,
            low=item.ge,
            high=item.le,
            longest=column.max_length,
            is_whole=isinstance(item, inspect.IntType),
            is_grouped=name not in _UNGROUPED,
            may_be_null=may_be_null,
            item_may_be_null=item_may_be_null,
        )

    def _add(
        self,
        group: int,
        name: str,
        kind: int,
        *,
        slot: int = 0,
        low: float = 0.0,
        high: float = 0.0,
        longest: int = 0,
        is_whole: bool = False,
        is_grouped: bool = False,
        may_be_null: bool = False,
        item_may_be_null: bool = False,
    ) -> None:
        self.names += name.encode()
        self.name_at.append(len(self.names))
        self.kind.append(kind)
        self.group.append(group)
        self.slot.append(slot)
        self.low.append(low)
        self.high.append(high)
        self.longest.append(longest)
        self.is_whole.append(is_whole)
        self.is_grouped.append(is_grouped)
        self.may_be_null.append(may_be_null)
        self.item_may_be_null.append(item_may_be_null)


def without_null(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    """A member's type without description and null, and whether it may be null."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        left = [option for option in kind.types if not isinstance(option, inspect.NoneType)]
        if len(left) == 1:
            return without_null(left[0])[0], len(left) < len(kind.types)
    return kind, False


_table = _Table()
for _number, _struct in enumerate(GROUPS):
    _table.add_group(_number, _struct)

NAMES: Final = np.frombuffer(bytes(_table.names), dtype=np.uint8)
NAME_AT: Final = np.array(_table.name_at, dtype=np.int64)
KIND: Final = np.array(_table.kind, dtype=np.int64)
SLOT: Final = np.array(_table.slot, dtype=np.int64)
LOW: Final = np.array(_table.low, dtype=np.float64)
HIGH: Final = np.array(_table.high, dtype=np.float64)
LONGEST: Final = np.array(_table.longest, dtype=np.int64)
IS_WHOLE: Final = np.array(_table.is_whole, dtype=np.bool_)
IS_GROUPED: Final = np.array(_table.is_grouped, dtype=np.bool_)
MAY_BE_NULL: Final = np.array(_table.may_be_null, dtype=np.bool_)
ITEM_MAY_BE_NULL: Final = np.array(_table.item_may_be_null, dtype=np.bool_)
FIRST: Final = np.array([*_table.first, len(_table.kind)], dtype=np.int64)
REQUIRED: Final = np.array(_table.required, dtype=np.int64)
GROUP_OF: Final = np.array(
    [
        next((number for number, struct in enumerate(GROUPS[2:], 2) if struct.__name__.lower() == name), 0)
        for name in (bytes(NAMES[NAME_AT[k] : NAME_AT[k + 1]]).decode() for k in range(FIRST[1]))
    ],
    dtype=np.int64,
)
"""Of each member of the event: the group of its block."""
TAG_VALUE: Final = np.frombuffer(f'"{Telemetry.__struct_config__.tag}"'.encode(), dtype=np.uint8)
ARRAYS: Final = (
    *(NAMES, NAME_AT, KIND, SLOT, LOW, HIGH, LONGEST, IS_WHOLE, IS_GROUPED, MAY_BE_NULL, ITEM_MAY_BE_NULL, FIRST),
    *(REQUIRED, GROUP_OF, TAG_VALUE),
)
"""All of them: they are constants of the compiled reader, and part of its cache key."""
