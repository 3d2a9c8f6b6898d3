"""Which upstream results show that a genuine person is behind a session: the trusted cohort of live calibration.

None of them looks at behaviour, so who is trusted does not depend on the scores that are ranked among them. Three ways,
all by the door that only the operator's own systems may write to: an account of long standing, a step-up that was
passed, and a step-up that the operator asked of a random share, whatever the score, and that was passed (`control`).
"""

from typing import Final, Literal

from schemas.signals import Signal

AGED_DAYS: Final = 180
"""Least age of an account that is trusted, days."""
STEP_UPS: Final = frozenset({"liveness", "face_match_1to1", "document"})
"""Kinds of results that answer a step-up by themselves, once the session was asked for one."""

Vouched = Literal["", "trusted", "control"]


def vouched_by(signal: Signal, *, stepped_up: bool) -> Vouched:
    """What one result says of the session; "" is nothing. `stepped_up`: the session was asked for a step-up before."""
    if signal.outcome not in {"scored", "no_decision"} or signal.verdict in {"fail", "review"}:
        return ""
    found = {finding.name: finding.value for finding in signal.findings or ()}
    passed = found.get("step_up") == "passed" or (stepped_up and signal.verdict == "pass" and signal.kind in STEP_UPS)
    if passed:
        return "control" if found.get("control") is True else "trusted"
    age_days = found.get("account_age_days")
    if signal.kind == "identity_data" and isinstance(age_days, int | float) and age_days >= AGED_DAYS:
        return "trusted"
    return ""
