"""The compiled reader beside values that it passes over: what it accepts is what the typed decoder accepts."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import scan_table
from schemas.envelope import Rejected, decode
from schemas.telemetry import FormField, Telemetry
from tests.features.reading_texts import READER, accepts, corpus, plainly, text
from tests.fuzz.mutators import (
    BROKEN_VALUES,
    SOUND_VALUES,
    WRAPPINGS,
    add_unknown,
    edges_of_objects,
    with_unknown,
)
from tests.schemas.strategies import messages
from tests.support.readings import check_reading

SAMPLES = {"t": [1.5, 2], "x": [2, 3], "y": [-3, 3]}
WHOLE = text(
    pointer=SAMPLES | {"kind": [0, 1], "button": [1, 0], "untrusted_count": 0, "click_offset_px": [0.5]},
    touch=SAMPLES | {"kind": [0, 1], "id": [1, 1], "radius_px": [1, 1], "force": [0.5, 1], "untrusted_count": 1},
    scroll=SAMPLES,
    keys={"down": [1, 2], "up": [None, 3], "key_class": [1, 2], "ime_count": 4, "unfocused_count": 2},
    motion={"t": [1], "ax": [0.5], "ay": [0], "az": [9.81], "rx": [0.1]},
    form={"fields": [{"field": "a", "focus_ms": 5, "hesitation_ms": None}, {"field": "b"}], "submitted": True},
    focus={"t": [1, 2], "kind": [1, 2]},
    device={"user_agent": "}"},
    network={"ip_country": "DE"},
)
"""An event with an object of every sort that a record may have."""
VALUE = re.compile(rb'"[^"]*":|(?P<value>"[^"]*"|-?[0-9.]+|true|null)')
PLACES = edges_of_objects(WHOLE)
FIELDS_AT = (WHOLE.index(b'"fields":['), WHOLE.index(b'],"submitted"'))
"""What is between is cut out of the skeleton."""


def verdict(value: bytes) -> str | None:
    """The typed decoder's reason to refuse a record; None for one that it accepts."""
    try:
        decode(value, None)
    except Rejected as rejected:
        return rejected.reason
    return None


def test_objects_of_every_sort_are_tried() -> None:
    objects = [struct for struct in scan_table.GROUPS if struct is not FormField]
    assert len(PLACES) == 2 * (len(objects) + len(("field a", "field b", "device", "network")))
    assert accepts(WHOLE)


@pytest.mark.parametrize("value", [*BROKEN_VALUES, *SOUND_VALUES], ids=ascii)
def test_a_value_under_an_unknown_key_is_accepted_as_the_typed_decoder_accepts_it(value: bytes) -> None:
    """First and last in every object, by itself and inside other values: no text may be passed over by everybody."""
    for wrapping in (b"@", *WRAPPINGS):
        records = [with_unknown(WHOLE, at, wrapping.replace(b"@", value)) for at in PLACES]
        accepted = check_reading(READER, records)
        if value in BROKEN_VALUES:
            assert {verdict(record) for record in records} == {"malformed_json"}, wrapping
            assert not any(accepted)
        else:
            assert {verdict(record) for record in records} == {None}, wrapping
            assert accepted == [not FIELDS_AT[0] < at < FIELDS_AT[1] for at in PLACES]


@pytest.mark.parametrize("value", [*BROKEN_VALUES, *SOUND_VALUES], ids=ascii)
def test_a_value_in_the_place_of_another_is_accepted_as_the_typed_decoder_accepts_it(value: bytes) -> None:
    """Columns are cut out, too: each of their numbers, and every other value, is looked at by somebody."""
    places = [match.span("value") for match in VALUE.finditer(WHOLE) if match["value"]]
    assert len(places) > 60
    records = [WHOLE[:first] + value + WHOLE[last:] for first, last in places]
    accepted = check_reading(READER, records)
    if value in BROKEN_VALUES:
        assert None not in map(verdict, records)
        assert not any(accepted)


@settings(max_examples=200, deadline=None)
@given(messages(Telemetry), st.sampled_from(BROKEN_VALUES + SOUND_VALUES), st.sampled_from((b"@", *WRAPPINGS)))
def test_unknown_members_of_any_event_are_accepted_as_the_typed_decoder_accepts_them(
    event: Telemetry, value: bytes, wrapping: bytes
) -> None:
    data = plainly(event)
    held = wrapping.replace(b"@", value)
    check_reading(READER, [with_unknown(data, at, held) for at in edges_of_objects(data)])


@pytest.mark.parametrize("seed", range(4))
def test_mutants_with_unknown_members_are_accepted_as_the_typed_decoder_accepts_them(seed: int) -> None:
    rng = random.Random(seed)
    check_reading(READER, [add_unknown(rng.choice(corpus()), rng) for _ in range(500)])
