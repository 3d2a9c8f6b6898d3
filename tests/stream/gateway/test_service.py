"""Requests through the whole application, without a server: what is taken, what is refused, and what Kafka then has."""

from __future__ import annotations

import json
import logging

import pytest

from schemas.envelope import decode
from schemas.erasure import Erasure
from schemas.topics import TELEMETRY_TOPIC
from stream.gateway.wire import EVENT_CODES
from stream.refs import RefHasher
from tests.stream.gateway.doubles import NOW_MS, ORIGIN, OTHER_SECRET, SECRET, World, opened, records


async def test_events_are_in_kafka_with_what_the_gateway_adds() -> None:
    world = World()
    session = await opened(world, flow="signup", account_ref="ann@shop.example")
    events = [world.event(session, number) for number in range(3)]
    answer = await world.telemetry(session, events, device_ref="device-17")
    assert (answer.status, answer.json) == (200, {"accepted": 3, "refused": []})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-expose-headers"] == "retry-after"

    refs = RefHasher(world.settings.keys)
    for number, (record, event) in enumerate(zip(world.producer.taken, records(world.producer), strict=True)):
        assert (record.topic, record.key) == (TELEMETRY_TOPIC, session["session_id"].encode())
        assert record.partition is None  # by key, as murmur2 places it
        assert (event.sequence, event.tenant, event.flow) == (number, "shop", "signup")
        assert (event.observed_at, event.nonce) == (NOW_MS, session["nonce"])
        assert event.account_ref == refs.hash("account", "ann@shop.example")
        assert event.device_ref == refs.hash("device", "device-17")
        assert event.network is not None
        assert event.network.ip_ref == refs.hash("ip", "203.0.113.7")
        assert event.ref_key_version == "k1"


async def test_good_events_are_taken_and_bad_ones_told_in_one_answer() -> None:
    world = World()
    session = await opened(world)
    events = [
        world.event(session, 0),
        world.event(session, 1, tenant="bank"),
        world.event(session, 2, pointer={"t": [1], "x": [], "y": []}),
        {"type": "capture.erasure.v1", "event_id": "e", "session_id": session["session_id"], "tenant": "shop"},
        world.event(session, 3),
        world.event(session, 4, effective_at=NOW_MS - 601_000),
        17,
    ]
    answer = await world.telemetry(session, events)
    assert answer.status == 200
    told = answer.json
    assert told["accepted"] == 2
    assert [event.sequence for event in records(world.producer)] == [0, 3]
    assert [(one["index"], one["code"], one["path"]) for one in told["refused"]] == [
        (1, "field_not_allowed", "$.tenant"),
        (2, "schema", "$.pointer"),
        (3, "type_not_allowed", "$.type"),
        (5, "event_too_old", "$.effective_at"),
        (6, "malformed_json", "$"),
    ]
    assert {one["code"] for one in told["refused"]} <= EVENT_CODES.keys()
    assert world.metrics.events_refused.labels("schema")._value.get() == 1
    assert world.metrics.events_accepted._value.get() == 2


