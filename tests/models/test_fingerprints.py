"""Rates of signals on recorded fingerprints: within their limits, and as the reference page shows them."""

from pathlib import Path

import pytest

from features.hardware import cores_fit, memory_fits, memory_is_told, screen_fits
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
        ("ANGLE (Intel, Intel(R) Iris(R) Xe Graphics (0x000046A6) Direct3D11 vs_5_0 ps_5_0)", (12, 16, 20), (8, 7)),
        ("ANGLE (Intel, Intel(R) UHD Graphics (0x00009A49) Direct3D11 vs_5_0 ps_5_0, D3D11)", (8,), (4, 12)),
        ("ANGLE (Intel, Intel(R) Iris(R) Xe Graphics Direct3D11 vs_5_0 ps_5_0, D3D11)", (8, 16, 20), (24, 7)),
        ("ANGLE (AMD, AMD Radeon(TM) Graphics (0x00001900) Direct3D11 vs_5_0 ps_5_0, D3D11)", (12, 16), (4, 8)),
        ("ANGLE (AMD, AMD Radeon(TM) Graphics (0x0000FFFF) Direct3D11 vs_5_0 ps_5_0, D3D11)", (4, 8), (7, 20)),
        ("ANGLE (Intel, Mesa Intel(R) UHD Graphics 620 (WHL GT2), OpenGL 4.6)", (4, 8), (2, 12)),
        ("ANGLE (Intel, Mesa Intel(R) Iris(R) Xe Graphics (TGL GT2), OpenGL 4.6)", (8,), (4,)),
        ("ANGLE (AMD, AMD Ryzen 9 9950X 16-Core Processor (radeonsi raphael), OpenGL 4.6)", (16, 32), (8, 24)),
        ("ANGLE (Qualcomm, Qualcomm(R) Adreno(TM) X1-85 GPU (0x36334330) Direct3D11 vs_5_0)", (10, 12), (8,)),
    ],
)
def test_graphics_of_a_processor_go_with_its_cores(
    renderer: str, fits: tuple[int, ...], not_fits: tuple[int, ...]
) -> None:
    assert all(cores_fit(renderer, cores) is True for cores in fits)
    assert all(cores_fit(renderer, cores) is False for cores in not_fits)


@pytest.mark.parametrize(
    "renderer",
    [
        *("", "Apple GPU", "Apple M1, or similar", "Intel(R) UHD Graphics", "ANGLE (NVIDIA, NVIDIA GeForce RTX 3060)"),
        "ANGLE (NVIDIA, NVIDIA GeForce RTX 3060 (0x00009A49) Direct3D11 vs_5_0 ps_5_0, D3D11)",
    ],
)
def test_graphics_that_name_no_processor_say_nothing(renderer: str) -> None:
    assert cores_fit(renderer, 7) is None
    assert memory_fits(renderer, 2.0, "Chrome/150.0") is None


@pytest.mark.parametrize(
    ("chip", "full", "rounded"),
    [
        ("M1", {8, 16}, {8, 16}),
        ("M2", {8, 16, 32}, {8, 16, 32}),
        ("M1 Pro", {16, 32}, {8, 16, 32}),
        ("M4", {16, 32}, {8, 16, 32}),
        ("M3 Max", {32}, {8, 16, 32}),
        ("M2 Ultra", {32}, {8, 16, 32}),
    ],
)
def test_memory_of_a_mac_is_of_its_processor_as_its_browser_tells_it(
    chip: str, full: set[int], rounded: set[int]
) -> None:
    renderer = f"ANGLE (Apple, ANGLE Metal Renderer: Apple {chip}, Unspecified Version)"
    told = (0.5, 1, 2, 4, 8, 16, 32)
    assert {memory for memory in told if memory_fits(renderer, memory, "Chrome/147.0.0.0")} == full
    assert {memory for memory in told if memory_fits(renderer, memory, "Chrome/146.0.0.0")} == rounded


def test_only_a_browser_that_can_tells_more_than_8_gib() -> None:
    assert memory_is_told(8.0, "Chrome/90.0.0.0")
    assert memory_is_told(32.0, "Chrome/150.0.0.0")
    assert memory_is_told(32.0, "")
    assert not memory_is_told(16.0, "Chrome/139.0.0.0")


@pytest.mark.parametrize(
    ("size", "fits", "not_fits"),
    [
        ((1470, 956), ("Apple M2", "Apple M4"), ("Apple M1", "Apple M1 Pro", "Intel(R) UHD Graphics 630")),
        ((1512, 982), ("Apple M1 Pro", "Apple M3", "Apple M4 Max"), ("Apple M1", "Apple M2", "Apple M2 Ultra")),
        ((1728, 1117), ("Apple M1 Max", "Apple M4 Pro"), ("Apple M3", "Apple M4", "AMD Radeon Pro 5500M")),
    ],
)
def test_a_built_in_screen_is_of_its_mac(
    size: tuple[int, int], fits: tuple[str, ...], not_fits: tuple[str, ...]
) -> None:
    assert all(screen_fits(renderer, *size) is True for renderer in fits)
    assert all(screen_fits(renderer, *size) is False for renderer in not_fits)
    assert all(screen_fits(renderer, 1920, 1080) is None for renderer in fits + not_fits)
    assert screen_fits("Apple GPU", *size) is None
