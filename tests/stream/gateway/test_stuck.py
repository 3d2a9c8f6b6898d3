"""A gateway whose event loop is blocked: its probes say so, its watchdog ends it with the stacks."""

from __future__ import annotations

import json
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from schemas.topics import TELEMETRY_TOPIC
from stream.embedded import EmbeddedBroker
from stream.exit_status import STUCK
from tests.stream.gateway.doubles import SECRET
from tests.support.process import Deadline, end, free_ports, spawn

ENTRY = """
import signal, sys, time
from stream.cli import main
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(120))
sys.argv[:] = ["tellwire", "gateway"]
main()
"""


def probe(port: int, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())
    except OSError:
        return 0, {}


@pytest.mark.timeout(240)
def test_a_blocked_event_loop_ends_the_process(tmp_path: Path) -> None:
    port, metrics_port = free_ports(2)
    with EmbeddedBroker({TELEMETRY_TOPIC: 4}) as broker:
        env = {
            "TELLWIRE_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
            "TELLWIRE_KAFKA__FIXED_TOPIC_ID": "mock",
            "TELLWIRE_KEYS__REF_KEY": "a-key-of-references-0123456789",
            "TELLWIRE_GATEWAY__PORT": str(port),
            "TELLWIRE_GATEWAY__TOKEN_KEY": SECRET,
            "TELLWIRE_GATEWAY__TENANTS": json.dumps({"shop": SECRET}),
            "TELLWIRE_METRICS__PORT": str(metrics_port),
            "TELLWIRE_HEALTH__STALL_S": "5",
            "TELLWIRE_HEALTH__RESTART_S": "20",
        }
        log = tmp_path / "gateway.log"
        process = spawn([sys.executable, "-c", ENTRY], log, env)
        try:
            deadline = Deadline(120, pause_s=0.2)
            while deadline.waits() and probe(metrics_port, "/readyz")[0] != 200:
                assert process.poll() is None, log.read_text()
            process.send_signal(signal.SIGUSR1)
            phases = set()
            deadline = Deadline(120, pause_s=0.2)
            while deadline.waits() and process.poll() is None:
                status, told = probe(metrics_port, "/readyz")
                phases.add((status, told.get("phase")))
            assert process.poll() == STUCK, log.read_text()
            assert (503, "stalled") in phases
            said = log.read_text()
            assert "clients send again what was not answered" in said
            assert "the event loop has not run" in said
            assert "time.sleep(120)" in said or "<lambda>" in said
        finally:
            end(process, signal.SIGKILL)
