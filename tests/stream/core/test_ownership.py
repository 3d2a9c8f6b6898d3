"""Where reading and publishing start, in every case of watermark, commit and log."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.session import Meta
from stream import tail
from stream.crash_guard import CrashGuard
from stream.deadletter import DeadLetterLimit
from stream.metrics import Metrics
from stream.ownership import Ownership
from stream.partition import OwnedPartition
from stream.state import MemoryStore, StateStore, Watermark
from stream.transport import Gap, StartAt, StartRequest, TransportFatalError

TOPIC, EVENTS, ID = "capture.telemetry", "risk.events", "topic-id"
NOW_MS, TTL_MS = 1_700_000_000_000, 86_400_000


class Rig:
    """An Ownership with a store in memory; the log's tail and times are what a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = MemoryStore()
        assert isinstance(self.store, StateStore)
        self.metrics = Metrics()
        self.published: dict[int, int] = {}
        self.first_at: int | None = None
        self.asked: list[tuple[Any, ...]] = []
        self.times_assigned = 0
        monkeypatch.setattr(tail, "last_published", self._last_published)
        monkeypatch.setattr(tail, "offset_at", self._offset_at)
        monkeypatch.setattr(tail, "first_offset", lambda *_: 0)
        self.ownership = Ownership(
            scored_topic=TOPIC,
            events_topic=EVENTS,
            store=self.store,
            consumer_properties={"bootstrap.servers": "b"},
            new_limit=lambda: DeadLetterLimit(0.5, 10),
            session_ttl_ms=TTL_MS,
            metrics=self.metrics,
            crashes=CrashGuard(self.store, self.metrics),
            now_ms=lambda: NOW_MS,
            assigned=self._assigned,
        )

    def _last_published(self, *arguments: Any) -> dict[int, int]:
        self.asked.append(("last_published", *arguments))
        return self.published

    def _offset_at(self, *arguments: Any) -> int | None:
        self.asked.append(("offset_at", *arguments))
        return self.first_at

    def _assigned(self) -> None:
        self.times_assigned += 1

    async def watermark(self, offset: int, topic_id: str = ID, partition: int = 0) -> None:
        found = (await self.store.watermarks(TOPIC, [partition]))[partition]
        await self.store.commit(TOPIC, partition, found, Watermark(topic_id, offset), {}, [], 1000)

    async def start(self, committed: int | None, low: int = 0, high: int = 1000) -> tuple[int, int]:
        """Take over partition 0; return the first offset to read and the first to publish."""
        found = await self.ownership.resolve_start([request(committed, low, high)])
        return found[TOPIC, 0].offset, self.ownership.owned[0].publish_from


def request(
    committed: int | None, low: int = 0, high: int = 1000, *, partition: int = 0, topic: str = TOPIC, topic_id: str = ID
) -> StartRequest:
    return StartRequest(topic, topic_id, partition, committed, low, high)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


@pytest.mark.parametrize(
    ("watermark", "committed", "low", "first_at", "start", "publish_from"),
    [
        # Nothing known of the partition: everything, from where the log begins.
        (None, None, 0, None, 0, 0),
        (None, None, 40, None, 40, 40),
        # The usual case, and a crash between state and commit.
        (99, 100, 0, None, 100, 100),
        (99, 90, 0, None, 100, 100),
        (99, None, 0, None, 100, 100),
        # The store went back: fold again what is committed, publish from there on.
        (79, 100, 0, None, 80, 100),
        # The store lost it: fold at most a session's lifetime again.
        (None, 100, 0, 60, 60, 100),
        (None, 100, 70, 60, 70, 100),
        (None, 100, 0, 0, 0, 100),
        # Nothing was appended within that lifetime, or only after the commit.
        (None, 100, 0, None, 100, 100),
        (None, 100, 0, 120, 100, 100),
        # The log was cleaned beyond the commit.
        (None, 100, 150, 60, 150, 100),
    ],
)
async def test_start(  # noqa: PLR0917 - a table
    rig: Rig,
    watermark: int | None,
    committed: int | None,
    low: int,
    first_at: int | None,
    start: int,
    publish_from: int,
) -> None:
    if watermark is not None:
        await rig.watermark(watermark)
    rig.first_at = first_at
    assert await rig.start(committed, low) == (start, publish_from)


