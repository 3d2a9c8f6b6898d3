"""Dead letters keep the input as it was; the limit stops a line that is all wrong."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from schemas.deadletter import DeadLetterReason
from schemas.envelope import Rejected
from schemas.topics import MAX_RECORD_BYTES, TOPIC
from stream.deadletter import DEADLETTER_TOPIC, TRUNCATED_BYTES, DeadLetterLimit, dead_letter
from stream.origin import MAX_ATTEMPTS, Origin
from stream.transport import OutRecord

HEADERS = st.lists(st.tuples(st.text(max_size=12), st.binary(max_size=12)), max_size=5)


def letter(**more: object) -> OutRecord:
    given_: dict[str, object] = {
        "topic": "capture.telemetry",
        "topic_id": "id-1",
        "source_partition": 3,
        "partition": 3,
        "offset": 42,
        "append_time_ms": 1_700_000_000_000,
        "key": b"session",
        "value": b"{",
        "headers": [],
        "rejected": Rejected(DeadLetterReason.SCHEMA, "$.flow", "not one of the values"),
    }
    return dead_letter(**(given_ | more))  # type: ignore[arg-type]


@given(st.none() | st.binary(), st.none() | st.binary(), HEADERS)
def test_bytes_and_headers_are_untouched(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    made = letter(key=key, value=value, headers=headers)
    assert (made.key, made.value) == (key, value)
    kept = [(name, content) for name, content in headers if not name.startswith("dlq_")]
    assert list(made.headers or [])[: len(kept)] == kept


def test_the_reason_is_in_headers_of_the_contract() -> None:
    made = letter()
    assert made.topic == DEADLETTER_TOPIC
    assert made.partition == 3
    headers = dict(made.headers or [])
    only_sometimes = ("dlq_truncated", "dlq_sha256", "dlq_redriven_partition", "dlq_redriven_offset", "dlq_redriven_at")
    assert (*headers, *only_sometimes) == TOPIC[DEADLETTER_TOPIC].headers
    del headers["dlq_app_version"]
    assert headers == {
        "dlq_reason": b"schema",
        "dlq_path": b"$.flow",
        "dlq_detail": b"not one of the values",
        "dlq_topic": b"capture.telemetry",
        "dlq_topic_id": b"id-1",
        "dlq_partition": b"3",
        "dlq_offset": b"42",
        "dlq_time": b"1700000000000",
        "dlq_attempts": b"1",
    }


def test_of_a_redriven_record_it_names_the_first_place_and_counts_one_attempt_more() -> None:
    made = letter(origin=Origin(partition=1, offset=7, attempts=4, time_ms=1_600_000_000_000))
    headers = dict(made.headers or [])
    assert made.partition == 3
    assert (headers["dlq_partition"], headers["dlq_offset"], headers["dlq_attempts"]) == (b"1", b"7", b"5")
    assert (headers["dlq_redriven_partition"], headers["dlq_redriven_offset"]) == (b"3", b"42")
    assert headers["dlq_time"] == b"1600000000000"
    endless = letter(origin=Origin(1, 7, MAX_ATTEMPTS, None))
    headers = dict(endless.headers or [])
    assert (headers["dlq_attempts"], headers["dlq_time"]) == (str(MAX_ATTEMPTS).encode(), b"1700000000000")


def test_a_value_that_no_topic_takes_is_kept_in_part_with_its_size_and_hash() -> None:
    value = bytes(range(256)) * 40_000
    made = letter(value=value)
    headers = dict(made.headers or [])
    assert value.startswith(made.value or b"x")
    assert len(made.value or b"") == TRUNCATED_BYTES
    assert headers["dlq_truncated"] == str(len(value)).encode()
    assert headers["dlq_sha256"] == hashlib.sha256(value).hexdigest().encode()
    whole = letter(value=value[:MAX_RECORD_BYTES])
    assert whole.value == value[:MAX_RECORD_BYTES]
    assert "dlq_truncated" not in dict(whole.headers or [])


def test_headers_of_an_earlier_dead_letter_are_not_kept_beside_ours() -> None:
    made = letter(headers=[("dlq_reason", b"old"), ("traceparent", b"00-x")])
    assert [content for name, content in made.headers or [] if name == "dlq_reason"] == [b"schema"]
    assert ("traceparent", b"00-x") in list(made.headers or [])


@given(st.lists(st.booleans(), max_size=120), st.integers(1, 30), st.floats(0.01, 1.0))
def test_the_limit_is_the_share_of_the_latest_full_window(seen: list[bool], window: int, ratio: float) -> None:
    limit = DeadLetterLimit(ratio, window)
    for i, bad in enumerate(seen, start=1):
        limit.observe(bad=bad)
        latest = seen[max(0, i - window) : i]
        assert limit.exceeded == (len(latest) == window and sum(latest) > ratio * window)


@given(st.lists(st.booleans() | st.integers(0, 40), max_size=40), st.integers(1, 30), st.floats(0.01, 1.0))
def test_many_good_ones_count_as_each_of_them(seen: list[bool | int], window: int, ratio: float) -> None:
    limit, twin = DeadLetterLimit(ratio, window), DeadLetterLimit(ratio, window)
    for one in seen:
        if isinstance(one, bool):
            limit.observe(bad=one)
            twin.observe(bad=one)
        else:
            limit.observe_good(one)
            for _ in range(one):
                twin.observe(bad=False)
        assert limit.exceeded == twin.exceeded
