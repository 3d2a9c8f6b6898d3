"""Every bad single record has one reason, one path and a line that quotes nothing; every odd but valid one is read."""

import gzip
import json
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Signal, Telemetry
from schemas.deadletter import DeadLetterReason as Reason
from schemas.envelope import MAX_DEPTH, RecordDecoder, Rejected, decode, decode_label, decode_signal, decode_snapshot
from schemas.topics import MAX_TELEMETRY_BYTES

SECRET = "Z3cr3t"

BASE: dict[str, Any] = {
    "type": "capture.telemetry.v1",
    "event_id": "e1",
    "session_id": "s1",
    "tenant": "acme",
    "flow": "login",
    "sequence": 0,
    "effective_at": 1_790_000_000_000,
    "observed_at": 1_790_000_000_100,
    "collector": {"name": "tellwire-web", "version": "1.0.0"},
}
SIGNAL: dict[str, Any] = {
    "type": "capture.signal.v1",
    "event_id": "g1",
    "session_id": "s1",
    "tenant": "acme",
    "flow": "login",
    "effective_at": 1_790_000_000_000,
    "observed_at": 1_790_000_000_100,
    "kind": "pad",
    "provider": "acme",
    "outcome": "timeout",
}


def with_fields(**fields: Any) -> bytes:
    return json.dumps(BASE | fields).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in BASE.items() if key != name}).encode()


def raw(name: str, text: bytes) -> bytes:
    """The base record with `name` written as the given bytes."""
    return with_fields(**{name: "@@"}).replace(b'"@@"', text)


def pointer(**columns: Any) -> bytes:
    return with_fields(pointer={"t": [0.0], "x": [1.0], "y": [1.0]} | columns)


def signal(**fields: Any) -> bytes:
    return json.dumps(SIGNAL | fields).encode()


def attempt(value: bytes) -> Rejected | None:
    """Why the record is refused, or None when it is read. Any other exception is a failure."""
    try:
        decode(value, None)
    except Rejected as rejected:
        return rejected
    return None


GOOD = with_fields()

