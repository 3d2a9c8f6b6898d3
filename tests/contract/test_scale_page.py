"""The arithmetic of the page about scaling is computed again, and the numbers that it begins with are measured."""

from __future__ import annotations

import contextlib
import io
import re

from bench.workload import workload
from schemas.topics import DAY_MS, TOPIC
from stream.settings import Settings
from stream.state import ConnectionOptions, RedisStore
from tests.support import pages
from tests.support.pipeline_world import START_MS, FakeRecord, World, chunk
from tests.support.redis import RedisServer

PAGE = "docs/how-to/scale.md"
TEXT = (pages.ROOT / PAGE).read_text()


def printed(**changed: float) -> tuple[str, dict[str, float]]:
    """What the page's program prints, and its numbers; `changed` replaces some of its constants."""
    (code,) = pages.blocks(PAGE, "python")
    for name, value in changed.items():
        code, count = re.subn(rf"(?m)^{name} = [0-9_]+", f"{name} = {value}", code)
        assert count == 1, name
    space: dict[str, object] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "scale.md", "exec"), space)
    return said.getvalue(), {name: value for name, value in space.items() if isinstance(value, int | float)}


def test_it_prints_what_the_page_shows() -> None:
    assert [printed()[0]] == pages.blocks(PAGE, "text")


def test_its_table_is_the_programs() -> None:
    rows = re.findall(r"^\| ([\d ]+) \| (\d+) \| (\d+) \| ([\d.]+) GiB \| ([\d.]+) GiB \|$", TEXT, re.MULTILINE)
    assert len(rows) >= 4
    _, shown = printed()
    for events, *said in rows:
        rate = int(events.replace(" ", ""))
        sessions = rate * shown["SESSIONS_PER_S"] / shown["EVENTS_PER_S"]
        found = [printed(EVENTS_PER_S=rate, SESSIONS_PER_S=sessions, SESSION_TTL_S=ttl)[1] for ttl in (3_600, 86_400)]
        memory = [f"{2 * one['redis_bytes'] / 2**30:.1f}" for one in found]
        assert said == [str(int(found[0]["workers"])), str(int(found[0]["partitions"])), *memory]


def test_defaults_that_it_names_are_the_defaults() -> None:
    (code,) = pages.blocks(PAGE, "python")
    for topic, name in (("capture.telemetry", "EVENT_BYTES"), ("risk.events", "RISK_EVENT_BYTES")):
        days = int(TOPIC[topic].config["retention.ms"]) // DAY_MS
        assert f"{name} * {days} * 86_400" in code
    assert f"default of {Settings().redis.session_ttl_s}" in TEXT or "a day (the default)" in TEXT
    assert Settings().redis.session_ttl_s == 86_400


async def test_a_session_and_its_counters_take_about_as_much_redis_as_it_says(redis_server: RedisServer) -> None:
    """The standard workload, as `make bench ARGS="--only store"` measures it, smaller."""
    world = World()
    store = RedisStore(ConnectionOptions(url=redis_server.url, timeout_s=30.0), state_version="1.4")
    world.store = store  # type: ignore[assignment]
    await store.open()
    try:
        pipeline, owned = world.pipeline(sessions=10_000), await world.owned()
        made = [
            FakeRecord(number, value, key, START_MS + 2 * number)
            for number, (key, value) in enumerate(workload(4_000, sessions=400))
        ]
        for first in range(0, len(made), 250):
            await pipeline.process(owned, chunk(made[first : first + 250]))
    finally:
        await store.close()
    with redis_server.client() as client:
        keys = list(client.scan_iter(count=5_000))
        sessions = sum(b"}:s:" in key for key in keys)
        total = sum(client.memory_usage(key, samples=0) for key in keys)
    assert sessions >= 400
    said = printed()[1]["SESSION_BYTES"]
    assert 0.75 * said < total / sessions < 1.25 * said, f"{total / sessions:.0f} bytes a session"
    events = [len(record.value or b"") for record in world.log if record.topic == "risk.events"]
    said = printed()[1]["RISK_EVENT_BYTES"]
    assert 0.75 * said < sum(events) / len(events) < 1.25 * said, f"{sum(events) / len(events):.0f} bytes an event"
