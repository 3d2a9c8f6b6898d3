"""The doctor on real Redis servers, on files and on settings: each seeded fault is told, with its cure."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from models import artifact
from models.policy import read_policy
from schemas.topics import TELEMETRY_TOPIC
from stream.cli import app
from stream.doctor import broker as kafka
from stream.doctor import traffic
from stream.doctor.files import look_at_artefacts, look_at_settings
from stream.doctor.finding import Finding, Level, error, ok, warning
from stream.doctor.store import look_at_store
from stream.settings import Settings
from stream.state import ConnectionOptions
from tests.support.redis import RedisServer


async def of_server(server: RedisServer, **options: Any) -> dict[str, Finding]:
    found = await look_at_store(ConnectionOptions(url=server.url, timeout_s=1.0, **options))
    for finding in found:
        assert finding.level is Level.OK or (finding.why and finding.do), finding
    # How slow a busy machine is, is another matter.
    return {f.check: f for f in found if f.level is not Level.OK and f.check != "redis.slow"}


SAFE = {"appendonly": "yes", "maxmemory": "100mb", "maxmemory-policy": "noeviction"}


async def test_a_server_that_is_well() -> None:
    with RedisServer(SAFE) as server:
        assert await of_server(server) == {}


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "redis.usable", Level.ERROR),
        ({"maxmemory": "0"}, "redis.memory", Level.WARNING),
        ({"appendonly": "no"}, "redis.persistence", Level.WARNING),
    ],
)
async def test_a_server_that_is_set_up_badly(changed: dict[str, str], check: str, level: Level) -> None:
    with RedisServer(SAFE | changed) as server:
        found = await of_server(server)
        assert {name: finding.level for name, finding in found.items()} == {check: level}


async def test_a_server_that_is_nearly_full() -> None:
    with RedisServer(SAFE) as server:
        with server.client() as client:
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", int(used * 1.08))
        assert (await of_server(server))["redis.memory"].level is Level.WARNING
        with server.client() as client:
            client.config_set("maxmemory", int(used * 0.8))
        assert (await of_server(server))["redis.memory"].level is Level.ERROR


async def test_a_server_that_evicted() -> None:
    with RedisServer(SAFE) as server:
        with server.client() as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("maxmemory", "4mb")
            for number in range(300):
                client.set(f"k{number}", b"x" * 20_000)
            client.config_set("maxmemory", "100mb")
            client.config_set("maxmemory-policy", "noeviction")
        assert set(await of_server(server)) == {"redis.evicted"}


async def test_a_server_that_is_not_there_or_of_another_mode() -> None:
    found = await look_at_store(ConnectionOptions(url="redis://127.0.0.1:1/0", timeout_s=0.5))
    assert [(finding.check, finding.level) for finding in found] == [("redis.reachable", Level.ERROR)]
    with RedisServer(SAFE) as server:
        assert "redis.reachable" in await of_server(server, cluster=True) or "redis.usable" in await of_server(
            server, cluster=True
        )


async def test_a_node_of_a_cluster_without_its_slots() -> None:
    with RedisServer({"cluster-enabled": "yes"} | SAFE) as server:
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 100)
        found = await of_server(server, cluster=True)
        assert set(found) & {"redis.slots", "redis.reachable"}


async def test_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr("stream.doctor.store.time.time", lambda: real() - 90)
    with RedisServer(SAFE) as server:
        finding = (await of_server(server))["clock.redis"]
        assert "90.0 s ahead" in finding.what
    (ahead,) = traffic._ahead(TELEMETRY_TOPIC, int(real() * 1000))
    assert (ahead.check, ahead.level) == ("clock.broker", Level.ERROR)


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


def test_a_policy_that_names_a_signal_which_there_is_not(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_bytes(read_policy()[1].replace(b'any_signal = ["agent_spoofed"]', b'any_signal = ["agent_spofed"]'))
    found = [one for one in look_at_artefacts(Settings(artefacts={"policy_file": policy})) if one.level is Level.ERROR]
    assert [finding.check for finding in found] == ["policy.file"]
    assert "agent_spofed" in found[0].what


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        ({"keys": {"ref_key": None}}, "settings.ref_key", Level.ERROR),
        ({"keys": {"ref_key": "development-only-not-a-secret"}}, "settings.ref_key", Level.WARNING),
        ({"kafka": {"bootstrap_servers": "kafka.example.org:9092"}}, "settings.kafka_tls", Level.WARNING),
        (
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
        ({"redis": {"url": "redis://redis.example.org:6379/0"}}, "settings.redis_tls", Level.WARNING),
        ({"redis": {"session_ttl_s": 8 * 86_400}}, "settings.lifetimes", Level.WARNING),
        ({"redis": {"rewind_s": 60}}, "settings.lifetimes", Level.WARNING),
        ({"pipeline": {"deadletter_limit_ratio": 1.0}}, "settings.deadletter_limit", Level.WARNING),
        ({"metrics": {"enabled": False}}, "settings.metrics", Level.WARNING),
    ],
)
def test_settings_that_are_unsafe(changed: dict[str, Any], check: str, level: Level) -> None:
    found = list(look_at_settings(Settings(**({"keys": {"ref_key": "a-long-and-secret-one"}} | changed))))
    assert [(finding.check, finding.level) for finding in found if finding.level is not Level.OK] == [(check, level)]


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
