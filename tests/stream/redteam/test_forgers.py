"""What forgers send is what the contract allows, but for the one lie that each tells; a seed makes it again."""

from __future__ import annotations

import http.server
import itertools
import threading
from typing import Any

import msgspec
import pytest

from features.device import EVENT_IDS
from schemas.telemetry import GATEWAY_FIELDS
from stream.gateway.closed_event import CLIENT_FIELDS, ClosedTelemetry
from stream.gateway.wire import SessionOpened
from stream.redteam import forgers
from stream.redteam.attacks import ATTACKS
from stream.redteam.sender import address_of, codes_of, send

START_MS = 1_790_000_000_000
SAMPLE: dict[str, Any] = {
    "navigator": {
        "userAgent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
        "userAgentData": {"platform": "Windows", "mobile": False},
        "platform": "Win32",
        "vendor": "Google Inc.",
        "productSub": "20030107",
        "languages": ["de-DE", "de", "en"],
        "language": "de-DE",
        "hardwareConcurrency": 8,
        "deviceMemory": 8,
        "maxTouchPoints": 0,
    },
    "screen": {
        "width": 1920,
        "height": 1080,
        "availWidth": 1920,
        "availHeight": 1040,
        "outerWidth": 1920,
        "outerHeight": 1040,
        "innerWidth": 0,
        "innerHeight": 0,
        "colorDepth": 24,
        "devicePixelRatio": 1.0,
    },
    "videoCard": {"vendor": "Google Inc. (Intel)", "renderer": "ANGLE (Intel, Direct3D11)"},
    "pluginsData": {"plugins": [{}, {}]},
    "headers": {"User-Agent": "the first one's", "Upgrade-Insecure-Requests": "1"},
}
OTHER: dict[str, Any] = {**SAMPLE, "headers": {"User-Agent": "the other one's", "Accept-Language": "fr"}}


def forged(name: str, seed: int = 7) -> forgers.Forgery:
    sample = SAMPLE if name in forgers.SAMPLED else None
    return forgers.forge(name, "s_1", START_MS, seed, sample, OTHER if sample else None)


@pytest.mark.parametrize("name", forgers.NAMES)
def test_every_event_is_one_that_a_client_may_send(name: str) -> None:
    events = [event for _, event in forged(name).events]
    assert len(events) > 5
    for event in events:
        assert event.keys() <= frozenset(CLIENT_FIELDS) | {"type"}
        assert not event.keys() & GATEWAY_FIELDS
        gateways = {"tenant": "t", "flow": "signup", "observed_at": event["effective_at"]}
        msgspec.convert({**event, **gateways}, ClosedTelemetry)
        assert event["session_id"] == "s_1"


@pytest.mark.parametrize("name", forgers.NAMES)
def test_a_seed_makes_the_same_forgery_and_another_one_another(name: str) -> None:
    assert forged(name).events == forged(name).events
    assert forged(name).events != forged(name, seed=8).events


def test_every_forging_attack_has_a_forger_and_the_other_way_round() -> None:
    assert {attack.name for attack in ATTACKS if attack.runner == "forged"} == set(forgers.NAMES)


def honest() -> list[tuple[int, dict[str, Any]]]:
    return forged("forged-headers").events


def test_who_lies_about_the_clock_lies_about_nothing_else() -> None:
    ahead, backwards = forged("clock-skewed"), forged("clock-backwards")
    shifted = [(at, {**event, "effective_at": event["effective_at"] + forgers.SKEW_MS}) for at, event in honest()]
    assert ahead.events == shifted
    assert ahead.sent_at_shift_ms == forgers.SKEW_MS
    begins = [event["effective_at"] for _, event in backwards.events]
    assert [b < a for a, b in itertools.pairwise(begins)][:5] == [False, True, False, False, True]


def test_sequence_numbers_jump_and_come_back() -> None:
    numbers = [event["sequence"] for _, event in forged("sequence-impossible").events]
    assert max(numbers) > 1_000_000
    assert [numbers[0], numbers[2]] == [0, 2]