REFUSED: dict[str, tuple[bytes | None, Reason, str]] = {
    "null value": (None, Reason.EMPTY, "$"),
    "empty value": (b"", Reason.EMPTY, "$"),
    "only white space": (b" \n", Reason.MALFORMED_JSON, "$"),
    "empty object": (b"{}", Reason.UNKNOWN_TYPE, "$.type"),
    "empty array": (b"[]", Reason.SCHEMA, "$"),
    "bare number": (b"12", Reason.SCHEMA, "$"),
    "bare null": (b"null", Reason.SCHEMA, "$"),
    "bare text": (b'"capture.telemetry.v1"', Reason.SCHEMA, "$"),
    "truncated": (GOOD[:-7], Reason.MALFORMED_JSON, "$"),
    "trailing bytes": (GOOD + b"x", Reason.MALFORMED_JSON, "$"),
    "two records": (GOOD + GOOD, Reason.MALFORMED_JSON, "$"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, Reason.MALFORMED_JSON, "$"),
    "UTF-16 with mark": (GOOD.decode().encode("utf-16"), Reason.NOT_UTF8, "$"),
    "UTF-16 without mark": (GOOD.decode().encode("utf-16-le"), Reason.MALFORMED_JSON, "$"),
    "Latin-1": (raw("event_id", b'"caf\xe9"'), Reason.NOT_UTF8, "$"),
    "invalid UTF-8 in an unknown field": (raw("later", b'"\xff\xfe"'), Reason.NOT_UTF8, "$"),
    "UTF-8 of a surrogate": (raw("event_id", b'"\xed\xa0\x80"'), Reason.NOT_UTF8, "$"),
    "lone surrogate": (raw("event_id", b'"\\ud800"'), Reason.MALFORMED_JSON, "$"),
    "NUL in id": (with_fields(session_id="s\x00"), Reason.SCHEMA, "$.session_id"),
    "raw NUL in id": (raw("session_id", b'"s\x001"'), Reason.MALFORMED_JSON, "$"),
    "line feed at the end of an id": (with_fields(session_id="s1\n"), Reason.SCHEMA, "$.session_id"),
    "line feed at the end of a name": (with_fields(tenant="acme\n"), Reason.SCHEMA, "$.tenant"),
    "protocol characters in id": (with_fields(session_id="{}:*\r\n"), Reason.SCHEMA, "$.session_id"),
    "log injection in id": (with_fields(event_id="a\n2026-01-01 ERROR x"), Reason.SCHEMA, "$.event_id"),
    "C1 control in id": (with_fields(event_id="a\u009b31m"), Reason.SCHEMA, "$.event_id"),
    "empty id": (with_fields(event_id=""), Reason.SCHEMA, "$.event_id"),
    "long id": (with_fields(session_id="s" * 129), Reason.SCHEMA, "$.session_id"),
    "id of 1 MB": (with_fields(session_id="s" * 2**20), Reason.TOO_LARGE, "$"),
    "10 MiB record": (b" " * (10 * 2**20), Reason.TOO_LARGE, "$"),
    "one byte too many": (GOOD + b" " * (MAX_TELEMETRY_BYTES + 1 - len(GOOD)), Reason.TOO_LARGE, "$"),
    "100 000 open arrays": (b"[" * 100_000, Reason.TOO_DEEP, "$"),
    "100 000 arrays in an unknown field": (raw("z", b"[" * 100_000 + b"]" * 100_000), Reason.TOO_DEEP, "$"),
    "50 000 objects in an unknown field": (raw("z", b'{"":' * 50_000 + b"1" + b"}" * 50_000), Reason.TOO_DEEP, "$"),
    "one level too deep": (raw("z", b"[" * MAX_DEPTH + b"]" * MAX_DEPTH), Reason.TOO_DEEP, "$"),
    "deep after a text that ends in a backslash": (
        raw("z", b'["\\\\",' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b',"\\""]'),
        Reason.TOO_DEEP,
        "$",
    ),
    "100 000 closing brackets": (b"]" * 100_000, Reason.MALFORMED_JSON, "$"),
    "1e5-digit integer": (raw("sequence", b"1" * 100_000), Reason.SCHEMA, "$.sequence"),
    "1e400": (raw("viewport", b'{"width_px":1e400,"height_px":1}'), Reason.SCHEMA, "$.viewport.width_px"),
    "NaN": (raw("viewport", b'{"width_px":NaN,"height_px":1}'), Reason.MALFORMED_JSON, "$"),
    "Infinity": (raw("viewport", b'{"width_px":-Infinity,"height_px":1}'), Reason.MALFORMED_JSON, "$"),
    "2^31": (with_fields(sequence=2**31), Reason.SCHEMA, "$.sequence"),
    "2^63": (with_fields(sequence=2**63), Reason.SCHEMA, "$.sequence"),
    "2^64": (with_fields(sequence=2**64), Reason.SCHEMA, "$.sequence"),
    "-1": (with_fields(sequence=-1), Reason.SCHEMA, "$.sequence"),
    "number as text": (with_fields(sequence="12"), Reason.SCHEMA, "$.sequence"),
    "number as boolean": (with_fields(sequence=True), Reason.SCHEMA, "$.sequence"),
    "integer with fraction": (raw("sequence", b"12.0"), Reason.SCHEMA, "$.sequence"),
    "null where a value is needed": (with_fields(tenant=None), Reason.SCHEMA, "$.tenant"),
    "null in place of a default": (pointer(pointer_type=None), Reason.SCHEMA, "$.pointer.pointer_type"),
    "object where a list is due": (pointer(t={}), Reason.SCHEMA, "$.pointer.t"),
    "unknown flow": (with_fields(flow=SECRET), Reason.SCHEMA, "$.flow"),
    "version 0": (with_fields(type="capture.telemetry.v0"), Reason.UNKNOWN_TYPE, "$.type"),
    "version 999": (with_fields(type="capture.telemetry.v999"), Reason.UNKNOWN_TYPE, "$.type"),
    "type of another topic": (with_fields(type="risk.event.v1"), Reason.UNKNOWN_TYPE, "$.type"),
    "type is a number": (with_fields(type=1), Reason.UNKNOWN_TYPE, "$.type"),
    "type missing": (without("type"), Reason.UNKNOWN_TYPE, "$.type"),
    "two types": (GOOD.replace(b"{", b'{"type":"capture.signal.v1",', 1), Reason.UNKNOWN_TYPE, "$.type"),
    **{f"{name} missing": (without(name), Reason.SCHEMA, f"$.{name}") for name in BASE if name != "type"},
    "nested field missing": (with_fields(collector={"name": "x"}), Reason.SCHEMA, "$.collector.version"),
    "ragged columns": (pointer(x=[1.0, 2.0]), Reason.SCHEMA, "$.pointer"),
    "ragged optional column": (pointer(kind=[]), Reason.SCHEMA, "$.pointer"),
    "text in a column": (pointer(t=["0"]), Reason.SCHEMA, "$.pointer.t[0]"),
    "null in a column": (pointer(t=[None]), Reason.SCHEMA, "$.pointer.t[0]"),
    "coordinate 1e308": (pointer(x=[1e308]), Reason.SCHEMA, "$.pointer.x[0]"),
    "coordinate -1e308": (pointer(y=[-1e308]), Reason.SCHEMA, "$.pointer.y[0]"),
    "code above a byte": (pointer(kind=[256]), Reason.SCHEMA, "$.pointer.kind[0]"),
    "too many points": (
        pointer(t=[0] * 4097, x=[0] * 4097, y=[0] * 4097),
        Reason.SCHEMA,
        "$.pointer.t",
    ),
    "1e6 points": (pointer(t=[0] * 10**6), Reason.TOO_LARGE, "$"),
    "too many fields of a form": (with_fields(form={"fields": [{"field": "a"}] * 65}), Reason.SCHEMA, "$.form.fields"),
    "deep field at fault": (
        with_fields(form={"fields": [{"field": "a"}, {"field": "b", "focus_ms": -1}]}),
        Reason.SCHEMA,
        "$.form.fields[1].focus_ms",
    ),
    "time 0": (with_fields(effective_at=0), Reason.SCHEMA, "$.effective_at"),
    "negative time": (with_fields(effective_at=-1_790_000_000_000), Reason.SCHEMA, "$.effective_at"),
    "seconds": (with_fields(observed_at=1_790_000_000), Reason.SCHEMA, "$.observed_at"),
    "microseconds": (with_fields(observed_at=1_790_000_000_000_000), Reason.SCHEMA, "$.observed_at"),
    "year 9999": (with_fields(effective_at=253_402_300_799_000), Reason.SCHEMA, "$.effective_at"),
    "ISO time": (with_fields(effective_at="2026-11-22T00:00:00Z"), Reason.SCHEMA, "$.effective_at"),
    "country in lower case": (with_fields(network={"ip_country": "ie"}), Reason.SCHEMA, "$.network.ip_country"),
    "msgpack": (msgspec.msgpack.encode(BASE), Reason.NOT_UTF8, "$"),
    "pickle": (pickle.dumps(BASE), Reason.NOT_UTF8, "$"),
    "pickle of protocol 0": (pickle.dumps("x", protocol=0), Reason.MALFORMED_JSON, "$"),
    "HTML": (b"<html><body>502</body></html>", Reason.MALFORMED_JSON, "$"),
    "gzip": (gzip.compress(GOOD), Reason.NOT_UTF8, "$"),
    "JSON in JSON": (json.dumps(GOOD.decode()).encode(), Reason.SCHEMA, "$"),
    "base64": (b"eyJ0eXBlIjoiY2FwdHVyZSJ9", Reason.MALFORMED_JSON, "$"),
    "scored without score": (signal(outcome="scored", direction="high_is_risk"), Reason.SCHEMA, "$"),
    "scored without direction": (signal(outcome="scored", score=0.5), Reason.SCHEMA, "$"),
    "scale upside down": (signal(score_min=1.0, score_max=0.0), Reason.SCHEMA, "$"),
    "propensity 0": (signal(routing={"arm": "a", "propensity": 0.0}), Reason.SCHEMA, "$.routing.propensity"),
    "attempt 0": (signal(attempt=0), Reason.SCHEMA, "$.attempt"),
    "unknown kind": (signal(kind=SECRET), Reason.SCHEMA, "$.kind"),
    "object as a finding": (signal(findings=[{"name": "a", "value": {}}]), Reason.SCHEMA, "$.findings[0].value"),
}

