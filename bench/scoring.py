"""Scoring one event by itself: features and all models, and with decision, reasons and encoding, without any I/O.

`python -m bench.scoring [--json] [EVENTS]` goes through the standard workload one event at a time, as an idle worker
does: decoded into columns already, its session in the cache, its entity counters read. Every event is timed;
percentiles are of all of them, the collector of garbage and the machine's other work included.
"""

import argparse
import json
import time
from collections import deque
from typing import cast

from confluent_kafka import Message

from bench.figures import percentile
from bench.workload import START_MS, workload
from features.session import warm_up
from stream.counters import ChunkCounters
from stream.deadletter import DeadLetterLimit
from stream.evaluation import Evaluator
from stream.garbage import quiet_garbage_collector
from stream.intake import Intake
from stream.metrics import Metrics, Stage
from stream.partition import OwnedPartition
from stream.sampling import FeatureSampler
from tests.support.pipeline_world import REFS, TOPIC, TOPIC_ID, Engines, FakeRecord, Snapshots

SESSIONS = 2_000
_WARM = 2_000
"""Events that are not counted: what is learnt of the machine and of the first events' cells."""


def score(events: int) -> dict[str, float]:
    """Return percentiles, microseconds: of features and models, and of all that is done between decode and publish."""
    warm_up()
    evaluator = Evaluator(Engines(), Snapshots(), FeatureSampler(0, 0), REFS.version, lambda: START_MS)
    owned = OwnedPartition(TOPIC, 0, TOPIC_ID, None, 0, -1, DeadLetterLimit(0.9, 1_000))
    intake = Intake(REFS, Metrics())
    prepared = []
    for number, (key, value) in enumerate(workload(events + _WARM, sessions=SESSIONS)):
        record = cast("Message", FakeRecord(number, value, key, START_MS + number))
        prepared.append(intake.batch(owned, [record]))
    quiet_garbage_collector()
    scored: list[float] = []
    whole: list[float] = []
    for batch in prepared:
        (item,) = batch.items
        session_id = item.event.session_id
        if session_id not in owned.sessions:
            owned.sessions.put(session_id, None, None)
        laps: dict[Stage, float] = {}

        def lap(stage: Stage, laps: dict[Stage, float] = laps) -> float:
            laps[stage] = time.perf_counter()
            return 0.0

        counters = ChunkCounters([], [], 10**9)
        began = time.perf_counter()
        deque(evaluator.evaluate(owned, batch.items, counters, lap, batch), maxlen=0)
        assert len(batch.evaluated) == 1
        scored.append((laps["models"] - began) * 1e6)
        whole.append((laps["decide"] - began) * 1e6)
    found = {"events": float(events)}
    for name, times in (("features and models", scored), ("and decision, reasons, encoding", whole)):
        ordered = sorted(times[_WARM:])
        for share in (0.5, 0.99, 0.999):
            found[f"{name}: p{share * 100:g}, µs"] = percentile(ordered, share)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.scoring", description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=20_000, help="events that are counted")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = score(options.events)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<50}{value:10,.1f}")


if __name__ == "__main__":
    main()
