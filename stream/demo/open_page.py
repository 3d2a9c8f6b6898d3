"""Brings up the demo's page: the gateway that its collector sends to, its server, and what flows past in numbers.

What serves it comes with the extra `gateway`; without that the demo goes on, and says in one line how to get the page.
"""

from __future__ import annotations

import importlib.util
import json
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from schemas.base import Flow
from schemas.risk import RiskEvent
from stream.demo import parts
from stream.demo.children import Child
from stream.demo.probe import free_ports, is_free
from stream.demo.tally import Quantiles, Tally, quantiles, total

if TYPE_CHECKING:
    from stream.demo.page.board import Side, Totals
    from stream.demo.page.server import PageServer
    from stream.demo.view import Scene

PAGE_PORT: Final = 8_471
TOTALS_EVERY_S: Final = 1.0
TENANT: Final = "demo"
NEEDED: Final = ("starlette", "uvicorn", "httptools")
_RATE_S: Final = 3


def missing() -> str | None:
    """Return what the page needs and is not installed; None: nothing."""
    return next((name for name in NEEDED if importlib.util.find_spec(name) is None), None)


class OpenPage:
    """The page with its gateway. `child` is the gateway; the page is served from `start` on."""

    def __init__(self, port: int | None, env: Mapping[str, str], logs: Path) -> None:
        """Start the gateway. Raises DemoError where the port is taken."""
        # Heavy, and of an extra.
        from stream.demo.page import server  # noqa: PLC0415
        from stream.demo.page.door import Door  # noqa: PLC0415

        listener = server.listen(port, PAGE_PORT)
        try:
            self.metrics_port, free = free_ports(2)
            # Below the page's own port, which no other demo can have: gateways share a port where they can, so of two
            # demos that start at once with the same one each would get some of the other's requests.
            below = listener.getsockname()[1] - 1
            gateway_port = below if below and is_free(below) else free
            secret = secrets.token_hex(32)
            self.door = Door(gateway_port, secret)
            self._server: PageServer = server.PageServer(listener, self.door)
        except BaseException:
            listener.close()
            raise
        self.url = self._server.url
        own = {
            "PORT": str(gateway_port),
            "TENANTS": json.dumps({TENANT: secret}),
            "ORIGINS": json.dumps(dict.fromkeys(server.origins_of(listener), TENANT)),
            "TOKEN_KEY": secrets.token_hex(32),
        }
        added = {f"TELLWIRE_GATEWAY__{name}": value for name, value in own.items()}
        self.child: Child = parts.start("gateway", {**env, **added}, self.metrics_port, logs)
        self._told_at = 0.0

    def start(self) -> None:
        """Begin to serve the page."""
        self._server.start()

    def stop(self) -> None:
        """Stop serving; the gateway is stopped with the demo's other children."""
        self._server.stop()

    def invite(self, words: str, flow: Flow, opened: Callable[[str], None]) -> str:
        """Return the address at which a bot that somebody else starts gets a session; `opened` is told its id."""
        return self._server.invite(words, flow, opened)

    def take(self, event: RiskEvent, published_ms: int, tally: Tally) -> None:
        """Show a risk event with what is true of its session."""
        self._server.take(event, published_ms, time.time_ns() // 1_000_000, tally.truth.get(event.session_id))

    def tell(self, tally: Tally, scene: Scene) -> None:
        """Show the numbers, once a second."""
        now = time.monotonic()
        if now - self._told_at >= TOTALS_EVERY_S:
            self._told_at = now
            self._server.tell(totals(tally, scene))


def totals(tally: Tally, scene: Scene) -> Totals:
    """Put together what flows past, in numbers."""
    from stream.demo.page.board import Totals  # noqa: PLC0415 - of an extra

    scored = quantiles(list(tally.scored_ms)[-2_000:])
    return Totals(
        people=_side(tally, "person"),
        bots=_side(tally, "bot"),
        is_simulation=scene.simulation,
        is_embedded=scene.embedded,
        events=tally.events,
        rate_per_s=tally.out_rate.per_s(scene.now_s, _RATE_S),
        scored_p50_ms=_p50(scored),
        scored_p99_ms=_p99(scored),
        acked_p50_ms=_p50(scene.acked),
        acked_p99_ms=_p99(scene.acked),
        lost=tally.lost(),
        phase=scene.phase,
    )


def _side(tally: Tally, actor: str) -> Side:
    from stream.demo.page.board import Side  # noqa: PLC0415 - of an extra

    row = total(tally, actor)
    return Side(row.sessions, row.sessions - row.found, row.step_up, row.block)


def _p50(values: Quantiles | None) -> float | None:
    return None if values is None else values.p50_ms


def _p99(values: Quantiles | None) -> float | None:
    return None if values is None else values.p99_ms
