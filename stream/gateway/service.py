"""What the gateway does with a request, whatever server brought it: the rules, in their order, cheapest first.

A refusal is an exception; what returns was done. Nothing here logs or keeps an identifier in the clear.
"""

import hmac
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, NamedTuple, Protocol, TypeVar

from schemas.cloudevents import trace_context
from schemas.deadletter import DeadLetterReason
from schemas.envelope import RecordDecoder, Rejected
from schemas.topics import TELEMETRY_TOPIC
from stream.gateway.edge import Client, Edge
from stream.gateway.metrics import GatewayMetrics
from stream.gateway.outlet import Outlet
from stream.gateway.rates import Buckets
from stream.gateway.records import Added, EventRefused, RecordMaker
from stream.gateway.settings import GatewaySettings
from stream.gateway.shares import Shares
from stream.gateway.tokens import Session, Tokens
from stream.gateway.wire import (
    MAX_EVENTS,
    MAX_OPEN_BYTES,
    OpenSession,
    Refusal,
    RefusedEvent,
    SessionOpened,
    TelemetryBatch,
    TelemetryTaken,
)
from stream.refs import RefHasher
from stream.settings import Settings, SettingsError, variable_of
from stream.transport import OutRecord

T = TypeVar("T")

_CONTENT_TYPES: Final = (b"text/plain", b"application/json")
_MALFORMED: Final = {
    DeadLetterReason.EMPTY,
    DeadLetterReason.NOT_UTF8,
    DeadLetterReason.MALFORMED_JSON,
    DeadLetterReason.TOO_DEEP,
}


class Head(NamedTuple):
    """What is known of a request before its body is read. Names of headers are in lower case."""

    peer: str | None
    headers: Sequence[tuple[bytes, bytes]]

    def get(self, name: bytes) -> bytes | None:
        """Return a header; of several of one name the first."""
        return next((value for each, value in self.headers if each == name), None)


class ReadBody(Protocol):
    """Reads the whole body, at most `limit` bytes; `count` is told the size of each part first. Raises Refusal."""

    def __call__(self, limit: int, count: Callable[[int], None] = ...) -> Awaitable[bytes]:
        """Return the body."""