ACCEPTED: dict[str, bytes] = {
    "as it should be": GOOD,
    "exactly the limit": GOOD + b" " * (MAX_TELEMETRY_BYTES - len(GOOD)),
    "unknown fields": with_fields(later={"a": [1, {"b": None}]}, collector=BASE["collector"] | {"os": "x"}),
    "prototype keys": with_fields(__proto__={"isAdmin": True}, __class__="x", constructor={"prototype": {}}),
    "duplicate keys": raw("sequence", b'7, "sequence": 0'),
    "type last": json.dumps({key: BASE[key] for key in reversed(BASE)}).encode(),
    "deepest allowed": raw("z", b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)),
    "brackets in text": with_fields(z="[{" * 1000 + '"' + "\\" * 3 + '"[['),
    "many shallow brackets": with_fields(z=[[], {}] * 1000),
    "huge integer in an unknown field": raw("z", b"1" * 100_000),
    "-0.0": with_fields(viewport={"width_px": -0.0, "height_px": 0}),
    "no points": pointer(t=[], x=[], y=[]),
    "one point": pointer(),
    "equal points and times": pointer(t=[5.0] * 9, x=[1.0] * 9, y=[1.0] * 9),
    "decreasing times": pointer(t=[9.0, 3.0], x=[1.0, 2.0], y=[1.0, 2.0]),
    "largest sequence": with_fields(sequence=2**31 - 1),
    "braces, star and colon in id": with_fields(event_id="{}:*", device_ref="../../etc/passwd"),
    "emoji and right-to-left mark in id": with_fields(event_id="🦊\u200f\u202e"),
    "unknown code in a column": pointer(kind=[200]),
    "field name of a web form": with_fields(form={"fields": [{"field": "user[address][0]"}]}),
    "signal": signal(),
    "signal beyond its own scale": signal(outcome="scored", direction="high_is_risk", score=7, score_max=1),
}


