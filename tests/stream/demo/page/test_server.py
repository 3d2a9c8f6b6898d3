"""The page's server over HTTP: files and headers, sessions, the stream, bots, and what a stranger may not do."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from schemas.telemetry import SessionEnd
from stream.demo.children import DemoError
from stream.demo.page import bots, server, site
from stream.demo.page.server import PageServer
from tests.stream.demo.page.stand_in import StandIn, naive_risk
from tests.support.events import telemetry
from tests.support.process import Deadline


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    found = StandIn()
    yield found
    found.close()


def ask(
    page: PageServer, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(page.url).port, timeout=10)) as connection:
        own = {"Origin": page.url, "Content-Type": "application/json"} | {k.title(): v for k, v in headers.items()}
        sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        connection.request(method, path, sent, own)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def opened(page: PageServer, ticket: str = "") -> dict[str, Any]:
    status, _, body = ask(page, "POST", "/api/session", {"ticket": ticket})
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


class Stream:
    """The live stream as a browser reads it."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.answer = answer

    def next(self, name: str) -> Any:
        """Return what the next event of this name says, leaving out others."""
        event = ""
        while True:
            line = self.answer.readline().decode()
            assert line, "the stream has ended"
            if line.startswith("event: "):
                event = line[7:-1]
            elif line.startswith("data: ") and event == name:
                return json.loads(line[6:])


@contextmanager
def live(page: PageServer, view: str) -> Iterator[Stream]:
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(page.url).port, timeout=20)) as connection:
        connection.request("GET", f"/api/live?view={view}")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("content-type") == "text/event-stream; charset=utf-8"
        yield Stream(answer)
        answer.close()


def publish(page: PageServer, session_id: str, sequence: int, *, ends: bool = False) -> None:
    risk = naive_risk(telemetry(session_id, sequence, end=SessionEnd(reason="completed") if ends else None))
    page.take(risk, risk.observed_at + 2, risk.observed_at + 4, None)


