"""What devices that are built or made alike share, and when too little says so."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.meta import Meta
from features.signals import MOST_ALIKE, derive_signals
from features.template import template_of
from features.velocity import WHAT_INDEX
from schemas.telemetry import Device
from tests.features import build
from tests.features.test_signals import CHROME, IPHONE

LOOKS: dict[str, Any] = {
    "user_agent": CHROME,
    "platform": "Win32",
    "gpu_renderer": "ANGLE (NVIDIA, NVIDIA GeForce RTX 3060 (0x00002504) Direct3D11 vs_5_0 ps_5_0, D3D11)",
    "hardware_concurrency": 12,
    "device_memory_gib": 8.0,
    "screen_width_px": 1920.0,
    "screen_height_px": 1080.0,
    "canvas_hash": "c",
    "audio_hash": "a",
    "fonts_hash": "f",
}
ELSEWHERE: dict[str, Any] = {
    "user_agent": CHROME.replace("/130.", "/131."),
    "timezone": "Europe/Berlin",
    "languages": ["de"],
    "language": "de",
    "outer_width_px": 800.0,
    "rtt_ms": 50.0,
}
OTHER: dict[str, Any] = {
    "platform": "Linux x86_64",
    "gpu_renderer": "ANGLE (NVIDIA, NVIDIA GeForce RTX 3070)",
    "hardware_concurrency": 16,
    "device_memory_gib": 4.0,
    "screen_width_px": 2560.0,
    "canvas_hash": "c2",
    "audio_hash": "a2",
    "fonts_hash": "f2",
    "max_touch_points": 10,
}


@given(st.sets(st.sampled_from(sorted(ELSEWHERE))), st.sets(st.sampled_from(sorted(OTHER))))
def test_only_what_differs_between_machines_makes_another_template(place: set[str], machine: set[str]) -> None:
    changes = {name: ELSEWHERE[name] for name in place} | {name: OTHER[name] for name in machine}
    same = template_of(Device(**LOOKS)) == template_of(Device(**(LOOKS | changes)))
    assert same == (not machine)


def test_values_don_t_run_together() -> None:
    first = template_of(Device(**(LOOKS | {"canvas_hash": "ab", "audio_hash": "c"})))
    assert first != template_of(Device(**(LOOKS | {"canvas_hash": "a", "audio_hash": "bc"})))
    assert first is not None
    assert len(first) == 32


@pytest.mark.parametrize(
    "less",
    [
        {"canvas_hash": None, "audio_hash": None},
        {"gpu_renderer": None},
        {"gpu_renderer": "Apple GPU"},
        {"gpu_renderer": "Intel(R) HD Graphics, or similar"},
        {"user_agent": None},
        {"user_agent": IPHONE},
        {"ua_mobile": True},
        {"resist_fingerprinting": True},
        {"canvas_stable": False},
        {"audio_stable": False},
        {"partial": True},
    ],
)
def test_where_too_little_is_told_there_is_no_template(less: dict[str, Any]) -> None:
    assert template_of(Device(**(LOOKS | less))) is None


def test_a_device_that_changes_its_looks_is_counted_anew_and_one_that_tells_nothing_is_not() -> None:
    meta = Meta()
    meta.observe(build.event(device=Device(**LOOKS)), 1)
    first = meta.template_ref
    meta.template_counters, meta.link_bucket_ms = (5,) * 13, 300_000
    meta.observe(build.event(device=Device(user_agent=CHROME)), 2)
    meta.observe(build.event(), 3)
    assert (meta.template_ref, meta.template_counters, meta.link_bucket_ms) == (first, (5,) * 13, 300_000)
    meta.observe(build.event(device=Device(**(LOOKS | {"canvas_hash": "c2"}))), 4)
    assert meta.template_ref not in {None, first}
    assert not meta.template_counters
    assert meta.link_bucket_ms == 0


@pytest.mark.parametrize(
    ("accounts", "addresses", "fires"),
    [
        (MOST_ALIKE, MOST_ALIKE, True),
        (MOST_ALIKE - 1, 500, False),
        (500, MOST_ALIKE - 1, False),
        (500, 500, True),
    ],
)
def test_many_accounts_and_addresses_with_one_look_are_told_as_weak(accounts: int, addresses: int, fires: bool) -> None:
    assert WHAT_INDEX["template"] == {"accounts": 0, "ips": 1}
    part = (0, accounts, accounts, 0, addresses, addresses, *(0,) * 7)
    event = build.event(device=Device(**LOOKS))
    meta = Meta()
    meta.observe(event, 1)
    meta.template_counters = part
    found = derive_signals(event, meta).get("fingerprint_copies")
    assert (found is not None) == fires
    assert found is None or (found.value, found.severity) == (float(accounts), "weak")
