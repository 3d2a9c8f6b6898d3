"""Which upstream results vouch for a session, and that the session keeps it."""

from __future__ import annotations

import pytest

from features.meta import Meta
from features.vouching import AGED_DAYS, vouched_by
from schemas.envelope import decode_signal
from schemas.signals import Finding, Routing, Signal
from tests.support import pages


def signal(kind: str = "other", outcome: str = "no_decision", **more: object) -> Signal:
    found = more.pop("found", {})
    known = {"event_id": "e", "session_id": "s", "tenant": "t", "flow": "login", "effective_at": 1, "observed_at": 1}
    more["findings"] = [Finding(name=name, value=value) for name, value in found.items()] or None  # type: ignore[attr-defined]
    return Signal(**(known | more), kind=kind, provider="p", outcome=outcome)  # type: ignore[arg-type]


PASSED = {"score": 0.1, "direction": "high_is_risk", "verdict": "pass"}


@pytest.mark.parametrize(
    ("one", "stepped_up", "wanted"),
    [
        (signal("identity_data", found={"account_age_days": float(AGED_DAYS)}), False, "trusted"),
        (signal("identity_data", found={"account_age_days": AGED_DAYS - 0.5}), True, ""),
        (signal("identity_data", found={"account_age_days": True}), False, ""),
        (signal("identity_data", found={"account_age_days": "999"}), False, ""),
        (signal("email_reputation", found={"account_age_days": 999.0}), False, ""),
        (signal("liveness", "scored", **PASSED), True, "trusted"),
        (signal("liveness", "scored", **PASSED), False, ""),
        (signal("liveness", "scored", **(PASSED | {"verdict": "review"}), found={"step_up": "passed"}), True, ""),
        (signal("bot", "scored", **PASSED), True, ""),
        (signal("liveness", "timeout", found={"step_up": "passed"}), True, ""),
        (signal(found={"step_up": "passed"}), False, "trusted"),
        (signal(found={"step_up": "passed", "control": True}), False, "control"),
        (signal(found={"step_up": "passed", "control": 1.0}), False, "trusted"),
        (signal(found={"step_up": "failed", "control": True}), True, ""),
    ],
)
def test_only_what_was_verified_vouches(one: Signal, stepped_up: bool, wanted: str) -> None:
    assert vouched_by(one, stepped_up=stepped_up) == wanted


def test_a_session_keeps_who_vouched_for_it_and_a_shadow_never_does() -> None:
    meta = Meta(latched_action="step_up")
    meta.observe_signal(signal(event_id="a", found={"step_up": "passed"}, routing=Routing(arm="x", shadow=True)), 1)
    assert [meta.vouched] == [""]
    meta.observe_signal(signal("document", "scored", event_id="b", **PASSED), 2)
    assert meta.vouched == "trusted"
    meta.observe_signal(signal(event_id="c", found={"step_up": "passed", "control": True}), 3)
    assert meta.vouched == "trusted"


def test_the_result_that_the_guide_shows_is_valid_and_vouches() -> None:
    (shown,) = pages.blocks("docs/how-to/calibrate-on-live-people.md", "json")
    assert vouched_by(decode_signal(shown.encode(), None), stepped_up=False) == "trusted"