def test_every_file_is_served_and_nothing_else(stand_in: StandIn) -> None:
    page = stand_in.page
    folder = site.collector_folder()
    assert folder is not None
    known = site.files(folder)
    assert {"/", "/assets/main.js", "/assets/page.css", "/tellwire/tellwire.js", "/tellwire/device.js"} <= set(known)
    for target, file in known.items():
        status, headers, body = ask(page, "GET", target)
        assert (status, body, headers["content-type"]) == (200, file.content, file.kind)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["connect-src"] == f"'self' http://127.0.0.1:{stand_in.port}"
        assert policy["form-action"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
    for target in (
        "/assets/../app.py",
        "/assets/%2e%2e/app.py",
        "/assets/",
        "/tellwire/",
        "/app.py",
        "/assets/index.html",
    ):
        assert ask(page, "GET", target)[0] == 404
    page_itself = known["/"].content
    assert b"http://" not in page_itself.replace(b"http://www.w3.org", b"")
    assert b"https://" not in page_itself


@pytest.mark.parametrize("path", ["/api/session", "/api/renew", "/api/bot"])
def test_another_site_can_do_nothing_through_a_visitors_browser(stand_in: StandIn, path: str) -> None:
    page = stand_in.page
    before = stand_in.opened
    assert ask(page, "POST", path, {}, origin="https://evil.example")[0] == 403
    assert ask(page, "POST", path, {}, origin="null")[0] == 403
    # A name that was made to point here, so that it is of one origin with itself.
    evil = {"host": "evil.example:8471", "origin": "http://evil.example:8471"}
    assert ask(page, "POST", path, {}, **evil)[0] == 400
    assert ask(page, "GET", "/", **evil)[0] == 400
    assert ask(page, "GET", "/api/live?view=x", **evil)[0] == 400
    assert ask(page, "GET", path)[0] == 405
    assert ask(page, "POST", path, b"{" + b" " * 9_000 + b"}")[0] == 413
    assert ask(page, "POST", path, {"unknown": 1})[0] == 400
    assert ask(page, "POST", path, b"\xff")[0] == 400
    assert stand_in.opened == before


def test_a_view_sees_its_own_session_at_once_and_again_after_it_came_back(stand_in: StandIn) -> None:
    page = stand_in.page
    mine, other = opened(page), opened(page)
    session = mine["session"]
    assert session["endpoint"] == f"http://127.0.0.1:{stand_in.port}/v1/telemetry"
    with live(page, mine["view"]) as stream:
        first = stream.next("session")
        assert (first["ref"], first["who"], first["action"], first["events"]) == (mine["ref"], "visitor", None, 0)
        assert stream.next("rows") == []
        publish(page, other["session"]["session_id"], 0)
        publish(page, session["session_id"], 0)
        shown = stream.next("session")
        assert (shown["ref"], shown["action"], shown["events"]) == (mine["ref"], "allow", 1)
        assert (shown["published_ms"], shown["back_ms"]) == (2, 4)
    publish(page, session["session_id"], 5)
    publish(page, session["session_id"], 6, ends=True)
    with live(page, mine["view"]) as stream:
        shown = stream.next("session")
    assert (shown["action"], shown["state"], shown["events"], len(shown["trend"])) == ("block", "final", 7, 3)


def test_an_unknown_view_is_told_so(stand_in: StandIn) -> None:
    with live(stand_in.page, "never-seen") as stream:
        assert stream.next("gone") == {}
        assert stream.answer.read().strip() == b""


def test_a_session_is_renewed(stand_in: StandIn) -> None:
    told = opened(stand_in.page)
    status, _, body = ask(stand_in.page, "POST", "/api/renew", {"token": told["session"]["token"]})
    assert status == 200
    assert json.loads(body)["token"] != told["session"]["token"]
    assert stand_in.renewed[-1] == told["session"]["token"]


def test_without_a_gateway_it_says_so(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in.page._page.door, "_port", 1)
    status, _, body = ask(stand_in.page, "POST", "/api/session", {"ticket": ""})
    assert status == 503
    assert "the gateway does not answer" in json.loads(body)["error"]


def test_a_scripted_bot_is_shown_as_one_to_its_end(stand_in: StandIn) -> None:
    page = stand_in.page
    told = opened(page)
    assert "http_forged" in {kind["kind"] for kind in told["bots"]}
    with live(page, told["view"]) as stream:
        status, _, body = ask(page, "POST", "/api/bot", {"view": told["view"], "kind": "http_forged"})
        assert status == 202
        ref = json.loads(body)["ref"]
        shown: dict[str, Any] = {}
        deadline = Deadline(60, pause_s=0)
        while deadline.waits() and not (shown.get("ref") == ref and shown.get("state") in ("done", "final", "failed")):
            shown = stream.next("session")
    assert (shown["who"], shown["told"], shown["note"]) == ("bot", "a bot: forged requests", "")
    assert shown["state"] in ("done", "final")
    assert shown["events"] > 0
    assert stand_in.sent[-1]["collector"]["name"] == "tellwire-simulation"


def test_only_few_bots_run_at_once_and_only_known_ones(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = stand_in.page
    told = opened(page)
    asks = {"view": told["view"], "kind": "http_forged"}
    assert ask(page, "POST", "/api/bot", asks | {"kind": "rm -rf"})[0] == 429
    assert ask(page, "POST", "/api/bot", asks | {"view": "unknown"})[0] == 410
    monkeypatch.setattr(bots, "AT_ONCE", 0)
    status, _, body = ask(page, "POST", "/api/bot", asks)
    assert status == 429
    assert "wait until one has ended" in json.loads(body)["error"]


def test_a_ticket_is_good_once_and_shows_the_bot_where_it_was_sent_from(stand_in: StandIn) -> None:
    page = stand_in.page
    told = opened(page)
    assert ask(page, "POST", "/api/session", {"ticket": "made-up"})[0] == 403
    board, sender = page._page.board, page._page.bots
    sender._tickets["t"] = bots.Run(told["view"], bots.SCRIPTED[0], board.announce(told["view"], "a bot: driven"))
    bot = opened(page, "t")
    assert bot["view"] == ""
    assert ask(page, "POST", "/api/session", {"ticket": "t"})[0] == 403
    publish(page, bot["session"]["session_id"], 5)
    with live(page, told["view"]) as stream:
        assert stream.next("session")["who"] == "visitor"
        shown = stream.next("session")
    assert (shown["ref"], shown["who"], shown["action"]) == (bot["ref"], "bot", "block")


def test_a_taken_port_is_one_line_and_the_usual_one_gives_way() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=rf"^--port: 127\.0\.0\.1:{port} can't be served \("):
            server.listen(port, 8_471)
        with closing(server.listen(None, port)) as free:
            assert free.getsockname()[0] == "127.0.0.1"
            assert free.getsockname()[1] not in (0, port)


def test_it_stops_with_pages_open() -> None:
    found = StandIn()
    told = opened(found.page)
    with live(found.page, told["view"]) as stream:
        stream.next("rows")
        found.close()
        assert stream.answer.read().strip() == b""
    assert not found.page._thread.is_alive()
    found.page.take(naive_risk(telemetry("s", 0)), 0, 0, None)  # what still comes falls into nothing


def test_an_invited_bot_gets_a_session_of_its_flow_and_whoever_invited_it_is_told(stand_in: StandIn) -> None:
    told: list[str] = []
    url = stand_in.page.invite("somebody else's bot", "kyc_capture", told.append)
    address, _, ticket = url.partition("/?ticket=")
    assert address == stand_in.page.url
    session = opened(stand_in.page, ticket)["session"]
    assert told == [session["session_id"]]
    assert stand_in.flows[-1] == "kyc_capture"
    assert ask(stand_in.page, "POST", "/api/session", {"ticket": ticket})[0] == 403
