"""What clients and app servers send to the gateway, and what it answers: bodies, codes, statuses, once.

A refusal is `application/problem+json` with a stable `code`. Nothing in an answer quotes what was sent.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.base import EpochMs, Flow, Ref

MAX_EVENTS: Final = 32
"""Events in one request."""
MAX_TOKEN_CHARS: Final = 1_024
MAX_OPEN_BYTES: Final = 8_192
"""Largest body that opens a session, bytes."""
TELEMETRY_PATH: Final = "/v1/telemetry"
SESSIONS_PATH: Final = "/v1/sessions"

Token = Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN_CHARS, pattern=r"^[A-Za-z0-9._-]+$(?!\n)")]


class OpenSession(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A server of the app opens a session (`flow`), or renews one (`renew`, its token, which may have expired)."""

    flow: Flow | None = None
    renew: Token | None = None
    account_ref: Ref | None = None

    def __post_init__(self) -> None:
        if (self.flow is None) == (self.renew is None):
            msg = "give either flow, for a new session, or renew, with the token of one"
            raise ValueError(msg)


class SessionOpened(msgspec.Struct, kw_only=True):
    """What the app's page needs; `expires_at` is epoch ms."""

    session_id: str
    nonce: str
    token: str
    expires_at: int
    flow: Flow


class TelemetryBatch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a collector sends. `sent_at`: the client's clock at this very try; `events`: in their order, untouched."""

    token: Token
    sent_at: EpochMs
    events: Annotated[list[msgspec.Raw], Meta(min_length=1)]
    device_ref: Ref | None = None


class RefusedEvent(msgspec.Struct, kw_only=True):
    """One event that was not taken: sending it again would not help."""

    index: int
    code: str
    path: str
    detail: str


class TelemetryTaken(msgspec.Struct, kw_only=True):
    """Every event but the refused ones is in Kafka, acknowledged by all in-sync replicas."""

    accepted: int
    refused: list[RefusedEvent]


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details; `code` is stable, `detail` is for a person."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    scope: str | None = None
    """Whose rate was exceeded: ip, session, origin or tenant; ip_bytes: the share of memory of an address."""
    retry_after_s: int | None = None
    refused: list[RefusedEvent] | None = None


CODES: Final[Mapping[str, tuple[int, str]]] = {
    "body_malformed": (400, "The body is not one JSON object in UTF-8"),
    "body_invalid": (400, "The body does not match what this path takes"),
    "secret_invalid": (401, "The secret of the app's server is missing or wrong"),
    "token_invalid": (401, "The session token is not one of ours"),
    "token_expired": (401, "The session token has expired"),
    "origin_not_allowed": (403, "The page's origin may not send"),
    "not_found": (404, "There is nothing at this path"),
    "method_not_allowed": (405, "This path takes POST"),
    "body_too_slow": (408, "The body took too long"),
    "body_too_large": (413, "The body is too large"),
    "too_many_events": (413, "The request holds too many events"),
    "content_type": (415, "The content type is not taken"),
    "content_encoding": (415, "Compressed bodies are not taken"),
    "events_refused": (422, "None of the events can be taken"),
    "rate_limited": (429, "Too many requests"),
    "internal": (500, "The gateway failed"),
    "overloaded": (503, "The gateway has too much to do"),
    "kafka_unavailable": (503, "Kafka does not take the events now"),
}
"""Status and title by code."""

EVENT_CODES: Final[Mapping[str, str]] = {
    "malformed_json": "not one JSON object",
    "too_deep": "nests too deep",
    "not_utf8": "not UTF-8",
    "too_large": "larger than a telemetry record may be, with what the gateway adds",
    "schema": "a field is missing, or has a value that the published schema does not allow",
    "type_not_allowed": "a type that clients may not send, such as an erasure or another model's result",
    "field_not_allowed": "a field that the gateway alone may set, or that the published schema does not know",
    "session_mismatch": "the event is of another session than the token",
    "nonce_mismatch": "the event carries another nonce than the token's",
    "event_too_old": "lay around for too long before it was sent, or begins after it was sent",
}
"""Codes of refused events, and what they mean."""


class Refusal(Exception):  # noqa: N818 - the gateway has not failed
    """A request that is not taken, and why. `detail` never quotes the request."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        scope: str | None = None,
        retry_after_s: int | None = None,
        refused: list[RefusedEvent] | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.status, title = CODES[code]
        self.problem = Problem(
            type=f"urn:tellwire:gateway:{code}",
            title=title,
            status=self.status,
            code=code,
            detail=detail,
            scope=scope,
            retry_after_s=retry_after_s,
            refused=refused,
        )
