"""The door: valid signals go on with their bytes untouched, the rest becomes dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from stream.crash_guard import CrashGuard
from stream.crash_note import Note, encode
from stream.door import Door
from stream.metrics import Metrics
from stream.records import append_ms_of, offset_of
from stream.state import MemoryStore
from stream.transport import FailedRecord, OutRecord, ProduceError, StartAt, StartRequest
from stream.transport.headers import headers_of
from tests.stream.core.doubles import chunk, record

TELEMETRY = "capture.telemetry"


def a_signal(session_id: str = "s-1", **more: Any) -> bytes:
    return msgspec.json.encode(
        {
            "type": "capture.signal.v1",
            "event_id": "e-1",
            "session_id": session_id,
            "tenant": "t",
            "flow": "signup",
            "effective_at": 1_700_000_000_000,
            "observed_at": 1_700_000_000_000,
            "kind": "liveness",
            "provider": "p",
            "outcome": "timeout",
            **more,
        }
    )


class Rig:
    def __init__(self, error: Exception | None = None) -> None:
        self.metrics = Metrics()
        self.out: list[OutRecord] = []
        self.error = error
        self.door = Door(TELEMETRY, self._publish, self.metrics)

    async def _publish(self, records: Sequence[OutRecord]) -> None:
        if self.error is not None:
            raise self.error
        self.out.extend(records)

    async def process(self, records: Sequence[Message], **more: Any) -> list[str]:
        made, ended = chunk(records, **more)
        await self.door.process(made)
        return ended

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def test_a_valid_signal_goes_on_as_it_is_under_its_sessions_key() -> None:
    rig = Rig()
    values = [a_signal("s-1", unknown_field=1), a_signal("s-2"), b" " + a_signal("s-3")]
    headers = [("traceparent", b"00-ab"), ("x", b"")]
    records = [
        record(value, the_key=key, the_headers=headers)
        for value, key in zip(values, (b"s-1", None, b"s-3"), strict=True)
    ]
    assert await rig.process(records) == ["done"]
    assert [(out.topic, out.key, out.value, out.partition) for out in rig.out] == [
        (TELEMETRY, f"s-{i}".encode(), value, None) for i, value in enumerate(values, start=1)
    ]
    assert all(out.headers == headers for out in rig.out)
    assert rig.counted("tellwire_signals_forwarded_total") == 3


async def test_what_is_wrong_becomes_a_dead_letter_beside_what_is_right() -> None:
    rig = Rig()
    bad = {
        "schema": a_signal(flow="nonsense"),
        "malformed_json": b"{",
        "empty": None,
        "unknown_type": b'{"type":"capture.telemetry.v1"}',
    }
    records = [record(value, the_offset=10 + i) for i, value in enumerate(bad.values())]
    records.insert(2, record(a_signal(), the_offset=99))
    records.append(record(a_signal("s-1"), the_key=b"another", the_offset=20))
    assert await rig.process(records) == ["done"]
    assert [out.topic for out in rig.out] == ["risk.deadletter"] * 2 + [TELEMETRY] + ["risk.deadletter"] * 3
    letters = [(out.value, dict(out.headers or [])) for out in rig.out if out.topic == "risk.deadletter"]
    assert [value for value, _ in letters] == [*bad.values(), a_signal("s-1")]
    assert [headers["dlq_reason"].decode() for _, headers in letters if headers["dlq_reason"]] == [*bad, "key_mismatch"]
    first = letters[0][1]
    assert (first["dlq_topic"], first["dlq_partition"], first["dlq_offset"]) == (b"capture.signals", b"3", b"10")
    # Partition counts of the door and of the dead letters need not agree: by key.
    assert all(out.partition is None for out in rig.out)
    assert rig.counted("tellwire_signals_forwarded_total") == 1
    assert all(rig.counted("tellwire_dead_letters_total", reason=reason) == 1 for reason in [*bad, "key_mismatch"])


async def test_a_chunk_that_is_no_longer_ours_publishes_nothing() -> None:
    rig = Rig()
    assert await rig.process([record(a_signal())], current=False) == ["abandoned: not current"]
    assert rig.out == []


async def test_what_is_not_delivered_comes_again_and_is_not_counted() -> None:
    failed = FailedRecord(0, OutRecord(TELEMETRY, b""), KafkaError(KafkaError._MSG_TIMED_OUT), retriable=True)
    rig = Rig(ProduceError([failed], 1))
    made, ended = chunk([record(a_signal())])
    with pytest.raises(ProduceError):
        await rig.door.process(made)
    assert ended == ["abandoned: not delivered"]
    assert rig.counted("tellwire_signals_forwarded_total") == 0


@given(st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8) | st.text(max_size=8)), max_size=4))
def test_headers_keep_their_order_and_have_bytes(pairs: list[tuple[str, bytes | str | None]]) -> None:
    found = headers_of(record(b"", the_headers=pairs))
    assert [name for name, _ in found] == [name for name, _ in pairs]
    assert all(isinstance(content, bytes) for _, content in found)
    assert [content for _, content in found] == [c.encode() if isinstance(c, str) else c or b"" for _, c in pairs]
    assert headers_of(record(b"", the_headers=dict(pairs))) == headers_of(
        record(b"", the_headers=list(dict(pairs).items()))
    )


def test_records_are_read_with_their_types() -> None:
    assert headers_of(record(b"", the_headers=None)) == []
    assert offset_of(record(b"", the_offset=7)) == 7
    assert append_ms_of(record(b"", append_ms=5)) == 5
    with pytest.raises(AssertionError):
        offset_of(record(b"", the_offset=None))


async def test_a_redriven_signal_goes_on_without_its_first_place_and_a_dead_one_names_it() -> None:
    rig = Rig()
    said = {"topic": "capture.signals", "topic_id": "topic-id", "partition": 3, "offset": 5, "attempts": 1}
    headers = [("own", b"1"), *((f"dlq_{name}", str(value).encode()) for name, value in said.items())]
    forged = [("own", b"1"), ("dlq_offset", b"9")]
    records = [
        record(a_signal("s-1"), the_offset=10, the_headers=headers),
        record(b"{", the_offset=11, the_headers=headers),
        record(b"{", the_offset=12, the_headers=forged),
    ]
    assert await rig.process(records) == ["done"]
    forwarded, again, own = rig.out
    assert forwarded.headers == [("own", b"1")]
    names = ("dlq_offset", "dlq_attempts", "dlq_redriven_offset")
    assert [dict(again.headers or []).get(name) for name in names] == [b"5", b"2", b"11"]
    assert [dict(own.headers or []).get(name) for name in names] == [b"12", b"1", None]
    assert rig.counted("tellwire_redrive_origins_refused_total") == 1


async def isolated(note: Note, end: int) -> CrashGuard:
    """A guard that takes the door's partition 3 over from a process that left this note."""
    store = MemoryStore()
    await store.replace_crash_note("capture.signals", 3, None, encode(note), 60_000)
    guard = CrashGuard(store, Metrics())
    request = StartRequest("capture.signals", "topic-id", 3, 0, 0, end)
    await guard.look([request], {("capture.signals", 3): StartAt(0)})
    await guard.begin([("capture.signals", 3)])
    return guard


