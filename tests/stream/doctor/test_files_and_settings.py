"""The doctor on files and on settings: each seeded fault is told. What its command prints of findings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from models import artifact
from models.policy import read_policy
from stream.cli import app
from stream.doctor import broker as kafka
from stream.doctor import traffic
from stream.doctor.files import look_at_artefacts, look_at_settings
from stream.doctor.finding import Finding, Level, error, ok, warning
from stream.doctor.groups import warn_of_name
from stream.settings import Settings
from tests.stream.doctor.seeded import seeded
from tests.support import artefacts

seeds = pytest.mark.seeds


@seeds("error models.files", "error policy.file")
def test_models_that_were_changed_and_a_policy_that_is_none(tmp_path: Path) -> None:
    well = list(look_at_artefacts(Settings()))
    assert [finding.level for finding in well] == [Level.OK, Level.OK]
    folder = tmp_path / "models"
    shutil.copytree(artifact.shipped_directory(), folder)
    with (folder / "signal_weights.json").open("ab") as file:
        file.write(b" ")
    policy = tmp_path / "policy.toml"
    policy.write_text("id = 7\n")
    found = list(look_at_artefacts(Settings(artefacts={"directory": folder, "policy_file": policy})))
    assert [(finding.check, finding.level) for finding in found] == [
        ("models.files", Level.ERROR),
        ("policy.file", Level.ERROR),
    ]
    assert "signal_weights.json" in found[0].what


@seeds("warning models.calibration")
def test_models_that_know_no_people(tmp_path: Path) -> None:
    folder = artefacts.copy_shipped(tmp_path / "models")
    (folder / artefacts.CALIBRATION).unlink()
    files = artefacts.manifest_of(folder)["files"]
    del files[artefacts.CALIBRATION]
    artefacts.reseal(folder, calibration=None, files=files)
    found = {finding.check: finding for finding in look_at_artefacts(Settings(artefacts={"directory": folder}))}
    assert found["models.files"].level is Level.OK
    assert found["models.calibration"].level is Level.WARNING


@seeds("error policy.file")
def test_a_policy_that_names_a_signal_which_there_is_not(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_bytes(read_policy()[1].replace(b'any_signal = ["agent_spoofed"]', b'any_signal = ["agent_spofed"]'))
    found = [one for one in look_at_artefacts(Settings(artefacts={"policy_file": policy})) if one.level is Level.ERROR]
    assert [finding.check for finding in found] == ["policy.file"]
    assert "agent_spofed" in found[0].what


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        seeded({"keys": {"ref_key": None}}, "settings.ref_key", Level.ERROR),
        seeded({"keys": {"ref_key": "development-only-not-a-secret"}}, "settings.ref_key", Level.WARNING),
        seeded({"kafka": {"bootstrap_servers": "kafka.example.org:9092"}}, "settings.kafka_tls", Level.WARNING),
        seeded(
            {
                "kafka": {
                    "bootstrap_servers": "kafka.example.org:9092",
                    "security_protocol": "SASL_PLAINTEXT",
                    "sasl_mechanism": "PLAIN",
                }
            },
            "settings.kafka_tls",
            Level.WARNING,
        ),
        seeded({"redis": {"url": "redis://redis.example.org:6379/0"}}, "settings.redis_tls", Level.WARNING),
        seeded({"redis": {"session_ttl_s": 8 * 86_400}}, "settings.lifetimes", Level.WARNING),
        seeded({"redis": {"rewind_s": 60}}, "settings.lifetimes", Level.WARNING),
        seeded({"pipeline": {"deadletter_limit_ratio": 1.0}}, "settings.deadletter_limit", Level.WARNING),
        seeded({"metrics": {"enabled": False}}, "settings.metrics", Level.WARNING),
    ],
)
def test_settings_that_are_unsafe(changed: dict[str, Any], check: str, level: Level) -> None:
    found = list(look_at_settings(Settings(**({"keys": {"ref_key": "a-long-and-secret-one"}} | changed))))
    assert [(finding.check, finding.level) for finding in found if finding.level is not Level.OK] == [(check, level)]


@seeds("warning settings.groups")
def test_a_group_that_two_processes_share() -> None:
    assert list(warn_of_name("tellwire", "tellwire-learner")) == []
    (finding,) = warn_of_name("tellwire", "tellwire")
    assert finding.level is Level.WARNING


SAFE_GATEWAY = {"token_key": "7f" * 16, "tenants": {"shop": "5e" * 16}}


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        seeded({"token_key": None}, "settings.gateway", Level.ERROR),
        seeded({"tenants": {}}, "settings.gateway", Level.ERROR),
        seeded({"token_key": "development-only-key-that-signs-session-tokens"}, "settings.gateway", Level.WARNING),
        seeded({"token_key_old": "development-only-key-that-signs-session-tokens"}, "settings.gateway", Level.WARNING),
        seeded({"tenants": {"shop": "changeme" * 4}}, "settings.gateway", Level.WARNING),
    ],
)
def test_a_gateways_settings_are_looked_at_on_its_behalf(changed: dict[str, Any], check: str, level: Level) -> None:
    def told(**gateway: Any) -> list[tuple[str, Level]]:
        settings = Settings(keys={"ref_key": "a-long-and-secret-one"}, gateway=SAFE_GATEWAY | gateway)
        found = look_at_settings(settings, "gateway")
        return [(finding.check, finding.level) for finding in found if finding.level is not Level.OK]

    assert told() == []
    assert told(**changed) == [(check, level)]
    assert list(look_at_settings(Settings(keys={"ref_key": "a-long-and-secret-one"})))[:-1] == []


def test_what_each_process_needs_is_what_the_page_says() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/how-to/run-under-an-orchestrator.md").read_text()
    secured = page[page.index("## Secured brokers") :]
    for role in ("worker", "learner"):
        for topic in kafka.NEEDS[role]:
            assert f"`{topic}`" in secured, (role, topic)


FOUND = [
    ok("a", "here", "fine"),
    warning("b", "there", "odd", "might break", "look"),
    error("c", "yonder", "broken", "loses things", "mend it"),
]


@pytest.mark.parametrize(
    ("found", "options", "code"),
    [(FOUND, [], 1), (FOUND[:2], [], 0), (FOUND[:2], ["--strict"], 1), (FOUND[:1], ["--strict"], 0)],
)
def test_its_exit_status_and_what_it_prints(
    monkeypatch: pytest.MonkeyPatch, found: list[Finding], options: list[str], code: int
) -> None:
    monkeypatch.setattr("stream.doctor.run.examine", lambda *_: iter(found))
    done = CliRunner().invoke(app, ["doctor", *options])
    assert done.exit_code == code
    assert ("ERROR   yonder: broken  [c]\n        why: loses things\n        do:  mend it\n" in done.stdout) == (
        len(found) == 3
    )
    assert "fine" not in done.stdout
    assert f"{len(found) - 1 if len(found) < 3 else 1} warning(s)" in done.stdout
    said = orjson.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert [one["check"] for one in said] == ["c", "b", "a"][3 - len(found) :]
    assert set(said[0]) == {"check", "level", "where", "what", "why", "do"}


def test_a_senders_name_reaches_the_terminal_without_its_controls() -> None:
    class Record:
        def value(self) -> bytes:
            return b'{"collector": {"name": "web\\u001b[2J\\u0007\\n", "version": "1"}}'

    assert traffic._collector(Record()) == "web?[2J?? 1"  # type: ignore[arg-type]
