"""The consumer that the event-semantics page shows does what the page says: each event once, whatever is repeated."""

import json
import sqlite3
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import encode
from schemas.examples import examples_of
from schemas.risk import RiskEvent, Source
from tests.support import pages

PAGE = "docs/explanation/event-semantics.md"
EVENT = next(found for example in examples_of(RiskEvent) if isinstance(found := example.message, RiskEvent))


def event_at(offset: int, *, topic_id: str = "T", partition: int = 0) -> RiskEvent:
    source = Source(topic="capture.telemetry", topic_id=topic_id, partition=partition, offset=offset)
    return msgspec.structs.replace(EVENT, source=source, session_id=f"s{offset}")


class Message:
    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value

    def error(self) -> None:
        return None


class FakeConsumer:
    """Hands out the given records, then interrupts as a person would."""

    records: list[bytes]
    committed = 0

    def __init__(self, config: dict[str, Any]) -> None:
        assert config["enable.auto.commit"] is False
        self._left = [None, *map(Message, self.records)]

    def subscribe(self, topics: list[str]) -> None:
        assert topics == ["risk.events"]

    def poll(self, timeout_s: float) -> Message | None:
        assert timeout_s > 0
        if not self._left:
            raise KeyboardInterrupt
        return self._left.pop(0)

    def commit(self, message: Message, *, asynchronous: bool) -> None:
        assert message.value()
        type(self).committed += 1

    def close(self) -> None:
        pass


@pytest.fixture
def snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.chdir(tmp_path)
    (code,) = pages.blocks(PAGE, "python")
    stub = ModuleType("confluent_kafka")
    stub.Consumer = FakeConsumer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "confluent_kafka", stub)
    module = ModuleType("snippet")
    exec(compile(code, "event-semantics.md", "exec"), module.__dict__)
    return module


def run(snippet: ModuleType, monkeypatch: pytest.MonkeyPatch, records: list[bytes]) -> None:
    monkeypatch.setattr(FakeConsumer, "records", records, raising=False)
    monkeypatch.setattr(FakeConsumer, "committed", 0)
    with pytest.raises(KeyboardInterrupt):
        snippet.main("unused")


def test_repeats_are_dropped_also_after_a_restart(
    snippet: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [encode(event_at(offset)) for offset in (4, 5, 7)]
    run(snippet, monkeypatch, [*events, events[1], events[2], encode(event_at(9))])
    assert FakeConsumer.committed == 6
    run(snippet, monkeypatch, [events[2], encode(event_at(9)), encode(event_at(10))])
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["s4", "s5", "s7", "s9", "s10"]


def test_a_new_topic_and_another_partition_start_anew(
    snippet: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [event_at(100), event_at(0, topic_id="U"), event_at(3, partition=1), event_at(2, topic_id="U")]
    run(snippet, monkeypatch, [encode(event) for event in events])
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_an_unknown_version_is_skipped(
    snippet: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(snippet, monkeypatch, [json.dumps({"type": "risk.event.v2"}).encode(), encode(event_at(1))])
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_failed_effect_is_not_marked_as_seen(snippet: ModuleType) -> None:
    event = json.loads(encode(event_at(1)))
    broken = {key: value for key, value in event.items() if key != "decision"}
    with pytest.raises(KeyError):
        snippet.apply_once(broken)
    assert snippet.apply_once(event) is True
    assert snippet.apply_once(event) is False
    with sqlite3.connect("risk-service.db") as store:
        assert store.execute("SELECT last_offset FROM seen").fetchall() == [(1,)]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=20))
def test_one_integer_is_as_good_as_a_set_of_ids(crashes: list[tuple[int, int]]) -> None:
    """The naive twin: whatever suffixes are published again, the integer drops what a set of ids would drop."""
    published: list[int] = []
    reached = 0
    for back, forward in crashes:
        start = max(0, reached - back)
        reached = max(reached, start + forward)
        published += range(start, reached)
    by_set = list(dict.fromkeys(published))
    last, by_integer = -1, []
    for offset in published:
        if offset > last:
            by_integer.append(offset)
            last = offset
    assert by_integer == by_set
