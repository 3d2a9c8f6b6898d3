"""docker-compose.yml and the Dockerfile, as far as they can be checked without a container engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stream import settings_source
from tests.support.kafka_jars import KAFKA_VERSION

ROOT = Path(__file__).resolve().parents[2]
OURS = {"topics", "worker", "learner", "gateway"}
OTHERS = {"kafka", "valkey", "prometheus", "grafana"}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(found) == OURS | OTHERS
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
        assert re.search(r":v?\d+\.\d+\.\d+", image), image
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
    for name in ("worker", "learner", "gateway"):
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
    for name, port in (("worker", "9464-9479"), ("learner", "9480"), ("gateway", "9481")):
        assert ":9464/readyz" in services[name]["healthcheck"]["test"][-1]
        assert services[name]["ports"][-1] == f"127.0.0.1:{port}:9464"


def test_nothing_of_ours_writes_to_its_root_or_has_more_rights_than_it_needs(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in (OURS | OTHERS) - {"kafka", "valkey"}:
        assert services[name]["read_only"] is True, name
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
    for name in OURS:
        assert services[name]["tmpfs"] == ["/tmp"]
        assert "volumes" not in services[name]


def test_profiles_add_the_gateway_and_what_watches(services: dict[str, dict[str, Any]]) -> None:
    of = {name: set(service.get("profiles", [])) for name, service in services.items()}
    assert {name for name, profiles in of.items() if not profiles} == {"kafka", "valkey", "topics", "worker", "learner"}
    assert of["gateway"] == {"gateway", "all"}
    assert of["prometheus"] == of["grafana"] == {"observability", "all"}


def test_what_is_mounted_is_there(services: dict[str, dict[str, Any]]) -> None:
    declared = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"]
    mounts = [mount.split(":") for service in services.values() for mount in service.get("volumes", [])]
    folders = [source for source, *_ in mounts if source.startswith("./")]
    assert len(folders) >= 3
    for source, _, *mode in mounts:
        if source.startswith("./"):
            assert (ROOT / source).is_dir()
            assert mode == ["ro"]
        else:
            assert source in declared
    command = services["prometheus"]["command"]
    assert (ROOT / "deploy/prometheus" / Path(command[0].partition("=")[2]).name).is_file()
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    names = {job["dns_sd_configs"][0]["names"][0] for job in jobs if "dns_sd_configs" in job}
    assert names == OURS - {"topics"}


def test_compose_files_own_schema_accepts_it() -> None:
    # Of compose-go v2.16.2 (Apache-2.0); `make compose` asks compose-go itself.
    schema = json.loads((ROOT / "tests/contract/compose-spec.json").read_text())
    checker = jsonschema.validators.validator_for(schema)(schema)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert [error.message for error in checker.iter_errors(compose)] == []
    compose["services"]["worker"]["helthcheck"] = {}
    assert len(list(checker.iter_errors(compose))) == 1


@pytest.mark.parametrize(("version", "told"), [("go1.23.9", "here is go1.23.9:"), ("", "here is go0 (none):")])
def test_a_go_that_is_too_old_for_compose_go_is_told_in_one_line(tmp_path: Path, version: str, told: str) -> None:
    fake = tmp_path / "go"
    fake.write_text(f"#!/bin/sh\n[ -n '{version}' ] && [ $1 = env ] && echo {version}\n")
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run(["make", "compose"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    (line,) = done.stdout.splitlines()
    assert line.startswith("compose-go needs Go 1.24 or newer, ")
    assert told in line
    assert done.returncode != 0


def test_the_container_starts_from_the_kernels_that_were_baked(tmp_path: Path) -> None:
    baked, cache, tools = tmp_path / "baked", tmp_path / "cache", tmp_path / "bin"
    (baked / "inside").mkdir(parents=True)
    (baked / "inside" / "one.nbi").write_text("kernel")
    tools.mkdir()
    (tools / "tellwire").write_text('#!/bin/sh\necho "$@" "$(cat "$NUMBA_CACHE_DIR/inside/one.nbi")"\n')
    (tools / "tellwire").chmod(0o755)
    env = {"BAKED_KERNELS": str(baked), "NUMBA_CACHE_DIR": str(cache), "PATH": f"{tools}:/usr/bin:/bin"}
    for _ in range(2):
        done = subprocess.run(
            [ROOT / "deploy/start.sh", "worker", "a b"], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout == "worker a b kernel\n"


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
