"""Where the time of a start goes: every phase once, in order, and all of it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.start_clock import PHASES, StartClock, process_age_s


@given(st.floats(0, 100), st.lists(st.floats(0, 100), min_size=len(PHASES) - 1, max_size=len(PHASES) - 1))
def test_the_phases_add_up_to_the_whole(age_s: float, lasted_s: list[float]) -> None:
    now = 1000.0
    start = StartClock(age_s, lambda: now)
    for phase, seconds in zip(PHASES[1:], lasted_s, strict=True):
        now += seconds
        start.ended(phase)
    assert tuple(start.seconds) == PHASES
    assert list(start.seconds.values()) == pytest.approx([age_s, *lasted_s], abs=1e-9)
    assert start.total_s == pytest.approx(age_s + now - 1000.0, abs=1e-9)


def test_it_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    now = 0.0
    start = StartClock(0.25, lambda: now)
    now = 1.0
    start.ended("settings")
    start.tell("worker")
    (record,) = caplog.records
    assert record.getMessage() == "worker ready after 1.25 s"
    told: dict[str, Any] = vars(record)
    assert (told["interpreter_s"], told["settings_s"]) == (0.25, 1.0)


def test_a_process_knows_its_age() -> None:
    code = "import time; time.sleep(0.3); from stream.start_clock import process_age_s as a; print(a())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if sys.platform.startswith("linux"):
        assert 0.25 < float(done.stdout) < 60
        assert process_age_s() > 0.0
    else:
        assert float(done.stdout) == 0.0
