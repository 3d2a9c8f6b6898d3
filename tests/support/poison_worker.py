"""A worker that certain sessions end: `python -m tests.support.poison_worker worker`, as `tellwire worker`.

`TELLWIRE_POISON__SESSIONS` in the environment is a JSON object of session id to what its records do: `kill` (SIGKILL,
as the kernel does when memory runs out), `segfault` (a real one: it reads address 0), `hang` (for ever),
each while the record is evaluated; `decode-segfault` while it is decoded, `door-segfault` while the door decodes it.
`TELLWIRE_POISON__LOG` is a file that gets a line each time.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import stream.door
import stream.pipeline
from schemas.envelope import decode, decode_signal
from stream.cli import main
from stream.evaluation import Evaluator

# Taken out: they are no settings.
POISON: dict[str, str] = json.loads(os.environ.pop("TELLWIRE_POISON__SESSIONS", "{}"))
LOG = Path(os.environ.pop("TELLWIRE_POISON__LOG", os.devnull))


def strike(how: str) -> None:
    """End, or hang, this process."""
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"{how}\n")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "hang":
        time.sleep(3_600)
    else:
        ctypes.string_at(0)
    time.sleep(10)  # the signal is on its way


def poisoned_decode(value: bytes | None, key: bytes | None) -> Any:
    event = decode(value, key)
    how = POISON.get(event.session_id, "")
    if how.startswith("decode-"):
        strike(how)
    return event


def poisoned_decode_signal(value: bytes | None, key: bytes | None) -> Any:
    event = decode_signal(value, key)
    how = POISON.get(event.session_id, "")
    if how.startswith("door-"):
        strike(how)
    return event


def poison() -> None:
    """Put the poisoned functions in the place of the real ones."""
    evaluate = Evaluator.evaluate

    def poisoned_evaluate(self: Evaluator, owned: Any, items: Any, *rest: Any) -> None:
        for item in items:
            how = POISON.get(item.event.session_id, "")
            if how in {"kill", "segfault", "hang"}:
                strike(how)
        evaluate(self, owned, items, *rest)

    Evaluator.evaluate = poisoned_evaluate  # type: ignore[method-assign,assignment]
    stream.pipeline.decode = poisoned_decode  # type: ignore[attr-defined]
    stream.door.decode_signal = poisoned_decode_signal  # type: ignore[attr-defined]


if __name__ == "__main__":
    poison()
    main()
