"""Health: a table of what happened and which phase that is, and the probes on a real port."""

import http.client
import json
import socket
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from stream.health import Health, Phase
from stream.metrics import Metrics
from stream.probes import HealthServer

STALL_S, RESTART_S = 60.0, 120.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


TABLE = [
    # what happened, in order ("+n": n seconds pass; "lag n": observed; "lag n away": the broker does not answer)
    ("", Phase.STARTING),
    ("+1000", Phase.STARTING),
    ("lag 5 +1000", Phase.STARTING),
    ("ready", Phase.READY),
    ("+1000 ready", Phase.READY),
    ("ready +1000", Phase.READY),
    ("ready lag 0 +1000", Phase.READY),
    ("ready lag 5 +59", Phase.READY),
    ("ready lag 5 +60", Phase.READY),
    ("ready lag 5 +61", Phase.STALLED),
    ("ready lag 5 +61 ready", Phase.STALLED),
    ("ready lag 5 +61 progressed", Phase.READY),
    ("ready lag 5 +40 progressed +40", Phase.READY),
    ("ready lag 5 +40 progressed +61", Phase.STALLED),
    ("ready lag 5 +61 lag 0", Phase.READY),
    ("ready +1000 lag 5", Phase.STALLED),
    ("ready lag 0 +1000 lag 0 lag 5 +59", Phase.READY),
    ("ready lag 5 away +1000 lag 5 away +59", Phase.WAITING),
    ("ready lag 5 +61 lag 5 away", Phase.WAITING),
    ("ready lag 5 away +1000 lag 5 away lag 5 +59", Phase.READY),
    ("draining", Phase.DRAINING),
    ("ready draining", Phase.DRAINING),
    ("ready lag 5 draining +1000", Phase.DRAINING),
    ("ready draining ready progressed", Phase.DRAINING),
]


@pytest.mark.parametrize(("happened", "phase"), TABLE)
def test_phases(happened: str, phase: Phase) -> None:
    clock = Clock()
    health = Health(STALL_S, clock)
    words = happened.split()
    while words:
        word = words.pop(0)
        if word.startswith("+"):
            clock.now_s += float(word)
        elif word == "lag":
            waiting = int(words.pop(0))
            away = bool(words) and words[0] == "away"
            if away:
                words.pop(0)
            health.observe(waiting, broker_reachable=not away)
        else:
            getattr(health, word)()
    assert health.phase is phase


@pytest.fixture
def served() -> Iterator[tuple[Health, Clock, Metrics, HealthServer]]:
    clock, metrics = Clock(), Metrics()
    health = Health(STALL_S, clock, RESTART_S)
    server = HealthServer(health, metrics.registry, "127.0.0.1", 0)
    yield health, clock, metrics, server
    server.close()


def get(server: HealthServer, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_probes_answer_by_phase(served: tuple[Health, Clock, Metrics, HealthServer]) -> None:
    health, clock, _, server = served

    def probes() -> tuple[int, int]:
        return get(server, "/livez")[0], get(server, "/readyz")[0]

    assert probes() == (200, 503)
    health.ready()
    assert probes() == (200, 200)
    health.observe(7, broker_reachable=True)
    clock.now_s += STALL_S + 1
    assert probes() == (200, 503), "not ready, but the watchdog has not given it up yet"
    clock.now_s += RESTART_S - STALL_S
    assert probes() == (503, 503)
    assert json.loads(get(server, "/livez")[1]) == {
        "phase": "stalled",
        "since_progress_s": 121.0,
        "waiting_records": 7,
        "waiting_for": [],
        "broker_reachable": True,
        "silent_s": {"progress": 121.0},
        "stopped": {},
        "one_by_one": {},
    }
    health.progressed()
    assert probes() == (200, 200)
    health.observe(7, broker_reachable=True, waits_for=["store"])
    assert probes() == (200, 503)
    assert json.loads(get(server, "/readyz")[1])["waiting_for"] == ["store"]
    health.draining()
    assert probes() == (200, 503)


def test_a_silent_client_does_not_keep_the_probes(
    served: tuple[Health, Clock, Metrics, HealthServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.probes._QuietHandler.timeout", 0.2)
    with socket.create_connection(("127.0.0.1", served[3].port)):
        assert get(served[3], "/livez")[0] == 200


def test_metrics_and_nothing_else_are_served(served: tuple[Health, Clock, Metrics, HealthServer]) -> None:
    _, _, metrics, server = served
    metrics.chunks.add(3)
    status, text = get(server, "/metrics")
    assert status == 200
    assert "tellwire_chunks_total 3.0" in text.splitlines()
    assert get(server, "/")[0] == 404
    assert get(server, "/metrics/x")[0] == 404


def test_a_taken_port_is_an_os_error_at_once(served: tuple[Health, Clock, Metrics, HealthServer]) -> None:
    with pytest.raises(OSError, match="in use"):
        HealthServer(served[0], CollectorRegistry(), "127.0.0.1", served[3].port)


def test_one_partition_that_stands_still_is_a_stall_however_busy_the_others_are() -> None:
    clock = Clock()
    health = Health(STALL_S, clock)
    health.ready()
    for second in range(70):
        health.observe_partitions({"t[0]": (second, 5), "t[1]": (7, 3), "t[2]": (9, 0)}, broker_reachable=True)
        assert health.phase is (Phase.READY if second <= 60 else Phase.STALLED)
        clock.now_s += 1.0
    health.observe_partitions({"t[0]": (70, 5), "t[1]": (8, 2), "t[2]": (9, 0)}, broker_reachable=True)
    assert health.phase is Phase.READY


def test_a_partition_stopped_on_purpose_is_no_stall_and_not_ready() -> None:
    clock = Clock()
    health = Health(STALL_S, clock)
    health.ready()
    health.stop("t[1]", "dead letters")
    for second in range(200):
        health.observe_partitions({"t[0]": (second, 5), "t[1]": (7, 3)}, broker_reachable=True)
        clock.now_s += 1.0
    assert health.report()["phase"] == "stopped"
    assert health.report()["stopped"] == {"t[1]": "dead letters"}
    health.resume("t[1]")
    assert health.phase is Phase.READY


def test_a_broker_that_is_away_is_no_stall_of_any_partition() -> None:
    clock = Clock()
    health = Health(STALL_S, clock)
    health.ready()
    for _ in range(200):
        health.observe_partitions({"t[0]": (1, 5)}, broker_reachable=False)
        clock.now_s += 1.0
        assert health.phase is Phase.WAITING
        assert health.is_alive
    health.observe_partitions({"t[0]": (1, 5)}, broker_reachable=True)
    assert health.phase is Phase.READY
