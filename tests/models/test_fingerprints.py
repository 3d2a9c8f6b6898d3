"""Rates of signals on recorded fingerprints: within their limits, and as the reference page shows them."""

from pathlib import Path

import pytest

from features.signal_rates import RATES
from features.signal_table import SIGNALS
from models import fingerprints
from schemas.telemetry import Device
from tests.support import require

DATA = Path(__file__).parents[3] / "shared" / "data"
LIMITS = {"strong": 0.001, "medium": 0.01, "weak": 1.0}


def test_the_committed_figures_keep_the_limits_of_severity() -> None:
    for name, (fired, people) in (*RATES[fingerprints.PEOPLE].items(), *RATES[fingerprints.SESSIONS].items()):
        assert people > 300
        assert fired / people <= LIMITS[SIGNALS[name].severity], name


def test_the_committed_figures_are_of_the_signals_that_can_be_seen() -> None:
    of_sessions = {fingerprints.SESSIONS: tuple(RATES[fingerprints.SESSIONS])}
    assert {recording: tuple(by_name) for recording, by_name in RATES.items()} == fingerprints.SHOWN | of_sessions


def test_an_excused_signal_is_not_counted() -> None:
    assert fingerprints.signals_of(Device(canvas_stable=False)) == {"canvas_noise"}
    assert fingerprints.signals_of(Device(canvas_stable=False, resist_fingerprinting=True)) == frozenset()


@pytest.mark.recorded
def test_signals_fire_for_people_as_often_as_the_page_says() -> None:
    require((DATA / "fingerprints").is_dir(), "recorded fingerprints (../shared/data) are not here")
    found = fingerprints.rates(DATA) | {fingerprints.SESSIONS: fingerprints.session_rates(DATA / "sessions.parquet")}
    assert {
        recording: {name: (rate.fired, rate.people) for name, rate in by_name.items()}
        for recording, by_name in found.items()
    } == RATES
