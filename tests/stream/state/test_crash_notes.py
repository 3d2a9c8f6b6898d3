"""Crash notes: the same tests on `MemoryStore`, `RedisStore` and `RedisStore` on a cluster."""

from __future__ import annotations

import asyncio

import pytest

from stream.state import MAX_CRASH_NOTE_BYTES, RedisStore, Watermark
from tests.stream.state.conftest import StoreMaker

TOPIC = "capture.telemetry"
TTL = 60_000
ODD = (b"\x00", b"\r\nDEL x\r\n", bytes(range(256)), b"x" * MAX_CRASH_NOTE_BYTES)


async def test_a_note_is_replaced_by_who_knows_it_and_by_nobody_else(make_store: StoreMaker) -> None:
    one, two = await make_store(), await make_store()
    assert await one.crash_notes(TOPIC, [0, 1]) == {0: None, 1: None}
    assert await one.replace_crash_note(TOPIC, 0, None, b"one", TTL) == b"one"
    assert await two.crash_notes(TOPIC, [1, 0]) == {1: None, 0: b"one"}
    assert await two.replace_crash_note(TOPIC, 0, None, b"two", TTL) == b"one", "there is one already"
    assert await two.replace_crash_note(TOPIC, 0, b"on", b"two", TTL) == b"one", "a beginning is not the note"
    assert await two.replace_crash_note(TOPIC, 0, b"one", b"two", TTL) == b"two"
    assert await one.replace_crash_note(TOPIC, 0, b"one", None, TTL) == b"two", "a stale owner removes nothing"
    assert await two.replace_crash_note(TOPIC, 0, b"two", None, TTL) is None
    assert await one.crash_notes(TOPIC, [0]) == {0: None}
    assert await one.replace_crash_note(TOPIC, 0, b"two", b"three", TTL) is None, "and what is gone is not replaced"
    assert await one.crash_notes(TOPIC, []) == {}


async def test_a_repeat_whose_first_answer_was_lost_succeeds(make_store: StoreMaker) -> None:
    store = await make_store()
    for _ in range(2):
        assert await store.replace_crash_note(TOPIC, 0, None, b"note", TTL) == b"note"
    for _ in range(2):
        assert await store.replace_crash_note(TOPIC, 0, b"note", None, TTL) is None


@pytest.mark.parametrize("note", ODD)
async def test_any_bytes_come_back(make_store: StoreMaker, note: bytes) -> None:
    store = await make_store()
    assert await store.replace_crash_note(TOPIC, 0, None, note, TTL) == note
    assert await store.crash_notes(TOPIC, [0]) == {0: note}
    assert await store.replace_crash_note(TOPIC, 0, note, b"next", TTL) == b"next"


async def test_partitions_topics_and_state_share_nothing_with_a_note(make_store: StoreMaker) -> None:
    store = await make_store()
    await store.replace_crash_note(TOPIC, 1, None, b"one", TTL)
    await store.replace_crash_note(TOPIC, 12, None, b"twelve", TTL)
    await store.replace_crash_note("other", 1, None, b"other", TTL)
    await store.commit(TOPIC, 1, None, Watermark("id", 5), {"c": b"a session", "": b"another"}, [], TTL)
    assert await store.crash_notes(TOPIC, [1, 12, 2]) == {1: b"one", 12: b"twelve", 2: None}
    assert await store.crash_notes("other", [1]) == {1: b"other"}
    assert (await store.load(TOPIC, 1, ["c"], [])).blobs == {"c": b"a session"}
    await store.replace_crash_note(TOPIC, 1, b"one", None, TTL)
    assert await store.watermarks(TOPIC, [1]) == {1: Watermark("id", 5)}


async def test_a_note_is_forgotten_after_its_time(make_store: StoreMaker) -> None:
    store = await make_store()
    await store.replace_crash_note(TOPIC, 0, None, b"old", 30)
    await store.replace_crash_note(TOPIC, 1, None, b"old", 30)
    await store.replace_crash_note(TOPIC, 1, b"old", b"new", TTL)
    await asyncio.sleep(0.06)
    assert await store.crash_notes(TOPIC, [0, 1]) == {0: None, 1: b"new"}
    assert await store.replace_crash_note(TOPIC, 0, b"old", b"next", TTL) is None
    assert await store.replace_crash_note(TOPIC, 0, None, b"next", TTL) == b"next"


@pytest.mark.parametrize(("note", "ttl_ms"), [(b"", TTL), (b"x" * (MAX_CRASH_NOTE_BYTES + 1), TTL), (b"x", 0)])
async def test_impossible_notes_are_refused(make_store: StoreMaker, note: bytes, ttl_ms: int) -> None:
    store = await make_store()
    with pytest.raises(ValueError, match=r"crash note|ttl_ms"):
        await store.replace_crash_note(TOPIC, 0, None, note, ttl_ms)


async def test_a_note_shares_its_partitions_hash_tag(make_store: StoreMaker) -> None:
    """So that it lives and is lost with the watermark that it is read together with."""
    store = await make_store()
    if isinstance(store, RedisStore):
        tags = {store.keys.crash_note(TOPIC, 3).split(b"}")[0], store.keys.watermark(TOPIC, 3).split(b"}")[0]}
        assert len(tags) == 1
        assert store.keys.crash_note(TOPIC, 3) not in store.keys.sessions(TOPIC, 3, ["c", ""])
