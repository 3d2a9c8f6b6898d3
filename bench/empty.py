"""Two limits: `empty`, an agent that does nothing, and `echo`, one that publishes each record as it came."""

import asyncio
import os
import sys
import time
from typing import Any

import faust
import uvloop

from stream.transport import OutRecord, TransportOptions, configure, faust_settings

MODE = sys.argv[1]
app = faust.App("bench-" + MODE, broker="librdkafka://" + os.environ["BENCH_BOOTSTRAP"], **faust_settings())
transport = configure(app, TransportOptions())
seen = 0
began = 0.0


@app.agent(app.topic("capture.telemetry"))
async def empty(chunks: Any) -> None:
    """Take chunks; with `echo`, publish their records and await it."""
    global seen, began  # noqa: PLW0603 - a benchmark's two counters
    async for chunk in chunks:
        began = began or time.perf_counter()
        if MODE == "echo":
            await transport.producer.produce_batch(
                [
                    OutRecord("risk.events", record.value(), key=record.key(), partition=chunk.partition)
                    for record in chunk.records
                ]
            )
        chunk.done()
        seen += len(chunk.records)
        if seen >= int(os.environ.get("BENCH_EVENTS", "0")) > 0:
            print(f"{seen / (time.perf_counter() - began):.0f}", flush=True)


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    sys.argv[1:] = ["worker", "-l", "warn", "--without-web"]
    app.main()
