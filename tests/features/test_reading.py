"""The compiled reader: what it accepts is what the typed decoder reads, and usual telemetry is accepted."""

from __future__ import annotations

import json
import random
import struct
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from features import reading, scan_json, scan_table
from features.columns import columns_of
from features.reading import ChunkReader, LeanTelemetry, with_decoded
from schemas.envelope import Rejected, decode, encode
from schemas.telemetry import Telemetry
from tests.features.reading_texts import READER, accepts, corpus, one, plainly, text
from tests.fuzz.mutators import BYTES, JSON, mutated
from tests.fuzz.targets import telemetry
from tests.schemas import test_bad_inputs
from tests.schemas.strategies import messages
from tests.support.readings import check_reading


def test_all_that_collectors_send_is_accepted() -> None:
    assert all(check_reading(READER, corpus()))


def test_random_events_written_plainly_are_often_accepted() -> None:
    """The twin test below would say little of records that are all left to the typed decoder."""
    outcomes: list[tuple[bool, bool]] = []

    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @given(messages(Telemetry))
    def read(event: Telemetry) -> None:
        outcomes.append((accepts(plainly(event)), event.form is not None and bool(event.form.fields)))

    read()
    # Hypothesis also draws constants of the modules that happen to be loaded: the share is another in another run.
    assert sum(accepted for accepted, _ in outcomes) > 0.4 * len(outcomes)
    assert sum(accepted and has_fields for accepted, has_fields in outcomes) > 0.02 * len(outcomes)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        messages(Telemetry).flatmap(lambda event: st.sampled_from((plainly(event), encode(event)))),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_valid_event_reads_alike(values: list[bytes], is_spaced: bool, rng: random.Random) -> None:
    if is_spaced:
        values = [json.dumps(_shuffled(json.loads(value), rng), indent=1).encode() for value in values]
    together = check_reading(READER, values)
    assert together == [accepts(value) for value in values]


def _shuffled(tree: Any, rng: random.Random) -> Any:
    if not isinstance(tree, dict):
        return [_shuffled(each, rng) for each in tree] if isinstance(tree, list) else tree
    members = [(key, _shuffled(value, rng)) for key, value in tree.items()]
    rng.shuffle(members)
    return dict(members)


@pytest.mark.parametrize("seed", range(8))
def test_broken_records_are_accepted_only_where_the_decoder_accepts_them(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        mutants = [mutated(rng.choice(corpus()), rng.choice((BYTES, JSON)), rng) for _ in range(5)]
        check_reading(READER, [mutant for mutant in mutants if mutant])


def test_what_ends_early_is_refused() -> None:
    """Every prefix, alone and before another record: the reader stops at its end."""
    whole = max(telemetry(30), key=len)[:1_500]
    step = 7
    for end in range(1, len(whole), step):
        assert check_reading(READER, [whole[:end], corpus()[0]])[1]


digits = st.text("0123456789", min_size=1, max_size=19)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(("", "-")), digits, digits | st.just(""))
@example("", "0", "50000000000000002775")
@example("-", "0", "0")
@example("-", "0", "")
@example("", "00", "1")
@example("", "16", "600000000093132")
@example("", "9007199254740993", "")
@example("", "5", "55111512312578270")
def test_numbers_are_the_nearest_doubles(sign: str, whole: str, decimals: str) -> None:
    written = f"{sign}{whole}" + (f".{decimals}" if decimals else "")
    accepts(text(pointer={"t": [0], "x": ["@"], "y": [1]}).replace(b'"@"', written.encode()))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 17), st.data())
def test_division_rounds_as_exact_arithmetic_does(decimals: int, data: st.DataObject) -> None:
    """Numbers of 16 to 18 digits, those half way between two doubles and their neighbours first of all."""
    whole = data.draw(st.integers(scan_json.EXACT + 1, 10**18 - 1))
    if data.draw(st.booleans()):
        near = whole / 10**decimals
        half = (Fraction(near) + Fraction(np.nextafter(near, np.inf))) / 2
        whole = min(max(int(half * 10**decimals) + data.draw(st.integers(-1, 1)), scan_json.EXACT + 1), 10**18 - 1)
    found = scan_json.divided.py_func(whole, decimals)  # type: ignore[attr-defined]
    if whole // 10**decimals >= scan_json.EXACT:
        assert found != found
    else:
        assert struct.pack("d", found) == struct.pack("d", float(Fraction(whole, 10**decimals)))


