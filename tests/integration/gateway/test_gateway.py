"""The gateway as a process, on real Kafka: what its answers say is what Kafka has, whatever happens to either."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stream.refs import RefHasher
from stream.settings import KeySettings
from stream.transport.murmur2 import partition_of
from tests.integration.gateway.conftest import Gateways, now_ms
from tests.support.kafka import KafkaBroker
from tests.support.pipeline import REF_KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_what_is_taken_is_in_kafka_and_nothing_is_in_the_clear(gateways: Gateways) -> None:
    gateway = gateways.start()
    sessions = [gateways.open(flow="signup", account_ref=f"ann-{number}@shop.example") for number in range(20)]
    for session in sessions:
        for sequence in range(3):
            answer = gateways.send(session, [gateways.event(session, sequence)], device_ref="device-17")
            assert answer.json == {"accepted": 1, "refused": []}
    found = gateways.in_kafka()
    assert sorted(gateways.events()) == sorted((s["session_id"], n) for s in sessions for n in range(3))
    refs = RefHasher(KeySettings(ref_key=REF_KEY))
    for record in found:
        event = json.loads(record.value or b"")
        assert record.key == event["session_id"].encode()
        assert record.partition == partition_of(event["session_id"].encode(), 4)
        assert event["network"]["ip_ref"] == refs.hash("ip", "127.0.0.1")
        assert event["device_ref"] == refs.hash("device", "device-17")
    assert len({record.partition for record in found}) == 4

    _refuse_all_bad_kinds(gateways, sessions[0])
    assert len(gateways.in_kafka()) == len(found)
    kept = b"".join((record.value or b"") + str(record.headers).encode() for record in gateways.in_kafka())
    status, metrics = gateway.get("/metrics")
    assert status == 200
    assert 'tellwire_gateway_requests_total{code="ok",path="/v1/telemetry"} 60.0' in metrics
    assert "tellwire_gateway_events_accepted_total 60.0" in metrics
    said = gateway.text()
    for mark in ("127.0.0.1:", "device-17", "@shop.example", sessions[0]["session_id"], sessions[0]["token"]):
        assert mark not in metrics
        assert mark not in said
    assert b"127.0.0.1" not in kept
    assert b"device-17" not in kept
    assert b"@shop.example" not in kept
    assert gateway.stop() == 0


def _refuse_all_bad_kinds(gateways: Gateways, session: dict[str, Any]) -> None:
    """Bodies, heads, tokens and events of all bad kinds."""
    good = gateways.event(session, 50)
    erasure = {
        "type": "capture.erasure.v1",
        "event_id": "e",
        "session_id": session["session_id"],
        "tenant": "shop",
        "observed_at": now_ms(),
    }
    forged = {**session, "token": session["token"][:-2] + ("aa" if session["token"][-2:] != "aa" else "bb")}
    cases: list[tuple[bytes, dict[str, str], int, str]] = [
        (b"", {}, 400, "body_malformed"),
        (b"{", {}, 400, "body_malformed"),
        (b"\xff", {}, 400, "body_malformed"),
        (b"x" * 270_000, {}, 413, "body_too_large"),
        (gateways.batch(session, [good]), {"Content-Encoding": "gzip"}, 415, "content_encoding"),
        (gateways.batch(session, [good]), {"Content-Type": "multipart/form-data"}, 415, "content_type"),
        (gateways.batch(session, [good]), {"Origin": "http://evil.example"}, 403, "origin_not_allowed"),
        (gateways.batch(forged, [good]), {}, 401, "token_invalid"),
        (gateways.batch(session, [erasure]), {}, 422, "events_refused"),
        (gateways.batch(session, [{**good, "nonce": "n_other"}]), {}, 422, "events_refused"),
        (gateways.batch(session, [good] * 33), {}, 413, "too_many_events"),
    ]
    for body, headers, status, code in cases:
        answer = gateways.post("/v1/telemetry", body, headers)
        assert (answer.status, answer.json["code"]) == (status, code)
    assert _raw(gateways.port, b"NO HTTP AT ALL\r\n\r\n").startswith(b"HTTP/1.1 400")
    many = b"".join(b"X-%d: y\r\n" % number for number in range(200))
    assert _raw(gateways.port, b"POST /v1/telemetry HTTP/1.1\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 400")
    endless = b"POST /v1/telemetry HTTP/1.1\r\nX-Long: " + b"y" * 900_000
    assert b"HTTP/1.1 200" not in _raw(gateways.port, endless)
    body = gateways.batch(session, [{**good, "type": "capture.erasure.v1"}])
    chunked = b"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n"
    chunked += b"Origin: http://127.0.0.1:9999\r\nConnection: close\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert _raw(gateways.port, chunked).startswith(b"HTTP/1.1 422")


def _raw(port: int, data: bytes) -> bytes:
    """What comes back for bytes of any kind, until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        found = b""
        try:
            connection.sendall(data)
            while part := connection.recv(65_536):
                found += part
        except OSError:
            pass
        return found


def test_while_kafka_is_away_nothing_is_lost_and_nothing_is_twice_behind_the_scoring(
    kafka_broker: KafkaBroker, gateways: Gateways
) -> None:
    gateway = gateways.start()
    session = gateways.open()
    assert gateways.send(session, [gateways.event(session, 0)]).status == 200
    kafka_broker.pause()
    try:
        began = time.monotonic()
        first = gateways.send(session, [gateways.event(session, 1)])
        assert (first.status, first.json["code"]) == (503, "kafka_unavailable")
        assert int(first.headers["retry-after"]) >= 1
        assert first.headers["access-control-allow-origin"]
        assert time.monotonic() - began < 10
        again = gateways.send(session, [gateways.event(session, 1)])
        assert again.status == 503
        assert gateway.get("/readyz")[0] == 200  # it still answers, and says when to come again
        assert gateway.metric("tellwire_gateway_kafka_away") == 1
    finally:
        kafka_broker.resume()
    for sequence in (1, 2):
        gateways.send_until_taken(session, [gateways.event(session, sequence)])
    assert set(gateways.events()) == {(session["session_id"], sequence) for sequence in range(3)}
    _scored_once(gateways, {session["session_id"]: 3})
    assert gateway.stop() == 0


