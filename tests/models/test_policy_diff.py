"""Two policies side by side, and sessions decided anew: as they were decided then, and as a naive twin decides."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.signal_table import SIGNALS
from models.decide import Decider, Facts, Latch
from models.errors import PolicyError
from models.policy import BEHAVIOUR_SIGNALS, LoadedPolicy, load_policy, parse_policy
from models.policy_diff import Change, PolicyDiff, changes, overall_anytime
from schemas.risk import ChannelScore, Decision, RiskEvent, Scores, SignalValue, Velocity
from schemas.risk import Policy as PolicyRef
from tests.stream.explain.made import risk
from tests.support.naive_scoring import overall
from tests.support.pipeline_world import processed, records_of, simulated

TEXT = (Path(load_policy.__code__.co_filename).parent / "policies" / "default.toml").read_text()
DEFAULT = load_policy(known_signals=SIGNALS)


LOWER = ("step_up_at = 0.95\nblock", "step_up_at = 0.5\nblock")
"""The threshold of login; the file's comment has the number, too."""


def policy(*changed: tuple[str, str]) -> LoadedPolicy:
    text = TEXT
    for old, new in changed:
        assert old in text
        text = text.replace(old, new, 1)
    return parse_policy(text.encode(), "mine.toml", known_signals=SIGNALS)


def fact(**more: Any) -> SignalValue:
    fields: dict[str, Any] = {"value": True, "severity": "strong", "confidence": "high"}
    return SignalValue(**(fields | more))


def test_what_is_said_otherwise_is_named_with_both_values() -> None:
    new = policy(
        ("step_up_at = 0.94", "step_up_at = 0.9"),
        ("weights = { bot = 0.6, anomaly = 0.1, device = 0.3 }", "weights = { bot = 0.7, device = 0.3 }"),
        ('except = ["agent_signed"] }\naction = "step_up"', 'except = [] }\nflows = ["login"]\naction = "block"'),
    )
    assert changes(DEFAULT.policy, new.policy) == [
        Change("flows.signup.weights.bot", "0.6", "0.7"),
        Change("flows.signup.weights.anomaly", "0.1", None),
        Change("flows.signup.step_up_at", "0.94", "0.9"),
        Change("rules.strong_fact.action", '"step_up"', '"block"'),
        Change("rules.strong_fact.severity.except", '["agent_signed"]', "[]"),
        Change("rules.strong_fact.flows", None, '["login"]'),
    ]
    assert changes(DEFAULT.policy, DEFAULT.policy) == []
    blocks = TEXT.split("[[rules]]")
    swapped = "[[rules]]".join([blocks[0], blocks[2], blocks[1], blocks[3], *blocks[5:]])
    said = changes(DEFAULT.policy, parse_policy(swapped.encode(), "x").policy)
    assert {one.where.split(".")[1] for one in said if one.where.startswith("rules.")} == {"strong_fact"}
    assert said[-1].where == "rules, in order"


async def test_the_policy_that_decided_decides_the_same_again() -> None:
    """Every decision of the pipeline's own risk events, to the rule, on sessions of people and bots."""
    world = await processed(records_of(simulated(900, 3)), 64)
    found = PolicyDiff(DEFAULT, policy(("step_up_at = 0.94", "step_up_at = 0.9")))
    events = world.events()
    for event in events:
        found.take(event)
        if event.session_id in found._sessions:
            mine = found._sessions[event.session_id].old
            assert mine.action == event.decision.action
            if event.decision.changed:
                assert mine.rule == event.decision.policy.rule
            weights = DEFAULT.policy.flows[event.flow].weights
            assert overall_anytime(event, weights) == (event.scores.overall_anytime, [])
    assert not found.not_as_stored
    assert found.by_old == found.events == len(events)
    acted = {event.session_id for event in events if event.decision.action != "allow"}
    assert len(acted) >= 10, "the sample has nothing in it that could differ"
    assert sum(n for counts in found.flips("flow").values() for (old, _), n in counts.items() if old != "allow") == len(
        acted
    )