@pytest.mark.parametrize(
    "fields",
    [
        {"pointer": {"t": [], "x": [], "y": []}},
        {"pointer": {"t": [1], "x": [2], "y": [3], "kind": None, "button": None, "coalesced_count": None}},
        {"pointer": {"kind": [1], "y": [3.25], "x": [2], "click_offset_px": [1, 2, 3], "t": [1], "more": {"a": ["]"]}}},
        {"keys": {"down": [1, 2], "up": [3.5, None], "key_class": [1, 9], "ime_count": 4, "unfocused_count": 2}},
        {"touch": {"t": [1], "x": [1], "y": [1], "kind": [0], "force": [0.5]}, "pointer": None, "scroll": None},
        {"form": {"fields": [], "submitted": True, "submit_ms": None}},
        {"form": {"fields": [{"field": "a", "hesitation_ms": None, "changed_without_input": True}]}},
        {"account_ref": None, "device_ref": "a b~!#", "unknown": {"x": [1, {"y": "\\u00e4 \\"}]}},
        {"device": {"user_agent": 'quoted " and \\', "languages": []}},
        {"pointer": {"t": [1], "x": [-0.0], "y": [16.600000000093132]}},
    ],
)
def test_odd_but_plain_events_are_accepted(fields: dict[str, Any]) -> None:
    assert accepts(text(**fields))
    assert accepts(json.dumps(one(**fields), indent=2).encode())


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"null",
        b"\0",
        text() + b" x",
        text() + b"\0",
        text(type="capture.signal.v1"),
        text(event_id=""),
        text(event_id="x" * 129),
        text(event_id="a\u0007"),
        text(event_id="a\x7f"),
        text(tenant="_a"),
        text(tenant="a b"),
        text(tenant="x" * 65),
        text(tenant=None),
        text(flow="other"),
        text(effective_at=1),
        text(effective_at=1.5e12),
        text(collector={"name": "n", "version": ":1"}),
        text(collector={"name": "n"}),
        text(pointer=[]),
        text(pointer={}),
        text(pointer={"t": [1], "x": [1]}),
        text(pointer={"t": [1], "x": [1], "y": []}),
        text(pointer={"t": [1], "x": None, "y": [1]}),
        text(pointer={"t": [1], "x": [None], "y": [1]}),
        text(pointer={"t": [1], "x": [1e6 + 0.1], "y": [1]}),
        text(pointer={"t": [-60_000.1], "x": [1], "y": [1]}),
        text(pointer={"t": [1], "x": [1], "y": [1], "kind": [256]}),
        text(pointer={"t": [1], "x": [1], "y": [1], "kind": [1.0]}),
        text(pointer={"t": [1], "x": [1], "y": [1], "kind": [1, 2]}),
        text(pointer={"t": [1], "x": [1], "y": [1], "untrusted_count": -1}),
        text(pointer={"t": [1], "x": [1], "y": [1], "untrusted_count": None}),
        text(pointer={"t": [1], "x": [1], "y": [1], "pointer_type": "wheel"}),
        text(pointer={"t": [1] * 4097, "x": [1] * 4097, "y": [1] * 4097}),
        text(pointer={"t": [1], "x": [1], "y": [1], "click_offset_px": [1] * 257}),
        text(form={"submitted": True}),
        text(form={"fields": [{}]}),
        text(form={"fields": [{"field": None}]}),
        text(form={"fields": [{"field": "a"}] * 65}),
        text(form={"fields": [{"field": "a", "focus_ms": -1}]}),
        text(form={"fields": [{"field": "a", "changed_without_input": 1}]}),
        text(form={"fields": [], "submitted": None}),
        text(device={"canvas_hash": ""}),
        text(unknown="x" * 262_144),
        text().replace(b'"event_id"', b'"event\\u005fid"'),
        text().replace(b'"tenant":', b'"tenant" '),
        text()[:-1] + b",}",
        text()[:-1] + b',"tenant":"other"}',
        text(pointer={"t": [1], "x": [1], "y": [1]}).replace(b'"x":[1]', b'"x":[1],"x":[1]'),
        text(pointer={"t": [1], "x": [1], "y": [1]}).replace(b'"x":[1]', b'"x":[01]'),
        text(pointer={"t": [1], "x": [1], "y": [1]}).replace(b'"x":[1]', b'"x":[1.]'),
        text(pointer={"t": [1], "x": [1], "y": [1]}).replace(b'"x":[1]', b'"x":[1,]'),
        text(pointer={"t": [1], "x": [1], "y": [1]}).replace(b'"x":[1]', b'"x":[1e2]'),
        text(pointer={"t": [1], "x": [1], "y": [1]}).replace(b'"x":[1]', b'"x":[NaN]'),
    ],
)
def test_what_is_wrong_or_in_doubt_is_left_to_the_typed_decoder(value: bytes) -> None:
    assert check_reading(READER, [corpus()[0], value, corpus()[1]]) == [True, False, True]


