"""The gate's comparison: the same passes, each kind of regression fails by its name, chance and small groups don't."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.gate import DEFAULTS, FALSE_POSITIVES, TOLERANCES, Verdict, compare, found_share
from models.gate_measure import Measurement, Outcome

FAMILIES = ("mouse_straight", "typist")
KINDS = ("mouse", "phone")


def outcomes(seed: int = 1, people: int = 200, bots: int = 40) -> list[Outcome]:
    """People low, bots high, two kinds of each; half of the bots are stepped up."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(people):
        value = float(rng.uniform(0.0, 0.8))
        made.append(
            Outcome(f"p{i}", False, KINDS[i % 2], f"p{i}", "mouse", value, value, "allow", "none", ["POINTER_GRID"])
        )
    for i in range(bots):
        value = float(rng.uniform(0.85, 1.0))
        made.append(
            Outcome(
                f"b{i}", True, FAMILIES[i % 2], f"b{i}", "mouse", value, value, "step_up" if i % 4 < 2 else "block",
                "score_step_up", ["KEY_RHYTHM_UNLIKE_PEOPLE"],
            )
        )  # fmt: skip
    return made


def measured(found: list[Outcome] | None = None, **more: Any) -> Measurement:
    fields: dict[str, Any] = {
        "format": 1, "artefacts": "a" * 64, "policy": "p" * 64, "features": "f" * 64, "sessions": "s" * 64,
        "outcomes": outcomes() if found is None else found, "us_per_event": 20.0, "memory_mib": 200.0, "machine": "m",
    }  # fmt: skip
    return Measurement(**(fields | more))


def changed(change: Any) -> Measurement:
    return measured([change(one) for one in outcomes()])


def failed(verdict: Verdict) -> set[tuple[str, str]]:
    return {(figure.check, figure.group) for figure in verdict.failed}


def put(one: Outcome, **more: Any) -> Outcome:
    return msgspec.structs.replace(one, **more)


def test_the_same_passes_with_nothing_worse() -> None:
    verdict = compare(measured(), measured())
    assert verdict.passed
    assert not verdict.flips
    assert not verdict.not_compared
    assert all(figure.worse in {0.0, 1.0} for figure in verdict.figures)
    checks = {figure.check for figure in verdict.figures}
    assert {"latency", "memory", "decisions that flip", "heaviest reasons that change", "people blocked"} <= checks


def test_a_family_that_is_found_less_fails_by_its_name() -> None:
    low = changed(lambda o: put(o, raw=0.1) if o.group == "typist" and int(o.name[1:]) < 12 else o)
    assert {("found, bot channel, 1% false positives", "typist")} <= failed(compare(measured(), low))
    assert ("found, bot channel, 1% false positives", "mouse_straight") not in failed(compare(measured(), low))
    assert ("found, bot channel, 1% false positives, mean", "all families") in failed(compare(measured(), low))
    assert compare(low, measured()).passed, "better is no finding"
    blind = changed(lambda o: put(o, raw=None) if o.group == "typist" else o)
    assert ("found, bot channel, 5% false positives", "typist") in failed(compare(measured(), blind))
    let_go = changed(lambda o: put(o, action="allow") if o.group == "typist" and int(o.name[1:]) < 12 else o)
    assert ("stepped up or blocked", "typist") in failed(compare(measured(), let_go))


def test_people_who_are_flagged_fail_by_their_source() -> None:
    more = changed(lambda o: put(o, action="step_up") if o.group == "phone" and o.name in {"p1", "p3", "p5"} else o)
    found = failed(compare(measured(), more))
    assert ("people stepped up or blocked", "phone") in found
    assert ("people stepped up or blocked", "mouse") not in found
    assert ("people stepped up or blocked", "all sources") in found
    blocked = changed(lambda o: put(o, action="block") if o.name == "p0" else o)
    assert failed(compare(measured(), blocked)) == {("people blocked", "all sources")}


def test_one_session_of_a_small_group_is_no_finding() -> None:
    one = changed(lambda o: put(o, action="step_up") if o.name == "p1" else o)
    assert compare(measured(), one).passed
    one = changed(lambda o: put(o, action="allow") if o.name == "b1" else o)
    assert compare(measured(), one).passed