class Gateway:
    """The rules of one gateway process. `now_ms`: wall clock, epoch ms; `clock`: monotonic seconds."""

    def __init__(
        self,
        settings: Settings,
        outlet: Outlet,
        metrics: GatewayMetrics,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raise SettingsError where a key or a tenant is missing."""
        own = settings.gateway
        self._settings = own
        self._outlet = outlet
        self._metrics = metrics
        self._now_ms = now_ms
        self._clock = clock
        self._refs = RefHasher(settings.keys)
        self._secrets = _secrets(own)
        self._tokens = Tokens(
            _token_keys(own), ttl_ms=own.token_ttl_s * 1_000, max_age_ms=own.session_max_age_s * 1_000
        )
        self.edge = Edge(own, self._refs)
        self._maker = RecordMaker(self._refs, own.max_event_age_s * 1_000)
        self._origins = {origin.encode(): tenant for origin, tenant in own.origins.items()}
        self._by_ip = Buckets(own.ip_rate_per_s, own.ip_burst, own.rate_entries)
        self._by_session = Buckets(own.session_rate_per_s, own.session_burst, own.rate_entries)
        self._shares = Shares(own.ip_in_flight_bytes)
        # Only names that the settings hold come here.
        self._by_origin = Buckets(own.origin_rate_per_s, own.origin_burst, len(own.origins) + len(own.tenants) + 1)
        self._batch = RecordDecoder((TelemetryBatch,), max_bytes=own.max_body_bytes, keyed_by_session=False).decode
        self._open = RecordDecoder((OpenSession,), max_bytes=MAX_OPEN_BYTES, keyed_by_session=False).decode

    def observe(self) -> None:
        """Bring the gauges up to now."""
        self._metrics.rate_entries.labels("ip").set(len(self._by_ip))
        self._metrics.rate_entries.labels("session").set(len(self._by_session))
        self._metrics.ip_in_flight_bytes.set(self._shares.largest)

    # --- sessions ----------------------------------------------------------------------------------

    async def open_session(self, head: Head, read_body: ReadBody) -> SessionOpened:
        """Open or renew a session for the app's server that shows its tenant's secret."""
        tenant = self._tenant_of(head.get(b"authorization") or b"")
        if tenant is None:
            self._take("ip", self.edge.client(head.peer, head.headers).rate_key)
            raise Refusal("secret_invalid", "send the tenant's secret as `Authorization: Bearer ...`")
        self._take("tenant", (tenant,))
        asked = _decoded(self._open, await read_body(MAX_OPEN_BYTES))
        now_ms, version = self._now_ms(), self._refs.version
        account = None if asked.account_ref is None else self._refs.hash("account", asked.account_ref)
        if asked.flow is not None:
            session = self._tokens.open(tenant, asked.flow, account, version, now_ms)
        else:
            known = self._tokens.read(asked.renew or "")
            if known.tenant != tenant:
                raise Refusal("token_invalid", "the session is another tenant's")
            session = self._tokens.renew(known, account, version, now_ms)
        self._metrics.sessions.labels("renewed" if asked.flow is None else "opened").inc()
        return SessionOpened(
            session_id=session.session_id,
            nonce=session.nonce,
            token=self._tokens.sign(session),
            expires_at=session.expires_at,
            flow=session.flow,
        )

    def _tenant_of(self, authorization: bytes) -> str | None:
        scheme, _, secret = authorization.partition(b" ")
        shown = sha256(secret).digest()
        found = None
        for digest, tenant in self._secrets:
            # All are compared, so that the time taken says nothing.
            if hmac.compare_digest(digest, shown):
                found = tenant
        return found if scheme.lower() == b"bearer" else None

    # --- telemetry ---------------------------------------------------------------------------------

    async def take(self, head: Head, read_body: ReadBody) -> TelemetryTaken:
        """Produce a client's events, and return once Kafka has them."""
        observed_at = self._now_ms()
        client = self.edge.client(head.peer, head.headers)
        self._take("ip", client.rate_key)
        origin_tenant = self._check_head(head)
        announced = min(_length_of(head), self._settings.max_body_bytes)  # what is larger is refused for that
        self._outlet.check(announced)
        with self._holding(client.rate_key, announced) as count_share:
            body = await self._whole(read_body, count_share)
            return await self._produced(head, client, origin_tenant, body, observed_at)

    @contextmanager
    def _holding(self, key: str, announced: int) -> Iterator[Callable[[int], None]]:
        """Yield what counts each part of an address's body, which it has until its request is answered.

        Raises Refusal where its share has no room for `announced` bytes, which are not counted; so does what counts.
        """
        if not self._shares.has_room(key, announced):
            raise self._no_share()
        held = 0

        def count(size: int) -> None:
            nonlocal held
            if not self._shares.take(key, size):
                raise self._no_share()
            held += size

        try:
            yield count
        finally:
            self._shares.give_back(key, held)

    def _no_share(self) -> Refusal:
        self._metrics.rate_limited.labels("ip_bytes").inc()
        detail = "bodies of this address that came and are not answered yet are as large as they may be"
        return Refusal("rate_limited", detail, scope="ip_bytes", retry_after_s=1)

    async def _whole(self, read_body: ReadBody, count_share: Callable[[int], None]) -> bytes:
        with self._outlet.reading() as count_all:

            def count(size: int) -> None:
                count_share(size)
                count_all(size)

            body = await read_body(self._settings.max_body_bytes, count)
        self._metrics.body_bytes.observe(len(body))
        return body

    async def _produced(
        self, head: Head, client: Client, origin_tenant: str | None, body: bytes, observed_at: int
    ) -> TelemetryTaken:
        batch = _decoded(self._batch, body)
        if len(batch.events) > MAX_EVENTS:
            raise Refusal("too_many_events", f"one request takes at most {MAX_EVENTS} events")
        session = self._tokens.check(batch.token, self._refs.version, observed_at)
        if session.tenant not in self._settings.tenants:
            raise Refusal("token_invalid", "its tenant is not in gateway.tenants any more")
        if origin_tenant is not None and session.tenant != origin_tenant:
            raise Refusal("origin_not_allowed", "the session is of another tenant than the page")
        self._take("session", session.session_id)
        if origin_tenant is not None:
            # Last of all: who has no token, or sends too much, must not use up what a tenant's other visitors have.
            self._take("origin", head.get(b"origin"))
        records, refused = self._records(batch, session, client, head, observed_at)
        for one in refused:
            self._metrics.events_refused.labels(one.code).inc()
        if not records:
            raise Refusal("events_refused", "none of the events can be taken: see `refused`", refused=refused)
        await self._outlet.deliver(records)
        self._metrics.events_accepted.inc(len(records))
        return TelemetryTaken(accepted=len(records), refused=refused)

    def _check_head(self, head: Head) -> str | None:
        """Return the tenant of the page's origin; None where there is no origin, and none is required."""
        origin = head.get(b"origin")
        tenant = None
        if origin is not None:
            tenant = self._origins.get(origin)
            if tenant is None:
                raise Refusal("origin_not_allowed", "the page's origin is not in gateway.origins")
        elif self._settings.require_origin:
            raise Refusal("origin_not_allowed", "the request has no Origin header")
        if (head.get(b"content-encoding") or b"identity").strip().lower() != b"identity":
            raise Refusal("content_encoding", "send the body as it is: no Content-Encoding")
        kind = (head.get(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind not in _CONTENT_TYPES:
            raise Refusal("content_type", "send JSON as text/plain or application/json")
        return tenant

    def _records(
        self, batch: TelemetryBatch, session: Session, client: Client, head: Head, observed_at: int
    ) -> tuple[list[OutRecord], list[RefusedEvent]]:
        added = Added.of(
            session,
            sent_at=batch.sent_at,
            observed_at=observed_at,
            device_ref=batch.device_ref,
            network=self.edge.network(client, head.headers),
            refs=self._refs,
        )
        trace = trace_context((name.decode("latin-1"), value) for name, value in head.headers)
        records: list[OutRecord] = []
        refused: list[RefusedEvent] = []
        for index, raw in enumerate(batch.events):
            try:
                value = self._maker.value(raw, added)
            except EventRefused as why:
                refused.append(why.at(index))
                continue
            records.append(OutRecord(TELEMETRY_TOPIC, value, key=added.key, headers=trace))
        return records, refused

    def _take(self, scope: str, key: object) -> None:
        buckets = {"ip": self._by_ip, "session": self._by_session}.get(scope, self._by_origin)
        wait_s = buckets.take(key, self._clock())
        if wait_s > 0.0:
            self._metrics.rate_limited.labels(scope).inc()
            after_s = min(max(1, -int(-wait_s // 1)), 3_600)
            raise Refusal("rate_limited", "more requests than this gateway takes", scope=scope, retry_after_s=after_s)


def _length_of(head: Head) -> int:
    """The body's size as announced, bytes; 0 where it is not (chunked), or nonsense: it is counted as it comes."""
    told = head.get(b"content-length") or b""
    return int(told) if told.isdigit() and len(told) < 16 else 0


def _decoded(decode: Callable[[bytes, None], T], body: bytes) -> T:
    try:
        return decode(body, None)
    except Rejected as why:
        if why.reason is DeadLetterReason.TOO_LARGE:
            raise Refusal("body_too_large", "send smaller batches") from None
        code = "body_malformed" if why.reason in _MALFORMED else "body_invalid"
        raise Refusal(code, f"{why.path}: {why.detail}") from None


def _secrets(settings: GatewaySettings) -> tuple[tuple[bytes, str], ...]:
    if not settings.tenants:
        raise SettingsError(
            f"gateway.tenants ({variable_of('gateway', 'tenants')}): empty; give each tenant a secret of at least 32 "
            'characters, such as {"shop": "..."} from `openssl rand -hex 32`'
        )
    return tuple(
        (sha256(secret.encode()).digest(), tenant)
        for tenant, held in settings.tenants.items()
        for secret in held.get_secret_value().split(" ")
    )


def _token_keys(settings: GatewaySettings) -> tuple[bytes, ...]:
    if settings.token_key is None:
        raise SettingsError(
            f"gateway.token_key ({variable_of('gateway', 'token_key')}): not set; give a secret of at least 32 "
            "characters, the same in all gateways, for example from `openssl rand -hex 32`"
        )
    keys = [settings.token_key] + ([] if settings.token_key_old is None else [settings.token_key_old])
    return tuple(key.get_secret_value().encode() for key in keys)
