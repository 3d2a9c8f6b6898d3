"""The report is rendered from figures alone, section by section, and the guard's verdict from two ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import plots, report
from bench.environments import IN_DRAIN, ROOT
from bench.figures import Spread
from bench.guard import FILE, Reference, verdict
from bench.plan import PLANS


def drained(per_s: float) -> dict[str, float]:
    return {"events_per_s": per_s, "worker_us": 1e6 / per_s, "broker_us": 20.0, "store_us": 5.0, "peak_mb": 250.0}


def looped(p50_ms: float) -> dict[str, float]:
    found = {"per_s": 100.0, "p50_ms": p50_ms, "p99_ms": 3 * p50_ms, "p999_ms": 9 * p50_ms, "max_ms": 20 * p50_ms}
    return found | {"sent_late_p99_ms": 0.1}


RESULTS: dict[str, Any] = {
    "machine": {"processor": "a processor"},
    "versions": {"naive Faust": {"faust-streaming": "0.15.3"}},
    "drain": {
        "events": 1_000,
        "runs": {"tellwire": [drained(8_000), drained(10_000)], "naive Faust": [drained(400), drained(250)]},
        "skipped": {"Bytewax": "no wheel for this Python"},
        "command": "python -m bench",
    },
    "latency": {
        "rates": [100.0],
        "seconds": 15.0,
        "runs": {"tellwire": [[looped(2.0)], [looped(4.0)]], "echo": [[looped(1.0)], [looped(1.0)]]},
    },
    "scale": {"runs": {"sessions 10000": [drained(8_000)], "sessions 1000": [drained(4_000)]}},
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
    drain = next(line for line in text.splitlines() if line.startswith("| naive Faust | 325"))
    assert "30.0 (20.0 to 40.0)" in drain
    echo = next(line for line in text.splitlines() if "times the echo's" in line)
    assert "3.00 (2.00 to 4.00)" in echo
    assert "| 1,000 sessions | 250 (250 to 250) | 2.00 (2.00 to 2.00) |" in text
    assert "1.75 (1.50 to 2.00) times the import" in text
    assert "25% of the risk events have reasons" in text
    assert "Bytewax was left out: no wheel for this Python" in text
    assert "| features and models: p50 | 80.0 |" in text
    assert "No profile: no permission" in text


@pytest.mark.parametrize("name", [name for name in RESULTS if name not in {"machine", "versions"}])
def test_each_section_stands_alone_and_what_was_not_measured_is_not_told(name: str) -> None:
    alone = report.render({name: RESULTS[name]})
    assert alone.count("\n## ") == 2  # it, and the contestants
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
    assert [report.shown(value) for value in (12_345.6, 99.94, 1.234, 0.0)] == ["12,346", "99.9", "1.23", "0.00"]


def test_the_guard_holds_within_its_margin_and_says_why_beyond() -> None:
    reference = Reference(1.2, 0.1)
    assert verdict(Spread(1.31, 1.2, 1.6), reference) is None
    why = verdict(Spread(1.34, 1.2, 1.6), reference)
    assert why is not None
    assert "1.34 times" in why
    assert "limit 1.32" in why


def test_the_committed_reference_is_readable_and_its_margin_moderate() -> None:
    reference = msgspec.json.decode(FILE.read_bytes(), type=Reference)
    assert 0.9 < reference.worker_to_loop_cpu < 3.0
    assert 0.0 < reference.margin <= 0.25


def test_plans_grow() -> None:
    smoke, short, full = (PLANS[name] for name in ("smoke", "short", "full"))
    assert smoke.events < short.events < full.events
    assert set(short.loads()) < set(full.loads())
    assert "sessions 1000000" in full.loads()
    assert full.memory_s == 1_800.0
