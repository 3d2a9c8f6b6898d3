"""Movements in every store: what lies in a bucket, against a naive twin, on `MemoryStore`, Redis and a cluster."""

from __future__ import annotations

import asyncio
import random

import pytest

from models.movement_match import ENTRY_BYTES, ID_BYTES, MAX_ENTRIES, MAX_VALUE_BYTES
from stream.state import RedisStore, StateStore
from stream.state.movements import MovementAsk
from tests.stream.state.conftest import StoreMaker

TTL = 60_000


def ask(number: int, buckets: tuple[int, ...] = (1, 2, 3, 4), *, space: str = "t", keep: bool = True) -> MovementAsk:
    entry = number.to_bytes(ID_BYTES, "big").ljust(ENTRY_BYTES, b"x")
    return MovementAsk(space, buckets, entry, keep)


class Twin:
    """Every movement ever kept, in order; a bucket is looked through from the beginning each time."""

    def __init__(self) -> None:
        self.kept: list[MovementAsk] = []

    def movements(self, asks: list[MovementAsk]) -> list[list[bytes]]:
        found = []
        for one in asks:
            found.append([self.bucket(one.space, table, bucket) for table, bucket in enumerate(one.buckets)])
            if one.keep:
                self.kept.append(one)
        return found

    def bucket(self, space: str, table: int, bucket: int) -> bytes:
        held: list[bytes] = []
        for other in self.kept:
            if other.space == space and other.buckets[table] == bucket and other.entry not in held:
                held = [*held, other.entry][-MAX_ENTRIES:]
        return b"".join(held)


@pytest.mark.parametrize("seed", range(4))
async def test_a_store_is_its_naive_twin_whatever_is_asked_together(make_store: StoreMaker, seed: int) -> None:
    store, twin, dice = await make_store(), Twin(), random.Random(seed)
    numbers = iter(range(10_000))
    asked: list[MovementAsk] = []
    for _ in range(25):
        asks = [
            ask(
                next(numbers) if dice.random() < 0.8 else dice.randrange(40),
                tuple(dice.choice((0, 1, 5, 300)) for _ in range(4)),
                space=dice.choice("tu"),
                keep=dice.random() < 0.9,
            )
            for _ in range(dice.randrange(9))
        ]
        # The same movement has the same buckets wherever it is asked about.
        asks = [next((o for o in asked if o.entry == one.entry), one) for one in asks]
        asked += asks
        assert await store.movements(asks, TTL) == twin.movements(asks)
    assert store.stats.movements_asked_total == len(asked)
    assert store.stats.movements_missing_total == 0


async def test_of_too_many_the_oldest_go_and_a_repeat_is_kept_once(make_store: StoreMaker) -> None:
    store = await make_store()
    await store.movements([ask(number) for number in range(MAX_ENTRIES + 5)], TTL)
    last = ask(MAX_ENTRIES + 4)
    for _ in range(2):
        values = (await store.movements([last], TTL))[0]
        assert values is not None
        assert {len(value) for value in values} == {MAX_VALUE_BYTES}
        assert all(value.startswith(ask(5).entry) and value.endswith(last.entry) for value in values)


async def test_a_bucket_is_forgotten_after_its_time(make_store: StoreMaker) -> None:
    store = await make_store()
    await store.movements([ask(1)], 30)
    await asyncio.sleep(0.06)
    assert await store.movements([ask(2, keep=False)], TTL) == [[b""] * 4]


async def test_what_no_store_may_take_is_refused(make_store: StoreMaker) -> None:
    store = await make_store()
    for wrong, ttl_ms in ((ask(1), 0), (ask(1)._replace(entry=b"short"), TTL), (ask(1, (1, -1, 0, 0)), TTL)):
        with pytest.raises(ValueError, match=r"ttl_ms|entry has"):
            await store.movements([wrong], ttl_ms)


async def test_somebody_elses_value_under_a_key_is_nothing_and_is_replaced(make_store: StoreMaker) -> None:
    store: StateStore = await make_store()
    if not isinstance(store, RedisStore):
        return
    link = store._opened()
    keys = store.keys.movement(ask(1))
    for number, key in enumerate(keys):
        command = ("SET", key, "junk") if number % 2 else ("RPUSH", key, "junk")
        assert not isinstance((await link.exchange([command]))[0], Exception)
    assert await store.movements([ask(1)], TTL) == [[b""] * 4]
    assert await store.movements([ask(2)], TTL) == [[ask(1).entry] * 4]
