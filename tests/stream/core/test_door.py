"""The door: valid signals go on with their bytes untouched, the rest becomes dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from stream.door import Door
from stream.metrics import Metrics
from stream.records import append_ms_of, headers_of, offset_of
from stream.transport import FailedRecord, OutRecord, ProduceError
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
