"""One client event to one Kafka record, or to a refusal: checked whole, the bytes of its blocks handed on untouched.

The top-level object is put together anew from the client's members and the gateway's own: so no member is there twice,
whoever reads it, and what is checked is the very value that is produced, by the repository's own decoder.
"""

from typing import Final

import msgspec

from schemas.deadletter import DeadLetterReason
from schemas.envelope import UNKNOWN_FIELD, RecordDecoder, Rejected, encode
from schemas.surroundings import Network
from schemas.telemetry import GATEWAY_FIELDS, Telemetry
from schemas.topics import MAX_TELEMETRY_BYTES
from stream.gateway.closed_event import CLIENT_FIELDS, ClosedTelemetry
from stream.gateway.edge import of_every_event
from stream.gateway.tokens import Session
from stream.gateway.wire import RefusedEvent
from stream.refs import RefHasher

EARLY_MS: Final = 60_000
"""An event may begin so long after it was sent, ms: clocks of a device are set while a page is open."""

_TYPE: Final = f'"{Telemetry.__struct_config__.tag}"'.encode()
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text: Final = msgspec.json.Decoder(str).decode
_decode: Final = RecordDecoder((ClosedTelemetry,), max_bytes=MAX_TELEMETRY_BYTES).decode
_OWN: Final = frozenset(CLIENT_FIELDS)


class Added(msgspec.Struct):
    """What the gateway adds to every event of one request, as bytes; and what it checks them against."""

    session: Session
    key: bytes
    sent_at: int
    members: bytes
    """With all of the network block: for the session's first event, and those that tell of the device."""
    members_short: bytes

    @classmethod
    def of(
        cls,
        session: Session,
        *,
        sent_at: int,
        observed_at: int,
        device_ref: str | None,
        network: Network,
        refs: RefHasher,
    ) -> "Added":
        """Make it once a request. `device_ref` is raw, and hashed here; times are epoch ms."""
        said = {
            "tenant": session.tenant,
            "flow": session.flow,
            "observed_at": observed_at,
            "account_ref": session.account,
            "device_ref": None if device_ref is None else refs.hash("device", device_ref),
            "ref_key_version": refs.version,
            "network": network,
        }
        known = {name: value for name, value in said.items() if value is not None}
        short = encode(known | {"network": of_every_event(network)})
        return cls(session, session.session_id.encode(), sent_at, encode(known)[1:], short[1:])


class EventRefused(Exception):  # noqa: N818 - nothing has failed but the event
    """An event that is not taken: code, path and detail, none of which quotes it."""

    def __init__(self, code: str, path: str, detail: str) -> None:
        super().__init__(code, path, detail)
        self.code = code
        self.path = path
        self.detail = detail

    def at(self, index: int) -> RefusedEvent:
        """Return it as the answer's entry."""
        return RefusedEvent(index=index, code=self.code, path=self.path, detail=self.detail)


class RecordMaker:
    """Makes the records of one gateway."""

    def __init__(self, refs: RefHasher, max_age_ms: int) -> None:
        self._refs = refs
        self._max_age_ms = max_age_ms

    def value(self, raw: bytes | memoryview, added: Added) -> bytes:
        """Return the value of one event's record; raises EventRefused.

        `raw` is one JSON value in UTF-8, bounded in size and depth by whoever read the request.
        """
        members = _read(raw)
        value = _joined(members, added)
        event = _checked(value, added.key)
        if event.nonce != added.session.nonce:
            raise EventRefused("nonce_mismatch", "$.nonce", "not the nonce of the token's session")
        age_ms = added.sent_at - event.effective_at
        if not -EARLY_MS <= age_ms <= self._max_age_ms:
            limit = f"must begin at most {self._max_age_ms} ms before `sent_at`, and {EARLY_MS} ms after it"
            raise EventRefused("event_too_old", "$.effective_at", limit)
        capture = event.capture
        if capture is not None and capture.capture_ref is not None:
            # Whatever it looks like: a client's word that it was hashed with our key can't be true.
            capture.capture_ref = self._refs.hash("capture_ref", capture.capture_ref)
            members["capture"] = msgspec.Raw(encode(capture))
            value = _joined(members, added)
            _checked(value, added.key)
        return value


def _read(raw: bytes | memoryview) -> dict[str, msgspec.Raw]:
    """Return the members of the client's object, by name; of two of one name the last. Raises EventRefused."""
    try:
        members = _members(raw)
    except msgspec.ValidationError:
        raise EventRefused("malformed_json", "$", "an event is one JSON object") from None
    except msgspec.DecodeError:
        raise EventRefused("malformed_json", "$", "an event is one JSON object") from None
    if bytes(members.pop("type", b"")) != _TYPE:
        raise EventRefused("type_not_allowed", "$.type", f"clients send {_TYPE.decode()} and nothing else")
    for name in members:
        if name not in _OWN:
            path = f"$.{name}" if name in GATEWAY_FIELDS else "$"
            raise EventRefused("field_not_allowed", path, "a field that the gateway sets, or that nobody knows")
    return members


def _joined(members: dict[str, msgspec.Raw], added: Added) -> bytes:
    parts = [b'{"type":' + _TYPE]
    parts += [b'"%b":%b' % (name.encode(), bytes(value)) for name, value in members.items()]
    is_whole = "device" in members or bytes(members.get("sequence", b"")) == b"0"
    parts.append(added.members if is_whole else added.members_short)
    return b",".join(parts)


def _checked(value: bytes, key: bytes) -> Telemetry:
    try:
        return _decode(value, key)
    except Rejected as why:
        if why.reason is DeadLetterReason.KEY_MISMATCH:
            raise EventRefused("session_mismatch", "$.session_id", "not the session of the token") from None
        code = "field_not_allowed" if why.detail == UNKNOWN_FIELD else why.reason.value
        raise EventRefused(code, why.path, why.detail) from None
