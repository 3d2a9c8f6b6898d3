"""Sends forged telemetry to the gateway over plain HTTP, at the forger's own pace, and tells how it was refused."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from stream.demo.page.door import Door
from stream.gateway.wire import SessionOpened
from stream.redteam.forgers import Forgery

ANSWER_S: Final = 10.0
TRIES: Final = 5


def send(
    make: Callable[[str, int], Forgery],
    door: Door,
    origin: str,
    opened: Callable[[str], None],
    address: str | None = None,
) -> tuple[SessionOpened, list[str]]:
    """Play one forged session; return the session and a code for each event that was refused, in order.

    make: from session id and start (epoch ms) to what is sent. `opened` is told the id before anything is sent.
    address: of this machine, from which it is sent; what is copied came from the usual one. Raises DoorError where no
    session can be opened, ConnectionError where the gateway does not answer.
    """
    session = door.open()
    forgery = make(session.session_id, _now_ms())
    nonce = door.open().nonce if forgery.foreign_nonce else session.nonce
    if forgery.twice:
        first = door.open()
        _play(make(first.session_id, _now_ms()), first, first.nonce, door.endpoint, origin)
        forgery = make(session.session_id, _now_ms())
    opened(session.session_id)
    return session, _play(forgery, session, nonce, door.endpoint, origin, address)


def address_of(seed: int) -> str | None:
    """An address of this machine for one attacker, of the seed alone; None where there is but one."""
    address = f"127.{seed % 251 + 2}.{seed // 251 % 254 + 1}.{seed // 63_754 % 254 + 1}"
    try:
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError:
        return None  # only Linux has all of 127.0.0.0/8
    return address


def _play(
    forgery: Forgery, session: SessionOpened, nonce: str, endpoint: str, origin: str, address: str | None = None
) -> list[str]:
    refused: list[str] = []
    began = time.monotonic()
    for at_ms, event in forgery.events:
        time.sleep(max(0.0, began + at_ms / 1000.0 - time.monotonic()))
        body = {
            "token": session.token,
            "sent_at": _now_ms() + forgery.sent_at_shift_ms,
            "events": [{**event, "nonce": nonce}],
        }
        refused += _post(endpoint, {"Origin": origin, **forgery.headers}, body, address)
    return refused


def _post(endpoint: str, headers: dict[str, str], body: dict[str, Any], source: str | None) -> list[str]:
    """Post one batch; a busy gateway gets it again. Returns the codes of what it refused."""
    address = urlsplit(endpoint)
    data = json.dumps(body).encode()
    for _ in range(TRIES):
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=ANSWER_S, source_address=(source, 0) if source else None
        )
        try:
            # http.client adds Host and Accept-Encoding by itself; a forger says what it wants to.
            connection.putrequest("POST", address.path, skip_accept_encoding=True)
            for name, value in {**headers, "Content-Type": "text/plain;charset=UTF-8"}.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            msg = f"the gateway does not answer ({type(error).__name__})"
            raise ConnectionError(msg) from None
        finally:
            connection.close()
        if answer.status not in (429, 503):
            return codes_of(answer.status, said)
        time.sleep(1.0)
    msg = f"the gateway was busy {TRIES} times"
    raise ConnectionError(msg)


def codes_of(status: int, body: bytes) -> list[str]:
    """Codes of what an answer refuses: of single events, else of the whole request."""
    try:
        told = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return [f"status {status}"] if status != 200 else []
    refused = told.get("refused") or [] if isinstance(told, dict) else []
    found = [str(each.get("code")) for each in refused]
    return found or ([] if status == 200 else [str(told.get("code", f"status {status}"))])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