def _scored_once(gateways: Gateways, sessions: dict[str, int]) -> None:
    """Let the real worker score all of it: one risk event for each event that was sent, however often it was."""
    pipeline = gateways.pipeline
    worker = pipeline.start("worker")
    worker.wait_ready()
    worker.wait(lambda: pipeline.uncommitted() == 0, 120, "at the end of the log")
    counts = Counter(event.session_id for event in pipeline.risk_events())
    assert counts == sessions
    assert pipeline.answers() == sum(sessions.values())
    assert worker.stop() == 0


def test_a_gateway_that_is_killed_in_the_middle_leaves_no_event_lost_and_none_scored_twice(gateways: Gateways) -> None:
    process = gateways.start()
    sessions = [gateways.open() for _ in range(6)]
    sent: Counter[str] = Counter()
    tries: Counter[str] = Counter()
    done = threading.Event()

    def person(session: dict[str, Any]) -> None:
        own = session["session_id"]
        while not done.is_set():
            tries[own] += gateways.send_until_taken(session, [gateways.event(session, sent[own])])
            sent[own] += 1
            time.sleep(0.01)

    with ThreadPoolExecutor(len(sessions)) as people:
        running = [people.submit(person, session) for session in sessions]
        try:
            for _ in range(2):
                time.sleep(0.7)
                process.process.send_signal(signal.SIGKILL)
                process.process.wait()
                process = gateways.start()
            time.sleep(0.3)
        finally:
            done.set()
        for one in running:
            one.result()
    assert sum(tries.values()) > sum(sent.values())  # some were sent again
    assert set(gateways.events()) == {(own, number) for own, count in sent.items() for number in range(count)}
    _scored_once(gateways, dict(sent))


def test_a_graceful_stop_answers_what_it_took(gateways: Gateways) -> None:
    # Two share the port: while one stops, the other serves.
    first, second = gateways.start(), gateways.start()
    session = gateways.open()
    taken: list[int] = []
    lost: list[int] = []
    done = threading.Event()

    def send(worker: int) -> None:
        sequence = worker
        while not done.is_set():
            try:
                answer = gateways.send(session, [gateways.event(session, sequence)])
            except (OSError, http.client.HTTPException):
                lost.append(sequence)  # the connection ended before there was an answer
            else:
                assert answer.status == 200, answer.body
                taken.append(sequence)
            sequence += 4

    with ThreadPoolExecutor(4) as senders:
        running = [senders.submit(send, worker) for worker in range(4)]
        time.sleep(1.0)
        assert first.stop() == 0
        time.sleep(0.5)
        done.set()
        for one in running:
            one.result()
    assert second.stop() == 0
    in_kafka = {sequence for _, sequence in gateways.events()}
    assert set(taken) <= in_kafka
    assert len(taken) > 20
    for text in (first.text(), second.text()):
        assert "did not acknowledge" not in text
        assert "gateway stopped" in text


def test_a_request_in_work_is_answered_while_it_stops(kafka_broker: KafkaBroker, gateways: Gateways) -> None:
    gateway = gateways.start(GATEWAY__PRODUCE_DEADLINE_S="20")
    session = gateways.open()
    kafka_broker.pause()
    try:
        with ThreadPoolExecutor(1) as sender:
            answer = sender.submit(gateways.send, session, [gateways.event(session, 0)])
            gateway.wait(lambda: gateway.metric("tellwire_gateway_in_flight_bytes") > 0, 10, "producing")
            gateway.process.send_signal(signal.SIGTERM)
            time.sleep(1.0)
            kafka_broker.resume()
            assert answer.result().json == {"accepted": 1, "refused": []}
    finally:
        kafka_broker.resume()
    assert gateway.process.wait(20) == 0
    assert gateways.events() == [(session["session_id"], 0)]


def test_slow_bodies_and_slow_heads_are_ended(gateways: Gateways) -> None:
    gateway = gateways.start(GATEWAY__BODY_TIMEOUT_S="1")
    head = b"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nOrigin: http://127.0.0.1:9999\r\nContent-Type: text/plain\r\n"
    slow_body = _raw(gateways.port, head + b"Content-Length: 100\r\n\r\n{")
    assert slow_body.startswith(b"HTTP/1.1 408")
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", gateways.port), timeout=30) as connection:
        connection.sendall(head)
        assert connection.recv(100) == b""
    assert 5 < time.monotonic() - began < 25
    assert gateway.stop() == 0


@pytest.mark.parametrize("missing", ["GATEWAY__TENANTS", "GATEWAY__TOKEN_KEY", "KEYS__REF_KEY"])
def test_a_missing_secret_is_one_clear_line(gateways: Gateways, missing: str) -> None:
    empty = {"GATEWAY__TENANTS": "{}", "GATEWAY__ORIGINS": "{}"} if missing == "GATEWAY__TENANTS" else {}
    with pytest.raises(AssertionError, match="it ended with 2"):
        gateways.start(**(empty or {missing: ""}))
    lines = gateways.pipeline.processes[0].text().splitlines()
    assert len(lines) == 1
    section, _, name = missing.lower().partition("__")
    assert f"{section}.{name}" in lines[0]
