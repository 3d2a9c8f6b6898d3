"""What the edge tells: nothing is believed but from trusted proxies, and nothing is left in the clear."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.surroundings import Network
from stream.gateway.edge import Client, Edge, of_every_event
from stream.refs import RefHasher
from tests.stream.gateway.doubles import settings

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/15.0 Safari/605.1.15"
COMMON = {"accept": "*/*", "accept-encoding": "gzip", "accept-language": "en", "origin": "https://shop.example"}
FETCH = {"sec-fetch-mode": "cors", "sec-fetch-site": "cross-site"}


def edge(**gateway: object) -> Edge:
    made = settings(**gateway)
    return Edge(made.gateway, RefHasher(made.keys))


def raw(**headers: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]


PROXIED = edge(trusted_proxies="10.0.0.0/8, 2001:db8::/32", edge_headers={"ip_country": "cf-ipcountry", "asn": "x-asn"})


def test_nobody_is_believed_where_no_proxy_is_configured() -> None:
    headers = raw(x_forwarded_for="8.8.8.8", forwarded="for=8.8.8.8", x_real_ip="8.8.8.8", cf_ipcountry="IE")
    assert edge().client("203.0.113.7", headers) == Client("203.0.113.7", "203.0.113.7", by_proxy=False)
    assert edge().client("127.0.0.1", headers).ip == "127.0.0.1"
    found = edge(edge_headers={"ip_country": "cf-ipcountry"})
    assert found.network(found.client("203.0.113.7", headers), headers).ip_country is None


def test_only_a_trusted_connection_tells_of_its_client() -> None:
    headers = raw(x_forwarded_for="8.8.8.8", cf_ipcountry="IE", x_asn="AS64496")
    stranger, proxied = PROXIED.client("203.0.113.7", headers), PROXIED.client("10.1.2.3", headers)
    assert (stranger.ip, stranger.by_proxy) == ("203.0.113.7", False)
    assert PROXIED.network(stranger, headers).ip_country is None
    assert (proxied.ip, proxied.by_proxy) == ("8.8.8.8", True)
    told = PROXIED.network(proxied, headers)
    assert (told.ip_country, told.asn) == ("IE", 64_496)


@given(st.lists(st.sampled_from(["10.0.0.1", "10.9.9.9", "8.8.8.8", "1.1.1.1", "nonsense", ""]), max_size=6))
def test_the_last_address_that_is_not_a_proxy_s_counts(hops: list[str]) -> None:
    found = PROXIED.client("10.0.0.9", raw(x_forwarded_for=", ".join(hops))).ip
    naive = "10.0.0.9"
    for hop in reversed(hops):
        if hop in {"nonsense", ""}:
            break
        naive = hop
        if ip_address(hop) not in ip_network("10.0.0.0/8"):
            break
    assert found == naive


@pytest.mark.parametrize(
    ("told", "ip", "rate_key"),
    [
        ("8.8.8.8:1234", "8.8.8.8", "8.8.8.8"),
        ("[2a00:1:2:3:4:5:6:7]:443", "2a00:1:2:3:4:5:6:7", "2a00:1:2:3::"),
        ("2A00:1:2:3:0:0:0:1", "2a00:1:2:3::1", "2a00:1:2:3::"),
        ("::ffff:8.8.8.8", "8.8.8.8", "8.8.8.8"),
        ("fe80::1%eth0", "fe80::1", "fe80::"),
        ("008.8.8.8", "10.0.0.9", "10.0.0.9"),
        ("", "10.0.0.9", "10.0.0.9"),
    ],
)
def test_an_address_has_one_form(told: str, ip: str, rate_key: str) -> None:
    assert PROXIED.client("10.0.0.9", raw(x_forwarded_for=told))[:2] == (ip, rate_key)


def test_a_peer_without_address_is_no_client() -> None:
    assert edge().client(None, []) == Client("", "", by_proxy=False)
    assert edge().network(Client("", "", by_proxy=False), []).ip_ref is None


@given(st.dictionaries(st.sampled_from(["cf-ipcountry", "x-asn", "x-tls", "x-proxy", "x-type"]), st.text(max_size=300)))
def test_whatever_a_proxy_says_is_a_fact_of_the_contract_or_nothing(told: dict[str, str]) -> None:
    made = edge(
        trusted_proxies="10.0.0.0/8",
        edge_headers={
            "ip_country": "cf-ipcountry",
            "asn": "x-asn",
            "tls_class": "x-tls",
            "proxy": "x-proxy",
            "asn_type": "x-type",
        },
    )
    headers = [(name.encode(), value.encode("utf-8", "replace")) for name, value in told.items()]
    found = made.network(made.client("10.0.0.9", headers), headers)
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_tor_and_nowhere_are_no_countries() -> None:
    for text in ("T1", "XX", "ie", "IRL", ""):
        assert PROXIED.network(PROXIED.client("10.0.0.9", []), raw(cf_ipcountry=text)).ip_country is None


def test_references_are_keyed_hashes() -> None:
    made = edge()
    headers = raw(accept="*/*", user_agent=CHROME)
    found = made.network(made.client("203.0.113.7", headers), headers)
    refs = RefHasher(settings().keys)
    assert found.ip_ref == refs.hash("ip", "203.0.113.7")
    assert found.header_order_ref == refs.hash("header_order", "accept,user-agent")
    assert b"203.0.113.7" not in msgspec.json.encode(found)


def test_the_order_of_headers_is_a_class_of_clients_not_of_requests() -> None:
    made = edge()
    client = made.client("203.0.113.7", [])
    first = raw(host="a", accept="*/*", content_length="5", user_agent=CHROME, cookie="a=b", x_request_id="7")
    second = raw(accept="text/html", host="b", user_agent=FIREFOX, connection="close", content_length="9")
    other = raw(user_agent=CHROME, accept="*/*")
    order = made.network(client, first).header_order_ref
    assert order == made.network(client, second).header_order_ref
    assert order != made.network(client, other).header_order_ref
    # Behind a proxy it would be the proxy's.
    assert PROXIED.network(PROXIED.client("10.0.0.9", first), first).header_order_ref is None


def test_what_headers_say_of_the_browser() -> None:
    headers = raw(
        user_agent=CHROME,
        accept_language="en-GB,en;q=0.5, fr-CH ;q=0.3,<script>,*;q=0.1",
        sec_ch_ua_platform='"Linux"',
        sec_ch_ua_mobile="?0",
    )
    found = edge().network(Client("203.0.113.7", "", by_proxy=False), headers)
    assert (found.user_agent, found.languages) == (CHROME, ["en-GB", "en", "fr-CH", "*"])
    assert (found.ua_platform, found.ua_mobile) == ("Linux", False)
    assert of_every_event(found) == Network(ip_ref=found.ip_ref)
    nothing = edge().network(Client("203.0.113.7", "", by_proxy=False), raw(user_agent="", sec_ch_ua_mobile="?2"))
    assert (nothing.user_agent, nothing.languages, nothing.ua_platform, nothing.ua_mobile) == (None,) * 4


@given(st.text(max_size=2_000), st.text(max_size=2_000))
def test_whatever_headers_hold_the_block_is_the_contract_s(agent: str, languages: str) -> None:
    headers = [(b"user-agent", agent.encode()), (b"accept-language", languages.encode())]
    found = edge().network(Client("203.0.113.7", "", by_proxy=False), headers)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Network) == found


@pytest.mark.parametrize(
    ("headers", "missing"),
    [
        ({**COMMON, **FETCH, "sec-ch-ua": '"Chromium";v="130"', "user-agent": CHROME}, None),
        ({**COMMON, **FETCH, "user-agent": FIREFOX}, None),
        ({**COMMON, "user-agent": SAFARI}, None),
        ({**COMMON, **FETCH, "user-agent": CHROME}, ["sec-ch-ua"]),
        ({**COMMON, "user-agent": FIREFOX}, ["sec-fetch-mode", "sec-fetch-site"]),
        ({**COMMON, "origin": "http://10.1.1.1", "user-agent": CHROME}, None),
        ({"user-agent": CHROME, "accept": "*/*"}, ["accept-encoding", "accept-language"]),
        ({"accept": "*/*"}, ["accept-encoding", "accept-language", "user-agent"]),
        ({"user-agent": "TellwireApp/2.1 (iOS)"}, None),
    ],
)
def test_headers_that_the_claimed_browser_always_sends(headers: dict[str, str], missing: list[str] | None) -> None:
    pairs = raw(**{name.replace("-", "_"): value for name, value in headers.items()})
    assert edge().network(Client("203.0.113.7", "", by_proxy=False), pairs).headers_missing == missing
