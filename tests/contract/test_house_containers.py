"""docker-compose.yml and the Dockerfile, as far as they can be checked without a container engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream import settings_source
from tests.support.kafka import KAFKA_VERSION

ROOT = Path(__file__).resolve().parents[2]
OURS = {"topics", "worker", "learner"}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(found) == OURS | {"kafka", "valkey"}
    return dict(found)


def test_ports_are_published_on_localhost_alone(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) >= 4
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_image_is_pinned(services: dict[str, dict[str, Any]]) -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, flags=re.MULTILINE)
    images = [service["image"] for name, service in services.items() if name not in OURS] + bases
    assert len(images) >= 4
    for image in images:
        assert re.search(r":\d+\.\d+\.\d+", image), image
    assert services["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_every_service_that_stays_up_has_a_health_check_and_starts_after_what_it_needs(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in set(services) - {"topics"}:
        assert services[name]["healthcheck"]["test"][0] == "CMD"
        assert services[name]["restart"] == "unless-stopped"
    assert services["topics"]["restart"] == "no"
    assert services["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert services["worker"]["depends_on"]["valkey"] == {"condition": "service_healthy"}
    for name in ("worker", "learner"):
        assert services[name]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_the_settings_in_it_are_settings_and_valid(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OURS:
        for variable, value in services[name]["environment"].items():
            assert isinstance(value, str), f"{variable} must be quoted"
            monkeypatch.setenv(variable, re.sub(r"\$\{[^:}]+:-([^}]*)\}", r"\1", value))
        loaded = settings_source.load()
        assert loaded.kafka.bootstrap_servers == "kafka:19092"
        assert loaded.redis.url.get_secret_value() == "redis://valkey:6379/0"
        assert loaded.metrics.host == "0.0.0.0"
        assert loaded.keys.ref_key is not None
        assert loaded.metrics.port == 9464
    for name, port in (("worker", 9464), ("learner", 9465)):
        assert ":9464/readyz" in services[name]["healthcheck"]["test"][-1]
        assert services[name]["ports"] == [f"127.0.0.1:{port}:9464"]


def test_the_store_neither_evicts_nor_forgets(services: dict[str, dict[str, Any]]) -> None:
    command = services["valkey"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"


def test_the_image_is_built_from_the_lock_and_does_not_run_as_root() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert "--require-hashes" in dockerfile
    assert re.findall(r"^USER (\S+)", dockerfile, flags=re.MULTILINE) == ["10001"]
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)", dockerfile, flags=re.MULTILINE)
        for source in line.split()[:-1]
    ]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {"requirements/run.txt", "stream", "LICENSE"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source in allowed, source


def test_compose_itself_accepts_the_file_where_it_is_installed() -> None:
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        command = [docker, "compose", "-f", str(ROOT / "docker-compose.yml"), "config", "-q"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
