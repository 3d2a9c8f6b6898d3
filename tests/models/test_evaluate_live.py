"""Calibration on live people, measured on sources that are made up: who streams in, who is judged, what is told."""

from __future__ import annotations

import numpy as np
import pytest

from models import evaluate_live
from models.evaluate_live import LiveResult, LiveStream, live_targets, live_text, measure
from models.evaluate_report_targets import targets_text
from models.evaluate_stats import Interval


def stream(n_people: int, n_bots: int, *, apart: float = 4.0, persons: int = 0, name: str = "made") -> LiveStream:
    """People and bots whose raw scores are `apart`; `persons` 0: each session is its own."""
    rng = np.random.default_rng(1)
    n = n_people + n_bots
    unit = [f"p{i % persons}" if persons and i < n_people else f"s{i}" for i in range(n)]
    return LiveStream(
        name, "anytime", np.concatenate([rng.normal(size=n_people), rng.normal(apart, 1.0, n_bots)]), np.asarray(unit),
        np.asarray([""] * n_people + ["bot"] * n_bots), np.full(n, 5.0),
    )  # fmt: skip


def of(results: list[LiveResult], asked: int, trusted: float, bots: float) -> LiveResult:
    (one,) = [r for r in results if (r.asked, r.trusted, r.bots) == (asked, trusted, bots)]
    return one


def test_trusted_people_keep_what_is_found_and_without_them_bots_hide_themselves() -> None:
    results = measure([stream(2_400, 800)], draws=6)
    for bots in (0.0, 0.05, 0.1, 0.3):
        with_them, without = of(results, 1_000, 0.25, bots), of(results, 1_000, 0.0, bots)
        assert with_them.people_flagged.value < 0.03
        assert with_them.bots_found.value > 0.85
        assert without.people_flagged.value < 0.03
        assert (without.bots_found.value > 0.85) == (bots == 0.0)
        assert with_them.sessions == 1_000


def test_who_streams_in_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    one = stream(300, 100, persons=20)
    taken: list[int] = []
    served = evaluate_live._served

    def noted(stream: LiveStream, i: int, *, known: bool) -> object:
        taken.append(i)
        return served(stream, i, known=known)

    monkeypatch.setattr(evaluate_live, "_served", noted)
    drawn = evaluate_live._draw(one, 120, 0.25, 0.3, np.random.default_rng(3))
    assert drawn is not None
    _, test, n = drawn
    assert (n, len(taken), len(set(taken))) == (120, 120, 120)
    assert not set(one.unit[taken].tolist()) & set(one.unit[test].tolist())
    # Three quarters are vouched for by nobody, and of these three in ten are bots.
    assert sum(one.family[taken] == "bot") == 27


def test_a_source_with_fewer_sessions_gives_what_it_has_and_is_not_counted() -> None:
    results = measure([stream(900, 0, name="few"), stream(60, 40, name="none")], draws=2)
    assert {(r.source, r.bots) for r in results} == {("few", 0.0)}
    assert {(r.asked, r.sessions) for r in results} == {(300, 300), (1_000, 450)}
    targets = live_targets(results)
    by_size = [t for t in targets if t.figure.startswith("people")]
    assert [list(t.each) for t in by_size] == [["few with 0% bots"], []]
    assert by_size[1].not_counted == ["few (there are 450)"]
    assert np.isnan(targets[1].worst.value)
    text = targets_text(targets, [])
    assert "few (there are 450)" in text
    assert live_text(results).count("| `few` |") == 4


def test_what_counts_is_the_worst_source_and_share_of_bots() -> None:
    def result(source: str, bots: float, flagged: float, found: float, trusted: float = 0.25) -> LiveResult:
        people, caught = (Interval(value, value - 0.01, value + 0.01) for value in (flagged, found))
        return LiveResult(source, "sessions, any time", 300, 300, trusted, bots, people, caught)

    results = [result("a", 0.0, 0.03, 0.9), result("b", 0.3, 0.02, 0.5), result("a", 0.3, 0.9, 0.1, trusted=0.0)]
    people, bots = live_targets(results)[:2]
    assert (people.worst_of, people.worst.value, people.higher) == ("a with 0% bots", 0.03, False)
    assert (bots.worst_of, bots.worst.value, bots.higher) == ("b with 30% bots", 0.5, True)
