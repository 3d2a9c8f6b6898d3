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
from schemas.envelope import decode_signal
from stream.cli import main
from stream.evaluation import Evaluator
from stream.intake import Intake

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


def poisoned_decode_signal(value: bytes | None, key: bytes | None) -> Any:
    event = decode_signal(value, key)
    how = POISON.get(event.session_id, "")
    if how.startswith("door-"):
        strike(how)
    return event


def poison() -> None:
    """Put the poisoned functions in the place of the real ones."""
    evaluate, batch = Evaluator.evaluate, Intake.batch
    while_decoding = {session_id.encode(): how for session_id, how in POISON.items() if how.startswith("decode-")}

    def poisoned_evaluate(self: Evaluator, owned: Any, items: Any, *rest: Any) -> Any:
        for item in items:
            how = POISON.get(item.event.session_id, "")
            if how in {"kill", "segfault", "hang"}:
                strike(how)
        return evaluate(self, owned, items, *rest)

    def poisoned_batch(self: Intake, owned: Any, records: Any) -> Any:
        for record in records:
            for session_id, how in while_decoding.items():
                if session_id in (record.value() or b"") and not owned.is_done(record.offset()):
                    strike(how)
        return batch(self, owned, records)

    Evaluator.evaluate = poisoned_evaluate  # type: ignore[method-assign,assignment]
    Intake.batch = poisoned_batch  # type: ignore[method-assign]
    stream.door.decode_signal = poisoned_decode_signal  # type: ignore[attr-defined]


if __name__ == "__main__":
    poison()
    main()
