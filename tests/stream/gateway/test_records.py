"""From a client's event to the record: the naive twin parses, adds, and writes anew; both read the same."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from features.reading import ChunkReader
from schemas.envelope import decode, encode
from schemas.surroundings import Network
from schemas.telemetry import GATEWAY_FIELDS, Telemetry
from stream.gateway.closed_event import CLIENT_FIELDS, ClosedTelemetry
from stream.gateway.records import EARLY_MS, Added, EventRefused, RecordMaker
from stream.gateway.tokens import Session
from stream.refs import RefHasher
from tests.schemas.strategies import messages
from tests.stream.gateway.doubles import NOW_MS, settings

REFS = RefHasher(settings().keys)
SESSION = Session("s_1", "n_1", "shop", "signup", NOW_MS, NOW_MS + 1, "a" * 32, "k1")
MAKER = RecordMaker(REFS, 600_000)
ADDED = Added.of(
    SESSION,
    sent_at=NOW_MS,
    observed_at=NOW_MS + 40,
    device_ref="device-17",
    network=Network(ip_ref="b" * 32, headers_missing=["accept"]),
    refs=REFS,
)


def of_client(event: Telemetry) -> dict[str, Any]:
    """What a client of this session would send of a random event."""
    own = msgspec.to_builtins(event)
    kept = {name: value for name, value in own.items() if name in CLIENT_FIELDS}
    return {**kept, "session_id": "s_1", "nonce": "n_1", "effective_at": NOW_MS - 500}


def refused(event: Any, added: Added = ADDED) -> EventRefused:
    raw = event if isinstance(event, bytes) else json.dumps(event).encode()
    with pytest.raises(EventRefused) as caught:
        MAKER.value(raw, added)
    return caught.value


def minimal(**more: Any) -> dict[str, Any]:
    return {
        "type": "capture.telemetry.v1",
        "event_id": "e",
        "session_id": "s_1",
        "nonce": "n_1",
        "sequence": 0,
        "effective_at": NOW_MS,
        "collector": {"name": "c", "version": "1"},
        **more,
    }


@given(messages(Telemetry), st.randoms())
@hypothesis_settings(max_examples=40)
def test_it_reads_as_the_twin_that_parses_and_writes_anew(event: Telemetry, random: Any) -> None:
    # Random telemetry is dear to make: all that holds of any is looked at in one.
    sent = of_client(event)
    names = list(sent)
    random.shuffle(names)
    parts = {name: json.dumps(sent[name], indent=1).encode() for name in names}
    value = MAKER.value(b"{" + b" ,\n".join(b'"%b" : %b' % (n.encode(), p) for n, p in parts.items()) + b"}", ADDED)
    found = decode(value, b"s_1")
    assert isinstance(found, Telemetry)

    naive = {**sent, "tenant": "shop", "flow": "signup", "observed_at": NOW_MS + 40, "ref_key_version": "k1"}
    naive |= {"account_ref": "a" * 32, "device_ref": REFS.hash("device", "device-17")}
    naive["network"] = {"ip_ref": "b" * 32}
    if "device" in sent or sent["sequence"] == 0:
        naive["network"]["headers_missing"] = ["accept"]
    twin = msgspec.json.decode(json.dumps(naive), type=Telemetry)
    if twin.capture is not None and twin.capture.capture_ref is not None:
        twin.capture.capture_ref = REFS.hash("capture_ref", twin.capture.capture_ref)
        del parts["capture"]
    assert found == twin
    # Workers hash what is raw: here nothing is any more. What they have no use for they drop.
    REFS.hash_event(found)
    if twin.device is not None:
        twin.device.canvas_hash = twin.device.audio_hash = twin.device.fonts_hash = None
    assert found == twin
    # Bytes of blocks are handed on untouched.
    assert all(b'"%b":%b' % (name.encode(), part) in value for name, part in parts.items())
    # The workers' compiled reader sees the same.
    (lean,) = ChunkReader().read([value]).events
    if lean is not None:
        assert (lean.event_id, lean.session_id, lean.network) == (found.event_id, found.session_id, found.network)
        assert (lean.account_ref, lean.device_ref, lean.nonce) == (found.account_ref, found.device_ref, found.nonce)
    # Closed types take what the contract takes.
    assert encode(msgspec.json.decode(encode(event), type=ClosedTelemetry)) == encode(event)


@pytest.mark.parametrize("name", sorted(GATEWAY_FIELDS))
@pytest.mark.parametrize("escaped", [False, True])
def test_what_the_gateway_says_no_client_says(name: str, escaped: bool) -> None:
    other = msgspec.to_builtins(Network(ip_ref="1.2.3.4")) if name == "network" else "shop"
    shown = f"\\u{ord(name[0]):04x}{name[1:]}" if escaped else name
    raw = json.dumps(minimal())[:-1] + f',"{shown}":{json.dumps(other)}}}'
    error = refused(raw.encode())
    assert (error.code, error.path) == ("field_not_allowed", f"$.{name}")


def test_a_field_that_nobody_knows_is_refused_at_every_depth_and_not_quoted() -> None:
    secret = "typed-secret"
    for event in (
        minimal(**{secret: 1}),
        minimal(pointer={"t": [], "x": [], "y": [], secret: 1}),
        minimal(device={"worker": {secret: 1}}),
        minimal(capture={"asked": {secret: 1}}),
        minimal(form={"fields": [{"field": "email", secret: "x"}]}),
        minimal(collector={"name": "c", "version": "1", secret: 1}),
    ):
        error = refused(event)
        assert error.code == "field_not_allowed"
        assert secret not in f"{error.path} {error.detail}"


@pytest.mark.parametrize(
    "kind", ["capture.erasure.v1", "capture.signal.v1", "risk.event.v1", "capture.telemetry.v2", None, 3, "", {}]
)
def test_other_types_are_refused(kind: Any) -> None:
    assert refused(minimal(type=kind)).code == "type_not_allowed"


def test_no_duplicate_key_hides_another_type_or_another_value() -> None:
    start = json.dumps(minimal()).encode()[:-1]
    assert refused(start + b',"type":"capture.erasure.v1"}').code == "type_not_allowed"
    value = MAKER.value(start[:1] + b'"type":"capture.erasure.v1",' + start[1:] + b',"event_id":"last"}', ADDED)
    pairs = json.loads(value, object_pairs_hook=list)
    assert len({name for name, _ in pairs}) == len(pairs)
    assert dict(pairs)["event_id"] == "last"
    assert dict(pairs)["type"] == "capture.telemetry.v1"


def test_session_and_nonce_are_the_tokens() -> None:
    assert refused(minimal(session_id="s_2")).code == "session_mismatch"
    assert refused(minimal(nonce="n_2")).code == "nonce_mismatch"
    event = minimal()
    del event["nonce"]
    assert refused(event).code == "nonce_mismatch"


@pytest.mark.parametrize(
    ("age_ms", "is_taken"),
    [(0, True), (600_000, True), (600_001, False), (-EARLY_MS, True), (-EARLY_MS - 1, False)],
)
def test_what_lay_around_is_refused(age_ms: int, is_taken: bool) -> None:
    event = minimal(effective_at=NOW_MS - age_ms)
    if is_taken:
        assert MAKER.value(json.dumps(event).encode(), ADDED)
    else:
        assert refused(event).code == "event_too_old"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"1", "malformed_json"),
        (b"null", "malformed_json"),
        (b"[]", "malformed_json"),
        (b'"text"', "malformed_json"),
        (b"{}", "type_not_allowed"),
        (b'{"type":"capture.telemetry.v1"}', "schema"),
        (json.dumps(minimal(sequence=-1)).encode(), "schema"),
        (json.dumps(minimal(sequence=True)).encode(), "schema"),
        (json.dumps(minimal(event_id="a\u0000")).encode(), "schema"),
        (json.dumps(minimal(pointer={"t": [1], "x": [], "y": []})).encode(), "schema"),
        (json.dumps(minimal(pointer={"t": [0] * 4097, "x": [0] * 4097, "y": [0] * 4097})).encode(), "schema"),
        (json.dumps(minimal(effective_at=NOW_MS / 1000)).encode(), "schema"),
        (json.dumps(minimal(device={"user_agent": "x" * 1025})).encode(), "schema"),
        (b" " * 300_000 + json.dumps(minimal()).encode(), None),
        (json.dumps(minimal()).encode()[:-1] + b',"scroll":' + b" " * 300_000 + b"null}", None),
    ],
)
def test_bad_events_have_a_code(raw: bytes, code: str | None) -> None:
    if code is None:  # white space between members is not handed on
        assert len(MAKER.value(raw, ADDED)) < 2_000
    else:
        assert refused(raw).code == code


def test_a_record_above_its_bound_is_refused_with_what_is_added() -> None:
    column = [1.123456789] * 4_096
    block = {"t": column, "ax": column, "ay": column, "az": column, "rx": column, "ry": column}
    assert refused(minimal(motion=block)).code == "too_large"


def test_a_capture_reference_that_looks_hashed_is_hashed_all_the_same() -> None:
    claimed = "c" * 32
    value = MAKER.value(json.dumps(minimal(capture={"capture_ref": claimed, "frame_t": [1, 2.5]})).encode(), ADDED)
    found = decode(value, b"s_1")
    assert isinstance(found, Telemetry)
    assert found.capture is not None
    assert found.capture.capture_ref == REFS.hash("capture_ref", claimed)
    assert found.capture.frame_t == [1, 2.5]
    assert claimed.encode() not in value


def test_closed_types_are_the_contract_s_in_everything_else() -> None:
    assert ClosedTelemetry.__struct_fields__ == Telemetry.__struct_fields__
    assert set(CLIENT_FIELDS) | GATEWAY_FIELDS == {"type", *Telemetry.__struct_fields__}


def test_numbers_that_are_none_are_refused_as_the_parser_does() -> None:
    raw = json.dumps(minimal(pointer={"t": [math.nan], "x": [1], "y": [1]})).encode()
    assert refused(raw).code == "malformed_json"
