"""Report and pages are rendered from figures alone, section by section, and every target's verdict from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import markdown, pages, plots, report, summary
from bench.__main__ import RESULTS as COMMITTED
from bench.environments import IN_DRAIN, ROOT
from bench.figures import Spread
from bench.plan import PLANS


def drained(per_s: float) -> dict[str, float]:
    found = {"events_per_s": per_s, "worker_us": 1e6 / per_s, "main_thread_us": 0.8e6 / per_s, "peak_mb": 250.0}
    found |= {"broker_us": 20.0, "store_us": 5.0, "worker_core": 0.98, "other_core": 0.5, "records_a_chunk": 180.0}
    return found


def looped(p50_ms: float) -> dict[str, float]:
    found = {"per_s": 100.0, "p50_ms": p50_ms, "p99_ms": 3 * p50_ms, "p999_ms": 9 * p50_ms, "max_ms": 20 * p50_ms}
    return found | {
        "sent_late_p99_ms": 0.1,
        "last_late_ms": 0.1,
        "worker_us": 300.0,
        "worker_core": 0.3,
        "other_core": 0.4,
    }


RESULTS: dict[str, Any] = {
    "machine": {"processor": "a processor"},
    "versions": {"naive Faust": {"faust-streaming": "0.15.3"}},
    "drain": {
        "events": 1_000,
        "runs": {
            "tellwire": [drained(8_000), drained(10_000)],
            "hand-written loop": [drained(10_000), drained(10_000)],
            "naive Faust": [drained(400), drained(250)],
            "Quix Streams": [drained(1_000), drained(1_000)],
        },
        "skipped": {"Bytewax": "no wheel for this Python"},
        "command": "python -m bench",
    },
    "latency": {
        "rates": [100.0],
        "seconds": 15.0,
        "runs": {"tellwire": [[looped(2.0)], [looped(4.0)]], "echo": [[looped(1.0)], [looped(1.0)]]},
    },
    "scale": {"runs": {"sessions 10000": [drained(8_000)] * 2, "sessions 1000": [drained(4_000)]}},
    "stages": {"chunks": {"1": {"decode": 20.0, "read": 30.0}, "256": {"decode": 4.0, "read": 5.0}}},
    "workload": {
        "events": 1_000,
        "actions": {"allow": 0.93, "step_up": 0.07},
        "levels": {"low": 0.8},
        "with_reasons": 0.25,
        "input_bytes": {"p10": 500, "p50": 800, "p90": 900},
        "output_bytes_mean": 2_500.0,
    },
    "scoring": {"events": 100.0, "features and models: p50, µs": 80.0},
    "stalls": {
        "per_s": 1_000.0,
        "backlog": {"p99_ms": 1.0, "p999_ms": 2.0, "max_ms": 6.0, "looks": 1_000.0},
        "open_loop": {"p99_ms": 1.0, "p999_ms": 2.0, "max_ms": 6.0, "looks": 1_000.0},
    },
    "memory": {
        "per_s": 1_000.0,
        "seconds": 120.0,
        "floor_mb": 180.0,
        "points": [(0.0, 240.0), (60.0, 244.0)],
        "mb_per_hour": 0.5,
    },
    "store": {
        "sessions": 1_000,
        "bytes_per_session": 900.0,
        "counter_keys": 10,
        "counter_bytes_per_session": 300.0,
        "other_bytes": 100.0,
    },
    "start": {"ready_s": [3.0, 3.2], "import_s": [2.0, 1.6]},
    "flame": {"why_not": "no permission"},
}


def test_ratios_in_the_report_are_of_the_same_repetition() -> None:
    text = report.render(RESULTS)
    assert "| naive Faust | 30.0 (20.0 to 40.0) | 325 (250 to 400) | 3,250 (2,500 to 4,000) |" in text
    echo = next(line for line in text.splitlines() if "**times the echo's**" in line)
    assert "3.00 (2.00 to 4.00)" in echo
    assert "| 1,000 sessions | 2.00 | 250 | 4,000 | 250 | 1 |" in text
    assert "did not keep the pace" not in text
    assert "1.75 (1.50 to 2.00) times the import" in text
    assert "25% of the risk events have reasons" in text
    assert "Bytewax was left out: no wheel for this Python" in text
    assert "| features and models: p50 | 80.0 |" in text
    assert "No profile: no permission" in text


@pytest.mark.parametrize("name", [name for name in RESULTS if name not in {"machine", "versions"}])
def test_each_section_stands_alone_and_what_was_not_measured_is_not_told(name: str) -> None:
    alone = report.render({name: RESULTS[name]})
    assert alone.count("\n## ") == 3  # how it is measured, it, and the contestants
    assert "None" not in alone


def test_every_contestant_and_its_lock_is_named() -> None:
    text = report.render({})
    for one in IN_DRAIN:
        assert f"| {one.name} |" in text
        assert (ROOT / "requirements" / f"{one.lock or 'run'}.txt").is_file()


def test_plots_are_drawn_and_shown(tmp_path: Path) -> None:
    drawn = plots.draw(RESULTS, tmp_path)
    assert drawn == ["drain.svg", "latency.svg", "scale.svg", "memory.svg"]
    again = {name: (tmp_path / name).read_bytes() for name in drawn}
    plots.draw(RESULTS, tmp_path)
    assert again == {name: (tmp_path / name).read_bytes() for name in drawn}
    assert "![drain](plots/drain.svg)" in report.render(RESULTS, [f"plots/{name}" for name in drawn])


def test_a_number_is_shown_with_about_three_digits() -> None:
    assert [markdown.shown(value) for value in (12_345.6, 99.94, 1.234, 0.0)] == ["12,346", "99.9", "1.23", "0.00"]


def test_plans_grow() -> None:
    smoke, short, full = (PLANS[name] for name in ("smoke", "short", "full"))
    assert smoke.events < short.events < full.events
    assert set(short.loads()) < set(full.loads())
    assert "sessions 1000000" in full.loads()
    assert full.memory_s == 1_800.0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("drain of a backlog, times naive Faust's", "| **30.0** | 20.0 to 40.0 | ≥ 25 | ≥ 45 | met |"),
        ("drain, times the best peer's", "| **9.00** | 8.00 to 10.0 | ≥ 8 | ≥ 15 | met |"),
        ("drain, times the hand-written loop's", "| **0.90** | 0.80 to 1.00 | ≥ 0.8 | ≥ 0.95 | met |"),
        ("latency at 100 events/s, p50, times the echo's", "| **3.00** | 2.00 to 4.00 | ≤ 3 | ≤ 2 | met |"),
        ("latency at half of the drain rate, p99, times the echo's", "| **3.00** | 2.00 to 4.00 | ≤ 5 | ≤ 3 | "),
        ("CPU time of the worker an event, backlog", "| **112** µs | 100 to 125 | ≤ 45 | ≤ 30 | **not met** |"),
        ("longest stall of the loop", "| **6.00** ms |  | ≤ 10 | ≤ 5 | met |"),
        ("worker's memory under load, above its imports", "| **64.0** MB | 60.0 to 64.0 | ≤ 120 | ≤ 60 | met |"),
        ("growth of that memory over the second half", "| **0.01** MB |  | ≤ 5 |  | met |"),
        ("Redis memory a live session, counters apart", "| **900** bytes |  | ≤ 2,000 | ≤ 1,000 | aim reached |"),
        ("start to ready, times the import of its modules", "| **1.75** | 1.50 to 2.00 | ≤ 1.5 |  | **not met** |"),
    ],
)
def test_each_figure_stands_beside_what_it_must_be(name: str, told: str) -> None:
    lines = report.render(RESULTS).splitlines()
    assert next(line for line in lines if line.startswith(f"| {name} |")).startswith(f"| {name} {told}")


def test_growth_with_the_load_is_told_only_of_what_was_measured_up_to_its_end() -> None:
    def names(runs: dict[str, Any]) -> list[str]:
        return [row.target.name for row in summary.rows({"scale": {"runs": runs}})]

    runs = {"sessions 10000": [drained(8_000)] * 2, "sessions 1000": [drained(10_000)] * 2}
    assert names(runs) == []
    runs |= {"sessions 1000000": [drained(5_000)], "workers 2": [drained(7_000)] * 2, "workers 3": [drained(8_000)] * 2}
    assert len(names(runs)) == 2
    sessions, workers = summary.rows({"scale": {"runs": runs}})
    assert sessions.found == pytest.approx((2.0, 2.0, 2.0))
    assert sessions.is_missed
    assert workers.found.median == pytest.approx(8 / 7)
    assert not workers.is_missed


def test_every_target_that_is_not_met_says_what_bounds_it() -> None:
    for target in summary.TARGETS:
        assert target.bound.endswith("."), target.name
        worst = target.least * (0.5 if target.is_high_good else 2.0)
        (line,) = report.unmet([summary.Row(target, Spread(worst, worst, worst), "**not met**")])
        assert line.endswith(target.bound)


def test_pages_are_rendered_between_their_marks_only() -> None:
    page = "# A\n\n<!-- bench: stages -->\nold\n<!-- bench: end -->\n\nB\n<!-- bench: parts -->\n<!-- bench: end -->\n"
    new = pages.rendered(page, RESULTS)
    assert new.startswith("# A\n\n<!-- bench: stages -->\n\n| µs an event |")
    assert "old" not in new
    assert "| **all** | **50.0** | **9.0** |" in new
    assert pages.rendered(new, RESULTS) == new
    assert "not measured yet" in pages.rendered(new, {})


def test_report_and_pages_that_are_committed_tell_the_committed_figures() -> None:
    results = json.loads(COMMITTED.read_text(encoding="utf-8")) if COMMITTED.is_file() else {}
    for name in pages.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert pages.rendered(page, results) == page, f"{name}: run `make bench ARGS=--report`"
    if results:
        drawn = [f"plots/{name}" for name in plots.there(COMMITTED.with_name("plots"))]
        text = COMMITTED.with_name("REPORT.md").read_text(encoding="utf-8")
        assert text == report.render(results, drawn), "run `make bench ARGS=--report`"


def test_a_generator_that_fell_behind_is_told() -> None:
    slow = looped(2.0) | {"last_late_ms": 900.0}
    runs = {"tellwire": [[looped(2.0), slow]], "echo": [[looped(1.0), looped(1.0)]]}
    text = report.render({"latency": {"rates": [100.0, 6_000.0], "seconds": 8.0, "runs": runs}})
    assert "At 100 events a second it did not keep the pace" in text
