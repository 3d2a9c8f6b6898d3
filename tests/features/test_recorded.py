"""The adapter from recordings: batches, rounding, keys that wait, and nothing else than what a collector sends."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.recorded import BATCH_MS, RELEASE_WAIT_MS, START_MS, Recorded, telemetry_of
from schemas.telemetry import Telemetry


def through_the_wire(events: list[Telemetry]) -> list[Telemetry]:
    return [msgspec.json.decode(msgspec.json.encode(event), type=Telemetry) for event in events]


times = st.lists(st.floats(0, 20_000, width=32), min_size=0, max_size=60)


@settings(max_examples=60, deadline=None)
@given(times, times)
def test_every_sample_comes_once_in_order_and_in_its_batch(t: list[float], down: list[float]) -> None:
    recorded = Recorded(
        session_id="r",
        t_ms=np.array(t, np.float32),
        x=np.arange(len(t)),
        y=np.zeros(len(t)),
        key_down_ms=np.array(down, np.float32),
        key_up_ms=np.array([d + 80 if i % 3 else math.nan for i, d in enumerate(down)], np.float32),
        key_class=np.full(len(down), 1, np.int8),
        pointer_type="mouse",
    )
    events = telemetry_of(recorded)
    assert through_the_wire(events) == events
    assert [e.sequence for e in events] == list(range(len(events)))
    assert [e.end is not None for e in events] == [False] * (len(events) - 1) + [True]
    pointer = [
        (e.effective_at - START_MS + ti, x)
        for e in events
        if e.pointer
        for ti, x in zip(e.pointer.t, e.pointer.x, strict=True)
    ]
    assert sorted(x for _, x in pointer) == list(range(len(t)))
    for at, x in pointer:
        assert at == pytest.approx(t[int(x)], abs=0.051)
    assert all(0.0 <= ti <= BATCH_MS for e in events if e.pointer for ti in e.pointer.t)
    presses = [round(e.effective_at - START_MS + d, 1) for e in events if e.keys for d in e.keys.down]
    assert presses == sorted(presses)
    assert presses == pytest.approx(sorted(down), abs=0.051)


def test_a_key_waits_for_its_release_and_later_ones_behind_it() -> None:
    recorded = Recorded(
        session_id="r",
        key_down_ms=[100.0, 450.0, 480.0, 490.0],
        key_up_ms=[150.0, 900.0, 495.0, 490.0 + RELEASE_WAIT_MS + 1.0],
        key_class=[1, 1, 3, 1],
    )
    events = telemetry_of(recorded)
    assert [(e.keys.down, e.keys.up) for e in events if e.keys] == [
        ([100.0], [150.0]),
        ([-50.0, -20.0], [400.0, -5.0]),
        ([-510.0], [None]),
    ]


def test_values_are_rounded_as_on_the_wire() -> None:
    events = telemetry_of(Recorded(session_id="r", t_ms=[1.26], x=[10.04], y=[-3.96]))
    pointer = events[0].pointer
    assert pointer is not None
    assert (pointer.t, pointer.x, pointer.y) == ([1.3], [10.0], [-4.0])


def test_the_type_of_pointer_and_the_viewport_are_told() -> None:
    recorded = Recorded(
        session_id="r",
        t_ms=[0.0],
        x=[0.0],
        y=[0.0],
        pointer_type="touch",
        viewport_width_px=412,
        viewport_height_px=800,
    )
    (event,) = telemetry_of(recorded)
    assert event.pointer is not None
    assert event.pointer.pointer_type == "touch"
    assert event.viewport is not None
    assert (event.viewport.width_px, event.viewport.height_px) == (412.0, 800.0)


def test_an_empty_recording_is_one_event_that_ends() -> None:
    (event,) = telemetry_of(Recorded(session_id="r"))
    assert (event.pointer, event.keys) == (None, None)
    assert event.end is not None


def test_unusable_samples_are_left_out_and_ragged_columns_refused() -> None:
    events = telemetry_of(Recorded(session_id="r", t_ms=[0.0, math.nan, 5.0], x=[1.0, 1.0, math.inf], y=[1.0] * 3))
    assert events[0].pointer is not None
    assert events[0].pointer.t == [0.0]
    with pytest.raises(ValueError, match="pointer columns differ"):
        telemetry_of(Recorded(session_id="r", t_ms=[0.0], x=[], y=[]))
    with pytest.raises(ValueError, match="key columns differ"):
        telemetry_of(Recorded(session_id="r", key_down_ms=[0.0]))
