"""The contract of the signal table: each signal has a case in which it fires, and one near it in which it does not."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import document
from features.meta import Meta
from features.registry import N_FEATURES
from features.signals import SIGNALS, derive_signals, signals_of
from schemas.signals import Finding, Routing
from schemas.telemetry import Device, Network
from tests.features import build
from tests.features.signal_cases import CALL, FIRES, SHARED, SILENT, camera, signal, upstream
from tests.features.test_signals import (
    CHROME,
    ORDINARY,
    fired,
    vector,
)


def test_the_table_and_its_cases_are_the_same() -> None:
    assert set(SIGNALS) == set(FIRES) == set(SILENT)


@pytest.mark.parametrize("name", SIGNALS)
def test_each_signal_fires_on_its_cue(name: str) -> None:
    found = FIRES[name]()
    assert name in found
    assert (found[name].severity, found[name].exempt) == (SIGNALS[name].severity, None)


@pytest.mark.parametrize("name", SIGNALS)
def test_each_signal_stays_silent_near_its_cue(name: str) -> None:
    assert name not in SILENT[name]()


@given(
    st.lists(
        st.tuples(st.sampled_from([*SIGNALS, "unknown"]), st.sampled_from([True, False, None, 1.0, "yes"])), max_size=8
    ),
    st.sampled_from(["device_attestation", "ip_reputation", "injection", "watchlist", "bot"]),
    st.sampled_from(["no_decision", "timeout", "error"]),
    st.booleans(),
    st.sampled_from([None, 0.2, 0.5, 0.95]),
)
def test_what_is_accepted_is_what_the_table_lets_that_kind_say(
    said: list[tuple[str, Any]], kind: str, outcome: str, shadow: bool, confidence: float | None
) -> None:
    result = signal(
        kind=kind,
        outcome=outcome,
        confidence=confidence,
        findings=[Finding(name=name, value=value) for name, value in said],
        routing=Routing(arm="a", shadow=shadow),
    )
    found = upstream(result, row=vector())
    usable = outcome == "no_decision" and not shadow
    told_true = {name for name, value in said if value is True and name in SIGNALS}
    assert set(found) == {name for name in told_true if usable and kind in SIGNALS[name].accepted_from}
    level = {None: None, 0.2: "low", 0.5: "medium", 0.95: "high"}[confidence]
    assert all(value.confidence == (level or SIGNALS[name].confidence) for name, value in found.items())


EDGE: dict[str, Any] = {
    "asn_type": "residential",
    "ip_country": "DE",
    "timezone": "Europe/Berlin",
    "tls_class": "chrome",
}
EDGE |= {"tcp_os": "windows", "user_agent": CHROME, "ua_platform": "Windows"}


@given(st.sampled_from(sorted(ORDINARY)), st.data())
def test_whatever_is_missing_of_an_ordinary_session_fires_nothing(name: str, data: st.DataObject) -> None:
    kept = data.draw(st.sets(st.sampled_from(sorted(ORDINARY[name]) or ["user_agent"])))
    told = data.draw(st.sets(st.sampled_from(sorted(EDGE)))) if name == "windows chrome" else set()
    device = Device(**{key: value for key, value in ORDINARY[name].items() if key in kept})
    network = Network(**{key: value for key, value in EDGE.items() if key in told})
    assert fired(build.event(device=device, network=network), vector(), Meta()) == {}


def test_a_result_asked_for_comparison_is_no_part_of_the_session() -> None:
    meta = Meta()
    upstream(signal(kind="liveness", verdict="pass", routing=Routing(arm="a", shadow=True)), meta=meta)
    assert (meta.upstream, meta.recent_signals) == ([], ["u0"])
    assert meta.camera is None


def test_a_chunk_reads_upstream_results_as_one_by_one() -> None:
    short, long = Meta(), Meta()
    results = [
        signal(event_id="a", kind="device_reputation", findings=[CALL, SHARED]),
        signal(event_id="b", kind="liveness", verdict="pass"),
        signal(event_id="c", kind="injection", verdict="fail"),
    ]
    row = np.full((1, N_FEATURES), np.nan)
    for result in results:
        for meta in (short, long):
            meta.observe_signal(result, 0)
        assert signals_of([result], [short], row, np.zeros(1, np.bool_)) == [derive_signals(result, long, row[0])]
    assert msgspec.msgpack.encode(short) == msgspec.msgpack.encode(long)
    assert "cv_conflict" in short.signals


def test_what_is_installed_is_apart_from_what_is_in_use() -> None:
    installed = [definition for definition in SIGNALS.values() if definition.installed]
    assert installed
    assert all(definition.severity == "weak" for definition in installed)
    assert "virtual_camera_installed" not in camera("OBS Virtual Camera")


def test_the_page_shows_every_signal_once() -> None:
    text = document.render()
    assert [name for name in SIGNALS if text.count(f"\n| `{name}` |") != 1] == []
