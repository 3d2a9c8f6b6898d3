"""The how-to page: its settings load, its codes are the gateway's, its code opens a session, its body is accepted."""

from __future__ import annotations

import asyncio
import io
import json
import re
import tomllib
import urllib.request
from typing import Any

import pytest

from stream.gateway.settings import GatewaySettings
from stream.gateway.wire import CODES, EVENT_CODES
from tests.stream.gateway.doubles import SECRET, World
from tests.support import pages

PAGE = "docs/how-to/run-the-gateway.md"
TEXT = (pages.ROOT / PAGE).read_text()


def test_every_code_is_on_the_page() -> None:
    named = set(re.findall(r"`([a-z_0-9]+)`", TEXT))
    own = CODES.keys() - {"not_found", "method_not_allowed"}
    assert own <= named
    assert EVENT_CODES.keys() <= named


def test_its_settings_are_the_gateway_s() -> None:
    (settings,) = pages.blocks(PAGE, "toml")
    GatewaySettings(**tomllib.loads(settings)["gateway"])
    variables = set(re.findall(r"TELLWIRE_GATEWAY__([A-Z_]+)", TEXT))
    assert variables
    assert {name.lower() for name in variables} <= GatewaySettings.model_fields.keys()


def test_its_code_opens_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def through_the_application(request: urllib.request.Request, timeout: float) -> io.BytesIO:
        del timeout
        assert request.full_url == "http://gateway/v1/sessions"
        headers = {name.lower(): value for name, value in request.header_items()}
        answer = asyncio.run(world.send("/v1/sessions", bytes(request.data or b""), {**headers, "origin": "-"}))  # type: ignore[arg-type]
        assert answer.status == 201
        return io.BytesIO(answer.body)

    monkeypatch.setattr(urllib.request, "urlopen", through_the_application)
    space: dict[str, Any] = {}
    (code,) = pages.blocks(PAGE, "python")
    exec(code, space)
    opened = space["open_session"]("http://gateway", SECRET, "signup", "ann@shop.example")
    assert opened.keys() == {"session_id", "nonce", "token", "expires_at", "flow"}


def test_its_body_is_what_the_gateway_takes() -> None:
    world = World()
    session = asyncio.run(world.open()).json
    (shown,) = pages.blocks(PAGE, "json")
    body = json.loads(shown)
    (event,) = body["events"]
    assert event.pop("…") == "…"
    assert event.keys() <= world.event(session).keys()
    body |= {"token": session["token"], "sent_at": world.now_ms, "events": [world.event(session) | event]}
    answer = asyncio.run(world.send("/v1/telemetry", json.dumps(body).encode()))
    assert (answer.status, answer.json) == (200, {"accepted": 1, "refused": []})
