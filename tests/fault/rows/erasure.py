"""Rows about forgetting: erasures under load, while processes die, and while a lost store is being rebuilt."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, TopicPartition

from features.session import STATE_VERSION, decode
from schemas.envelope import encode
from schemas.erasure import Erasure
from stream.state import ConnectionOptions, RedisStore
from tests.fault.observe import INPUT
from tests.fault.rebuilt import FOLLOWS_COUNTERS
from tests.fault.replay import LEFT_OUT, PREFIX
from tests.fault.row import row
from tests.fault.rows.crashes import kill_and_start
from tests.fault.trial import Trial
from tests.support import ledger
from tests.support.pipeline import REF_KEY, Pipeline

PER_S = 200.0
EVERY_S = 0.05
"""Between two erasures of sessions that are being served."""
ENOUGH = 12
"""Erasures between two kills, at least."""


def request(session_id: str, tenant: str) -> tuple[bytes, bytes]:
    """An erasure as a record: key and value."""
    now_ms = time.time_ns() // 1_000_000
    made = Erasure(event_id=f"row-30-{now_ms}", session_id=session_id, tenant=tenant, observed_at=now_ms)
    return session_id.encode(), encode(made)


def erase_by_command(pipeline: Pipeline, session_id: str, tenant: str) -> dict[str, object]:
    """Run `tellwire erase` as an operator does; return what it prints."""
    env = {
        **os.environ,
        "TELLWIRE_KAFKA__BOOTSTRAP_SERVERS": pipeline.broker.bootstrap,
        "TELLWIRE_KEYS__REF_KEY": REF_KEY,
    }
    command = [sys.executable, "-m", "stream", "erase", session_id, "--tenant", tenant, "--yes", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    printed: dict[str, object] = json.loads(done.stdout)
    return printed


@contextmanager
def following(pipeline: Pipeline) -> Iterator[Consumer]:
    """Yield a consumer that reads the input from its present end on."""
    consumer = Consumer({"bootstrap.servers": pipeline.broker.bootstrap, "group.id": "row-30", "log_level": 0})
    try:
        consumer.assign([TopicPartition(INPUT, number, end) for number, end in pipeline.ends(INPUT).items()])
        yield consumer
    finally:
        consumer.close()


@row(
    number=30,
    fault="sessions that are being served are erased, several a second, while kill -9 ends the worker again and again",
    observables=("I1", "I2", "I3", "I4", "erased"),
)
def erase_under_load(trial: Trial) -> None:
    pipeline = trial.pipeline(KAFKA__GROUP_INSTANCE_ID="static-1")
    worker = pipeline.start("worker")
    worker.wait_ready()
    load = trial.load(pipeline, per_s=PER_S)
    with following(pipeline) as inputs:
        for _ in range(trial.count(ci=2, full=10)):
            until_s, asked = time.monotonic() + trial.rng.uniform(1.0, 2.0), 0
            # A slow machine takes longer for as many.
            while time.monotonic() < until_s or (asked < ENOUGH and time.monotonic() < until_s + 30.0):
                time.sleep(EVERY_S)
                seen = inputs.consume(100, 0.05)
                if seen and seen[-1].error() is None and b"capture.erasure" not in (seen[-1].value() or b""):
                    key = seen[-1].key()
                    assert isinstance(key, bytes)
                    pipeline.produce([request(key.decode(), _tenant_of(seen[-1].value()))])
                    asked += 1
            worker = kill_and_start(trial, pipeline, worker)
    load.stop()
    pipeline.wait_committed(worker)
    report = trial.judge(pipeline).report
    trial.outcome.check("erased", report.erasures > 10 * trial.outcome.runs, str(report))
    trial.outcome.note = f"{report.erasures} erasures; sessions went on anew behind most of them"


@row(
    number=30,
    fault="Redis loses everything; while the state is rebuilt from the log, more sessions are erased",
    observables=("I1", "keys absent", "others unchanged", "published once"),
    in_ci=False,
)
def erase_during_replay(trial: Trial) -> None:
    pipeline = trial.pipeline(partitions=2)
    worker = pipeline.start("worker")
    worker.wait_ready()
    trial.backlog(pipeline, trial.count(ci=1_500, full=20_000))
    pipeline.wait_committed(worker, seconds=240)
    tenants = _tenants(pipeline)
    every = sorted(tenants)
    chosen = trial.rng.sample(every, trial.count(ci=12, full=120))
    first, later = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]
    for session_id in first[:2]:
        erase_by_command(pipeline, session_id, tenants[session_id])
    pipeline.produce(request(session_id, tenants[session_id]) for session_id in first[2:])
    pipeline.wait_committed(worker)
    before = _states(pipeline, every)
    trial.outcome.check(
        "keys absent", {s for s in every if before[s] is None} == set(first), "before the store is lost"
    )
    published = pipeline.ends("risk.events")
    with trial.redis.client() as client:
        client.flushall()
    trial.outcome.runs += 1  # not `faulted`: nothing is published again, so there is no recovery to count
    # The first of these makes the worker see that its state is gone; all of them wait behind the rebuilding.
    pipeline.produce(request(session_id, tenants[session_id]) for session_id in later)
    pipeline.wait_committed(worker, seconds=240)
    after = _states(pipeline, every)
    absent = {session_id for session_id in every if after[session_id] is None}
    trial.outcome.check(
        "keys absent", absent == set(chosen), f"{len(absent)} of {len(chosen)} erased sessions are absent"
    )
    changed = [f for s in every if s not in chosen for f in _differences(s, before[s], after[s])]
    folded = int(worker.metric("tellwire_folded_only_total"))
    trial.outcome.check(
        "others unchanged",
        not changed and folded > 0,
        f"{len(every) - len(chosen)} sessions compared, {folded} records folded again; {changed[:3]}",
    )
    report = trial.judge(pipeline).report
    trial.outcome.check(
        "published once", pipeline.ends("risk.events") == published and not report.replayed_repeats, str(report)
    )
    trial.outcome.note = f"{len(chosen)} erased, half of them during the rebuilding of {folded} records"


def _tenant_of(value: object) -> str:
    assert isinstance(value, bytes)
    return str(json.loads(value)["tenant"])


def _tenants(pipeline: Pipeline) -> dict[str, str]:
    """The tenant of each session in the input, by the input itself."""
    records = ledger.read_topic(pipeline.broker.bootstrap, INPUT)
    return {str(body["session_id"]): str(body["tenant"]) for body in (json.loads(r.value or b"{}") for r in records)}


def _states(pipeline: Pipeline, sessions: list[str]) -> dict[str, bytes | None]:
    return asyncio.run(_load(pipeline, sessions))


async def _load(pipeline: Pipeline, sessions: list[str]) -> dict[str, bytes | None]:
    store = RedisStore(
        ConnectionOptions(url=pipeline.redis.url, timeout_s=10),
        state_version=f"{STATE_VERSION}.{pipeline.partitions}",
        prefix=PREFIX,
    )
    await store.open()
    try:
        found: dict[str, bytes | None] = dict.fromkeys(sessions)
        for partition in range(pipeline.partitions):
            for first in range(0, len(sessions), 500):
                loaded = await store.load(INPUT, partition, sessions[first : first + 500], [])
                found.update({session_id: blob for session_id, blob in loaded.blobs.items() if blob is not None})
        return found
    finally:
        await store.close()


def _differences(session_id: str, before: bytes | None, after: bytes | None) -> list[str]:
    """Name what differs between two states of one session."""
    if before is None or after is None:
        return [] if before is after else [f"{session_id}: gone"]
    (old, old_row), (new, new_row) = decode(session_id, before), decode(session_id, after)
    # Folding again reads the entity counters anew, by now without what was erased.
    names = [name for name in old.__struct_fields__ if name not in {*LEFT_OUT, *FOLLOWS_COUNTERS}]
    found = [name for name in names if repr(getattr(old, name)) != repr(getattr(new, name))]
    if old_row.tobytes() != new_row.tobytes():
        found.append("row")
    return [f"{session_id}: {name}" for name in found]
