"""The gateway's settings: who may send, how much, and which proxies are believed. Part of stream/settings.py."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from schemas.topics import MAX_TELEMETRY_BYTES
from stream.setting_section import Section

MIN_SECRET_CHARS: Final = 32
EDGE_FACTS: Final = (
    "ip_country",
    "asn",
    "asn_type",
    "proxy",
    "vpn",
    "relay",
    "tor",
    "timezone",
    "header_order_ref",
    "tls_class",
    "tcp_os",
    "agent",
)
"""Fields of `network` that a trusted proxy may tell in a header."""

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,63}")
_ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]{1,255}")
_HEADER = re.compile(r"[a-z0-9-]{1,64}")


class GatewaySettings(Section):
    """What the gateway takes, from whom, and how much. Rates and bounds hold for one process."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8470, ge=0, le=65_535, description="Port; 0 picks a free one, which is logged.")
    tenants: dict[str, SecretStr] = Field(
        default_factory=dict,
        repr=False,
        description="Secret of each tenant's server, which opens sessions with it; at least 32 characters. Two, "
        "separated by a space, while one replaces the other.",
    )
    origins: dict[str, str] = Field(
        default_factory=dict, description="Tenant of each origin whose pages may send, such as https://shop.example."
    )
    require_origin: bool = Field(
        True, description="Refuse telemetry without an Origin header; apps that are no web pages have none."
    )
    token_key: SecretStr | None = Field(
        None, description="Secret that signs session tokens; at least 32 characters, the same in all gateways."
    )
    token_key_old: SecretStr | None = Field(
        None, description="The secret before it: what it signed is still believed, nothing new is signed with it."
    )
    token_ttl_s: int = Field(1_800, ge=10, le=86_400, description="Time for which a session token is valid, s.")
    session_max_age_s: int = Field(
        86_400, ge=10, le=30 * 86_400, description="Age of a session beyond which its token is not renewed, s."
    )
    max_event_age_s: int = Field(
        600, ge=1, le=86_400, description="Longest time between an event's start and its sending, client clock, s."
    )
    max_body_bytes: int = Field(
        MAX_TELEMETRY_BYTES, ge=1_024, le=4 * MAX_TELEMETRY_BYTES, description="Largest body of a request, bytes."
    )
    body_timeout_s: float = Field(10.0, gt=0, le=120, description="Longest time that a request's body may take, s.")
    max_connections: int = Field(2_000, ge=1, le=100_000, description="Connections; beyond them it answers 503.")
    ip_connections: int = Field(
        500,
        ge=1,
        le=100_000,
        description="Connections of one address (IPv6: of a /64) that is no trusted proxy's; more are closed at once.",
    )
    session_rate_per_s: float = Field(5.0, gt=0, le=1e6, description="Requests a second of one session.")
    session_burst: int = Field(20, ge=1, le=10**6, description="Requests that a session may send at once.")
    ip_rate_per_s: float = Field(50.0, gt=0, le=1e6, description="Requests a second of one address (IPv6: of a /64).")
    ip_burst: int = Field(200, ge=1, le=10**6, description="Requests that an address may send at once.")
    origin_rate_per_s: float = Field(
        5_000.0, gt=0, le=1e6, description="Requests a second of one origin; also sessions that a tenant may open."
    )
    origin_burst: int = Field(10_000, ge=1, le=10**6, description="Requests that an origin may send at once.")
    rate_entries: int = Field(
        100_000, ge=100, le=10**7, description="Sessions, and addresses, whose rates are remembered: about 300 B each."
    )
    trusted_proxies: str = Field(
        "", description="Networks of the proxies whose headers are believed, comma-separated, such as 10.0.0.0/8."
    )
    client_ip_header: str = Field(
        "x-forwarded-for",
        pattern=r"^[a-z0-9-]{1,64}$",
        description="Header in which trusted proxies tell the client's address; the last that is not theirs counts.",
    )
    edge_headers: dict[str, str] = Field(
        default_factory=dict,
        description="Header of each network fact that trusted proxies tell, such as "
        '{"ip_country": "cf-ipcountry", "tls_class": "x-tls-class"}.',
    )
    max_in_flight_bytes: int = Field(
        33_554_432,
        ge=1_048_576,
        le=4_294_967_296,
        description="Bytes of bodies being read and of what Kafka has not acknowledged; beyond: 503.",
    )
    ip_in_flight_bytes: int = Field(
        4_194_304,
        ge=4 * MAX_TELEMETRY_BYTES,
        le=4_294_967_296,
        description="Bytes of one address's bodies (IPv6: of a /64's) that came and are not answered yet; beyond: 429.",
    )
    produce_deadline_s: float = Field(
        5.0, ge=0.5, le=60, description="Longest wait for Kafka's acknowledgement of a request; then 503, s."
    )

    @field_validator("tenants")
    @classmethod
    def _usable_tenants(cls, tenants: dict[str, SecretStr]) -> dict[str, SecretStr]:
        owners: dict[str, str] = {}
        for name, secret in tenants.items():
            if not _TENANT.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a tenant: letters, digits and ._:/+-, at most 64")
            secrets = secret.get_secret_value().split(" ")
            if any(len(one) < MIN_SECRET_CHARS or not one.isascii() for one in secrets):
                raise ValueError(f"the secret of {name} needs at least {MIN_SECRET_CHARS} ASCII characters")
            for one in secrets:
                if owners.setdefault(one, name) != name:
                    raise ValueError(f"{owners[one]} and {name} have the same secret: nobody could tell them apart")
        return tenants

    @field_validator("origins")
    @classmethod
    def _usable_origins(cls, origins: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        tenants = info.data.get("tenants", {})
        for origin, tenant in origins.items():
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: write scheme, host and port only, in lower case")
            if tenant not in tenants:
                raise ValueError(f"tenant {tenant!r} of {origin} is not in gateway.tenants")
        return origins

    @field_validator("token_key", "token_key_old")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < MIN_SECRET_CHARS:
            raise ValueError(f"shorter than {MIN_SECRET_CHARS} characters")
        return key

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        networks_of(text)
        return text

    @field_validator("edge_headers")
    @classmethod
    def _known_facts(cls, headers: dict[str, str]) -> dict[str, str]:
        for fact, header in headers.items():
            if fact not in EDGE_FACTS:
                raise ValueError(f"{fact!r} is no fact that an edge tells: {', '.join(EDGE_FACTS)}")
            if not _HEADER.fullmatch(header):
                raise ValueError(f"{header!r} is no header's name in lower case")
        return headers


def networks_of(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return the networks of a comma-separated list. Raises ValueError, in words for a person."""
    found = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        try:
            found.append(ip_network(part))
        except ValueError:
            raise ValueError(f"{part!r} is no network: write 10.0.0.0/8, 2001:db8::/32 or one address") from None
    return tuple(found)
