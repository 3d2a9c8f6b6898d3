"""Requests beyond what a gateway takes: rates by scope, bytes on their way, connections, and Kafka that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from stream.gateway.service import Head
from stream.gateway.wire import MAX_EVENTS, Refusal
from tests.stream.gateway.doubles import ORIGIN, World, opened, records


async def test_each_rate_is_told_with_its_scope_and_when_to_come_again() -> None:
    world = World(ip_burst=3, session_burst=2, session_rate_per_s=0.5)
    session = await opened(world)

    async def send(peer: str) -> tuple[int, str | None, str | None]:
        answer = await world.telemetry(session, [world.event(session)], peer=peer)
        return answer.status, answer.json.get("scope"), answer.headers.get("retry-after")

    assert [(await send("203.0.113.7"))[0] for _ in range(2)] == [200, 200]
    assert await send("203.0.113.7") == (429, "session", "2")
    assert await send("203.0.113.7") == (429, "ip", "1")
    assert (await send("203.0.113.8"))[:2] == (429, "session")  # an address more helps nobody
    world.clock_s += 2
    assert (await send("203.0.113.8"))[0] == 200

    flooded = World(origin_burst=2)
    sessions = [await opened(flooded) for _ in range(2)]
    assert (await flooded.open()).json["scope"] == "tenant"
    assert (await flooded.open("wrong")).json["code"] == "secret_invalid"
    for one in sessions:
        assert (await flooded.telemetry(one, [flooded.event(one)])).status == 200
    assert (await flooded.telemetry(sessions[0], [flooded.event(sessions[0])])).json["scope"] == "origin"


async def test_strangers_do_not_use_up_what_an_origin_s_visitors_have() -> None:
    world = World(origin_burst=2, ip_burst=5, session_burst=1)
    session, flooding = await opened(world), (await World(origin_burst=2).open()).json
    event = world.event(session)
    for _ in range(10):  # no token of this gateway's, and soon too many of one address
        stranger = await world.telemetry({**session, "token": "v1.x.y"}, [event], peer="198.51.100.1")
        assert stranger.json["code"] in {"token_invalid", "rate_limited"}
    for expected in (200, 429, 429):  # one session too many of its own
        answer = await world.telemetry(flooding, [world.event(flooding)])
        assert (answer.status, answer.json.get("scope")) == (expected, None if expected == 200 else "session")
    assert (await world.telemetry(session, [event])).status == 200


async def test_too_many_events_are_refused_whole() -> None:
    world = World()
    session = await opened(world)
    many = [world.event(session, number) for number in range(MAX_EVENTS + 1)]
    answer = await world.telemetry(session, many)
    assert (answer.status, answer.json["code"]) == (413, "too_many_events")
    assert world.producer.taken == []


async def test_while_kafka_is_away_clients_are_told_at_once_and_one_looks_whether_it_is_back() -> None:
    world = World(session_burst=100)
    session = await opened(world)

    async def send(sequence: int) -> tuple[int, str | None]:
        answer = await world.telemetry(session, [world.event(session, sequence)])
        assert answer.status == 200 or answer.json["code"] == "kafka_unavailable"
        return answer.status, answer.headers.get("retry-after")

    world.producer.is_away = True
    assert await send(0) == (503, "2")
    assert [await send(0) for _ in range(5)] == [(503, "2")] * 5
    assert world.producer.tries == 1
    world.clock_s += 1.0
    assert await send(0) == (503, "2")
    assert world.producer.tries == 2
    world.producer.is_away = False
    assert await send(0) == (503, "2")  # not yet the time to look
    world.clock_s += 1.0
    assert await send(0) == (200, None)
    assert await send(1) == (200, None)
    assert [event.sequence for event in records(world.producer)] == [0, 1]


async def test_more_than_may_be_in_flight_is_refused_before_the_body_is_read() -> None:
    world = World()
    session = await opened(world)
    world.producer.in_flight_bytes = world.settings.gateway.max_in_flight_bytes
    answer = await world.telemetry(session, [world.event(session)])
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")
    assert world.producer.tries == 0


async def test_bodies_that_are_being_read_count_as_they_come() -> None:
    world = World(max_in_flight_bytes=1_048_576, max_body_bytes=400_000)
    session = await opened(world)
    go_on, begun = asyncio.Event(), asyncio.Semaphore(0)

    def slow(size: int) -> Any:
        async def read(limit: int, count: Callable[[int], None]) -> bytes:
            count(size)
            begun.release()
            await go_on.wait()
            return b"{}"

        return read

    head = Head("203.0.113.7", [(b"origin", ORIGIN.encode()), (b"content-type", b"text/plain")])
    reading = [asyncio.create_task(world.gateway.take(head, slow(300_000))) for _ in range(3)]
    for _ in reading:
        await begun.acquire()
    assert world.outlet.in_flight_bytes == 900_000
    # What comes without a length, or announced less, is refused when there is no room for it any more.
    big = b" " * 200_000
    answer = await world.send("/v1/telemetry", [big], {"content-length": "-"})
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")
    assert (await world.telemetry(session, [world.event(session)])).status == 200
    # Who announces more than a body may have is told that, not to come again.
    huge = await world.send("/v1/telemetry", b"{", {"content-length": str(10**9)})
    assert huge.json["code"] == "body_too_large"
    go_on.set()
    assert all(isinstance(one, Refusal) for one in await asyncio.gather(*reading, return_exceptions=True))
    assert world.outlet.in_flight_bytes == 0


async def test_connections_beyond_the_bound_are_told_to_come_again_and_counted() -> None:
    world = World(max_connections=2)
    session = await opened(world)
    world.connections = 2
    assert (await world.telemetry(session, [world.event(session)])).status == 200
    world.connections = 3
    answer = await world.telemetry(session, [world.event(session)])
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")
    assert answer.headers["connection"] == "close"
    assert answer.headers["access-control-allow-origin"] == ORIGIN  # else a page can't read when to come again
    assert world.metrics.requests.labels("/v1/telemetry", "overloaded")._value.get() == 1
    assert (await world.open()).status == 503