async def test_nothing_but_telemetry_is_ever_produced() -> None:
    world = World()
    session = await opened(world)
    erasure = {
        "type": "capture.erasure.v1",
        "event_id": "e",
        "session_id": session["session_id"],
        "tenant": "shop",
        "observed_at": NOW_MS,
    }
    assert isinstance(decode(json.dumps(erasure).encode(), None), Erasure)
    answer = await world.telemetry(session, [erasure])
    assert (answer.status, answer.json["code"]) == (422, "events_refused")
    assert world.producer.taken == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "body_malformed"),
        (b"{", 400, "body_malformed"),
        (b"\xff\xfe", 400, "body_malformed"),
        (b"\xef\xbb\xbf{}", 400, "body_malformed"),
        (b"[" * 200 + b"]" * 200, 400, "body_malformed"),
        (b"[]", 400, "body_invalid"),
        (b"null", 400, "body_invalid"),
        (b"{}", 400, "body_invalid"),
        (b'{"token":"x","sent_at":1790000000000,"events":[]}', 400, "body_invalid"),
        (b'{"token":"x","sent_at":0,"events":[{}]}', 400, "body_invalid"),
        (b'{"token":"x\\n","sent_at":1790000000000,"events":[{}]}', 400, "body_invalid"),
        (b'{"token":"x","sent_at":1790000000000,"events":[{}],"more":1}', 400, "body_invalid"),
        (b'{"token":"x","sent_at":1790000000000,"events":[{}]}', 401, "token_invalid"),
        (b"x" * 300_000, 413, "body_too_large"),
        ([b"x" * 200_000, b"x" * 100_000], 413, "body_too_large"),
    ],
)
async def test_bodies_of_all_bad_kinds(body: bytes | list[bytes], status: int, code: str) -> None:
    world = World()
    answer = await world.send("/v1/telemetry", body)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == f"urn:tellwire:gateway:{code}"
    chunked = await world.send("/v1/telemetry", body, {"content-length": "-", "transfer-encoding": "chunked"})
    assert (chunked.status, chunked.json["code"]) == (status, code)


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    for headers in ({}, {"origin": "https://evil.example"}):
        world = World()
        answer = await world.send("/v1/telemetry", [b"x" * 50_000] * 1_000, {"content-length": "-", **headers})
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert world.bytes_read < 400_000


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"origin": "https://evil.example"}, 403, "origin_not_allowed"),
        ({"origin": "https://shop.example.evil.example"}, 403, "origin_not_allowed"),
        ({"origin": "null"}, 403, "origin_not_allowed"),
        ({"origin": "-"}, 403, "origin_not_allowed"),
        ({"origin": "https://bank.example"}, 403, "origin_not_allowed"),  # another tenant's
        ({"content-encoding": "gzip"}, 415, "content_encoding"),
        ({"content-encoding": "br"}, 415, "content_encoding"),
        ({"content-type": "-"}, 415, "content_type"),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "content_type"),
    ],
)
async def test_heads_that_are_refused(headers: dict[str, str], status: int, code: str) -> None:
    world = World()
    session = await opened(world)
    answer = await world.telemetry(session, [world.event(session)], headers=headers)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert world.producer.taken == []
    allowed = headers.get("origin", ORIGIN) in {ORIGIN, "https://bank.example"}
    assert ("access-control-allow-origin" in answer.headers) == allowed


async def test_an_app_that_is_no_page_needs_no_origin_where_that_is_set() -> None:
    world = World(require_origin=False)
    session = await opened(world)
    assert (await world.telemetry(session, [world.event(session)], headers={"origin": "-"})).status == 200
    evil = await world.telemetry(session, [world.event(session)], headers={"origin": "https://evil.example"})
    assert evil.status == 403


async def test_preflight_is_answered_for_allowed_origins_alone() -> None:
    world = World()
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    answer = await world.send("/v1/telemetry", b"", asks, method="OPTIONS")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in answer.headers
    evil = await world.send("/v1/telemetry", b"", {**asks, "origin": "https://evil.example"}, method="OPTIONS")
    assert evil.status == 400
    assert "access-control-allow-origin" not in evil.headers
    assert (await world.send("/v1/telemetry", b"", method="OPTIONS")).status == 405
    # Sessions are opened by servers.
    assert "access-control-allow-origin" not in (await world.open()).headers
    assert (await world.send("/v1/sessions", b"", asks, method="OPTIONS")).status == 405


async def test_other_paths_and_methods_are_told_where_to_go() -> None:
    world = World()
    assert (await world.send("/", b"")).json["code"] == "not_found"
    assert (await world.send("/v1/telemetry", b"", method="GET")).json["code"] == "method_not_allowed"
    assert (await world.send("/v1/telemetry/", b"")).status in {307, 404}


async def test_tokens_expired_forged_and_of_another_session() -> None:
    world = World()
    mine, other = await opened(world), await opened(world)
    forged = {**mine, "token": mine["token"][:-1] + ("A" if mine["token"][-1] != "A" else "B")}
    assert (await world.telemetry(forged, [world.event(mine)])).json["code"] == "token_invalid"
    crossed = await world.telemetry(other, [world.event(mine)])
    assert crossed.json["refused"][0]["code"] == "session_mismatch"
    reused = await world.telemetry(mine, [world.event(mine, nonce=other["nonce"])])
    assert reused.json["refused"][0]["code"] == "nonce_mismatch"
    world.now_ms = mine["expires_at"]
    late = await world.telemetry(mine, [world.event(mine)])
    assert (late.status, late.json["code"]) == (401, "token_expired")
    assert world.producer.taken == []

    renewed = (await world.open(renew=mine["token"])).json
    assert (renewed["session_id"], renewed["nonce"]) == (mine["session_id"], mine["nonce"])
    assert (await world.telemetry(renewed, [world.event(mine)])).status == 200


