"""The gateway's paths as an ASGI application (Starlette): requests to the rules, what they say to answers.

CORS is answered on the telemetry path alone; sessions are opened by servers, never by pages.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.topics import MAX_TELEMETRY_BYTES
from stream.gateway.metrics import GatewayMetrics
from stream.gateway.service import Gateway, Head, ReadBody
from stream.gateway.settings import GatewaySettings
from stream.gateway.told import Told
from stream.gateway.wire import SESSIONS_PATH, TELEMETRY_PATH, Refusal
from stream.logs import frames

log = logging.getLogger(__name__)

PREFLIGHT_S: Final = 7_200
"""For so long a browser need not ask again, s."""

Handle = Callable[[Head, ReadBody], Awaitable[msgspec.Struct]]
_encode: Final = msgspec.json.Encoder().encode


def make_app(
    gateway: Gateway,
    metrics: GatewayMetrics,
    settings: GatewaySettings,
    told: Told | None = None,
    connections: Callable[[], int] = lambda: 0,
) -> Starlette:
    """Return the application of one gateway. `connections`: how many are open, this one included."""
    answers = _Answers(
        metrics, settings.body_timeout_s, told or Told(), lambda: connections() > settings.max_connections
    )
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(settings.origins),
        allow_methods=["POST"],
        allow_headers=["content-type"],
        expose_headers=["retry-after"],
        max_age=PREFLIGHT_S,
    )
    telemetry = answers.endpoint(TELEMETRY_PATH, gateway.take, 200)
    sessions = answers.endpoint(SESSIONS_PATH, gateway.open_session, 201)
    return Starlette(
        routes=[
            Route(TELEMETRY_PATH, telemetry, methods=["POST", "OPTIONS"], middleware=[cors]),
            Route(SESSIONS_PATH, sessions, methods=["POST"]),
        ],
        exception_handlers={404: answers.not_found, 405: answers.not_allowed},
    )


class _Answers:
    """Makes an answer of whatever comes out of the rules, and counts it."""

    def __init__(self, metrics: GatewayMetrics, body_timeout_s: float, told: Told, is_full: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._is_full = is_full
        self._body_timeout_s = body_timeout_s
        self._told = told

    def endpoint(self, path: str, handle: Handle, status: int) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint of a path."""
        seconds = self._metrics.request_seconds.labels(path)

        async def answer(request: Request) -> Response:
            if request.method != "POST":  # OPTIONS that asks for no method is no preflight
                return self._counted(path, Refusal("method_not_allowed", "send POST"))
            if self._is_full():
                response = self._counted(path, Refusal("overloaded", "too many connections", retry_after_s=1))
                response.headers["connection"] = "close"  # also what is left of the body is not read
                return response
            began = time.perf_counter()
            self._metrics.in_progress.inc()
            try:
                code, response = await self._answered(request, handle, status)
            finally:
                self._metrics.in_progress.dec()
            seconds.observe(time.perf_counter() - began)
            self._metrics.requests.labels(path, code).inc()
            return response

        return answer

    async def _answered(self, request: Request, handle: Handle, status: int) -> tuple[str, Response]:
        body = _Body(request, self._body_timeout_s)
        try:
            head = Head(request.client.host if request.client else None, request.headers.raw)
            try:
                done = await handle(head, body.read)
            except Refusal:
                await body.drain()
                raise
            return "ok", Response(_encode(done), status, media_type="application/json")
        except Refusal as refusal:
            return refusal.code, self._refused(refusal)
        except ClientDisconnect:
            return "disconnected", Response(status_code=400)  # nobody reads it
        except Exception as error:  # noqa: BLE001 - one request must not end the others, and its text may quote it
            log.error("a request failed: %s", type(error).__name__, extra={"frames": frames(error)})
            return "internal", self._refused(Refusal("internal", "nothing is known to be in Kafka: send it again"))

    async def not_found(self, request: Request, error: Exception) -> Response:
        """Answer to a path that is none of ours."""
        del request, error
        return self._counted("other", Refusal("not_found", f"POST to {TELEMETRY_PATH} or {SESSIONS_PATH}"))

    async def not_allowed(self, request: Request, error: Exception) -> Response:
        """Answer to another method."""
        del request
        response = self._counted("other", Refusal("method_not_allowed", "send POST"))
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    def _counted(self, path: str, refusal: Refusal) -> Response:
        self._metrics.requests.labels(path, refusal.code).inc()
        return self._refused(refusal)

    def _refused(self, refusal: Refusal) -> Response:
        self._told.refused(refusal.code)
        after_s = refusal.problem.retry_after_s
        headers = {} if after_s is None else {"retry-after": str(after_s)}
        if refusal.status in (408, 413):
            # What is left of the body would have to be read before the connection could serve again.
            headers["connection"] = "close"
        return Response(_encode(refusal.problem), refusal.status, headers, media_type="application/problem+json")


class _Body:
    """The body of one request, read once, bounded in size and time."""

    def __init__(self, request: Request, timeout_s: float) -> None:
        self._request = request
        self._timeout_s = timeout_s
        self._is_read = False

    async def read(self, limit: int, count: Callable[[int], None] = lambda _: None) -> bytes:
        """Return the whole body; raises Refusal where it is larger than `limit` bytes, or slow, or `count` does."""
        parts: list[bytes] = []

        def keep(part: bytes) -> None:
            count(len(part))
            parts.append(part)

        await self._take(limit, keep)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def drain(self) -> None:
        """Take what was not read: a client that still sends would not see the answer. Raises Refusal as `read`."""
        if not self._is_read:
            await self._take(MAX_TELEMETRY_BYTES, lambda _: None)

    async def _take(self, limit: int, part_came: Callable[[bytes], None]) -> None:
        self._is_read = True
        told = self._request.headers.get("content-length", "")
        if told.isdigit() and (len(told) > 15 or int(told) > limit):
            raise _too_large(limit)
        size = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                async for part in self._request.stream():
                    size += len(part)
                    if size > limit:
                        raise _too_large(limit)
                    part_came(part)
        except TimeoutError:
            raise Refusal("body_too_slow", f"the body did not come within {self._timeout_s:g} s") from None


def _too_large(limit: int) -> Refusal:
    return Refusal("body_too_large", f"a body may have {limit} bytes: send smaller batches")
