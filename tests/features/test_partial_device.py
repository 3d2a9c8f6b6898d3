"""A device told in parts: with the whole block the same signals as of the whole alone, and never more before."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.meta import Meta
from features.signals import derive_signals
from schemas.risk import SignalValue
from schemas.telemetry import Device, Network, Scope
from tests.features import build
from tests.features.test_signals import CHROME, DEVICE_CUES, FIREFOX, NETWORK_CUES, ORDINARY, changed

FACTS = [name for name in Device.__struct_fields__ if name != "partial"]
MORE: dict[str, list[Any]] = {
    "resist_fingerprinting": [True, False],
    "assistive_technology": [True],
    "ua_mobile": [True, False],
    "devtools_open": [True],
    "worker": [Scope(webdriver=True), Scope(user_agent=FIREFOX, timezone="UTC")],
}
POOL = {
    name: [
        value
        for value in (*(getattr(device, name) for _, device in DEVICE_CUES), *MORE.get(name, ()))
        if value is not None
    ]
    for name in FACTS
}
DEVICES = st.fixed_dictionaries({}, optional={name: st.sampled_from(pool) for name, pool in POOL.items() if pool})
NETWORKS = st.sampled_from([None, *(network for _, network in NETWORK_CUES)])


def told(*devices: Device | None, network: Network | None) -> list[dict[str, SignalValue]]:
    """The session's signals after each event, one a device block."""
    meta, found = Meta(), []
    for sequence, device in enumerate(devices):
        event = build.event(500.0 * sequence, sequence=sequence, device=device, network=network)
        meta.observe(event, event.observed_at)
        found.append(derive_signals(event, meta))
    return found


def counted(signals: dict[str, SignalValue]) -> set[str]:
    return {name for name, signal in signals.items() if signal.exempt is None}


@given(DEVICES, st.lists(st.sets(st.sampled_from(FACTS)), min_size=1, max_size=3), NETWORKS)
def test_parts_and_the_whole_give_what_the_whole_alone_gives(
    facts: dict[str, Any], parts: list[set[str]], network: Network | None
) -> None:
    whole = Device(**facts)
    # What the app declares goes with the first event: it is not read.
    parts = [part | {"assistive_technology"} for part in parts]
    partial = [Device(**{name: value for name, value in facts.items() if name in part}, partial=True) for part in parts]
    *before, after = told(*partial, whole, network=network)
    *_, alone = told(*(None for _ in partial), whole, network=network)
    assert after == alone
    for signals in before:
        assert counted(signals) <= counted(alone)


@pytest.mark.parametrize("agent", [CHROME.replace("Chrome/", "HeadlessChrome/"), CHROME])
def test_what_nothing_excuses_is_found_in_the_first_part(agent: str) -> None:
    first = Device(user_agent=agent, webdriver=True, languages=[], partial=True)
    (signals,) = told(first, network=None)
    assert {"webdriver_true", "languages_empty"} <= counted(signals)
    assert ("headless_ua" in signals) == ("Headless" in agent)


def test_what_a_privacy_mode_excuses_waits_for_the_whole() -> None:
    """Firefox says of its privacy mode only by what it draws, which takes longest to learn."""
    facts = ORDINARY["linux firefox"] | {"platform": "Win32"}
    network = Network(languages=["en-US"])
    private = Device(**facts, resist_fingerprinting=True)
    first, then = told(Device(**facts, partial=True), private, network=network)
    assert first == {}
    assert then["ua_platform_mismatch"].exempt == "privacy_mode"
    (open_,) = told(Device(**facts), network=network)
    assert counted(open_) == {"ua_platform_mismatch"}


def test_a_part_is_a_device_that_was_seen() -> None:
    event = build.event(device=changed(partial=True))
    vectors = build.fold([event, build.event(500.0, sequence=1, device=changed())])
    assert build.value(vectors[0], "session_device_seen") == build.value(vectors[1], "session_device_seen") == 1.0


def test_a_part_reads_back_as_it_was_written() -> None:
    device = Device(webdriver=True, partial=True)
    assert msgspec.json.decode(msgspec.json.encode(device), type=Device) == device
