"""The kind of sender: each class is reached by what it is for, and a fact that is excused says nothing."""

import numpy as np
import pytest

from features.registry import INDEX, N_FEATURES
from features.session import Meta
from features.signal_table import SIGNALS
from models import automation_class
from models.automation_class import automation_of
from schemas.risk import Calibration, ChannelScore, Scores, SignalValue


def scores(people: int = 86) -> Scores:
    calibration = Calibration(cell="*/*/*/*", n_people=people, state="prior")
    return Scores(overall=0.0, overall_anytime=0.0, bot=ChannelScore(state="scored", calibration=calibration))


def found(
    fired: list[str] | None = None,
    *,
    bot: float | None = 0.3,
    exempt: str | None = None,
    people: int = 86,
    assistive: bool = False,
    replay: float = 0.0,
    features: dict[str, float] | None = None,
) -> tuple[str, str, str, str] | None:
    x = np.full(N_FEATURES, np.nan)
    x[INDEX["session_observed_s"]] = x[INDEX["session_active_s"]] = 60.0
    for name, value in (features or {}).items():
        x[INDEX[name]] = value
    signals = {
        name: SignalValue(
            value=True, severity=SIGNALS[name].severity, confidence=SIGNALS[name].confidence, exempt=exempt
        )
        for name in fired or []
    }
    anytime = {"replay": replay} | ({} if bot is None else {"bot": bot})
    seen = float(x[INDEX["session_observed_s"]])
    one = automation_of(x, seen, Meta(flow="login", assistive=assistive), scores(people), anytime, signals)
    return None if one is None else (one.kind, one.basis, one.confidence, one.rule)


def test_without_score_or_fact_there_is_no_class() -> None:
    assert found(bot=None) is None
    assert found(["rtt_zero"], bot=None) is None


def test_a_low_score_is_a_human_as_sure_as_people_and_time_allow() -> None:
    assert found() == ("human", "model", "medium", "bot_score")
    assert found(people=5) == ("human", "model", "low", "bot_score")
    assert found(features={"session_observed_s": 2.0}) == ("human", "model", "low", "bot_score")
    assert found(people=2000) == ("human", "model", "high", "bot_score")
    assert found(people=2000, features={"session_observed_s": 20.0}) == ("human", "model", "medium", "bot_score")


@pytest.mark.parametrize(("bot", "sure"), [(0.95, "low"), (0.98, "medium"), (0.99, "high")])
def test_a_high_score_is_humanised_unless_the_input_is_too_even(bot: float, sure: str) -> None:
    assert found(bot=bot) == ("humanised", "model", sure, "bot_score")
    typed = {"keystroke_keys": 40.0, "keystroke_dd_log_sd": 0.01, "keystroke_hold_log_sd": 0.2}
    assert found(bot=bot, features=typed) == ("scripted", "rule", sure, "even_typing")
    assert found(bot=bot, features=typed | {"keystroke_keys": 9.0}) == ("humanised", "model", sure, "bot_score")
    moved = {"pointer_strokes": 5.0, "pointer_speed_cv_mean": 0.05, "pointer_bend_log_mean": 0.001}
    assert found(bot=bot, features=moved) == ("scripted", "rule", sure, "even_motion")
    assert found(bot=0.94, features=typed | moved) == ("human", "model", "medium", "bot_score")


@pytest.mark.parametrize("name", automation_class.DRIVERS)
def test_a_driver_is_a_script_whatever_the_score_says(name: str) -> None:
    for bot in (None, 0.1, 0.99):
        assert found([name], bot=bot) == ("scripted", "rule", SIGNALS[name].confidence, name)


def test_agents_are_declared_or_jump_and_fill_whole_values() -> None:
    for name in automation_class.AGENTS:
        assert found([name, "webdriver_true"]) == ("agent", "rule", SIGNALS[name].confidence, name)
    both = ["click_without_move", "value_without_keys"]
    assert found(both) == ("agent", "rule", "low", "jumps_and_whole_values")
    assert found(both, features={"session_active_s": 20.0}) == ("agent", "rule", "medium", "jumps_and_whole_values")
    assert found(both[:1]) == ("human", "model", "medium", "bot_score")
    assert found(both[1:]) == ("human", "model", "medium", "bot_score")


def test_a_replay_comes_before_all_else() -> None:
    assert found(["payload_replayed", "webdriver_true"])[0] == "replayed"  # type: ignore[index]
    assert found(replay=0.95, bot=0.99) == ("replayed", "rule", "medium", "replay_channel")
    assert found(replay=0.94, bot=0.99) == ("humanised", "model", "high", "bot_score")


def test_assistive_technology_is_a_class_of_its_own_and_no_driver() -> None:
    assert found(assistive=True) == ("assistive", "rule", "medium", "declared")
    assert found(assistive=True, bot=None) == ("assistive", "rule", "medium", "declared")
    excused = ["untrusted_events", "click_without_move", "value_without_keys"]
    assert found(excused, assistive=True, exempt="assistive_technology")[0] == "assistive"  # type: ignore[index]
    assert found(["webdriver_true"], assistive=True)[0] == "scripted"  # type: ignore[index]
    assert found(assistive=True, bot=0.96) == ("humanised", "model", "low", "bot_score")


def test_every_signal_that_a_rule_names_exists() -> None:
    named = {
        *automation_class.REPLAYED, *automation_class.AGENTS, *automation_class.DRIVERS,
        automation_class.JUMPS, automation_class.WHOLE_VALUES,
    }  # fmt: skip
    assert named <= set(SIGNALS)


def test_findings_are_few_objects() -> None:
    x = np.full(N_FEATURES, np.nan)
    one, two = (automation_of(x, 60.0, Meta(), scores(), {"bot": 0.1}, {}) for _ in range(2))
    assert one is two
