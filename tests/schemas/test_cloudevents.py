"""The headers of what is published are CloudEvents 1.0 in Kafka binary mode, as the official SDK reads them."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from schemas import RiskEvent, ServedFeatures, Snapshot, Telemetry
from schemas.cloudevents import cloud_event_headers, trace_context
from schemas.envelope import encode
from schemas.examples import examples_of
from schemas.topics import CLOUD_EVENT_HEADERS, TOPIC

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PUBLISHED: list[type[msgspec.Struct]] = [RiskEvent, ServedFeatures, Snapshot]


@pytest.mark.parametrize("message", PUBLISHED)
def test_the_sdk_reads_the_same_event(message: type[msgspec.Struct]) -> None:
    value = encode(examples_of(message)[0].message)
    headers = dict(cloud_event_headers(message, id="T:1:7", subject="ses-ß-🦊", time_ms=1_790_000_012_057, trace=()))
    event = from_binary(KafkaMessage(headers=headers, key=b"k", value=value), JSONFormat())
    tag = message.__struct_config__.tag
    assert event.get_specversion() == "1.0"
    assert event.get_id() == "T:1:7"
    assert event.get_type() == tag
    assert event.get_subject() == "ses-ß-🦊"
    assert event.get_datacontenttype() == "application/json"
    assert event.get_time() == datetime(2026, 9, 21, 14, 13, 32, 57_000, tzinfo=UTC)
    data: Any = event.get_data()
    assert data["type"] == tag
    source = event.get_source()
    assert [f"/tellwire/{name}" for name, topic in TOPIC.items() if message in topic.messages] == [source]


def test_one_id_on_two_topics_is_two_events() -> None:
    sources = {dict(cloud_event_headers(m, id="x", subject="s", time_ms=0))["ce_source"] for m in PUBLISHED}
    assert len(sources) == len(PUBLISHED)


@pytest.mark.parametrize("message", PUBLISHED)
def test_headers_are_those_of_the_topics_table(message: type[msgspec.Struct]) -> None:
    trace = trace_context([("traceparent", PARENT), ("tracestate", b"a=1")])
    headers = cloud_event_headers(message, id="x", subject="s", time_ms=0, trace=trace)
    names = [name for name, _ in headers]
    assert sorted(names) == sorted(CLOUD_EVENT_HEADERS)
    topics = [topic for topic in TOPIC.values() if message in topic.messages]
    assert all(topic.headers == CLOUD_EVENT_HEADERS for topic in topics)


def test_only_what_is_published_has_headers() -> None:
    with pytest.raises(KeyError):
        cloud_event_headers(Telemetry, id="x", subject="s", time_ms=0)


@given(st.integers(0, 253_402_300_799_999))
def test_time_agrees_with_the_slow_way(time_ms: int) -> None:
    text = dict(cloud_event_headers(RiskEvent, id="x", subject="s", time_ms=time_ms))["ce_time"].decode()
    assert RFC3339.fullmatch(text)
    moment = datetime.fromisoformat(text)
    assert (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() == pytest.approx(time_ms / 1000, abs=1e-4)
    assert moment.microsecond == time_ms % 1000 * 1000


@pytest.mark.parametrize(
    "parent",
    [
        PARENT,
        PARENT[:-2] + b"00",
        b"01" + PARENT[2:],
        b"01" + PARENT[2:] + b"-what.is-next",
        b"fe" + PARENT[2:] + b"-",
    ],
)
def test_a_valid_trace_goes_on_unchanged(parent: bytes) -> None:
    headers: list[tuple[str, bytes | str | None]] = [("a", b"b"), ("traceparent", parent), ("tracestate", b"v=1,w=2")]
    assert trace_context(headers) == (("traceparent", parent), ("tracestate", b"v=1,w=2"))


@pytest.mark.parametrize(
    "parent",
    [
        b"",
        b"junk",
        PARENT.upper(),
        PARENT + b"-x",
        PARENT + b"\n",
        PARENT[:-1],
        b"ff" + PARENT[2:],
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-01",
        PARENT.replace(b"-", b"_"),
        b"\xff" * 55,
        b"01" + PARENT[2:] + b"x",
        b"01" + PARENT[2:] + b"-" + b"x" * 1000,
        b"01" + PARENT[2:] + b"-a\r\nb",
    ],
)
def test_an_invalid_trace_is_dropped_with_its_state(parent: bytes) -> None:
    assert trace_context([("traceparent", parent), ("tracestate", b"v=1")]) == ()


def test_what_is_no_trace() -> None:
    assert trace_context(None) == ()
    assert trace_context([]) == ()
    assert trace_context([("traceparent", None), ("other", None)]) == ()
    assert trace_context([("tracestate", b"v=1")]) == ()
    assert trace_context([("traceparent", PARENT), ("traceparent", PARENT)]) == ()


def test_state_is_bounded_and_printable() -> None:
    only_parent = (("traceparent", PARENT),)
    for state in (b"", b" ", b"v=1\n", b"\xff", b"v=" + b"x" * 511):
        assert trace_context([("traceparent", PARENT), ("tracestate", state)]) == only_parent
    joined = trace_context([("tracestate", b"v=1"), ("TraceParent", PARENT.decode()), ("tracestate", b"w=2")])
    assert joined == (("traceparent", PARENT), ("tracestate", b"v=1,w=2"))
