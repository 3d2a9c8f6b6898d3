"""The first place of a redriven record: believed only where it could be true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.deadletter import DeadLetterReason
from schemas.envelope import Rejected
from stream.deadletter import dead_letter
from stream.origin import MAX_OFFSET, MAX_PARTITION, Origin, OriginRefused, read_origin, without_origin

TRUE = {
    "dlq_topic": b"capture.telemetry",
    "dlq_topic_id": b"id-1",
    "dlq_partition": b"2",
    "dlq_offset": b"41",
    "dlq_attempts": b"3",
    "dlq_time": b"1700000000000",
}


def read(headers: list[tuple[str, bytes | str | None]], partition: int = 2, offset: int = 42) -> Origin | None:
    return read_origin(headers, topic="capture.telemetry", topic_id="id-1", partition=partition, offset=offset)


def changed(**values: bytes | None) -> list[tuple[str, bytes | str | None]]:
    return [("x-own", b"1"), *((TRUE | values).items())]


def test_a_record_without_such_headers_has_its_own_identity() -> None:
    assert read([]) is None
    assert read([("traceparent", b"00-ab"), ("DLQ", b"1")]) is None


def test_what_could_be_true_is_believed() -> None:
    assert read(changed()) == Origin(2, 41, 3, 1_700_000_000_000)
    assert read(changed(dlq_partition=b"3", dlq_offset=str(MAX_OFFSET).encode())) == Origin(
        3, MAX_OFFSET, 3, 1_700_000_000_000
    )
    assert read([(name, value.decode()) for name, value in TRUE.items()]) == Origin(2, 41, 3, 1_700_000_000_000)


@pytest.mark.parametrize("attempts", [b"", b"-1", b"0", b"1e9", b"99999999", None])
def test_attempts_that_cannot_be_read_count_as_one(attempts: bytes | None) -> None:
    found = read(changed(dlq_attempts=attempts, dlq_time=attempts))
    assert found is not None
    assert found.attempts == 1


@pytest.mark.parametrize(
    "forged",
    [
        {"dlq_topic": b"capture.signals"},
        {"dlq_topic": None},
        {"dlq_topic_id": b"id-2"},
        {"dlq_topic_id": b""},
        {"dlq_offset": b"42"},
        {"dlq_offset": b"43"},
        {"dlq_offset": b"-1"},
        {"dlq_offset": b"041"},
        {"dlq_offset": b" 41"},
        {"dlq_offset": b"4_1"},
        {"dlq_offset": b"41\n"},
        {"dlq_offset": "\u0664\u0661".encode()},
        {"dlq_offset": b"9" * 100_000},
        {"dlq_partition": b"3", "dlq_offset": str(MAX_OFFSET + 1).encode()},
        {"dlq_partition": str(MAX_PARTITION + 1).encode()},
        {"dlq_partition": b"-2"},
        {"dlq_partition": b"\xff"},
    ],
)
def test_what_cannot_be_true_is_refused(forged: dict[str, bytes | None]) -> None:
    with pytest.raises(OriginRefused):
        read(changed(**forged))


@pytest.mark.parametrize("name", [*TRUE, "dlq_reason"])
def test_a_header_that_is_there_twice_is_refused(name: str) -> None:
    with pytest.raises(OriginRefused):
        read([*changed(dlq_reason=b"schema"), (name, TRUE.get(name, b"schema"))])


def test_a_lone_header_is_refused() -> None:
    with pytest.raises(OriginRefused):
        read([("dlq_offset", b"1")])


@given(st.lists(st.tuples(st.sampled_from([*TRUE, "dlq_x", "x"]), st.none() | st.binary(max_size=24)), max_size=9))
def test_nothing_else_is_ever_raised_and_nothing_impossible_returned(headers: list[tuple[str, bytes | None]]) -> None:
    try:
        found = read(list(headers))
    except OriginRefused:
        return
    assert found is None or found.partition != 2 or found.offset < 42


@given(st.integers(0, 5), st.integers(0, 1_000), st.integers(1, 1_000))
def test_headers_of_a_dead_letter_say_where_it_was(partition: int, offset: int, later: int) -> None:
    """What the worker writes is what it reads, however often it goes round."""
    rejected = Rejected(DeadLetterReason.SCHEMA, "$", "wrong")
    first = None
    at = offset
    for attempts in range(1, 4):
        made = dead_letter(
            topic="capture.telemetry",
            topic_id="id-1",
            source_partition=partition,
            partition=partition,
            offset=at,
            append_time_ms=5,
            key=None,
            value=b"{",
            headers=[("own", b"kept")],
            rejected=rejected,
            origin=first,
        )
        headers = list(made.headers or [])
        assert without_origin([(name, value or b"") for name, value in headers]) == [("own", b"kept")]
        at += later
        first = read(list(headers), partition, at)
        assert first == Origin(partition, offset, attempts, 5)
