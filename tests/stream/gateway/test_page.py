"""The how-to page: its settings load, its codes are the gateway's, its code opens a session."""

from __future__ import annotations

import asyncio
import io
import re
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from stream.gateway.settings import GatewaySettings
from stream.gateway.wire import CODES, EVENT_CODES
from tests.stream.gateway.doubles import SECRET, World

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "run-the-gateway.md"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


def test_every_code_is_on_the_page() -> None:
    named = set(re.findall(r"`([a-z_0-9]+)`", PAGE.read_text()))
    own = CODES.keys() - {"not_found", "method_not_allowed"}
    assert own <= named
    assert EVENT_CODES.keys() <= named


def test_its_settings_are_the_gateway_s() -> None:
    GatewaySettings(**tomllib.loads(block("toml"))["gateway"])
    variables = set(re.findall(r"TELLWIRE_GATEWAY__([A-Z_]+)", PAGE.read_text()))
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
    exec(block("python"), space)
    opened = space["open_session"]("http://gateway", SECRET, "signup", "ann@shop.example")
    assert opened.keys() == {"session_id", "nonce", "token", "expires_at", "flow"}
