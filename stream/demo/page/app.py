"""The page's application: files, sessions, the live stream, and the button that unleashes a bot.

A page on the web must not be able to use it through its visitor's browser: the host must be this machine's name for
itself, and whatever changes something needs the page's own origin.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from stream.demo.page.board import Board
from stream.demo.page.bots import Bots, BusyError
from stream.demo.page.door import FLOW, Door, DoorError
from stream.demo.page.fanout import Fanout, Message
from stream.demo.page.site import File

MAX_BODY_BYTES: Final = 8_192
BEAT_S: Final = 10.0
"""A comment is sent after so long a silence, so that a connection that is gone is noticed, s."""
RETRY_MS: Final = 1_500
_GONE: Final = Message("gone", b"{}")
HOSTS: Final = ("127.0.0.1", "localhost")


class OpenSession(msgspec.Struct, forbid_unknown_fields=True):
    """The page asks for a session; a bot shows the ticket that it was sent with."""

    ticket: str = ""


class Renew(msgspec.Struct, forbid_unknown_fields=True):
    """The page asks for a later expiry of its session."""

    token: str


class Unleash(msgspec.Struct, forbid_unknown_fields=True):
    """The page asks for a bot."""

    view: str
    kind: str


class Page:
    """The page's endpoints. `ready`: the pipeline behind it runs."""

    def __init__(self, files: dict[str, File], headers: dict[str, str], door: Door, fanout: Fanout) -> None:
        self.door, self.fanout = door, fanout
        self.board = Board(fanout)
        self.bots = Bots(self.board, door)
        self._files = files
        self._headers = headers

    def app(self) -> Starlette:
        """Return the application."""
        routes = [
            *(Route(target, self._file, methods=["GET"]) for target in self._files),
            Route("/api/session", self._post(OpenSession, self._session), methods=["POST"]),
            Route("/api/renew", self._post(Renew, self._renew), methods=["POST"]),
            Route("/api/bot", self._post(Unleash, self._bot), methods=["POST"]),
            Route("/api/live", self._live, methods=["GET"]),
        ]
        hosts = Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
        return Starlette(routes=routes, middleware=[hosts])

    async def _file(self, request: Request) -> Response:
        file = self._files[request.url.path]
        return Response(file.content, headers={**self._headers, "content-type": file.kind})

    def _post(
        self, kind: type[Any], handle: Callable[[Any], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint that takes a JSON body of this kind from the page itself, and from nobody else."""

        async def answer(request: Request) -> Response:
            host = request.headers.get("host", "")
            if request.headers.get("origin") != f"http://{host}":
                return self._json({"error": "only this page may ask"}, 403)
            body = b""
            try:
                async for part in request.stream():
                    body += part
                    if len(body) > MAX_BODY_BYTES:
                        return self._json({"error": "too large"}, 413)
                asked = msgspec.json.decode(body, type=kind)
            except ClientDisconnect:
                return Response(status_code=400)
            except msgspec.MsgspecError:
                return self._json({"error": "not what this path takes"}, 400)
            try:
                return await handle(asked)
            except DoorError as error:
                return self._json({"error": str(error)}, 503)

        return answer

    async def _session(self, asked: OpenSession) -> Response:
        bot = self.bots.enter(asked.ticket) if asked.ticket else None
        if asked.ticket and bot is None:
            return self._json({"error": "the ticket is used or unknown"}, 403)
        opened = await asyncio.to_thread(self.door.open, bot.flow if bot is not None else FLOW)
        if bot is None:
            view = self.board.new_view()
            shown = self.board.open(view, opened.session_id, "visitor", "you, in this browser")
        else:
            view = ""
            if not self.board.knows(bot.view):
                return self._json({"error": "the page that sent this bot is gone"}, 410)
            shown = self.board.open(bot.view, opened.session_id, "bot", bot.shown.told, bot.shown.ref)
            bot.opened(opened.session_id)
        session = {
            "endpoint": self.door.endpoint,
            "session_id": opened.session_id,
            "nonce": opened.nonce,
            "token": opened.token,
        }
        kinds = [{"kind": kind.name, "words": kind.words, "about": kind.about} for kind in self.bots.kinds]
        return self._json({"session": session, "view": view, "ref": shown.ref, "bots": kinds})

    async def _renew(self, asked: Renew) -> Response:
        opened = await asyncio.to_thread(self.door.renew, asked.token)
        return self._json({"token": opened.token})

    async def _bot(self, asked: Unleash) -> Response:
        if not self.board.knows(asked.view):
            return self._json({"error": "this page is no longer known: load it again"}, 410)
        try:
            shown = await self.bots.unleash(asked.view, asked.kind)
        except BusyError as busy:
            return self._json({"error": str(busy)}, 429)
        return self._json({"ref": shown.ref}, 202)

    async def _live(self, request: Request) -> Response:
        """Stream what changes, after all that holds now: so who comes back needs no more than to connect again."""
        view = request.query_params.get("view", "")
        headers = {**self._headers, "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(view), headers=headers)

    async def _stream(self, view: str) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        if not self.board.knows(view):
            yield _GONE.encoded()
            return
        with self.fanout.mailbox(view) as box:
            for message in self.board.snapshot(view):
                yield message.encoded()
            while not box.closed:
                waiting = await box.take(BEAT_S)
                if waiting:
                    yield b"".join(message.encoded() for message in waiting)
                elif not box.closed:
                    yield b": still here\n\n"

    def _json(self, value: object, status: int = 200) -> Response:
        return Response(
            msgspec.json.encode(value), status, headers={**self._headers, "content-type": "application/json"}
        )
