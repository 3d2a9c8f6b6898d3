"""The demo page's own server towards the gateway: it opens sessions and renews them, as any app's server does."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final

import msgspec

from schemas.base import Flow
from stream.gateway.wire import SESSIONS_PATH, TELEMETRY_PATH, SessionOpened

FLOW: Final[Flow] = "signup"
_ANSWER_S: Final = 5.0


class DoorError(Exception):
    """The gateway did not open a session; the message is for a person."""


class Door:
    """Asks one gateway on this machine, with its tenant's secret. Its calls block for 5 s at most."""

    def __init__(self, port: int, secret: str) -> None:
        self._port, self._secret = port, secret
        self.origin = f"http://127.0.0.1:{port}"
        self.endpoint = f"{self.origin}{TELEMETRY_PATH}"

    def open(self, flow: Flow = FLOW) -> SessionOpened:
        """Open a session of a flow. Raises DoorError."""
        return self._ask({"flow": flow})

    def renew(self, token: str) -> SessionOpened:
        """Give a session a later expiry. Raises DoorError."""
        return self._ask({"renew": token})

    def _ask(self, body: dict[str, Any]) -> SessionOpened:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_S)
        headers = {"Authorization": f"Bearer {self._secret}", "Content-Type": "application/json"}
        try:
            connection.request("POST", SESSIONS_PATH, json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 201:
                return msgspec.json.decode(text, type=SessionOpened)
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            raise DoorError(f"the gateway does not answer ({type(error).__name__})") from None
        finally:
            connection.close()
        raise DoorError(f"the gateway refused a session ({answer.status})")
