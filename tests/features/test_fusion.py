"""Results and facts of a camera step read together: each conflict rule, order, what is missing, what never betters."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.camera import Camera
from features.fusion import CONFLICTS, RESULTS, SAME_CAPTURE_MS, Times, standing_of, verdict_of
from features.meta import Meta
from features.recorded import START_MS
from features.signals import derive_signals
from models.device_risk import SignalScorer
from models.injection import InjectionScorer
from schemas.risk import SignalValue
from schemas.signals import Finding, Routing, Signal
from schemas.telemetry import CameraTrack, Capture, Telemetry
from tests.features import build

Record = Telemetry | Signal
SCORER = InjectionScorer(SignalScorer())
LATER_MS = SAME_CAPTURE_MS + 1


def told(kind: str, verdict: str | None, at_ms: int = 0, *findings: str, **more: Any) -> Signal:
    base: dict[str, Any] = {
        "event_id": "r",
        "session_id": "s",
        "tenant": "t",
        "flow": "kyc_capture",
        "effective_at": START_MS + at_ms,
        "observed_at": START_MS + at_ms,
        "kind": kind,
        "provider": "acme",
        "outcome": "no_decision",
        "verdict": verdict,
        "findings": [Finding(name=name, value=True) for name in findings],
    }
    return Signal(**(base | more))


def shown(start_ms: float = 0.0, **block: Any) -> Telemetry:
    return build.event(start_ms, capture=Capture(**block))


def signals_after(records: Sequence[Record]) -> dict[str, SignalValue]:
    meta, found = Meta(), {}
    for i, record in enumerate(records):
        if isinstance(record, Signal):
            record.event_id = f"r{i}"
            meta.observe_signal(record, record.observed_at)
        else:
            meta.observe(record, record.observed_at)
        found = derive_signals(record, meta)
    return found


def raw(*records: Record) -> float:
    return SCORER.raw(signals_after(records))


@pytest.mark.parametrize("rule", CONFLICTS, ids=lambda rule: f"{rule.passed}/{rule.failed}")
def test_of_two_that_contradict_the_one_that_fails_wins_and_a_person_reviews(rule: Any) -> None:
    both = told(rule.passed, "pass"), told(rule.failed, "fail")
    for records in (both, both[::-1]):
        found = signals_after(records)
        assert found["cv_conflict"].value == f"{rule.passed}/{rule.failed}"
        assert found["cv_conflict"].severity == rule.severity
        assert SCORER.raw(found) >= raw(told(rule.failed, "fail"))
    assert "cv_conflict" not in signals_after([told(rule.passed, "fail"), told(rule.failed, "fail")])
    assert "cv_conflict" not in signals_after([told(rule.passed, "pass"), told(rule.failed, "pass")])
    # A later failure of what passed doesn't settle what was contradictory.
    assert "cv_conflict" in signals_after([*both, told(rule.passed, "fail", LATER_MS)])


@pytest.mark.parametrize("passed", ["liveness", "pad"])
def test_a_strong_fact_wins_over_a_result_that_sees_the_picture_only(passed: str) -> None:
    hooked: Record = shown(hooked_functions=["getUserMedia"])
    orders: list[list[Record]] = [[hooked, told(passed, "pass")], [told(passed, "pass"), hooked]]
    for records in orders:
        assert signals_after(records)["cv_conflict"].value == f"{passed}/media_api_hooked"
    assert "cv_conflict" not in signals_after([shown(upload=True), told(passed, "pass")])
    assert "cv_conflict" not in signals_after([hooked, told("document", "pass")])


@pytest.mark.parametrize("kind", RESULTS)
def test_a_later_capture_takes_a_failure_back_where_the_kind_allows_it(kind: str) -> None:
    rule = RESULTS[kind]  # type: ignore[index]
    again = [told(kind, "fail"), told(kind, "pass", LATER_MS)]
    for records in (again, again[::-1]):
        found = signals_after(records)
        assert (rule.signal in found) != rule.later_stands
    assert rule.signal in signals_after([told(kind, "pass"), told(kind, "fail", LATER_MS)])


@pytest.mark.parametrize("kind", RESULTS)
def test_results_of_one_capture_contest_each_other(kind: str) -> None:
    name = RESULTS[kind].signal  # type: ignore[index]
    rank = ["weak", "medium", "strong"].index
    alone = signals_after([told(kind, "fail")])
    contested = signals_after([told(kind, "fail"), told(kind, "pass", SAME_CAPTURE_MS)])
    assert contested["results_disagree"].value == kind
    assert rank(contested[name].severity) < rank(alone[name].severity)
    assert 0.0 < SCORER.raw(contested) < SCORER.raw(alone)


def test_a_result_counts_in_its_providers_own_terms() -> None:
    scored: dict[str, Any] = {"outcome": "scored", "threshold": 0.4}
    for score, direction, verdict in (
        (0.4, "high_is_risk", "fail"),
        (0.39, "high_is_risk", "pass"),
        (0.4, "high_is_genuine", "pass"),
        (0.39, "high_is_genuine", "fail"),
    ):
        assert verdict_of(told("pad", None, score=score, direction=direction, **scored)) == verdict
    sure: dict[str, Any] = {"score": 1.0, "direction": "high_is_risk"}
    assert verdict_of(told("pad", "pass", **scored, **sure)) == "pass"
    assert verdict_of(told("pad", None, **sure, outcome="scored")) is None


@pytest.mark.parametrize(
    "missing",
    [
        told("injection", None),
        told("injection", "fail", outcome="timeout"),
        told("injection", "fail", outcome="quality_fail"),
        told("injection", "fail", outcome="refused"),
        told("injection", "fail", outcome="error"),
        told("injection", "fail", routing=Routing(arm="a", shadow=True)),
        told("capture_quality", "fail"),
        told("watchlist", "fail"),
    ],
    ids=lambda one: f"{one.kind}-{one.outcome}",
)
def test_what_is_missing_is_neutral(missing: Signal) -> None:
    facts: list[Record] = [shown(upload=True), told("liveness", "pass")]
    assert raw(*facts, missing) == raw(*facts)
    meta = Meta()
    meta.observe_signal(missing, missing.observed_at)
    assert meta.camera is None


def frames(n: int, start_ms: float, *, gap_s: float = 1 / 30, taken_ms: float | None = None) -> Telemetry:
    times = [i * gap_s for i in range(n)]
    taken = [1000.0 * t if taken_ms is None else taken_ms - start_ms for t in times]
    return shown(start_ms, frame_t=[1000.0 * t for t in times], media_t=times, capture_t=taken)


def test_frames_are_judged_over_all_events_of_the_session() -> None:
    batches = [frames(15, 500.0 * k) for k in range(3)]
    assert [
        "frame_interval_too_regular" in signals_after(batches[:k]) for k in (1, 2, 3)
    ] == [False, True, True]  # fmt: skip
    frozen = [frames(15, 500.0 * k, gap_s=0.03 + k / 1000, taken_ms=7.0) for k in range(3)]
    assert set(signals_after(frozen)) == {"capture_time_constant"}
    assert "capture_time_constant" not in signals_after([*frozen, frames(15, 1_500.0, gap_s=0.04)])
    said = shown(reported=CameraTrack(width_px=1280, height_px=720))
    got = shown(500.0, delivered=CameraTrack(width_px=480, height_px=640))
    assert set(signals_after([said, got])) == set(signals_after([got, said])) == {"constraint_challenge_fail"}


WORSE: list[Record] = [
    *(told(kind, "fail", at) for kind in RESULTS for at in (0, 5_000, 30_000)),
    *(told("liveness", "pass", 0, name) for name in ("capture_hash_reuse", "signed_capture_invalid")),
    told("device_attestation", "fail", 0, "rooted", "hook_framework"),
    told("liveness", None, 0, attempt=5),
    shown(hooked_functions=["getUserMedia"]),
    shown(upload=True),
    shown(camera_label="OBS Virtual Camera"),
    shown(camera_label="Dummy video device"),
    shown(camera_switched=True, device_list_changed=True),
]
OTHER: list[Record] = [
    *(told(kind, verdict, at) for kind in RESULTS for verdict in ("pass", "review") for at in (0, 5_000, 30_000)),
    *(frames(20, 500.0 * k) for k in range(2)),
    shown(reported=CameraTrack(width_px=1280, height_px=720), delivered=CameraTrack(width_px=640, height_px=480)),
]
WEAK_HASH = told("liveness", None, 0, "capture_hash_reuse", confidence=0.1)
RECORDS = st.lists(st.sampled_from([*WORSE, *OTHER, WEAK_HASH]), max_size=8, unique_by=id)


@settings(max_examples=150, deadline=None)
@given(RECORDS, st.sampled_from(WORSE))
def test_a_worse_fact_never_lowers_the_risk(records: list[Record], worse: Record) -> None:
    assert raw(*records, worse) >= raw(*records)


@settings(max_examples=150, deadline=None)
@given(RECORDS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(records: list[Record], dice: Any) -> None:
    shuffled = [*records]
    dice.shuffle(shuffled)
    one, other = signals_after(records), signals_after(shuffled)
    assert {name: (value.severity, value.confidence) for name, value in one.items()} == {
        name: (value.severity, value.confidence) for name, value in other.items()
    }
    assert SCORER.raw(one) == SCORER.raw(other)


@given(st.sampled_from(list(RESULTS)), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=8))
def test_what_stands_agrees_with_its_naive_twin(kind: str, said: list[tuple[int, int]]) -> None:
    """Only the latest capture of each verdict is kept; the twin looks at all of them."""
    results = [(("pass", "review", "fail")[verdict], second * 1_000) for verdict, second in said]
    camera = Camera()
    for verdict, at_ms in results:
        camera.judge(told(kind, verdict, at_ms))
    times: Times = camera.results.get(kind, (-1, -1, -1))
    assert standing_of(kind, times) == naive_standing(results, later_stands=RESULTS[kind].later_stands)  # type: ignore[index]


def naive_standing(results: list[tuple[str, int]], *, later_stands: bool) -> str:
    passes = [at for verdict, at in results if verdict == "pass"]
    for verdict, name in (("fail", "refuted"), ("review", "review")):
        standing = [
            at
            for its, at in results
            if its == verdict and not (later_stands and any(passed > at + SAME_CAPTURE_MS for passed in passes))
        ]
        if standing:
            contested = verdict == "fail" and any(passed >= max(standing) - SAME_CAPTURE_MS for passed in passes)
            return "contested" if contested else name
    return "passed" if passes else "unknown"


def test_a_camera_step_is_bounded_however_much_is_told() -> None:
    camera = Camera()
    for width, height in itertools.product(range(100, 200, 7), (100, 50)):
        track = CameraTrack(width_px=width, height_px=height)
        camera.take(Capture(reported=track, delivered=track), START_MS)
    assert len(camera.reported) == len(camera.delivered) == 4


def test_of_two_who_tell_the_same_the_surer_one_counts_whoever_comes_last() -> None:
    unsure, sure = (told("liveness", None, 0, "signed_capture_invalid", confidence=ratio) for ratio in (0.1, 0.95))
    for records in ([unsure, sure], [sure, unsure]):
        assert signals_after(records)["signed_capture_invalid"].confidence == "high"
    assert signals_after([unsure])["signed_capture_invalid"].confidence == "low"
