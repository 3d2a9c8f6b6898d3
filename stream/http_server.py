"""Uvicorn as a part of a process that has its own signals, logs and end: what the gateway and the demo's page share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


class Server(uvicorn.Server):
    """Uvicorn without signal handlers of its own: the process has them from start to end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def server(app: Any, *, stop_s: int, **options: Any) -> Server:
    """Return a server of an ASGI application that trusts no header, says nothing of itself and logs no request.

    `stop_s`: longest time that requests in work may take once it was asked to stop. `options`: more of Uvicorn's.
    """
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=stop_s,
        **options,
    )
    return Server(config)
