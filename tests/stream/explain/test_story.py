"""What is told of a session: order, repeats, gaps, decisions, reasons and signals, against naive twins."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.signal_table import SIGNALS
from models.policy import RESERVED_RULES
from models.reason_codes import CODES, code_of
from models.reason_words import WORDS, evidence, innocent_cause, sentence
from schemas.risk import RiskEvent
from stream.explain import words
from stream.explain.story import Story, story_of
from tests.stream.explain.made import CURVATURE, MANY, RHYTHM, SESSION, WEBDRIVER, risk, session, telemetry


def told(records: Any = None) -> Story:
    found = story_of(session() if records is None else records, SESSION)
    assert found is not None
    return found


@given(st.randoms())
def test_the_order_of_records_and_repeats_do_not_matter(dice: random.Random) -> None:
    records = session()
    again = records + [msgspec.structs.replace(r, replayed=True) for r in records if isinstance(r, RiskEvent)][:5]
    dice.shuffle(again)
    found = told(again)
    assert (found.events, found.telemetry, found.upstream) == (told().events, told().telemetry, told().upstream)
    assert found.repeats == 5
    assert [event.sequence for event in found.events] == list(range(1, 13))


@given(st.sets(st.integers(0, 11), min_size=1))
def test_gaps_are_told(kept: set[int]) -> None:
    found = told([risk(number, 0.1) for number in kept])
    missing = {number for a, b in found.missing_sequences for number in range(a, b + 1)}
    assert missing == set(range(1, max(kept) + 1)) - {number + 1 for number in kept}


@given(st.lists(st.sampled_from(["allow", "step_up", "block"]), min_size=1, max_size=12))
def test_turns_are_where_the_decision_changes(actions: list[str]) -> None:
    found = told([risk(number, 0.1, action) for number, action in enumerate(actions)])
    naive = [(i, a) for i, a in enumerate(actions) if i == 0 or actions[i - 1] != a]
    assert [(turn.event.sequence - 1, turn.action) for turn in found.turns] == naive
    if actions[-1] != "allow":
        assert found.deciding.sequence - 1 == naive[-1][0], "reasons are those of the moment of the decision"


def test_what_is_explained_of_an_allowed_session_is_its_last_evaluation_with_reasons() -> None:
    quiet = [risk(number, 0.1) for number in range(3)]
    assert told(quiet).deciding is quiet[-1]
    one = risk(1, 0.6)
    assert told([quiet[0], one, quiet[2]]).deciding is one


def test_reasons_and_signals_over_the_session() -> None:
    found = told()
    assert [(one.heaviest.code, one.evaluations) for one in found.reasons] == [
        ("WEBDRIVER_TRUE", 4), ("POINTER_CURVATURE_UNLIKE_PEOPLE", 8), ("DEVICE_ACCOUNTS_H24", 4),
        ("KEY_RHYTHM_LIKE_PEOPLE", 8),
    ]  # fmt: skip
    assert [(s.name, s.first_s, s.value.exempt) for s in found.signals] == [
        ("webdriver_true", 2.0, None), ("engine_mismatch", 3.0, "privacy_mode"),
    ]  # fmt: skip
    assert found.channels == ["bot", "anomaly", "device"]
    assert found.blocks["pointer"] == 12
    assert found.latency_ms()["total"] == (7.0, 12.0)


def test_a_change_of_versions_is_told_where_it_happens() -> None:
    later = risk(2, 0.1)
    later.versions = msgspec.structs.replace(later.versions, models={"bot_pointer": "b" * 64}, snapshot="s")
    changes = told([risk(0, 0.1), risk(1, 0.1), later]).versions
    assert [(event.sequence, names) for event, names in changes[1:]] == [(3, ["model bot_pointer", "snapshot"])]


def test_others_sessions_and_sessions_without_a_risk_event() -> None:
    assert story_of([telemetry(0)], SESSION) is None
    assert story_of(session(), "another") is None


def test_every_code_has_words_and_every_sentence_reads_as_one() -> None:
    assert {stem for _, stem in CODES} <= set(WORDS)
    assert set(words.RULES) == set(RESERVED_RULES)
    for reason in (CURVATURE, RHYTHM, WEBDRIVER, MANY):
        assert sentence(reason).endswith(".")
    assert sentence(CURVATURE) == "How the pointer's strokes bend: unlike what people do."
    assert sentence(RHYTHM) == "The rhythm of key presses: like what people do."
    assert sentence(WEBDRIVER) == "navigator.webdriver is true in the window, an iframe or a worker."
    assert sentence(MANY) == "6 accounts with this device in 24 hours."
    assert (evidence(WEBDRIVER), evidence(MANY), evidence(CURVATURE)) == ("", "", CURVATURE.evidence)
    unknown = msgspec.structs.replace(WEBDRIVER, code="NEW_IN_A_LATER_RELEASE")
    assert sentence(unknown) == "New in a later release."
    anomaly = msgspec.structs.replace(CURVATURE, code="ANOMALY_KEY_HOLD_UNLIKE_PEOPLE")
    assert sentence(anomaly) == "How long keys are held: unlike this flow's usual sessions."


@pytest.mark.parametrize("name", sorted(SIGNALS))
def test_every_signal_has_a_sentence(name: str) -> None:
    reason = msgspec.structs.replace(WEBDRIVER, code=code_of(name), evidence=f"{name.replace('_', ' ')}: 3")
    assert sentence(reason)[:-1].lower() == SIGNALS[name].cue.lower()
    assert evidence(reason) == "3"
    assert innocent_cause(reason.code) == SIGNALS[name].exemption