async def test_a_replayed_request_is_the_same_record_again() -> None:
    world = World()
    session = await opened(world)
    events = [world.event(session)]
    for _ in range(2):
        assert (await world.telemetry(session, events)).status == 200
    first, again = world.producer.taken
    assert first.value == again.value


async def test_only_a_tenant_s_server_opens_sessions() -> None:
    world = World()
    for secret in ("", "wrong", SECRET + "x", SECRET[:-1]):
        assert (await world.open(secret)).json["code"] == "secret_invalid"
    wrong_scheme = await world.send("/v1/sessions", b'{"flow":"signup"}', {"authorization": f"Basic {SECRET}"})
    assert wrong_scheme.status == 401
    mine = await opened(world)
    assert (await world.open(OTHER_SECRET, renew=mine["token"])).json["code"] == "token_invalid"
    for body in ({"flow": "other"}, {"flow": "signup", "renew": "x"}, {"account_ref": "a"}, {"flow": "signup", "x": 1}):
        assert (await world.open(**body)).json["code"] == "body_invalid"


async def test_the_sessions_of_a_tenant_that_was_removed_end_with_it() -> None:
    both = World(require_origin=False)
    session = (await both.open(OTHER_SECRET)).json
    no_origin = {"origin": "-"}
    assert (await both.telemetry(session, [both.event(session)], headers=no_origin)).status == 200
    one = World(require_origin=False, tenants={"shop": SECRET}, origins={ORIGIN: "shop"})
    answer = await one.telemetry(session, [one.event(session)], headers=no_origin)
    assert (answer.status, answer.json["code"]) == (401, "token_invalid")
    assert one.producer.taken == []


async def test_a_secret_is_replaced_without_a_gap() -> None:
    world = World(tenants={"shop": f"{SECRET} {OTHER_SECRET}", "bank": "b" * 32})
    assert (await world.open(SECRET)).status == 201
    assert (await world.open(OTHER_SECRET)).status == 201


async def test_trace_context_goes_on_and_no_other_header(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    session = await opened(world)
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = {"traceparent": parent, "tracestate": "x=1", "dlq_topic": "capture.telemetry", "x-secret": "1"}
    await world.telemetry(session, [world.event(session)], headers=headers)
    assert world.producer.taken[0].headers == (("traceparent", parent.encode()), ("tracestate", b"x=1"))


async def test_no_answer_and_no_line_holds_an_identifier(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world = World(session_burst=2)
    session = await opened(world, flow="login", account_ref="ann@shop.example")
    marks = ["ann@shop.example", "203.0.113.7", "device-17", "my-typed-text"]
    for more in ({}, {"my-typed-text": 1}, {"event_id": "my-typed-text\n"}):
        event = world.event(session, **more)
        answer = await world.telemetry(session, [event], device_ref="device-17")
        assert not any(mark in answer.body.decode() for mark in marks)
    world.producer.is_away = True
    world.clock_s += 10
    assert (await world.telemetry(session, [world.event(session)])).status == 503
    said = " ".join(str(vars(record)) for record in caplog.records)
    kept = b" ".join((record.value or b"") + (record.key or b"") for record in world.producer.taken).decode()
    for mark in [*marks, session["session_id"], session["token"]]:
        assert mark not in said
    assert not any(mark in kept for mark in marks)
    assert "refused" in said


async def test_many_refusals_are_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    world = World(ip_burst=500)
    for _ in range(500):
        await world.send("/v1/telemetry", b"{", {"origin": "https://evil.example"})
    lines = [record for record in caplog.records if "refused" in record.message]
    assert len(lines) == 1
    assert vars(lines[0])["code"] == "origin_not_allowed"


async def test_a_defect_is_a_500_that_says_nothing_of_the_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    session = await opened(world)

    def broken(*_: object) -> None:
        raise RuntimeError(session["session_id"])

    monkeypatch.setattr(world.gateway, "_records", broken)
    answer = await world.telemetry(session, [world.event(session)])
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert session["session_id"] not in answer.body.decode() + caplog.text