@pytest.mark.parametrize(
    ("watermark", "low", "first_at", "start", "hole_to", "found", "rewound"),
    [
        # All that was lost is still in the log.
        (79, 0, None, 80, -1, "rolled_back", 20),
        (79, 80, 60, 80, -1, "rolled_back", 20),
        # The log begins later, or what is earlier is older than every session.
        (79, 90, None, 90, 89, "rolled_back", 10),
        (79, 0, 95, 95, 94, "rolled_back", 5),
        # Beyond the commit only a gap is left, which the transport tells of.
        (79, 150, None, 100, 99, "rolled_back", 0),
        (None, 0, 60, 60, -1, "lost", 40),
        (None, 70, 60, 70, -1, "lost", 30),
    ],
)
async def test_what_the_store_lost_is_counted_and_a_hole_is_known(  # noqa: PLR0917 - a table
    rig: Rig,
    watermark: int | None,
    low: int,
    first_at: int | None,
    start: int,
    hole_to: int,
    found: str,
    rewound: int,
) -> None:
    if watermark is not None:
        await rig.watermark(watermark)
    rig.first_at = first_at
    assert await rig.start(100, low) == (start, 100)
    assert rig.ownership.owned[0].hole_to == hole_to
    assert rig.metrics.registry.get_sample_value("tellwire_rewound_offsets_total", {"found": found}) == rewound


async def test_a_usual_start_is_no_rewind(rig: Rig) -> None:
    await rig.watermark(99)
    await rig.start(100)
    assert all(
        not rig.metrics.registry.get_sample_value("tellwire_rewound_offsets_total", {"found": found})
        for found in ("lost", "rolled_back")
    )


