"""A session's verdict agrees with a naive reading of its risk events, in whatever order they come."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from features.signals import SIGNALS
from schemas.risk import CHANNELS, ChannelScore, RiskEvent, Scores, SignalValue
from schemas.telemetry import Collector, Telemetry
from stream.redteam.verdict import WAYS, judge, way_of
from tests.stream.demo.fake_worker import risk_of

BAR = 0.95
NAMES = ("webdriver_true", "zero_ms_hold", "media_api_hooked", "payload_replayed", "rtt_zero")
SCORE = st.none() | st.sampled_from((0.0, 0.5, 0.9499, 0.95, 0.99))


def event_of(sequence: int, **changes: Any) -> RiskEvent:
    telemetry = Telemetry(
        event_id=f"e{sequence}", session_id="s", tenant="t", flow="signup", sequence=sequence, effective_at=1,
        observed_at=1_000 + sequence, collector=Collector(name="c", version="1"),
    )  # fmt: skip
    return msgspec.structs.replace(risk_of(telemetry, 0, 0), **changes)


@st.composite
def risk_events(draw: st.DrawFn) -> list[RiskEvent]:
    events = []
    for sequence in range(draw(st.integers(1, 6))):
        channels = {}
        for name in CHANNELS:
            score = draw(SCORE)
            channels[name] = ChannelScore(state="scored" if score is not None else "no_data", score_anytime=score)
        names = draw(st.lists(st.sampled_from(NAMES), unique=True))
        signals = {
            name: SignalValue(
                value=draw(st.sampled_from((True, False, 0.5))), severity=SIGNALS[name].severity, confidence="high",
                exempt=draw(st.sampled_from((None, None, "privacy_mode"))),
            )
            for name in names
        }  # fmt: skip
        overall = draw(st.sampled_from((0.1, 0.6, 0.97)))
        plain = event_of(sequence)
        action = draw(st.sampled_from(("allow", "step_up", "block")))
        events.append(
            event_of(
                sequence, signals=signals, scores=Scores(overall=overall, overall_anytime=overall, **channels),
                decision=msgspec.structs.replace(plain.decision, action=action), observed_s=0.5 * (sequence + 1),
            )
        )  # fmt: skip
    return events


def naive(events: list[RiskEvent]) -> dict[str, float]:
    """Each way's first second, event by event and way by way."""
    found = {}
    for way in WAYS:
        for event in events:
            holds = way == "overall" and event.decision.action != "allow"
            for name in CHANNELS:
                channel = getattr(event.scores, name)
                here = "behaviour" if name == "bot" else name
                if here == way and channel.score_anytime is not None and channel.score_anytime >= BAR:
                    holds = True
            for signal, value in event.signals.items():
                category = SIGNALS[signal].category
                stands = {"capture": "injection", "behaviour": "behaviour"}.get(category, "device")
                if signal == "payload_replayed":
                    stands = "replay"
                fired = value.exempt is None and value.value is not False and value.severity == "strong"
                holds = holds or (stands == way and fired)
            if holds:
                found[way] = event.observed_s
                break
    return found


@given(risk_events(), st.randoms())
def test_each_way_finds_a_session_when_a_naive_reading_does(events: list[RiskEvent], dice: Any) -> None:
    shuffled = dice.sample(events, len(events))
    verdict = judge(shuffled, BAR)
    assert verdict is not None
    assert verdict.found_after_s == naive(events)
    assert verdict.events == len(events)
    assert verdict.action == events[-1].decision.action
    assert bool(verdict.first_by) == ("overall" in verdict.found_after_s)


def test_a_session_without_events_has_no_verdict() -> None:
    assert judge([], BAR) is None


def test_every_signal_belongs_to_a_way() -> None:
    assert {way_of(name) for name in SIGNALS} <= set(WAYS) - {"overall"}
    assert way_of("virtual_camera_label") == "injection"
    assert way_of("a signal of tomorrow") == "device"
