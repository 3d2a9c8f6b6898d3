"""What only the edge knows of a request: address, header facts, and what trusted proxies tell. No clock, no network.

A header counts as a proxy's only where the connection itself comes from one of the configured networks.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

import msgspec

from schemas.surroundings import Network
from stream.gateway.settings import GatewaySettings, networks_of
from stream.refs import RefHasher

RawHeaders = Iterable[tuple[bytes, bytes]]
Address = IPv4Address | IPv6Address

MAX_HOPS: Final = 32
"""Entries of the client address header that are looked at, from the right."""

_FALSE_TRUE: Final = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_ASN: Final = re.compile(r"(?:AS)?([0-9]{1,10})", re.ASCII | re.IGNORECASE)

_NOT_OF_THE_BROWSER: Final = frozenset(
    # Depends on the page, the body, the connection, or was put in by something between.
    {
        b"connection", b"content-length", b"cookie", b"forwarded", b"host", b"keep-alive", b"referer", b"te",
        b"traceparent", b"tracestate", b"transfer-encoding", b"via", b"x-real-ip", b"x-request-id",
    }
)  # fmt: skip
_ALWAYS: Final = (b"accept", b"accept-encoding", b"accept-language", b"user-agent")
_FETCH: Final = (b"sec-fetch-mode", b"sec-fetch-site")
_HINTS: Final = (b"sec-ch-ua",)
_SAYING: Final = (b"accept-language", b"sec-ch-ua-mobile", b"sec-ch-ua-platform", b"user-agent")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,4}|\*")
_CHROMIUM: Final = re.compile(rb"Chrome/(\d+)")
_FIREFOX: Final = re.compile(rb"Firefox/(\d+)")
_SINCE_CHROMIUM: Final = 90
_SINCE_FIREFOX: Final = 91


class Client(NamedTuple):
    """Where a request comes from. Nothing of it leaves this process but hashes."""

    ip: str
    """In its one usual form; empty where it is not known."""
    rate_key: str
    """What its rate is counted under: the address, of IPv6 the /64 that one customer has."""
    by_proxy: bool
    """A trusted proxy stands between."""


class Edge:
    """Reads what the edge knows of requests."""

    def __init__(self, settings: GatewaySettings, refs: RefHasher) -> None:
        self._trusted = networks_of(settings.trusted_proxies)
        self._ip_header = settings.client_ip_header.encode()
        self._edge_headers = {header.encode(): fact for fact, header in settings.edge_headers.items()}
        self._refs = refs

    def client(self, peer: str | None, headers: RawHeaders) -> Client:
        """Return the client behind a connection from `peer`, an address in text."""
        address = _address(peer or "")
        if address is None or not self._is_trusted(address):
            return _client(address, by_proxy=False)
        told = b",".join(value for name, value in headers if name == self._ip_header).decode("latin-1").split(",")
        for hop in reversed(told[-MAX_HOPS:]):
            found = _address(_without_port(hop.strip()))
            if found is None:
                break  # what stands further left was not told by a proxy of ours
            address = found
            if not self._is_trusted(found):
                break
        return _client(address, by_proxy=True)

    def connection_key(self, peer: str | None) -> str | None:
        """Return what a peer's connections are counted under, as its rate is; None: a trusted proxy, or not known."""
        address = _address(peer or "")
        return None if address is None or self._is_trusted(address) else _client(address, by_proxy=False).rate_key

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def network(self, client: Client, headers: RawHeaders) -> Network:
        """Return the network block of the client's events; every reference in it is a keyed hash already.

        All of it belongs to events that tell of the device, `of_every_event` to each.
        """
        pairs = list(headers)
        facts: dict[str, object] = {}
        if client.by_proxy:
            for name, value in pairs:
                fact = self._edge_headers.get(name)
                if fact is not None:
                    facts[fact] = _READ[fact](value.decode("latin-1").strip())
            order = facts.get("header_order_ref")
        else:
            order = _order_of(pairs)
        facts["header_order_ref"] = self._refs.hash("header_order", order) if isinstance(order, str) and order else None
        facts["ip_ref"] = self._refs.hash("ip", client.ip) if client.ip else None
        facts |= _of_headers(dict(pairs))
        return msgspec.convert({name: value for name, value in facts.items() if value is not None}, Network)