def test_the_list_of_bad_and_odd_records_is_kept_to() -> None:
    assert not any(check_reading(READER, [value or b"" for value, *_ in test_bad_inputs.REFUSED.values()]))
    check_reading(READER, list(test_bad_inputs.ACCEPTED.values()))


def test_one_bad_block_costs_only_its_own_record() -> None:
    """The skeletons are decoded together; where that fails, one by one."""
    values = [text(session_id="a"), text(session_id="b", network={"ip_country": "xx"}), text(session_id="c")]
    assert check_reading(READER, values) == [True, False, True]
    with pytest.raises(Rejected, match="ip_country"):
        decode(values[1], None)


def test_a_chunk_larger_than_the_buffers_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "KEPT_BYTES", 2_000)
    reader = ChunkReader()
    assert all(check_reading(reader, corpus()[:40]))
    assert all(check_reading(reader, corpus()[:1]))


def test_columns_of_what_the_typed_decoder_read_follow() -> None:
    read = READER.read(corpus()[:3]).columns
    more = [decode(value, None) for value in corpus()[3:5]]
    columns = with_decoded(read, more)  # type: ignore[arg-type]
    whole = columns_of([decode(value, None) for value in corpus()[:5]])  # type: ignore[misc]
    assert columns.data.tobytes() == whole.data.tobytes()
    assert (columns.starts.tolist(), columns.ends.tolist()) == (whole.starts.tolist(), whole.ends.tolist())
    some = columns.take([4, 0])
    assert (some.starts.tolist(), some.ends.tolist()) == (whole.starts[[4, 0]].tolist(), whole.ends[[4, 0]].tolist())


def test_a_lean_event_has_every_member_that_the_reader_leaves_to_the_decoder() -> None:
    """What the reader passes over must be typed in the lean event: else it would be checked by nobody."""
    blocks: dict[str, type[msgspec.Struct]] = {"pointer": reading.LeanPointer, "collector": reading.LeanCollector}
    for number, struct_type in enumerate(scan_table.GROUPS):
        first, last = scan_table.FIRST[number], scan_table.FIRST[number + 1]
        names = [
            bytes(scan_table.NAMES[scan_table.NAME_AT[k] : scan_table.NAME_AT[k + 1]]).decode()
            for k in range(first, last)
            if scan_table.KIND[k] == scan_table.OPAQUE
        ]
        lean: type[msgspec.Struct] | None = (
            LeanTelemetry if struct_type is Telemetry else blocks.get(struct_type.__name__.lower())
        )
        for name in names:
            assert lean is not None, (struct_type, name)
            assert _type_of(lean, name) == _type_of(struct_type, name), name


def _type_of(struct_type: type[msgspec.Struct], name: str) -> inspect.Type:
    info = inspect.type_info(struct_type)
    assert isinstance(info, inspect.StructType)
    return scan_table.without_null(next(each.type for each in info.fields if each.name == name))[0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True))
def test_events_taken_are_those_asked_for_and_all_of_them_are_no_copy(rows: list[int]) -> None:
    values = corpus()[:6]
    found = ChunkReader().read(values).columns
    taken = found.take(rows)
    assert taken.starts.tolist() == [found.starts.tolist()[row] for row in rows]
    assert taken.ends.tolist() == [found.ends.tolist()[row] for row in rows]
    assert (taken is found) == (rows == [0, 1, 2, 3, 4, 5])
    # The fold is compiled for nothing else; anything else would be compiled amid the traffic.
    assert all(part.flags.c_contiguous for one in (found, taken) for part in (one.data, one.starts, one.ends))


def test_all_events_in_their_order_are_taken_as_they_are() -> None:
    found = ChunkReader().read(corpus()[:6]).columns
    assert found.take(range(6)) is found