def test_a_copy_is_sent_twice_and_a_stolen_nonce_is_told() -> None:
    assert forged("payload-copied").twice
    assert forged("payload-copied").events == honest()
    assert forged("nonce-reused").foreign_nonce


@pytest.mark.parametrize("lie", ["forged-headers", "clock-skewed", "clock-backwards", "payload-copied", "forged-bare"])
def test_in_the_collectors_form_a_lie_is_the_same_but_for_the_ids(lie: str) -> None:
    name = {"forged-headers": "in-form", "payload-copied": "in-form-copied", "forged-bare": "in-form-bare"}.get(lie)
    plain, formed = forged(lie), forged(name or f"in-form-{lie}")
    ids = [event["event_id"] for _, event in formed.events]
    assert all(EVENT_IDS["tellwire-web"].fullmatch(each) for each in ids)
    assert not any(EVENT_IDS["tellwire-web"].fullmatch(event["event_id"]) for _, event in plain.events)
    assert len(set(ids)) == len(ids)
    again = [(at, {**event, "event_id": name}) for (at, event), name in zip(plain.events, ids, strict=True)]
    assert again == formed.events
    assert (plain.twice, plain.headers) == (formed.twice, formed.headers)
    other = forgers.forge(name or f"in-form-{lie}", "s_2", START_MS, 7, None, None)
    assert not set(ids) & {event["event_id"] for _, event in other.events}, "a copy's ids are new"


def test_headers_are_a_browsers_a_samples_or_none() -> None:
    assert forged("forged-bare").headers == {}
    assert {"Accept-Language", "User-Agent", "Sec-Fetch-Mode"} <= forged("forged-headers").headers.keys()
    assert forged("sampled-fingerprint").headers == {"User-Agent": "the first one's"}
    assert forged("sampled-fingerprint-other-headers").headers["User-Agent"] == "the other one's"


def test_a_sampled_fingerprint_becomes_a_device_block() -> None:
    device = forgers.device_of(SAMPLE)
    assert (device.platform, device.gpu_vendor, device.plugin_count) == ("Win32", "Google Inc. (Intel)", 2)
    assert (device.ua_platform, device.ua_mobile, device.hardware_concurrency) == ("Windows", False, 8)
    assert (device.languages, device.webdriver) == (["de-DE", "de", "en"], False)


def test_each_attacker_has_an_address_of_its_own_from_which_it_sends() -> None:
    seen: list[str] = []

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.client_address[0])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"accepted":1,"refused":[]}')

        def log_message(self, *_: object) -> None:
            pass

    class App:
        def __init__(self, port: int) -> None:
            self.endpoint, self.opened = f"http://127.0.0.1:{port}/", 0

        def open(self) -> SessionOpened:
            self.opened += 1
            return SessionOpened(session_id=f"s{self.opened}", nonce="n", token="t", expires_at=0, flow="signup")

    addresses = [address_of(seed) for seed in (7, 8, 7)]
    assert addresses[0] == addresses[2] != addresses[1]
    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        one = forgers.Forgery([(0, {"sequence": 0})], {}, twice=True)
        send(lambda *_: one, App(server.server_port), "http://page", lambda _: None, addresses[0])  # type: ignore[arg-type]
        server.shutdown()
    assert seen == ["127.0.0.1", addresses[0]], "what is copied was another's"


@pytest.mark.parametrize(
    ("status", "body", "codes"),
    [
        (200, b'{"accepted":1,"refused":[]}', []),
        (200, b'{"accepted":0,"refused":[{"index":0,"code":"nonce_mismatch"}]}', ["nonce_mismatch"]),
        (422, b'{"code":"events_refused","refused":[{"code":"schema"},{"code":"schema"}]}', ["schema", "schema"]),
        (401, b'{"code":"token_invalid"}', ["token_invalid"]),
        (502, b"<html>", ["status 502"]),
        (200, b"odd", []),
    ],
)
def test_what_an_answer_refuses_is_told_by_its_codes(status: int, body: bytes, codes: list[str]) -> None:
    assert codes_of(status, body) == codes
