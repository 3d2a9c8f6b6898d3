"""Where the demo's page and its gateway listen: two demos at once never share a port."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from stream.demo import open_page, parts
from stream.demo.children import DemoError
from stream.demo.open_page import OpenPage

Open = Callable[[int | None], tuple[int, int]]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Open]:
    """Open a demo's page, whose gateway is not up yet; returns the ports of page and gateway."""
    started: list[Mapping[str, str]] = []
    monkeypatch.setattr(parts, "start", lambda role, env, port, logs: started.append(env))
    pages: list[OpenPage] = []

    def opened(port: int | None) -> tuple[int, int]:
        page = OpenPage(port, {}, tmp_path)
        pages.append(page)
        return urlsplit(page.url).port or 0, int(started[-1]["TELLWIRE_GATEWAY__PORT"])

    yield opened
    for page in pages:
        page.stop()


def two_free() -> int:
    """Return a port that is free, and so is the one below it."""
    while True:
        with socket.socket() as one, socket.socket() as below:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                below.bind(("127.0.0.1", port - 1))
            except OSError:
                continue
            return port


def test_two_demos_that_start_at_once_have_ports_of_their_own(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = two_free()
    monkeypatch.setattr(open_page, "PAGE_PORT", usual)
    first, second = opened(None), opened(None)
    assert first == (usual, usual - 1)
    assert len({*first, *second}) == 4


def test_a_gateway_that_is_there_keeps_its_port(opened: Open) -> None:
    port = two_free()
    with socket.socket() as other:
        # As a gateway listens: another one could share its port.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", port - 1))
        other.listen()
        page, gateway = opened(port)
    assert page == port
    assert gateway not in {port, port - 1}


def test_a_wanted_port_that_another_demo_has_is_told(opened: Open) -> None:
    port = two_free()
    assert opened(port) == (port, port - 1)
    with pytest.raises(DemoError, match=rf"^--port: 127.0.0.1:{port} can't be served \(Address already in use\)$"):
        opened(port)


def test_the_lowest_port_has_none_below_it(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lowest(socket.socket):
        def getsockname(self) -> Any:
            return ("127.0.0.1", 1)

    from stream.demo.page import server

    monkeypatch.setattr(server, "listen", lambda wanted, usual: Lowest())
    assert opened(1)[1] > 1
