"""Rates of signals on recorded fingerprints: within their limits, and as the reference page shows them."""

from pathlib import Path

import pytest

from features.hardware import cores_fit
from features.signal_rates import EVASIONS, RATES
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


@pytest.mark.recorded
def test_fingerprints_drawn_as_evasion_tools_do_show_it_as_often_as_the_page_says() -> None:
    require((DATA / "fingerprints").is_dir(), "recorded fingerprints (../shared/data) are not here")
    found = fingerprints.evasion_rates(DATA)
    assert {
        platform: {name: (rate.fired, rate.people) for name, rate in by_name.items()}
        for platform, by_name in found.items()
    } == EVASIONS


@pytest.mark.parametrize(
    ("renderer", "fits", "not_fits"),
    [
        ("ANGLE (Apple, ANGLE Metal Renderer: Apple M1, Unspecified Version)", (8,), (10, 4, 12)),
        ("ANGLE (Apple, ANGLE Metal Renderer: Apple M1 Max, Unspecified Version)", (8, 10), (12,)),
        ("ANGLE (Apple, ANGLE Metal Renderer: Apple M4 Pro, Unspecified Version)", (12, 14), (10, 8)),
        ("ANGLE (Apple, ANGLE Metal Renderer: Apple M4, Unspecified Version)", (8, 10), (12, 14)),
        ("ANGLE (Intel, Intel(R) HD Graphics 620 Direct3D11 vs_5_0 ps_5_0, D3D11)", (2, 4), (8, 16)),
        ("ANGLE (Intel, Intel(R) UHD Graphics 620 (0x00003EA0) Direct3D11 vs_5_0 ps_5_0, D3D11)", (4, 8), (12,)),
        ("ANGLE (Intel, Intel(R) HD Graphics 630 Direct3D11 vs_5_0 ps_5_0, D3D11)", (4, 8), (12, 16)),
        ("ANGLE (Intel, Intel(R) UHD Graphics 630 Direct3D11 vs_5_0 ps_5_0, D3D11)", (12, 16), (24, 3)),
        ("ANGLE (Intel, Intel(R) Iris(R) Xe Graphics (0x000046A6) Direct3D11 vs_5_0 ps_5_0)", (8, 16, 20), (24, 7)),
    ],
)
def test_graphics_of_a_processor_go_with_its_cores(
    renderer: str, fits: tuple[int, ...], not_fits: tuple[int, ...]
) -> None:
    assert all(cores_fit(renderer, cores) is True for cores in fits)
    assert all(cores_fit(renderer, cores) is False for cores in not_fits)


@pytest.mark.parametrize(
    "renderer",
    ["", "Apple GPU", "Apple M1, or similar", "Intel(R) UHD Graphics", "ANGLE (NVIDIA, NVIDIA GeForce RTX 3060)"],
)
def test_graphics_that_name_no_processor_say_nothing(renderer: str) -> None:
    assert cores_fit(renderer, 7) is None