async def test_the_rewind_asks_for_a_sessions_lifetime_and_is_told(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.first_at = 60
    with caplog.at_level(logging.WARNING):
        await rig.start(100)
    assert ("offset_at", {"bootstrap.servers": "b"}, TOPIC, 0, NOW_MS - TTL_MS) in rig.asked
    (told,) = [record for record in caplog.records if record.name == "stream.ownership"]
    assert "without publishing" in told.getMessage()
    assert (vars(told)["from"], vars(told)["to"]) == (60, 99)


@given(
    watermark=st.none() | st.integers(0, 50),
    committed=st.none() | st.integers(0, 50),
    low=st.integers(0, 50),
    first_at=st.none() | st.integers(0, 60),
)
def test_nothing_is_skipped_and_nothing_committed_is_published_again(
    watermark: int | None, committed: int | None, low: int, first_at: int | None
) -> None:
    import asyncio

    async def check() -> None:
        with pytest.MonkeyPatch.context() as patch:
            rig = Rig(patch)
            rig.first_at = first_at
            if watermark is not None:
                await rig.watermark(watermark)
            start, publish_from = await rig.start(committed, low)
        if watermark is not None and watermark + 1 >= (committed or 0):
            # Exactly what is not written yet, whatever the group committed.
            assert start == watermark + 1
        elif watermark is not None:
            # The store went back: all that it lost is folded again, less what the log has no more or what is too old.
            assert committed is not None
            assert start == min(committed, max(watermark + 1, low, first_at or 0))
        elif committed is not None:
            assert start <= max(committed, low)
        else:
            assert start == low
        # What the group committed was published; the rest was not, or is recognised by its id.
        assert publish_from >= (committed or 0)
        assert publish_from <= max(start, committed or 0)

    asyncio.run(check())


@pytest.mark.parametrize("again", [False, True])
async def test_a_topic_made_anew_is_fatal_with_one_line(rig: Rig, again: bool) -> None:
    await rig.watermark(99, topic_id="the-old-id")
    owned = OwnedPartition(TOPIC, 0, ID, None, 0, -1, DeadLetterLimit(0.5, 10))
    old = Watermark("the-old-id", 99)
    with pytest.raises(TransportFatalError) as caught:
        await (rig.ownership.resume(owned, old, 100) if again else rig.start(100))
    line = str(caught.value)
    assert "\n" not in line
    assert all(part in line for part in (f"{TOPIC}[0]", "the-old-id", ID, "redis.key_prefix"))
    assert rig.ownership.owned == {}


async def test_what_was_published_is_remembered_by_partition(rig: Rig) -> None:
    rig.published = {0: 104, 2: 7}
    starts = await rig.ownership.resolve_start([request(100, partition=p) for p in (0, 1, 2)])
    assert set(starts) == {(TOPIC, p) for p in (0, 1, 2)}
    assert {p: owned.published_to for p, owned in rig.ownership.owned.items()} == {0: 104, 1: -1, 2: 7}
    assert ("last_published", {"bootstrap.servers": "b"}, EVENTS, ID, [0, 1, 2]) in rig.asked


async def test_other_topics_start_where_they_were_committed_and_are_not_owned(rig: Rig) -> None:
    door = "capture.signals"
    starts = await rig.ownership.resolve_start([request(55, topic=door), request(None, 7, topic=door, partition=1)])
    assert starts == {(door, 0): StartAt(55), (door, 1): StartAt(7)}
    assert rig.ownership.owned == {}
    assert rig.asked == []


async def test_after_a_refused_write_the_stored_watermark_is_adopted_and_the_cache_dropped(rig: Rig) -> None:
    await rig.watermark(99)
    await rig.start(100)
    owned = rig.ownership.owned[0]
    owned.sessions.put("s", None, None)
    assert await rig.ownership.resume(owned, Watermark(ID, 120), 100) == 121
    assert (owned.watermark, owned.publish_from) == (Watermark(ID, 120), 121)
    assert len(owned.sessions) == 0
    # The store lost it after all: begin at what is committed, or a lifetime before.
    rig.first_at = 80
    assert await rig.ownership.resume(owned, None, 100) == 80
    assert (rig.ownership.owned[0].watermark, rig.ownership.owned[0].publish_from) == (None, 100)


async def test_each_ownership_is_a_new_one_and_ends_with_the_partition(rig: Rig) -> None:
    await rig.start(None)
    first = rig.ownership.owned[0]
    await rig.ownership.on_assigned([(TOPIC, 0)])
    assert rig.times_assigned == 1
    await rig.ownership.on_revoked([(TOPIC, 0), ("capture.signals", 0)])
    assert rig.ownership.owned == {}
    await rig.start(None)
    assert rig.ownership.owned[0] is not first
    await rig.ownership.on_lost([("capture.signals", 0)])
    assert list(rig.ownership.owned) == [0]
    await rig.ownership.on_lost([(TOPIC, 0)])
    assert rig.ownership.owned == {}


def test_lost_offsets_are_counted_by_reason_and_told(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.ownership.on_gap(Gap(TOPIC, 0, 10, 19, "retention"))
    rig.ownership.on_gap(Gap(TOPIC, 1, 5, 5, "_BAD_MSG"))
    value = rig.metrics.registry.get_sample_value
    assert value("tellwire_gap_records_total", {"reason": "retention"}) == 10
    assert value("tellwire_gap_records_total", {"reason": "_BAD_MSG"}) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def test_a_gap_of_an_owned_partition_is_a_hole_that_tears_sessions(rig: Rig) -> None:
    owned = OwnedPartition(TOPIC, 0, ID, None, 0, -1, DeadLetterLimit(0.5, 10))
    owned.see(0, 1_000)
    assert owned.hole_ms == 0
    rig.ownership.owned[0] = owned
    rig.ownership.on_gap(Gap(TOPIC, 0, 10, 19, "retention"))
    rig.ownership.on_gap(Gap("capture.signals", 0, 90, 99, "retention"))
    owned.see(15, 2_000)
    assert owned.hole_ms == 0
    owned.see(20, 3_000)
    meta = Meta()
    meta.mark(4)
    meta.last_ingested_ms = 2_500
    assert owned.is_torn(meta, 6)
    assert not owned.is_torn(meta, 5)
    meta.last_ingested_ms = 3_000
    assert not owned.is_torn(meta, 6)


def test_an_offset_is_done_when_its_state_is_written() -> None:
    owned = OwnedPartition(TOPIC, 0, ID, None, 0, -1, DeadLetterLimit(0.5, 10))
    assert not owned.is_done(0)
    owned.watermark = Watermark(ID, 5)
    assert [owned.is_done(offset) for offset in (4, 5, 6)] == [True, True, False]