async def test_one_by_one_the_condemned_signal_is_a_dead_letter_and_its_neighbours_go_on() -> None:
    """The door's commit is behind: what had survived before comes again, and the condemned one is still known."""
    note = Note(owner="before", topic_id="topic-id", offset=2, starts=3, until=4, deaths=2)
    guard, rig = await isolated(note, end=7), Rig()
    values = [a_signal(f"s-{offset}") for offset in range(7)]
    made, ended = chunk([record(value, the_offset=offset) for offset, value in enumerate(values)])
    await rig.door.process(made, guard.isolation("capture.signals", 3))
    assert ended == ["done"]
    assert [out.value for out in rig.out if out.topic == TELEMETRY] == values[:2] + values[3:]
    (letter,) = [out for out in rig.out if out.topic == "risk.deadletter"]
    assert letter.value == values[2]
    headers = dict(letter.headers or [])
    assert (headers["dlq_reason"], headers["dlq_offset"], headers["dlq_partition"]) == (b"crashes_process", b"2", b"3")
    assert rig.counted("tellwire_dead_letters_total", reason="crashes_process") == 1
    assert guard.isolation("capture.signals", 3) is None


async def test_a_partition_that_is_gone_while_one_by_one_is_given_up() -> None:
    guard = await isolated(Note(owner="before", topic_id="topic-id", offset=0, starts=3, until=4), end=5)
    rig = Rig()
    made, ended = chunk([record(a_signal(), the_offset=0)], current=False)
    await rig.door.process(made, guard.isolation("capture.signals", 3))
    assert ended == ["abandoned: not current"]
    assert rig.out == []


async def test_signals_that_cannot_be_delivered_one_by_one_come_again() -> None:
    guard = await isolated(Note(owner="before", topic_id="topic-id", offset=0, starts=3, until=4), end=5)
    rig = Rig(ProduceError([], 1))
    made, ended = chunk([record(a_signal(), the_offset=0)])
    with pytest.raises(ProduceError):
        await rig.door.process(made, guard.isolation("capture.signals", 3))
    assert ended == ["abandoned: not delivered"]
