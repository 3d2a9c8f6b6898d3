"""`python -m tests.fault.faulty_worker`: a worker with a fault built in, for moments that no signal from outside hits.

It is the real worker, put together as `tellwire worker` does, with one of its calls wrapped from outside; the product
has no hook for it. Arguments: the fault's name and its parameters.

    kill-after-publish N    SIGKILL between publishing chunk N (from 1) and writing its state
    kill-after-state N      SIGKILL between writing the state of chunk N and committing its offset
    publish-fails N LOST    every Nth publishing is reported as failed, before the state is written. LOST=1: nothing of
                            it was sent; LOST=0: all of it was delivered and only the answer was lost
    slow TEXT SECONDS       a chunk with a record that contains TEXT waits so long before it is processed
    raise TEXT              evaluating a record that contains TEXT raises
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError

from stream import logs, settings_source
from stream.app import Worker
from stream.stopping import Stop
from stream.transport import Chunk, FailedRecord, OutRecord, ProduceError


def main(arguments: Sequence[str]) -> None:
    """Run the worker until it is stopped, or ends itself."""
    loaded = settings_source.load()
    logs.configure(loaded.log)
    stop = Stop(loaded.health.stop_s)
    stop.install()
    worker = Worker(loaded, stop)
    _FAULTS[arguments[0]](worker, *arguments[1:])
    worker.run()
    stop.leave(0)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_after_publish(worker: Worker, number: str) -> None:
    turns, publish = itertools.count(1), worker._pipeline._publish

    async def wrapped(records: Sequence[OutRecord]) -> None:
        await publish(records)
        if next(turns) == int(number):
            _die()

    worker._pipeline._publish = wrapped


def _kill_after_state(worker: Worker, number: str) -> None:
    turns, commit = itertools.count(1), worker.store.commit

    async def wrapped(*call: Any) -> Any:
        answer = await commit(*call)
        if next(turns) == int(number):
            _die()
        return answer

    worker.store.commit = wrapped  # type: ignore[method-assign, assignment]


def _publish_fails(worker: Worker, every: str, lost: str) -> None:
    turns, publish = itertools.count(1), worker._pipeline._publish

    async def wrapped(records: Sequence[OutRecord]) -> None:
        fails = next(turns) % int(every) == 0
        if not fails or lost == "0":
            await publish(records)
        if fails:
            print(f"fault: publishing {len(records)} records failed", flush=True)
            timed_out = KafkaError(KafkaError._MSG_TIMED_OUT)
            raise ProduceError([FailedRecord(0, records[0], timed_out, retriable=True)], len(records))

    worker._pipeline._publish = wrapped


def _slow(worker: Worker, text: str, seconds: str) -> None:
    process = worker._pipeline.process

    async def wrapped(owned: Any, chunk: Chunk, *rest: Any) -> None:
        if any(text.encode() in (record.value() or b"") for record in chunk.records):
            print(f"fault: slow with {chunk}", flush=True)
            await asyncio.sleep(float(seconds))
        await process(owned, chunk, *rest)

    worker._pipeline.process = wrapped  # type: ignore[method-assign, assignment]


def _raise(worker: Worker, text: str) -> None:
    evaluator = worker._pipeline._evaluator
    evaluate = evaluator.evaluate

    def wrapped(owned: Any, items: Any, *rest: Any) -> Any:
        if any(text.encode() in (item.record.value() or b"") for item in items):
            raise ZeroDivisionError("a defect that one record meets")
        return evaluate(owned, items, *rest)

    evaluator.evaluate = wrapped  # type: ignore[method-assign, assignment]


_FAULTS: dict[str, Callable[..., None]] = {
    "kill-after-publish": _kill_after_publish,
    "kill-after-state": _kill_after_state,
    "publish-fails": _publish_fails,
    "slow": _slow,
    "raise": _raise,
}

if __name__ == "__main__":
    main(sys.argv[1:])