@pytest.mark.parametrize(("value", "reason", "path"), REFUSED.values(), ids=REFUSED)
def test_refused(value: bytes | None, reason: Reason, path: str) -> None:
    with pytest.raises(Rejected) as caught:
        decode(value, None)
    rejected = caught.value
    assert (rejected.reason, rejected.path) == (reason, path)
    assert rejected.detail
    assert "\n" not in rejected.detail
    assert len(rejected.detail) < 200
    assert SECRET not in str(rejected)
    assert rejected.__cause__ is None
    assert rejected.__suppress_context__ or rejected.__context__ is None


@pytest.mark.parametrize("value", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(value: bytes) -> None:
    assert decode(value, None).event_id


def test_duplicate_keys_last_one_counts() -> None:
    event = decode(raw("sequence", b'7, "sequence": 3'), None)
    assert isinstance(event, Telemetry)
    assert event.sequence == 3


@pytest.mark.parametrize("key", [b"", b"s2", b"S1", b"s1 ", b"\xff\xfe", b"s1" * 32_768, b"\x00\x00\x00\x01s1"])
def test_key_that_is_not_the_session(key: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        decode(GOOD, key)
    assert (caught.value.reason, caught.value.path) == (Reason.KEY_MISMATCH, "$.session_id")


@pytest.mark.parametrize("session_id", ["s1", "ß", "🦊", "{a}:1"])
def test_key_that_is_the_session(session_id: str) -> None:
    value = with_fields(session_id=session_id)
    assert decode(value, session_id.encode()).session_id == session_id
    assert decode(value, None).session_id == session_id


def test_what_is_wrong_with_the_value_comes_before_the_key() -> None:
    with pytest.raises(Rejected) as caught:
        decode(with_fields(sequence=-1), b"other")
    assert caught.value.reason is Reason.SCHEMA


def test_the_door_takes_signals_only() -> None:
    assert isinstance(decode_signal(signal(), b"s1"), Signal)
    with pytest.raises(Rejected) as caught:
        decode_signal(GOOD, b"s1")
    assert caught.value.reason is Reason.UNKNOWN_TYPE
    assert "capture.signal.v1" in caught.value.detail


def test_other_topics_have_their_own_limits() -> None:
    with pytest.raises(Rejected) as caught:
        decode_label(b" " * 65_537, None)
    assert caught.value.reason is Reason.TOO_LARGE
    with pytest.raises(Rejected) as caught:
        decode_snapshot(None, b"calibration/login/latest")
    assert caught.value.reason is Reason.EMPTY


def test_limit_is_the_decoders() -> None:
    small = RecordDecoder[Telemetry]((Telemetry,), max_bytes=len(GOOD))
    assert small.decode(GOOD, b"s1").session_id == "s1"
    with pytest.raises(Rejected):
        small.decode(GOOD + b" ", b"s1")


def test_detail_says_what_to_do() -> None:
    details: list[tuple[bytes, str]] = [
        (with_fields(sequence="12"), "expected int, got str"),
        (with_fields(sequence=-1), "expected int >= 0"),
        (without("tenant"), "required field is missing"),
        (pointer(x=[1.0, 2.0]), "columns of one block must have the same length, got t=1, x=2, y=1"),
        (with_fields(session_id="s" * 129), "expected str of length <= 128"),
    ]
    for value, detail in details:
        with pytest.raises(Rejected) as caught:
            decode(value, None)
        assert caught.value.detail == detail


def test_deep_input_does_not_grow() -> None:
    deep = [raw("z", b"[" * 100_000 + b"]" * 100_000), b'{"":' * 60_000, b"[{" * 100_000]
    tracemalloc.start()
    try:
        for value in deep * 3:
            with pytest.raises(Rejected):
                decode(value, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The strings that are cut out live for a moment, in pieces; nothing grows with the depth.
    assert peak < 40 * MAX_TELEMETRY_BYTES


def leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(node, dict):
        return [found for key, value in node.items() for found in leaves(value, (*path, key))]
    if isinstance(node, list):
        return [found for index, value in enumerate(node) for found in leaves(value, (*path, index))]
    return [path]


RICH = BASE | {
    "pointer": {"t": [0, 1], "x": [1, 2], "y": [1, 2], "pointer_type": "mouse"},
    "network": {"ip_country": "IE", "asn": 1, "asn_type": "mobile"},
    "form": {"fields": [{"field": "a", "focus_ms": 1}]},
}


@pytest.mark.parametrize("junk", [SECRET * 2000, [SECRET], {SECRET: SECRET}, f"{SECRET} - at `$.{SECRET}`"])
@pytest.mark.parametrize("path", leaves(RICH), ids=lambda path: ".".join(map(str, path)))
def test_no_value_of_the_input_is_ever_told(path: tuple[Any, ...], junk: Any) -> None:
    record = json.loads(json.dumps(RICH))
    node = record
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = junk
    rejected = attempt(json.dumps(record).encode())
    if rejected is not None:
        assert SECRET not in str(rejected)
        assert SECRET not in repr(rejected)
        assert rejected.path.startswith(f"$.{path[0]}")


@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_a_rejection(value: bytes) -> None:
    with pytest.raises(Rejected):
        decode(value, None)


@given(st.data())
def test_any_damage_gives_a_message_or_a_rejection(data: st.DataObject) -> None:
    good = json.dumps(RICH).encode()
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, min(len(good), start + 20)))
    damaged = good[:start] + data.draw(st.binary(max_size=20)) + good[stop:]
    rejected = attempt(damaged)
    assert rejected is None or rejected.path.startswith("$")


def naive_depth(text: str) -> int:
    """The slow twin: one character at a time."""
    depth = deepest = 0
    inside = escaped = False
    for char in text:
        if escaped:
            escaped = False
        elif inside:
            escaped = char == "\\"
            inside = char != '"'
        elif char == '"':
            inside = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def _wrap(layers: list[Callable[[Any], Any]], core: Any) -> Any:
    for layer in layers:
        core = layer(core)
    return core


LAYERS = st.sampled_from(
    [
        lambda inner: [inner],
        lambda inner: {"a": inner},
        lambda inner: [[], inner, {}],
        lambda inner: {'[\\"{': "]}[[", "b": inner},
        lambda inner: ["\\", inner, '"['],
    ]
)


@given(st.lists(LAYERS, max_size=2 * MAX_DEPTH), st.text(max_size=20))
def test_depth_agrees_with_the_slow_count(layers: list[Callable[[Any], Any]], core: str) -> None:
    text = json.dumps(BASE | {"z": _wrap(layers, core)})
    rejected = attempt(text.encode())
    assert (rejected is None) == (naive_depth(text) <= MAX_DEPTH)
    assert rejected is None or rejected.reason is Reason.TOO_DEEP
