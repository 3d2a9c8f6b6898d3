"""Errors of upstream results are counted as their standards say: naively counted, and at fixed points, the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dataset import DatasetError
from models.evaluate_results import GENUINE, Errors, Known, Rate, errors_of, interval95, read_known, table
from schemas.signals import Routing, Signal


def result(**more: Any) -> Signal:
    given: dict[str, Any] = {
        "event_id": "r",
        "session_id": "s",
        "tenant": "t",
        "flow": "kyc_capture",
        "effective_at": 1_790_000_000_000,
        "observed_at": 1_790_000_000_900,
        "kind": "pad",
        "provider": "acme",
        "outcome": "no_decision",
    }
    return Signal(**(given | more))


def one(known: list[Known]) -> Errors:
    (found,) = errors_of(known)
    return found


TRUTHS = st.sampled_from([GENUINE, "print", "screen", "mask"])
VERDICTS = st.sampled_from(["pass", "fail", "review", None])


@given(st.lists(st.tuples(TRUTHS, VERDICTS), min_size=1, max_size=60))
def test_each_rate_is_what_counting_gives(told: list[tuple[str, Any]]) -> None:
    found = one([Known(result(verdict=verdict), truth) for truth, verdict in told])

    def count(truth: str, *verdicts: str | None) -> int:
        return len([1 for t, v in told if t == truth and v in verdicts])

    for truth in {truth for truth, _ in told} - {GENUINE}:
        answered = count(truth, "pass", "fail", "review")
        assert found.accepted[truth] == Rate(count(truth, "pass"), answered)
        assert found.unanswered[truth] == Rate(count(truth, None), answered + count(truth, None))
        assert found.reviewed[truth].count == count(truth, "review")
    assert found.refused == Rate(count(GENUINE, "fail"), count(GENUINE, "pass", "fail", "review"))
    shares = [rate.share for rate in found.accepted.values() if rate.of]
    assert (found.worst is None) == (not shares)
    if found.worst is not None:
        assert found.worst[1].share == max(shares)


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=40),
    st.lists(st.tuples(st.sampled_from(["print", "mask"]), st.integers(0, 20)), min_size=1, max_size=40),
    st.booleans(),
)
def test_points_are_those_of_the_best_bar_there_is(
    genuine: list[int], attacks: list[tuple[str, int]], is_genuine_high: bool
) -> None:
    def scored(risk: int) -> Signal:
        if is_genuine_high:
            return result(outcome="scored", score=-float(risk), direction="high_is_genuine")
        return result(outcome="scored", score=float(risk), direction="high_is_risk")

    known = [Known(scored(risk), GENUINE) for risk in genuine] + [Known(scored(r), name) for name, r in attacks]
    found = one(known).points
    for name, point in (("10", 0.1), ("20", 0.05), ("100", 0.01)):
        best = 1.0
        for bar in range(23):
            passed = [
                sum(r < bar for kind, r in attacks if kind == species) / sum(kind == species for kind, _ in attacks)
                for species in {kind for kind, _ in attacks}
            ]
            if max(passed) <= point:
                best = min(best, sum(risk >= bar for risk in genuine) / len(genuine))
        assert found[name] == pytest.approx(best)


def test_a_score_is_judged_beside_its_own_threshold_and_comparisons_count() -> None:
    score = {"outcome": "scored", "score": 0.4, "threshold": 0.5}
    known = [
        Known(result(direction="high_is_risk", **score), "print"),
        Known(result(direction="high_is_genuine", **score), GENUINE),
        Known(result(direction="high_is_genuine", routing=Routing(arm="b", shadow=True), **score), GENUINE),
        Known(result(outcome="timeout", verdict="pass"), "print"),
    ]
    found = one(known)
    assert found.accepted == {"print": Rate(1, 1)}
    assert found.refused == Rate(2, 2)
    assert found.unanswered == {GENUINE: Rate(0, 2), "print": Rate(1, 2)}


def test_providers_versions_and_kinds_are_apart_and_what_judges_no_capture_is_left_out() -> None:
    known = [
        Known(result(kind=kind, provider=provider, model_version=version, verdict="pass"), "print")
        for kind, provider, version in (
            *(("pad", "b", "2"), ("pad", "b", "1"), ("pad", "a", None), ("face_match_1to1", "a", None)),
            *(("watchlist", "a", None), ("bot", "a", None)),
        )
    ]
    found = [(each.kind, each.provider, each.model_version) for each in errors_of(known)]
    assert found == [("face_match_1to1", "a", None), ("pad", "a", None), ("pad", "b", "1"), ("pad", "b", "2")]
    face, pad = table(errors_of(known))[2:4]
    assert "FMR 1.000" in face
    assert "FNMR none" in face
    assert "APCER 1.000 (0.207 to 1.000), 1 of 1: print" in pad


def test_nothing_is_no_rate() -> None:
    assert math.isnan(Rate(0, 0).share)
    assert interval95(0, 0) == (0.0, 1.0)
    assert errors_of([]) == []
    assert one([Known(result(verdict="pass"), GENUINE)]).worst is None


def test_a_file_of_results_is_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    known = [Known(result(verdict="pass"), GENUINE), Known(result(verdict="fail"), "print")]
    path.write_bytes(b"\n\n".join(msgspec.json.encode(each) for each in known))
    assert read_known(path) == known
    path.write_bytes(msgspec.json.encode(known[0]) + b'\n{"truth":"print"}\n')
    with pytest.raises(DatasetError, match="line 2"):
        read_known(path)
