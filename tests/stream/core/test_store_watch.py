"""What is told of the store's servers beside the chunks, and what is exported."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry

from stream.state import MemoryStore, StoreMisconfigured, StoreStats, StoreUnavailable, Watermark
from stream.store_watch import KEEP_S, STORE_FAMILIES, StoreWatch

TOPIC = "t"


class Checked(MemoryStore):
    """A store whose checks find what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.warnings: tuple[str, ...] = ()
        self.looked = 0

    async def check(self) -> None:
        if self.error is not None:
            raise self.error

    async def watermarks(self, topic: str, partitions: object) -> dict[int, Watermark | None]:
        self.looked += 1
        return {}


async def test_a_store_that_may_not_be_used_is_told_once_and_when_it_is_put_right(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Checked()
    watch = StoreWatch(store)
    with caplog.at_level(logging.INFO, "stream.store_watch"):
        store.error = StoreMisconfigured("Redis at h:1 evicts")
        for _ in range(3):
            await watch.look(TOPIC, [0])
        store.error = StoreUnavailable("away")
        await watch.look(TOPIC, [0])
        store.error = None
        for _ in range(2):
            await watch.look(TOPIC, [0])
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "the state store is not used until this is put right: Redis at h:1 evicts"),
        ("INFO", "the state store is used again"),
    ]


async def test_evicted_keys_and_warnings_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Checked()
    watch = StoreWatch(store)
    store.stats.evicted_keys_total = 7  # of long ago
    store.warnings = ("no append-only file",)
    with caplog.at_level(logging.INFO, "stream.store_watch"):
        await watch.look(TOPIC, [])
        await watch.look(TOPIC, [])
        assert [record.getMessage() for record in caplog.records] == ["state store: no append-only file"]
        store.stats.evicted_keys_total = 9
        await watch.look(TOPIC, [])
        await watch.look(TOPIC, [])
    assert [vars(record)["evicted_keys"] for record in caplog.records[1:]] == [2]


async def test_watermarks_are_kept_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr("stream.store_watch.time.monotonic", lambda: now[0])
    store = Checked()
    watch = StoreWatch(store)
    await watch.look(TOPIC, [0])
    assert store.looked == 0
    now[0] += KEEP_S
    await watch.look(TOPIC, [0])
    await watch.look(TOPIC, [0])
    assert store.looked == 1


def test_every_figure_is_exported() -> None:
    store = Checked()
    registry = CollectorRegistry()
    registry.register(StoreWatch(store))
    store.stats = StoreStats(redirections_total=3, evicted_keys_total=2, memory_used_ratio=0.25)
    assert registry.get_sample_value("tellwire_store_redirections_total") == 3
    assert registry.get_sample_value("tellwire_store_evicted_keys") == 2
    assert registry.get_sample_value("tellwire_store_memory_used_ratio") == 0.25
    for family in STORE_FAMILIES:
        assert registry.get_sample_value(family.shown_name) is not None
