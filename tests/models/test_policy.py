"""The policy file and what is decided by it."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.signal_table import SIGNALS
from models.combine import coverage, hundredths
from models.decide import Decider, Facts, Latch
from models.errors import PolicyError
from models.policy import ACTION_RANK, load_policy, parse_policy
from schemas.base import FLOWS
from schemas.risk import ChannelName, SignalValue, Velocity
from tests.support.naive_scoring import overall

DEFAULT = load_policy(known_signals=SIGNALS)
TEXT = (Path(load_policy.__code__.co_filename).parent / "policies" / "default.toml").read_text()


def signal(severity: str = "strong", exempt: str | None = None, value: bool = True) -> SignalValue:
    return SignalValue(value=value, severity=severity, confidence="high", exempt=exempt)  # type: ignore[arg-type]


def facts(
    score: float = 0.0,
    signals: Mapping[str, SignalValue] | None = None,
    velocity: Mapping[str, Velocity] | None = None,
    degraded: tuple[str, ...] = (),
    channels: Mapping[str, float] | None = None,
) -> Facts:
    return Facts(score, channels or {}, signals or {}, velocity or {}, degraded)


def decide(flow: str, given_facts: Facts) -> tuple[str, str]:
    decision, _ = Decider(DEFAULT).decide(flow, given_facts, Latch(None, 0), 1)
    return decision.action, decision.policy.rule


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("step_up_at = 0.94", "step_up_at = 1.4", r"Expected `float` <= 1.0 - at `\$.flows\[...\].step_up_at`"),
        ("step_up_at = 0.94", "step_up_att = 0.94", "step_up_att"),
        ("bot = 0.6", "bot = 0.7", r"`\$.flows.signup.weights` sum to 1.1; they must sum to 1"),
        ("bot = 0.6", "bott = 0.6", "bott"),
        ("block_at = 0.98", "block_at = 0.5", r"`\$.flows.login.block_at` is 0.5; it must be at least"),
        ("high = 0.9\n", "high = 0.4\n", "they must increase"),
        ("[flows.signup]", "[flows.sign_up]", "sign_up"),
        ('action = "block"', 'action = "deny"', "deny"),
        ('any_signal = ["agent_spoofed"]', 'any_signal = ["agent_spooofed"]', "agent_spooofed, which does not exist"),
        ('id = "spoofed_agent"', 'id = "strong_fact"', "taken"),
        ('id = "spoofed_agent"', 'id = "score_block"', "taken"),
        ('any_signal = ["agent_spoofed"]\n', "", "no condition"),
        ('flows = ["signup", "recovery", "high_risk_action"]', "", "blocks in kyc_capture, which has no block_at"),
        ('action = "step_up"', 'action = "block"', "blocks in kyc_capture"),
        ('"captcha", "otp"]', '"captcha", "captcha"]', "repeats"),
        ("[bands]", "[bands", "not TOML"),
        ("at_least = 6", f"at_least = {'9' * 5_000}", "not TOML: Exceeds the limit"),
        ("at_least = 6", f"at_least = {'9' * 30}", r"`int` <= 1000000000 - at `\$.rules"),
        ("[bands]", f"{'.'.join(['a'] * 40)} = 1\n[bands]", r"line 12 has a name of more than 32 parts"),
        ("[bands]", f"[{' . '.join(['a'] * 20_000)}]\n[bands]", r"line 12 has a name of more than 32 parts"),
        (
            'any_signal = ["agent_spoofed"]',
            'any_signal = ["agent_spoofed"]\nunless = ["cdp_open", "agent_spoofed"]',
            "can never hold: each signal of any_signal is in unless",
        ),
    ],
)
def test_a_wrong_file_gets_one_clear_line(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(PolicyError, match=message) as caught:
        parse_policy(TEXT.replace(old, new, 1).encode(), "mine.toml", known_signals=SIGNALS)
    assert "\n" not in str(caught.value).strip()
    assert str(caught.value).startswith("policy mine.toml: ")


def test_recovery_never_fails_open() -> None:
    start = TEXT.index("[flows.recovery]")
    text = TEXT[:start] + TEXT[start:].replace('on_degraded = "step_up"', 'on_degraded = "allow"', 1)
    with pytest.raises(PolicyError, match="recovery never fails open"):
        parse_policy(text.encode(), "mine.toml")
    assert decide("recovery", facts(degraded=("counters",))) == ("step_up", "degraded")
    assert decide("login", facts(degraded=("counters",))) == ("allow", "none")
    assert decide("recovery", facts(degraded=("snapshot",))) == ("allow", "none")


def test_nothing_fails_closed_into_a_block_where_nothing_blocks() -> None:
    assert DEFAULT.policy.flows["kyc_capture"].block_at is None
    start = TEXT.index("[flows.kyc_capture]")
    text = TEXT[:start] + TEXT[start:].replace('on_degraded = "step_up"', 'on_degraded = "block"', 1)
    with pytest.raises(PolicyError, match=r"`\$.flows.kyc_capture.on_degraded` is block, and the flow has no block_at"):
        parse_policy(text.encode(), "mine.toml")
    blocks = TEXT.replace('on_degraded = "step_up"', 'on_degraded = "block"', 1)
    assert parse_policy(blocks.encode(), "mine.toml").policy.flows["signup"].on_degraded == "block"


def test_words_with_many_dots_are_no_names_of_many_parts() -> None:
    text = f"# {'.' * 100} {'so on ... ' * 40}\n# {'x' * 200_000}\n{TEXT}"
    assert parse_policy(text.encode(), "mine.toml").revision == DEFAULT.revision


def test_a_rule_may_not_block_on_counters_alone() -> None:
    text = TEXT.replace('at_least = 6 }\naction = "step_up"', 'at_least = 6 }\naction = "block"', 1)
    with pytest.raises(PolicyError, match="blocks without a fact"):
        parse_policy(text.encode(), "mine.toml")


def test_revision_is_of_the_content_not_of_the_layout() -> None:
    assert parse_policy(("# more words\n" + TEXT).encode(), "x").revision == DEFAULT.revision
    assert parse_policy(TEXT.replace("0.94", "0.945").encode(), "x").revision != DEFAULT.revision


@pytest.mark.parametrize("flow", FLOWS)
def test_behaviour_alone_never_blocks(flow: str) -> None:
    behaviour = {"bot": 1.0, "anomaly": 1.0}
    assert decide(flow, facts(1.0, channels=behaviour)) == ("step_up", "score_step_up")
    weak = {"rtt_zero": signal("weak")}
    assert decide(flow, facts(1.0, weak, channels=behaviour))[0] == "step_up"
    excused = {"cdp_open": signal("medium", exempt="devtools")}
    assert decide(flow, facts(1.0, excused, channels=behaviour))[0] == "step_up"
    # Read off the input, however strong: tools that type for people do the same.
    forensic = {name: signal() for name, d in SIGNALS.items() if d.category == "behaviour" and d.severity == "strong"}
    assert len(forensic) >= 2
    assert decide(flow, facts(1.0, forensic, channels=behaviour))[0] == "step_up"
    blocks = DEFAULT.policy.flows[flow].block_at is not None  # type: ignore[index]
    wanted = ("block", "score_block") if blocks else ("step_up", "score_step_up")
    assert decide(flow, facts(1.0, channels={**behaviour, "device": 0.96})) == wanted
    assert decide(flow, facts(1.0, {"cdp_open": signal("medium")}, channels=behaviour)) == wanted


def test_strong_facts_act_through_the_policy() -> None:
    assert decide("login", facts(0.0, {"webdriver_true": signal()})) == ("step_up", "strong_fact")
    assert decide("login", facts(0.0, {"webdriver_true": signal(exempt="test key")})) == ("allow", "none")
    assert decide("login", facts(0.0, {"webdriver_true": signal(value=False)})) == ("allow", "none")
    assert decide("login", facts(0.0, {"agent_signed": signal()})) == ("allow", "none")
    assert decide("signup", facts(0.0, {"agent_signed": signal()})) == ("step_up", "declared_agent")
    two = {"webdriver_true": signal(), "headless_ua": signal()}
    assert decide("login", facts(0.91, two)) == ("block", "strong_facts_and_score")
    assert decide("login", facts(0.2, two)) == ("step_up", "strong_fact")
    assert decide("kyc_capture", facts(0.99, two))[0] == "step_up"


def test_counters_act_through_the_policy() -> None:
    assert decide("signup", facts(velocity={"device_accounts": Velocity(h24=6)})) == ("step_up", "accounts_on_device")
    assert decide("signup", facts(velocity={"device_accounts": Velocity(h24=5)})) == ("allow", "none")
    assert decide("signup", facts(velocity={"device_accounts": Velocity(m5=9)})) == ("allow", "none")


def test_a_decision_latches_and_only_rises() -> None:
    decider, latch = Decider(DEFAULT), Latch(None, 0)
    seen = []
    for number, score in enumerate([0.1, 0.97, 0.1, 0.97, 0.999, 0.0], start=1):
        channels = {"device": 0.99} if score == 0.999 else {}
        decision, latch = decider.decide("signup", facts(score, channels=channels), latch, number)
        seen.append((decision.action, decision.changed, decision.latched, decision.policy.rule))
    assert seen == [
        ("allow", False, False, "none"),
        ("step_up", True, False, "score_step_up"),
        ("step_up", False, True, "latched"),
        ("step_up", False, True, "score_step_up"),
        ("block", True, False, "score_block"),
        ("block", False, True, "latched"),
    ]
    assert latch == Latch("block", 5)


@settings(max_examples=100, deadline=None)
@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=30), flow=st.sampled_from(FLOWS))
def test_a_session_is_stepped_up_once(scores: list[float], flow: str) -> None:
    decider, latch = Decider(DEFAULT), Latch(None, 0)
    ranks, changes = [], 0
    for number, score in enumerate(scores, start=1):
        decision, latch = decider.decide(flow, facts(score), latch, number)
        ranks.append(ACTION_RANK[decision.action])
        changes += decision.changed
        assert (decision.step_up_methods is not None) == (decision.action == "step_up")
    assert ranks == sorted(ranks)
    assert changes == len(set(ranks) - {0})


def test_levels() -> None:
    decider = Decider(DEFAULT)
    assert [decider.level(s) for s in (0.0, 0.49, 0.5, 0.9, 0.97, 1.0)] == [
        "low", "low", "medium", "high", "very_high", "very_high",
    ]  # fmt: skip


CHANNEL_WEIGHTS = st.dictionaries(st.sampled_from(["bot", "anomaly", "device"]), st.floats(0.01, 1), min_size=1)


@settings(max_examples=200, deadline=None)
@given(parts=CHANNEL_WEIGHTS, scores=st.dictionaries(st.sampled_from(["bot", "anomaly", "device"]), st.floats(0, 1)))
def test_overall_agrees_with_the_formula(parts: dict[ChannelName, float], scores: dict[str, float]) -> None:
    total = sum(parts.values())
    weights = {name: w / total for name, w in parts.items()}
    wanted = 1.0 - min(1.0, *((1.0 - scores.get(name, 0.0)) / w for name, w in weights.items()), 1.0)
    assert overall(weights, scores) == pytest.approx(wanted)
    for hidden in scores:  # hiding a channel gains nothing but that channel
        rest = {name: s for name, s in scores.items() if name != hidden}
        assert overall(weights, rest) <= overall(weights, scores)


def test_overall_is_valid_under_dependence() -> None:
    """P(overall >= t) <= 1 - t for uniform p-values, whether they are independent, equal or opposed."""
    rng = np.random.default_rng(2)
    weights: dict[ChannelName, float] = {"bot": 0.6, "anomaly": 0.1, "device": 0.3}
    u = rng.uniform(size=(20_000, 3))
    for p in (u, np.repeat(u[:, :1], 3, axis=1), np.column_stack([u[:, 0], 1 - u[:, 0], u[:, 1]])):
        found = np.array([overall(weights, dict(zip(weights, 1 - row, strict=True))) for row in p])
        for level in (0.9, 0.99):
            assert np.mean(found >= level) <= (1 - level) * 1.15


def test_small_things() -> None:
    scores = (0.0, 0.29, 0.994999, 0.995, 1.0, math.nextafter(1.0, 0.0))
    assert [hundredths(score) for score in scores] == [0, 29, 99, 99, 100, 100]
    assert coverage(["pointer", "keys"], ["keys", "motion"]) == (0.5, ["pointer"])
    assert coverage([], []) == (1.0, [])
