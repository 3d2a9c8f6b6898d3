"""What docker-compose.yml would run, run as processes: its commands, its settings, its probes, its Prometheus.

Only addresses differ: names of containers become ports of this machine. Images, volumes and rights are not tried.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.dashboards import DASHBOARDS
from tests.fault.load import simulated
from tests.support import require
from tests.support.pipeline import Pipeline, Process
from tests.support.process import Deadline, end, free_ports, spawn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
_DEFAULT = re.compile(r"\$\{[^:}]+:-([^}]*)\}")


def started(pipeline: Pipeline, name: str, **changed: str) -> Process:
    """Start a service of ours with its command and its settings."""
    (command,) = COMPOSE[name]["command"]
    known = {"KAFKA__BOOTSTRAP_SERVERS", "REDIS__URL", "METRICS__HOST", "METRICS__PORT"}
    settings = {
        variable.removeprefix("TELLWIRE_"): _DEFAULT.sub(r"\1", value)
        for variable, value in COMPOSE[name]["environment"].items()
    }
    return pipeline.start(command, **({key: value for key, value in settings.items() if key not in known} | changed))


def probed(name: str, process: Process) -> int:
    """Run the service's own health check against the process; return its exit status."""
    _, python, *rest = COMPOSE[name]["healthcheck"]["test"]
    assert python == "python"
    command = [part.replace(":9464/", f":{process.port}/") for part in rest]
    return subprocess.run([sys.executable, *command], capture_output=True, check=False).returncode


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Any]:
    """Start Prometheus with the committed configuration on some processes; return how to ask it."""
    binary = shutil.which("prometheus")
    require(binary, "Prometheus is run with the committed configuration; install the package prometheus")
    running: list[subprocess.Popen[bytes]] = []

    def start(ports: dict[str, int]) -> Any:
        folder = tmp_path / "prometheus"
        shutil.copytree(ROOT / "deploy/prometheus", folder)
        configured = yaml.safe_load((folder / "prometheus.yml").read_text())
        (own,) = free_ports(1)
        configured["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for job in configured["scrape_configs"]:
            found = job.pop("dns_sd_configs", None)
            port = own if found is None else ports[found[0]["names"][0]]
            job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configured))
        for name in configured["rule_files"]:
            rules = yaml.safe_load((folder / name).read_text())
            for group in rules["groups"]:
                group.pop("interval", None)
            (folder / name).write_text(yaml.safe_dump(rules))
        given = [part.replace("/etc/prometheus", str(folder)) for part in COMPOSE["prometheus"]["command"]]
        given = [part.replace("=/prometheus", f"={tmp_path}/tsdb") for part in given]
        command = [str(binary), *given, f"--web.listen-address=127.0.0.1:{own}"]
        running.append(spawn(command, tmp_path / "prometheus.log"))

        def ask(path: str, **query: str) -> Any:
            url = f"http://127.0.0.1:{own}/api/v1/{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]

        deadline = Deadline(30)
        while deadline.waits():
            try:
                ask("status/buildinfo")
            except OSError:
                continue
            return ask
        raise AssertionError((tmp_path / "prometheus.log").read_text()[-2000:])

    yield start
    for process in running:
        end(process)


def test_all_of_it_works_together(pipeline: Pipeline, prometheus: Any) -> None:
    pipeline.create_topics(2)
    (port,) = free_ports(1)
    processes = {
        "worker": started(pipeline, "worker"),
        "learner": started(pipeline, "learner"),
        "gateway": started(pipeline, "gateway", GATEWAY__PORT=str(port), GATEWAY__HOST="127.0.0.1"),
    }
    for name, process in processes.items():
        process.wait_ready()
        assert probed(name, process) == 0
    inputs = pipeline.produce_events(itertools.islice(simulated(4, 5.0, 0.5), 60))
    pipeline.wait_answered(processes["worker"], inputs)
    secret = json.loads(COMPOSE["gateway"]["environment"]["TELLWIRE_GATEWAY__TENANTS"])["demo"]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/sessions",
        b'{"flow": "signup"}',
        {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201

    ask = prometheus({name: process.port for name, process in processes.items()})

    def value(query: str) -> float:
        found = ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else -1.0

    deadline = Deadline(60, pause_s=0.5)
    while deadline.waits() and value('sum(up{job=~"tellwire-.+"})') < 3:
        pass
    assert value('sum(up{job=~"tellwire-.+"})') == 3
    assert value("sum(tellwire_risk_events_total)") == inputs
    while deadline.waits() and value("tellwire:lag_records:sum") < 0:
        pass
    groups = ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 30
    health: dict[str, str] = {}
    while deadline.waits() and (not health or "unknown" in health.values()):
        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        health = {f"{rule['name']} {rule['query']}": rule["health"] for rule in rules}
    assert {name: found for name, found in health.items() if found != "ok"} == {}
    targets = {target["labels"]["job"]: target["health"] for target in ask("targets")["activeTargets"]}
    assert targets == dict.fromkeys(("prometheus", "tellwire-gateway", "tellwire-learner", "tellwire-worker"), "up")
    assert [alert["labels"] for alert in ask("alerts")["alerts"] if alert["state"] == "firing"] == []
    now = str(time.time())
    for dashboard in DASHBOARDS:
        for _, panels in dashboard.rows:
            for panel in panels:
                for expression, _ in panel.lines:
                    ask("query", query=expression.replace("$__rate_interval", "1m"), time=now)
    processes["worker"].process.kill()
    processes["worker"].process.wait()
    assert probed("worker", processes["worker"]) != 0
