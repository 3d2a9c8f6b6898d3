"""`tellwire policy check|diff` on files and topics: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from models.policy import load_policy
from schemas.risk import ChannelScore
from stream.embedded import EmbeddedBroker
from tests.stream.explain.made import SESSION, lines, risk, telemetry
from tests.support.command_line import CommandLine

DEFAULT = (Path(load_policy.__code__.co_filename).parent / "policies" / "default.toml").read_text()


@pytest.fixture
def policy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine("policy", capsys, monkeypatch)


@pytest.fixture
def new(tmp_path: Path) -> str:
    path = tmp_path / "new.toml"
    path.write_text(DEFAULT.replace("step_up_at = 0.95", "step_up_at = 0.5"))
    return str(path)


def events() -> list[Any]:
    """Two sessions of login, one of which the lower threshold steps up; with the telemetry of one."""
    found: list[Any] = [telemetry(0)]
    for name, value in ((SESSION, 0.6), ("ses_2", 0.2)):
        for number in range(3):
            event = risk(number, value, session_id=name, velocity={})
            event.scores.bot = ChannelScore(state="scored", score_anytime=1.0 - (1.0 - value) * 0.6)
            found.append(event)
    return found


def test_what_changes_is_told_and_is_the_exit_status(policy: CommandLine, new: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(lines(events()))
    out, err = policy("diff", "shipped", new, "--from-file", str(file), code=1)
    assert "flows.login.step_up_at  0.95" in out
    assert "1 allow -> step up (50.0%)" in out
    assert "0.0% -> 50.0%" in out
    assert f"{SESSION}" in out
    assert "2 sessions, 6 evaluations: the decision of 1 (50.00%) changes" in out
    assert "tellwire-web 1.0.0" in out, "telemetry tells collectors apart"
    assert "100% of the evaluations were decided by another policy" in err
    policy("diff", "shipped", new, "--from-file", str(file), "--tolerance", "0.5")
    told = json.loads(policy("diff", "shipped", new, "--from-file", str(file), "--json", code=1)[0])
    assert told["decisions"]["flow"]["login"] == [
        {"old": "allow", "new": "allow", "sessions": 1}, {"old": "allow", "new": "step_up", "sessions": 1},
    ]  # fmt: skip
    assert told["examples"][0]["new_rule"] == "score_step_up"
    assert told["changed"] == 1


def test_policies_that_say_the_same_need_no_events(policy: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "same.toml").write_text("# other words\n" + DEFAULT)
    assert "both say the same" in policy("diff", "shipped", str(tmp_path / "same.toml"))[0]
    assert json.loads(policy("diff", "shipped", str(tmp_path / "same.toml"), "--json")[0])["says"] == []


def test_nothing_to_decide_on_and_wrong_files(policy: CommandLine, new: str, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_bytes(lines([telemetry(0)]) + b"{broken\n")
    out, err = policy("diff", "shipped", new, "--from-file", str(tmp_path / "none.jsonl"), code=1)
    assert "flows.login.step_up_at" in out
    assert "there is nothing to decide on" in err
    assert "1 lines are no record of ours" in err
    (tmp_path / "wrong.toml").write_text(DEFAULT.replace("step_up_at = 0.95", "step_up_at = 2"))
    assert "Expected `float` <= 1.0" in policy("diff", "shipped", str(tmp_path / "wrong.toml"), code=2)[1]
    assert "No such file" in policy("diff", "shipped", str(tmp_path / "missing.toml"), code=2)[1]


def test_check_prints_rules_by_flow_and_the_revision(policy: CommandLine, new: str, tmp_path: Path) -> None:
    out, _ = policy("check", "shipped")
    assert f"revision {load_policy().revision}" in out
    assert "strong_fact" in out
    assert "1 or more signals of at least strong severity but agent_signed" in " ".join(out.split())
    assert "nothing blocks" in out
    excused = tmp_path / "excused.toml"
    excused.write_text(DEFAULT.replace('id = "strong_fact"\n', 'id = "strong_fact"\nunless = ["agent_signed"]\n'))
    assert "unless agent_signed" in " ".join(policy("check", str(excused))[0].split())
    (tmp_path / "wrong.toml").write_text("x")
    policy("check", str(tmp_path / "wrong.toml"), code=2)


def test_topics_are_read_since_a_time(policy: CommandLine, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedBroker({"capture.telemetry": 2, "risk.events": 2}) as broker:
        monkeypatch.setenv("TELLWIRE_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap)
        monkeypatch.setenv("TELLWIRE_KAFKA__FIXED_TOPIC_ID", "mock")
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        for one in events():
            topic = "risk.events" if one.__struct_config__.tag.startswith("risk") else "capture.telemetry"
            producer.produce(topic, msgspec.json.encode(one), one.session_id.encode(), int(one.session_id == SESSION))
        assert producer.flush(10) == 0
        out, _ = policy("diff", "shipped", new, "--telemetry", code=1)
        assert "2 sessions, 6 evaluations" in out
        assert "tellwire-web 1.0.0" in out
        _, err = policy("diff", "shipped", new, "--since", "2100-01-01", code=1)
        assert "there is nothing to decide on" in err