score = st.one_of(st.none(), st.floats(0, 1))
channel = st.builds(
    lambda value, state: ChannelScore(state=state if value is None else "scored", score=value, score_anytime=value),
    score,
    st.sampled_from(["no_data", "not_expected", "degraded"]),
)
signals = st.dictionaries(
    st.sampled_from(["webdriver_true", "headless_ua", "agent_signed", "agent_spoofed", "cdp_open", "vm_renderer"]),
    st.builds(
        fact,
        severity=st.sampled_from(["strong", "medium", "weak"]),
        exempt=st.sampled_from([None, None, "privacy_mode"]),
    ),
    max_size=3,
)
step = st.tuples(
    st.fixed_dictionaries({"bot": channel, "anomaly": channel, "device": channel}), signals, st.integers(0, 8)
)
other = policy(
    LOWER,
    ("block_at = 0.98", "block_at = 0.7"),
    ('id = "strong_fact"\n', 'id = "strong_fact"\nunless = ["agent_signed"]\n'),
    ("at_least = 6 }", "at_least = 3 }"),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(step, min_size=1, max_size=6))
def test_a_naive_twin_decides_the_same(
    steps: list[tuple[dict[str, ChannelScore], dict[str, SignalValue], int]],
) -> None:
    events = [
        risk(
            number, 0.0, scores=Scores(overall=0.0, overall_anytime=0.0, **channels), signals=fired,
            velocity={"device_accounts": Velocity(h24=accounts)}, observed_s=float(number),
        )
        for number, (channels, fired, accounts) in enumerate(steps)
    ]  # fmt: skip
    found = PolicyDiff(DEFAULT, other)
    for event in events:
        found.take(event)
    ended = []
    for loaded in (DEFAULT, other):
        decider, latch, actions = Decider(loaded), Latch(None, 0), []
        weights = loaded.policy.flows["login"].weights
        for event in events:
            scored = {str(n): getattr(event.scores, n).score_anytime for n in weights}
            known = {n: value for n, value in scored.items() if value is not None}
            facts = Facts(overall(weights, known), known, event.signals, event.velocity, ())
            decision, latch = decider.decide("login", facts, latch, event.sequence)
            actions.append(decision.action)
        ended.append(actions[-1])
    assert found.flips("flow") == {"login": {(ended[0], ended[1]): 1}}
    assert found.changed == (ended[0] != ended[1])


def session(name: str, *scores: float, action: str = "allow", first: int = 0, **more: Any) -> list[RiskEvent]:
    made = []
    for number, value in enumerate(scores, start=first):
        event = risk(number, value, action, session_id=name, **more)
        event.velocity = {}
        event.scores.bot = ChannelScore(state="scored", score_anytime=1.0 - (1.0 - value) * 0.6)
        event.decision = Decision(
            action=action,  # type: ignore[arg-type]
            policy=PolicyRef(id="default", revision=DEFAULT.revision, rule="none"),
        )
        made.append(event)
    return made


def diff(events: list[RiskEvent], new: LoadedPolicy, **more: Any) -> PolicyDiff:
    found = PolicyDiff(DEFAULT, new, **more)
    for event in events:
        found.take(event)
    return found


def test_what_cannot_be_known_is_counted_and_left_out() -> None:
    lower = policy(LOWER)
    found = diff(
        [
            *session("a", 0.2, 0.6), *session("a", 0.2, 0.6), *session("tail", 0.6, first=4),
            session("gap", 0.1)[0], *session("gap", 0.6, first=3), *session("stored", 0.2, action="block"),
        ],
        lower,
    )  # fmt: skip
    assert (found.sessions, found.repeats, found.gaps, found.changed) == (3, 2, 1, 2)
    assert found.beheaded == {"tail"}
    assert list(found.not_as_stored) == ["stored"]
    weighed = policy(("weights = { bot = 0.6, anomaly = 0.1, device = 0.3 }\nstep_up_at = 0.95",
                      "weights = { bot = 0.6, injection = 0.1, device = 0.3 }\nstep_up_at = 0.95"))  # fmt: skip
    assert diff(session("a", 0.2, 0.6), weighed).unknown == {"injection": 2}
    bounded = diff([*session("a", 0.2), *session("b", 0.2), *session("a", 0.6, first=1)], lower, max_sessions=1)
    assert (bounded.sessions, bounded.beyond, bounded.changed) == (1, 1, 1)
    tails = [event for name in "xyzzy" for event in session(name, 0.6, first=4)]
    bounded = diff([*session("a", 0.2), *tails], lower, max_sessions=2)
    assert (bounded.beheaded, bounded.beyond) == ({"x", "y"}, 2)


def test_a_session_that_was_erased_begins_anew() -> None:
    lower = policy(LOWER)
    again = session("a", 0.1)
    again[0].source.offset = 10_000
    found = diff([*session("a", 0.6, 0.6), *again], lower)
    assert (found.changed, found.repeats) == (0, 0)
    found = diff([*session("a", 0.6, 0.6), *session("a", 0.1)], lower)
    assert (found.changed, found.repeats) == (1, 1)


