"""A Faust worker for the transport's integration tests: copies a topic, record by record, to the same partition.

Run as a process of its own, so that it can be killed. Settings come as JSON in `TRANSPORT_TEST`; what happens is
written, one JSON object a line, to the file named there.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import faust

from stream.transport import (
    Chunk,
    Gap,
    OutRecord,
    PartitionKey,
    ProduceError,
    StartAt,
    StartRequest,
    TransportFatalError,
    TransportHooks,
    TransportOptions,
    configure,
    faust_settings,
)

SETTINGS: dict[str, Any] = json.loads(os.environ["TRANSPORT_TEST"])
EVENTS = Path(SETTINGS["events"])


def tell(event: str, **facts: object) -> None:
    with EVENTS.open("a", encoding="utf-8") as out:
        out.write(json.dumps({"at": time.time(), "pid": os.getpid(), "event": event, **facts}) + "\n")


class Hooks(TransportHooks):
    async def resolve_start(self, requests: Sequence[StartRequest]) -> Mapping[PartitionKey, StartAt]:
        tell("resolve", requests=[[r.partition, r.committed, r.low, r.high] for r in requests])
        return await super().resolve_start(requests)

    async def on_assigned(self, partitions: Sequence[PartitionKey]) -> None:
        tell("assigned", partitions=sorted(p for _, p in partitions))

    async def on_revoked(self, partitions: Sequence[PartitionKey]) -> None:
        tell("revoked", partitions=sorted(p for _, p in partitions))

    async def on_lost(self, partitions: Sequence[PartitionKey]) -> None:
        tell("lost", partitions=sorted(p for _, p in partitions))

    def on_gap(self, gap: Gap) -> None:
        tell("gap", partition=gap.partition, lost=[gap.lost_from, gap.lost_to], reason=gap.reason)

    async def on_fatal(self, error: TransportFatalError) -> None:
        tell("fatal", error=str(error))


app = faust.App(
    SETTINGS["group"], broker=f"librdkafka://{SETTINGS['bootstrap']}", datadir=SETTINGS["datadir"], **faust_settings()
)
transport = configure(app, TransportOptions(**SETTINGS["options"]), Hooks())
_tasks: set[asyncio.Task[None]] = set()


async def copy(chunk: Chunk) -> None:
    """Publish every record of the chunk, once, then finish it."""
    await asyncio.sleep(SETTINGS["work_s"])
    if not chunk.is_current():
        tell("not_current", partition=chunk.partition, first=chunk.first_offset)
        chunk.abandon("not current")
        return
    started = time.perf_counter()
    now = f"{time.time():.6f}".encode()
    out = [
        OutRecord(
            SETTINGS["out"],
            record.value(),
            f"{chunk.partition}:{record.offset()}".encode(),
            chunk.partition,
            [("pid", str(os.getpid()).encode()), ("at", now)],
        )
        for record in chunk.records
    ]
    loop_s = time.perf_counter() - started
    try:
        await transport.producer.produce_batch(out)
    except (ProduceError, TransportFatalError) as exc:
        tell("produce_failed", error=str(exc))
        chunk.abandon("not delivered")
        return
    if not chunk.done(loop_s):
        tell("not_counted", partition=chunk.partition, first=chunk.first_offset, next=chunk.next_offset)


@app.agent(app.topic(SETTINGS["topic"]))
async def work(chunks: Any) -> None:
    async for chunk in chunks:
        if chunk.first_offset == chunk.committed or not chunk.finished:
            tell("first", partition=chunk.partition, offset=chunk.first_offset, epoch=chunk.epoch)
        task = asyncio.get_running_loop().create_task(copy(chunk))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


@app.timer(0.5)  # type: ignore[untyped-decorator]
async def report() -> None:
    stats = transport.stats()
    tell(
        "stats",
        lag=stats.lag,
        trusted=stats.is_trusted,
        committed={p.partition: [p.position, p.committed, p.high] for p in stats.partitions.values()},
        failures=dict(stats.counters.commit_failures),
        stale=stats.counters.records_stale_total,
        stalls=stats.counters.stalls_total,
        drain_timeouts=stats.counters.drain_timeouts_total,
        losses=stats.counters.losses_total,
        in_partition=len(stats.partitions),
    )


if __name__ == "__main__":
    if SETTINGS.get("uvloop"):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    tell("started")
    sys.argv[1:] = ["worker", "-l", "info", "--without-web"]
    app.main()
