"""Movements of a worker's sessions beside those of other sessions: what is taken of an event, asked, and answered.

Never on an event's own way: the movements that end in an event are asked about with its chunk's state write, and what
was found counts from the session's next event on. They wait in the session's state, so that nothing depends on where a
chunk ends or who owns the partition: who has no answer to one asks again. An answer holds only what came before the
movement in the log. Where the store gives none in time, events are scored without, and say so: `degraded`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.columns import Columns
from features.meta import Compared
from features.movement import WIDTH, movements_of
from features.movement import Movements as Ended
from features.session import Meta
from models.movement_key import MovementKey, load_reference
from models.movement_match import (
    BAR,
    ID_BYTES,
    MAX_KEPT,
    MAX_PENDING,
    NEAR_STEP,
    TAG_BYTES,
    nearness,
    owner_tag,
    packed_bodies,
    place_of,
    unpack,
    warm_up,
    with_answers,
)
from stream.batch import Batch, Item, Waiting
from stream.metrics import Metrics
from stream.partition import OwnedPartition
from stream.refs import RefHasher
from stream.settings import ReplaySettings
from stream.state import StateStore, StoreError
from stream.state.movements import MovementAsk

DEGRADED: Final = "movements"
"""The dependency's name in events."""
MAX_ANSWERED: Final = 20_000
"""Sessions of a partition whose answers wait for their next event; of too many the oldest are asked for again."""
_NEAR: Final = round(BAR / NEAR_STEP)


def taken(
    key: MovementKey,
    ended: Ended,
    places: Sequence[tuple[str, int, int]],
    metas: Sequence[Meta],
    partition: int,
) -> tuple[list[Waiting], int]:
    """Put movements that ended in some events among what their sessions wait for; return them, and how many gave way.

    places: session, append time (epoch ms) and offset of each event; metas: its session's state.
    """
    bodies = packed_bodies(key.describe(ended.shape, ended.log_ms))
    waiting: list[Waiting] = []
    number, last, dropped = 0, -1, 0
    session = owner = b""
    for event, body in zip(ended.event.tolist(), bodies, strict=True):
        (session_id, ingested_ms, offset), meta = places[event], metas[event]
        if event == last:
            number += 1
        else:
            number, last = 0, event
            session = key.tag("session", meta.tenant, session_id, size=TAG_BYTES)
            owner = owner_tag(key, meta.tenant, meta.account_ref, meta.device_ref, session_id)
        packed = b"".join((session, place_of(ingested_ms, partition, offset, number), owner, body))
        known = meta.movements
        if known is None:
            known = meta.movements = Compared()
        keep = known.kept < MAX_KEPT
        known.kept += keep
        dropped += len(known.pending) >= MAX_PENDING
        known.pending = [*known.pending[-(MAX_PENDING - 1) :], packed]
        waiting.append(Waiting(session_id, meta.tenant, packed, keep))
    return waiting, dropped


