"""What the chunk functions cost as a multiple of plain JSON work on the same events, in one process.

The hand-written loop calls the chunk functions, too, so the ratio to it does not see them become slower. This one
does: the pipeline as it ships, without Kafka and Redis, takes turns of a few milliseconds with the standard library's
`json`, which reads the same events and writes them again. Both are counted in the thread's CPU time, so that what else
a machine does falls on both alike.
"""

import asyncio
import json
import time
from typing import Final

from bench.stages import BACKLOG, prepared
from features.session import warm_up
from tests.support.pipeline_world import chunk

EVENTS: Final = 10_240
RECORDS: Final = int(BACKLOG)
TIMES: Final = 2
"""So often an event is read and written as JSON, for a cost like the pipeline's."""


def chunk_to_json(events: int = EVENTS, records: int = RECORDS) -> float:
    """Return the CPU time of the chunk functions an event, in chunks of `records`, by that of its JSON work."""
    warm_up()
    return asyncio.run(_measured(events, records))


async def _measured(events: int, records: int) -> float:
    _, pipeline, owned, found = await prepared(events)
    ours_s = plain_s = 0.0
    for begin in range(0, len(found), records):
        part = found[begin : begin + records]
        values = [record.content or b"" for record in part]
        began = time.thread_time()
        await pipeline.process(owned, chunk(part))
        between = time.thread_time()
        for _ in range(TIMES):
            for value in values:
                json.dumps(json.loads(value))
        ours_s += between - began
        plain_s += time.thread_time() - between
    return ours_s / plain_s