def test_decisions_and_reasons_that_flip() -> None:
    other = changed(lambda o: put(o, reasons=["SOMETHING_ELSE"]) if o.is_bot and int(o.name[1:]) < 10 else o)
    assert failed(compare(measured(), other)) == {("heaviest reasons that change", "acted on by both")}
    swapped = changed(lambda o: put(o, action="block" if o.action == "step_up" else o.action) if o.is_bot else o)
    verdict = compare(measured(), swapped)
    assert failed(verdict) == {("decisions that flip", "all sessions")}
    assert len(verdict.flips) == 20
    assert {flip.present for flip in verdict.flips} == {"block"}


def test_time_and_memory() -> None:
    slow, fat = measured(us_per_event=25.0), measured(memory_mib=230.0)
    assert failed(compare(measured(), slow)) == {("latency", "µs")}
    assert failed(compare(measured(), fat)) == {("memory", "MiB")}
    assert compare(measured(), slow, {"latency": 1.3}).passed
    for elsewhere in (measured(machine="another"), measured(us_per_event=None, memory_mib=None)):
        verdict = compare(elsewhere, measured(us_per_event=900.0, memory_mib=9_000.0))
        assert verdict.passed
        assert len(verdict.not_compared) == 2


def test_of_other_sessions_only_shares_are_compared() -> None:
    verdict = compare(measured(outcomes(2), sessions="t" * 64), measured())
    assert verdict.passed
    assert not verdict.flips
    assert "the golden sessions are others" in verdict.not_compared[0]
    low = changed(lambda o: put(o, raw=0.1, overall=0.1, action="allow") if o.is_bot else o)
    assert not compare(measured(outcomes(2), sessions="t" * 64), low).passed


def test_what_only_one_side_has_is_told_and_a_file_that_holds_others_is_no_pair() -> None:
    found = outcomes()
    for kept, words in (
        ([one for one in found if one.group != "typist"], "typist: only the present sessions have any"),
        ([*found, put(found[0], group="delbot")], "delbot: only the previous sessions have any"),
    ):
        verdict = compare(measured(kept), measured())
        assert words in verdict.not_compared
        assert "the golden sessions are others" in verdict.not_compared[-1]
    with pytest.raises(msgspec.ValidationError, match=r"> 0\.0"):
        msgspec.json.decode(msgspec.json.encode(measured(us_per_event=0.0)), type=Measurement)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=30),
    st.sampled_from(FALSE_POSITIVES),
)
def test_found_at_fixed_false_positives_agrees_with_a_naive_count(
    people: list[float], bots: list[float | None], rate: float
) -> None:
    made = [Outcome(f"p{i}", False, "x", f"p{i}", "mouse", v, v, "allow", "none", []) for i, v in enumerate(people)]
    made += [Outcome(f"b{i}", True, "f", f"b{i}", "mouse", v, 0.0, "allow", "none", []) for i, v in enumerate(bots)]
    # The smallest score of a person above which no more people lie than the rate allows.
    allowed = [v for v in people if sum(p > v for p in people) <= rate * len(people)]
    naive = sum(v is not None and v > min(allowed) for v in bots) / len(bots)
    assert found_share(made, "f", "raw", rate) == pytest.approx(naive)


@pytest.mark.parametrize(
    ("own", "alike", "found"), [(20, 40, 1.0), (19, 40, 0.0), (19, 19, 1.0), (20, 0, 1.0)], ids=str
)
def test_a_family_is_judged_against_people_of_its_own_source_or_input(own: int, alike: int, found: float) -> None:
    """Own people low, those with its input high, typists in between: who is asked decides what is found."""

    def people(name: str, group: str, kind: str, score: float, n: int) -> list[Outcome]:
        return [
            Outcome(f"{name}{i}", False, group, f"{name}{i}", kind, score, score, "allow", "none", []) for i in range(n)
        ]

    made = people("p", "here", "touch", 0.1, own) + people("q", "there", "mouse", 0.9, alike)
    made += people("t", "elsewhere", "keys", 0.3, 10_000)
    made += [Outcome(f"b{i}", True, "here/f", f"b{i}", "mouse", 0.5, 0.5, "allow", "none", []) for i in range(5)]
    assert found_share(made, "here/f", "raw", 0.01) == found


def test_a_measurement_is_a_file() -> None:
    one = measured()
    assert msgspec.json.decode(msgspec.json.encode(one), type=Measurement) == one
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"format": 2}', type=Measurement)


def test_tolerances_are_declared_once() -> None:
    assert len(DEFAULTS) == len(TOLERANCES)
    assert all(tolerance.meaning.endswith(".") for tolerance in TOLERANCES)