class MovementLookup:
    """Takes, asks and answers. One instance a worker."""

    def __init__(
        self, store: StateStore, key: bytes, metrics: Metrics, *, ttl_s: int, buckets: int, timeout_s: float
    ) -> None:
        """`key`: secret that everything stored depends on; `buckets`: most of one table and tenant."""
        self._store = store
        self._key = MovementKey(key, load_reference()[0])
        self._metrics = metrics
        self._ttl_ms = ttl_s * 1000
        self._buckets = buckets
        self._timeout_s = timeout_s
        self._spaces: dict[str, str] = {}

    def warm_up(self) -> None:
        """Compile or load the kernels."""
        self._key.describe(np.zeros((1, WIDTH), dtype=np.float32), np.ones(1))
        warm_up()

    def answer(self, owned: OwnedPartition, session_id: str, known: Compared) -> bool:
        """Take the answers to a session's earlier movements into its state; return whether one is missing."""
        answers = owned.near.pop(session_id, None)
        if answers is None:
            return True
        left: list[bytes] = []
        found: list[int] = []
        for packed in known.pending:
            nearest = answers.get(packed[:ID_BYTES])
            if nearest is None:
                left.append(packed)
            else:
                found.append(nearest)
        known.pending = left
        known.compared += len(found)
        known.near = with_answers(known.near, found)
        copies = sum(one <= _NEAR for one in found)
        self._metrics.movements.add(len(found) - copies, "compared")
        self._metrics.movements.add(copies, "near")
        return bool(left)

    def take(
        self,
        owned: OwnedPartition,
        segment: Sequence[Item],
        metas: Sequence[Meta],
        slots: NDArray[np.int32],
        columns: Columns,
        batch: Batch,
    ) -> None:
        """Take the movements that end in a segment's events into their sessions' states, to be asked about."""
        ended = movements_of(owned.sessions.rows, slots, columns)
        if not len(ended.event):
            return
        places = [(item.event.session_id, item.ingested_ms, item.offset) for item in segment]
        waiting, dropped = taken(self._key, ended, places, metas, owned.number)
        batch.movements += waiting
        batch.unasked.update(one.session_id for one in waiting)
        self._metrics.movements.add(dropped, "dropped")

    def unanswered(self, owned: OwnedPartition, session_ids: Iterable[str]) -> list[Waiting]:
        """Movements of earlier chunks that nobody has asked about here, or in vain."""
        found = []
        peek = owned.sessions.peek
        for session_id in session_ids:
            meta = peek(session_id)
            if meta is None or meta.movements is None or not meta.movements.pending:
                continue
            known = owned.near.get(session_id, {})
            keep = meta.movements.kept < MAX_KEPT
            found += [
                Waiting(session_id, meta.tenant, packed, keep)
                for packed in meta.movements.pending
                if packed[:ID_BYTES] not in known
            ]
        return found

    async def ask(self, owned: OwnedPartition, waiting: Sequence[Waiting]) -> None:
        """Ask about movements, in the order of the log, and keep the answers; too late is as if unasked."""
        if not waiting:
            return
        pending = [unpack(one.packed) for one in waiting]
        asks = [
            MovementAsk(self._space(one.tenant), tuple(cell % self._buckets for cell in it.cells), it.entry, one.keep)
            for one, it in zip(waiting, pending, strict=True)
        ]
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = await self._store.movements(asks, self._ttl_ms)
        except (StoreError, TimeoutError):
            self._metrics.movements.add(len(asks), "unanswered")
            return
        near = owned.near
        found = nearness(pending, [values or () for values in answers])
        for one, it, values, nearest in zip(waiting, pending, answers, found, strict=True):
            if values is None:
                self._metrics.movements.add(1, "unanswered")
                continue
            near.setdefault(one.session_id, {})[it.entry[:ID_BYTES]] = nearest
        while len(near) > MAX_ANSWERED:
            del near[next(iter(near))]

    async def ask_all(self, owned: OwnedPartition, batch: Batch) -> None:
        """Ask about what a batch's events have left so far."""
        waiting, batch.movements = batch.movements, []
        batch.asked.update(one.session_id for one in waiting)
        batch.unasked.clear()
        await self.ask(owned, waiting)

    def forget_ended(self, owned: OwnedPartition, batch: Batch) -> None:
        """Drop the answers, once all of a batch is evaluated, to sessions that have ended: nothing would take them.

        What still comes of one asks again.
        """
        for session_id in batch.asked:
            meta = owned.sessions.peek(session_id)
            if meta is not None and meta.ended:
                owned.near.pop(session_id, None)

    def _space(self, tenant: str) -> str:
        found = self._spaces.get(tenant)
        if found is None:
            if len(self._spaces) >= MAX_ANSWERED:
                self._spaces.clear()
            found = self._spaces[tenant] = self._key.tag("tenant", tenant, size=8).hex()
        return found


def lookup_of(settings: ReplaySettings, store: StateStore, refs: RefHasher, metrics: Metrics) -> MovementLookup | None:
    """Return what compares movements, its kernels loaded; None where that is switched off."""
    if not settings.enabled:
        return None
    lookup = MovementLookup(
        store,
        refs.derived("movements"),
        metrics,
        ttl_s=settings.ttl_s,
        buckets=settings.buckets,
        timeout_s=settings.timeout_s,
    )
    lookup.warm_up()
    return lookup


@asynccontextmanager
async def asked_meanwhile(lookup: MovementLookup | None, owned: OwnedPartition, batch: Batch) -> AsyncIterator[None]:
    """Ask about a batch's movements while its state is written: its events are published, nobody waits for either."""
    if lookup is None:
        yield
        return
    asking = asyncio.ensure_future(lookup.ask_all(owned, batch)) if batch.movements else None
    try:
        yield
        if asking is not None:
            await asking
        lookup.forget_ended(owned, batch)
    finally:
        if asking is not None:
            asking.cancel()
