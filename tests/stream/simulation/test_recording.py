"""The cut of a session into events loses nothing: naive twins count samples, keys and what happened in fields."""

import collections

import numpy as np
import pytest

from schemas.telemetry import Collector, Telemetry
from stream.simulation.bots import FAMILIES, stock_of
from stream.simulation.people import KINDS, person
from stream.simulation.recording import BATCH_MS, Identity, Recording, cut

WHO = Identity(
    session_id="s-1",
    flow="signup",
    account_ref="a",
    device_ref="d",
    device=None,
    network=None,
    viewport=None,
    collector=Collector(name="test", version="1"),
)
START_MS = 1_790_000_000_000


def recordings() -> list[tuple[str, Recording]]:
    stock = stock_of(np.random.default_rng(0))
    people = [(kind, person(np.random.default_rng([1, i]), kind, "signup").recording) for i, kind in enumerate(KINDS)]
    bots = [
        (name, make(np.random.default_rng([2, i]), "kyc_capture", stock).recording)
        for i, (name, make) in enumerate(FAMILIES.items())
    ]
    return people + bots


@pytest.mark.parametrize(("name", "recording"), recordings())
def test_the_cut_keeps_every_sample(name: str, recording: Recording) -> None:
    events = [event for _, event in cut(recording, WHO, START_MS)]

    def times(event: Telemetry, offsets: list[float]) -> list[float]:
        return [event.effective_at - START_MS + t for t in offsets]

    pointer = [t for e in events if e.pointer for t in times(e, e.pointer.t)]
    assert np.allclose(pointer, sorted(row[0] for row in recording.pointer), atol=0.51), name
    down = [t for e in events if e.keys for t in times(e, e.keys.down)]
    assert np.allclose(down, sorted(row[0] for row in recording.keys), atol=0.51)
    assert sum(len(e.touch.t) for e in events if e.touch) == len(recording.touch)
    assert sum(len(e.scroll.t) for e in events if e.scroll) == len(recording.scroll)
    fields = sum(act in {"focus", "blur"} for _, _, act in recording.acts)
    assert sum(len(e.focus.t) for e in events if e.focus) == len(recording.focus) + fields
    assert sum(len(e.capture.frame_t or []) for e in events if e.capture) == sum(
        len(capture.frame_t or []) for _, capture in recording.captures
    )


@pytest.mark.parametrize(("name", "recording"), recordings())
def test_form_counts_are_those_of_the_acts(name: str, recording: Recording) -> None:
    counted: collections.Counter[tuple[str, str]] = collections.Counter()
    focus_ms: dict[str, float] = collections.defaultdict(float)
    submits = 0
    for _, event in cut(recording, WHO, START_MS):
        if event.form is None:
            continue
        submits += event.form.submitted
        for field in event.form.fields:
            focus_ms[field.field] += field.focus_ms
            for act, n in (
                ("key", field.key_count),
                ("input", field.input_count),
                ("paste", field.paste_count),
                ("autofill", field.autofill_count),
                ("correction", field.correction_count),
                ("ime", field.ime_count),
            ):
                counted[field.field, act] += n
    wanted = collections.Counter((f, act) for _, f, act in recording.acts if act not in {"focus", "blur", "silent"})
    assert +counted == wanted, name
    assert submits == (recording.submit_ms is not None)
    in_focus: dict[str, float] = collections.defaultdict(float)
    for t, field_name, act in recording.acts:
        in_focus[field_name] += {"focus": -t, "blur": t}.get(act, 0.0)
    # A session that just stops has no blur, and its last field no full time.
    for field_name, wanted_ms in in_focus.items():
        if wanted_ms > 0:
            assert focus_ms[field_name] == pytest.approx(wanted_ms, abs=0.06 * max(1, len(recording.acts)))


def test_a_key_waits_for_its_release_for_one_second_and_others_wait_behind_it() -> None:
    recording = Recording(
        keys=[(100.0, 180.0, 1), (450.0, 1300.0, 6), (600.0, 640.0, 1), (3000.0, 5000.0, 1)], end_ms=6000.0
    )
    sent = {e.effective_at - START_MS: e.keys for _, e in cut(recording, WHO, START_MS) if e.keys}
    assert {k: (v.down, v.up) for k, v in sent.items()} == {
        0: ([100.0], [180.0]),
        1000: ([-550.0, -400.0], [300.0, -360.0]),
        4000: ([-1000.0], [None]),
    }


def test_a_batch_in_which_nothing_happened_is_not_sent() -> None:
    recording = Recording(pointer=[(10.0, 1, 1, 0, 0), (5 * BATCH_MS + 1, 2, 2, 0, 0)])
    events = [event for _, event in cut(recording, WHO, START_MS)]
    assert [e.effective_at - START_MS for e in events] == [0, 2500]
    assert [e.sequence for e in events] == [0, 1]
    assert events[-1].end is None
