"""The session cache against a dict and a list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from features.session import STATE_DTYPE, STATE_WIDTH, Meta, new_row
from stream.session_cache import FIRST_ROWS, SessionCache

IDS = st.integers(0, 12).map(lambda number: f"s{number}")


class CacheMachine(RuleBasedStateMachine):
    """`model` holds what each session's row begins with; `order` is least recently used first."""

    @initialize(few_rows=st.booleans())
    def start(self, few_rows: bool) -> None:
        self.cache = SessionCache()
        if few_rows:
            # So that it grows within a few steps.
            self.cache.rows = self.cache.rows[:2].copy()
            self.cache._free = [0, 1]
        self.model: dict[str, tuple[float, Meta]] = {}
        self.order: list[str] = []

    @rule(session_id=IDS, mark=st.floats(-1e6, 1e6, width=32), is_new=st.booleans())
    def put(self, session_id: str, mark: float, is_new: bool) -> None:
        if session_id in self.model:
            return
        if is_new:
            self.cache.put(session_id, None, None)
            slot, meta = self.cache.get(session_id)
            assert np.array_equal(self.cache.rows[slot], new_row())
            assert meta == Meta()
            self.model[session_id] = (0.0, meta)
        else:
            row, meta = np.full(STATE_WIDTH, mark, dtype=STATE_DTYPE), Meta(tenant=session_id)
            self.cache.put(session_id, meta, row)
            self.model[session_id] = (mark, meta)
        self.order.append(session_id)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), mark=st.floats(-1e6, 1e6, width=32))
    def fold(self, data: st.DataObject, mark: float) -> None:
        session_id = data.draw(st.sampled_from(sorted(self.model)))
        slot, meta = self.cache.get(session_id)
        assert meta is self.model[session_id][1]
        self.cache.rows[slot] = mark
        self.model[session_id] = (mark, meta)
        self.order.remove(session_id)
        self.order.append(session_id)

    @rule(session_id=IDS)
    def peek_changes_nothing(self, session_id: str) -> None:
        assert self.cache.peek(session_id) is self.model.get(session_id, (0.0, None))[1]

    @rule(session_id=IDS)
    def get_of_what_is_not_here(self, session_id: str) -> None:
        if session_id not in self.model:
            with pytest.raises(KeyError):
                self.cache.get(session_id)

    @rule(capacity=st.integers(0, 14))
    def trim(self, capacity: int) -> None:
        self.cache.trim(capacity)
        gone = self.order[: max(0, len(self.order) - capacity)]
        self.order = self.order[len(gone) :]
        for session_id in gone:
            del self.model[session_id]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def reset(self, data: st.DataObject) -> None:
        session_id = data.draw(st.sampled_from(sorted(self.model)))
        before = self.model[session_id][1]
        self.cache.reset(session_id)
        meta = self.cache.peek(session_id)
        assert meta == Meta()
        assert meta is not before
        self.model[session_id] = (0.0, meta)

    @rule(session_id=IDS)
    def drop(self, session_id: str) -> None:
        slot = self.cache._slots[session_id][0] if session_id in self.model else None
        self.cache.drop(session_id)
        if slot is not None:
            assert not self.cache.rows[slot].any(), "what was forgotten is overwritten"
            del self.model[session_id]
            self.order.remove(session_id)

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.model, self.order = {}, []
        assert self.cache.rows.shape == (FIRST_ROWS, STATE_WIDTH)

    @invariant()
    def agrees(self) -> None:
        assert len(self.cache) == len(self.model)
        assert list(self.cache._slots) == self.order
        slots = [slot for slot, _ in self.cache._slots.values()]
        assert len(set(slots)) == len(slots)
        assert sorted([*slots, *self.cache._free]) == list(range(len(self.cache.rows)))
        for session_id, (mark, _) in self.model.items():
            assert session_id in self.cache
            assert (self.cache.rows[self.cache._slots[session_id][0]] == np.float32(mark)).all()


CacheMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestCacheMachine = CacheMachine.TestCase


def test_it_grows_past_its_first_rows_and_keeps_them() -> None:
    cache = SessionCache()
    for i in range(2 * FIRST_ROWS + 1):
        cache.put(f"s{i}", None, np.full(STATE_WIDTH, i, dtype=STATE_DTYPE))
    assert len(cache.rows) == 4 * FIRST_ROWS
    assert all(cache.rows[cache.get(f"s{i}")[0], 0] == i for i in range(2 * FIRST_ROWS + 1))


def test_to_look_is_not_to_use() -> None:
    cache = SessionCache()
    for name in ("a", "b", "c"):
        cache.put(name, Meta(tenant=name), None)
    slot, meta = cache.at("a")
    assert (slot, meta) == cache.at("a")
    assert meta.tenant == "a"
    cache.trim(2)
    assert "a" not in cache
    with pytest.raises(KeyError):
        cache.at("a")