def of_every_event(network: Network) -> Network:
    """Return what may change in the middle of a session: the address, and what the edge knows of it."""
    return msgspec.structs.replace(
        network,
        header_order_ref=None,
        headers_missing=None,
        user_agent=None,
        languages=None,
        ua_platform=None,
        ua_mobile=None,
    )


def _client(address: Address | None, *, by_proxy: bool) -> Client:
    if address is None:
        return Client("", "", by_proxy)
    text = str(address)
    if isinstance(address, IPv6Address):
        return Client(text, str(IPv6Address(int(address) >> 64 << 64)), by_proxy)
    return Client(text, text, by_proxy)


def _address(text: str) -> Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        # One client must not have two addresses: an IPv4 one in IPv6's form is that one, a zone is the machine's own.
        return found.ipv4_mapped or (IPv6Address(int(found)) if found.scope_id else found)
    return found


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _order_of(headers: RawHeaders) -> str:
    """The names of the browser's own headers, in the order in which they came: a class of clients, no person's mark."""
    names = (name for name, _ in headers if name not in _NOT_OF_THE_BROWSER and not name.startswith(b"x-"))
    return ",".join(name.decode("latin-1") for name in names)


def _missing(headers: Mapping[bytes, bytes]) -> list[str]:
    """Headers that the browser which the client says to be always sends to such an address, and which are absent."""
    agent = headers.get(b"user-agent", b"")
    if agent and not agent.startswith(b"Mozilla/"):
        return []  # it claims to be no browser
    expected = [*_ALWAYS]
    # A page that came over https can't reach a gateway that a browser would not call trustworthy.
    if headers.get(b"origin", b"").startswith(b"https://"):
        chromium, firefox = _CHROMIUM.search(agent), _FIREFOX.search(agent)
        if chromium is not None and int(chromium[1][:6]) >= _SINCE_CHROMIUM:
            expected += (*_FETCH, *_HINTS)
        elif firefox is not None and int(firefox[1][:6]) >= _SINCE_FIREFOX:
            expected += _FETCH
    return [name.decode() for name in expected if name not in headers]


def _of_headers(headers: Mapping[bytes, bytes]) -> dict[str, object]:
    """What the browser's own headers say of it; its scripts say the same, unless one of them was changed."""
    told = {name: headers.get(name, b"").decode("latin-1").strip() for name in _SAYING}
    languages = [part.partition(";")[0].strip() for part in told[b"accept-language"].split(",")]
    return {
        "headers_missing": _missing(headers) or None,
        "user_agent": told[b"user-agent"][:1_024] or None,
        "languages": [one for one in languages if _LANGUAGE.fullmatch(one)][:32] or None,
        "ua_platform": told[b"sec-ch-ua-platform"].strip('"')[:256] or None,
        "ua_mobile": {"?0": False, "?1": True}.get(told[b"sec-ch-ua-mobile"]),
    }


def _flag(text: str) -> bool | None:
    return _FALSE_TRUE.get(text.lower())


def _country(text: str) -> str | None:
    # T1 is Tor and XX nobody knows: neither is a country.
    return text if re.fullmatch(r"[A-Z]{2}", text) and text not in {"T1", "XX"} else None


def _asn(text: str) -> int | None:
    found = _ASN.fullmatch(text)
    return int(found[1]) if found else None


def _one_of(*known: str) -> Callable[[str], str | None]:
    return lambda text: text if text in known else None


def _text(text: str) -> str | None:
    return text[:256] or None


_READ: Final[Mapping[str, Callable[[str], object]]] = {
    "ip_country": _country,
    "asn": _asn,
    "asn_type": _one_of("residential", "mobile", "business", "education", "hosting", "unknown"),
    "proxy": _flag,
    "vpn": _flag,
    "relay": _flag,
    "tor": _flag,
    "timezone": _text,
    "header_order_ref": _text,
    "tls_class": _text,
    "tcp_os": _text,
    "agent": _one_of("none", "signed", "unsigned", "spoofed"),
}
"""How the text of a trusted proxy's header becomes each fact; None: it says nothing that the contract knows."""