def test_groups_moments_and_examples() -> None:
    lower = policy(LOWER)
    events = [*session("a", 0.2, 0.6), *session("b", 0.97, tenant="shop"), *session("c", 0.6, 0.97), *session("d", 0.1)]
    found = diff(events, lower)
    found.describe("a", "tellwire-web 1.0.0", "Android")
    assert found.flips("flow") == {"login": {("allow", "step_up"): 1, ("step_up", "step_up"): 2, ("allow", "allow"): 1}}
    assert set(found.flips("tenant")) == {"example-bank", "shop"}
    assert found.flips("platform")["Android"] == {("allow", "step_up"): 1}
    assert found.flips("collector")["unknown"].total() == 3
    assert found.moved == (1, 0), "c is stepped up at its first event instead of its second"
    (example,) = found.examples()
    assert example[:6] == ("a", "login", "allow", "step_up", "none", "score_step_up")
    assert found.examples(0) == []


def test_a_rule_has_exemptions_of_its_own() -> None:
    excused = policy(('id = "strong_fact"\n', 'id = "strong_fact"\nunless = ["agent_signed"]\n'))
    assert excused.revision != DEFAULT.revision
    for loaded, both in ((DEFAULT, "step_up"), (excused, "allow")):
        decider = Decider(loaded)
        for fired, wanted in (
            ({"webdriver_true": fact()}, "step_up"),
            ({"webdriver_true": fact(), "agent_signed": fact()}, both),
            ({"webdriver_true": fact(), "agent_signed": fact(exempt="test key")}, "step_up"),
            ({"webdriver_true": fact(), "agent_signed": fact(value=False)}, "step_up"),
            ({"webdriver_true": fact(exempt="privacy_mode")}, "allow"),
        ):
            decision, _ = decider.decide("login", Facts(0.0, {}, fired, {}, ()), Latch(None, 0), 1)
            assert decision.action == wanted, (loaded.revision, fired)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('unless = ["agent_singed"]', "agent_singed, which does not exist"),
        ("unless = []", "Expected `array` of length >= 1"),
        ('unless = "agent_signed"', "Expected `array`, got `str`"),
    ],
)
def test_a_wrong_exemption_is_one_line(line: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(('id = "strong_fact"\n', f'id = "strong_fact"\n{line}\n'))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", sorted(BEHAVIOUR_SIGNALS))
def test_no_policy_blocks_on_behaviour_alone(name: str) -> None:
    with pytest.raises(PolicyError, match="behaviour alone never blocks"):
        policy(('any_signal = ["agent_spoofed"]', f'any_signal = ["{name}"]'))
    beside = policy(
        ('any_signal = ["agent_spoofed"]', f'any_signal = ["{name}"]\nseverity = {{ at_least = "medium", count = 1 }}')
    )
    decider = Decider(beside)
    for fired, wanted in (({name: fact()}, "step_up"), ({name: fact(), "webdriver_true": fact()}, "block")):
        decision, _ = decider.decide("signup", Facts(0.0, {}, fired, {}, ()), Latch(None, 0), 1)
        assert decision.action == wanted


def test_a_policy_without_exemptions_keeps_its_revision() -> None:
    """The hash is of what a file says; that a rule may say more since then changes no file's."""
    said = msgspec.json.encode(DEFAULT.policy, order="sorted")
    assert b"unless" not in said
    assert all(rule.unless is msgspec.UNSET for rule in DEFAULT.policy.rules)
    assert len(list(itertools.chain(DEFAULT.policy.rules))) == said.count(b'"any_signal"')


def test_a_camera_step_shares_the_devices_weight_as_in_the_pipeline() -> None:
    weights = DEFAULT.policy.flows["kyc_capture"].weights
    event = risk(0, 0.0, flow="kyc_capture")
    scored = ChannelScore(state="scored", score=0.95, score_anytime=0.95)
    event.scores = Scores(overall=0.0, overall_anytime=0.0, injection=scored, **_quiet("bot", "anomaly", "device"))
    found, unknown = overall_anytime(event, weights)
    assert (found, unknown) == (1.0 - (1.0 - 0.95) / 0.4, [])
    event.scores.injection = ChannelScore(state="not_expected")
    assert overall_anytime(event, weights) == (0.0, [])
    assert overall_anytime(event, {"bot": 0.6, "injection": 0.4})[1] == ["injection"]


def _quiet(*channels: str) -> dict[str, Any]:
    return {name: ChannelScore(state="scored", score=0.0, score_anytime=0.0) for name in channels}
