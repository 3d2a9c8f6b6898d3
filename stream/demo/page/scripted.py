"""A scripted client that sends made-up telemetry through the gateway: `python -m stream.demo.page.scripted`.

The first line of standard input is a JSON object with `endpoint`, `origin`, `session_id`, `nonce`, `token` and
`family`, one of the simulation's bots. It keeps to the clock, as a visit does.
"""

from __future__ import annotations

import http.client
import json
import secrets
import sys
import time
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import numpy as np

from schemas.telemetry import Telemetry
from stream.demo.children import told_by_parent
from stream.simulation.bots import FAMILIES, stock_of
from stream.simulation.population import stranger
from stream.simulation.recording import cut

GATEWAY_SAYS: Final = ("tenant", "flow", "observed_at", "account_ref", "device_ref", "ref_key_version", "network")
"""What the gateway alone may say of an event."""
TRIES: Final = 5
ANSWER_S: Final = 10.0


def visit(family: str, session_id: str, nonce: str, start_ms: int, seed: int) -> list[tuple[int, Telemetry]]:
    """Return one visit's events with the time, ms from its start, at which each is sent."""
    rng = np.random.default_rng(seed)
    found = FAMILIES[family](rng, "signup", stock_of(rng))
    return cut(found.recording, stranger(found, session_id, nonce=nonce), start_ms)


def as_client(event: Telemetry) -> dict[str, Any]:
    """Return an event as a client may send it."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event))
    return {name: value for name, value in plain.items() if name not in GATEWAY_SAYS}


def send(told: dict[str, str], event: Telemetry) -> None:
    """Send one event; a busy gateway gets it again. Raises ConnectionError with what it said last."""
    address = urlsplit(told["endpoint"])
    said = ""
    for _ in range(TRIES):
        body = {"token": told["token"], "sent_at": time.time_ns() // 1_000_000, "events": [as_client(event)]}
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_S)
        try:
            headers = {"Content-Type": "text/plain;charset=UTF-8", "Origin": told["origin"]}
            connection.request("POST", address.path, json.dumps(body), headers)
            answer = connection.getresponse()
            said = f"the gateway said {answer.status}: {answer.read(400).decode(errors='replace')}"
            if answer.status == 200:
                return
            if answer.status not in (429, 503):
                break
        except (OSError, http.client.HTTPException) as error:
            said = f"the gateway does not answer ({type(error).__name__})"
        finally:
            connection.close()
        time.sleep(1.0)
    raise ConnectionError(said)


def main() -> int:
    """Run the bot; returns its exit status."""
    told = told_by_parent()
    start_ms = time.time_ns() // 1_000_000
    try:
        for at_ms, event in visit(
            told["family"], told["session_id"], told["nonce"], start_ms, secrets.randbelow(1 << 32)
        ):
            time.sleep(max(0.0, (start_ms + at_ms - time.time_ns() // 1_000_000) / 1000))
            send(told, event)
    except ConnectionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
