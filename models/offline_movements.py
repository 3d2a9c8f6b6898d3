"""Copies of pointer movements among the sessions of one offline run, asked about and answered as a worker does.

What a worker keeps in its store is held in memory here, under a key that everybody may know: nothing of it leaves the
process. A movement's place in the log is its place in the run, and nothing is forgotten by time.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.columns import Columns
from features.meta import Compared, Meta
from features.movement import movements_of
from features.session import States
from models.movement_key import MovementKey, load_reference
from models.movement_match import (
    MAX_KEPT,
    TAG_BYTES,
    nearness,
    owner_tag,
    packed_bodies,
    place_of,
    unpack,
    with_answers,
    with_entry,
)

BUCKETS: Final = 16_384
"""Of each table and tenant, as `replay.buckets` has them by default; full ones hold 111 MiB."""
KEY: Final = b"movements of an offline run"


class OfflineMovements:
    """Movements of all sessions of a run. Sessions without account and device own theirs each by itself."""

    def __init__(self, buckets: int = BUCKETS) -> None:
        self._key = MovementKey(KEY, load_reference()[0])
        self._buckets = buckets
        self._held: dict[tuple[str, int, int], bytes] = {}
        self._answers: dict[str, list[int]] = {}
        self._events_total = 0

    def answer(self, session_id: str, meta: Meta) -> None:
        """Take what was found of a session's earlier movements into its state: it counts from its next event on."""
        found = self._answers.pop(session_id, None)
        if found is not None and meta.movements is not None:
            meta.movements.compared += len(found)
            meta.movements.near = with_answers(meta.movements.near, found)

    def take(
        self,
        states: States,
        slots: NDArray[np.int32],
        columns: Columns,
        session_ids: Sequence[str],
        metas: Sequence[Meta],
    ) -> None:
        """Look up the movements that end in a segment's events, each among those before it, and keep them.

        `slots`, `session_ids` and `metas` are the events' sessions, each once.
        """
        ended = movements_of(states, slots, columns)
        bodies = packed_bodies(self._key.describe(ended.shape, ended.log_ms))
        number, last = 0, -1
        for event, body in zip(ended.event.tolist(), bodies, strict=True):
            number, last = (number + 1 if event == last else 0), event
            meta, session_id = metas[event], session_ids[event]
            session = self._key.tag("session", meta.tenant, session_id, size=TAG_BYTES)
            owner = owner_tag(self._key, meta.tenant, meta.account_ref, meta.device_ref, session_id)
            place = place_of(self._events_total + event, 0, 0, number)
            pending = unpack(b"".join((session, place, owner, body)))
            if meta.movements is None:
                meta.movements = Compared()
            keys = [(meta.tenant, table, cell % self._buckets) for table, cell in enumerate(pending.cells)]
            held = [self._held.get(key, b"") for key in keys]
            self._answers.setdefault(session_id, []).append(nearness([pending], [held])[0])
            if meta.movements.kept < MAX_KEPT:
                meta.movements.kept += 1
                for key, before in zip(keys, held, strict=True):
                    self._held[key] = with_entry(before, pending.entry)
        self._events_total += len(metas)

    def forget(self, session_id: str) -> None:
        """Drop the answers that a session which has ended will not take; its movements stay."""
        self._answers.pop(session_id, None)
