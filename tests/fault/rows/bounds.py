"""Rows about too much: a backlog, one hot key, sessions without number."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.fault.observe import DEAD_LETTERS, EVENTS, INPUT
from tests.fault.row import row
from tests.fault.trial import Trial
from tests.support import ledger
from tests.support.ledger import Record
from tests.support.pipeline import Pipeline, Process

PARTITIONS = 4
SAMPLE_S = 0.25
FLAT_RATIO = 0.05
"""Growth over the second half of a drain that still counts as flat; an allocator is not a ruler."""


def rss_mb(process: Process) -> float:
    """Return the resident memory of a process now, MB."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024.0 for line in status.splitlines() if line.startswith("VmRSS:"))


@dataclass
class Drain:
    """Resident memory and progress of a worker while it works off a backlog."""

    samples: list[tuple[float, int, float]] = field(default_factory=list)
    """Monotonic s, events published so far, MB."""

    @contextmanager
    def watching(self, pipeline: Pipeline, worker: Process) -> Iterator[None]:
        """Sample in a thread of its own."""
        stopped = threading.Event()

        def sample() -> None:
            while not stopped.wait(SAMPLE_S):
                done = sum(pipeline.ends(EVENTS).values())
                self.samples.append((time.monotonic(), done, rss_mb(worker)))

        thread = threading.Thread(target=sample, name="drain", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def per_s(self, events: int) -> float:
        """Events a second, from the first published one seen to the last."""
        moving = [(at, done) for at, done, _ in self.samples if 0 < done < events]
        (first_s, first), (last_s, last) = moving[0], moving[-1]
        return (last - first) / (last_s - first_s)

    def second_half(self, events: int) -> tuple[float, float, float]:
        """Return the slope over the second half, MB each 100 000 events, and the medians at its begin and end, MB."""
        half = [(done, mb) for _, done, mb in self.samples if events / 2 <= done]
        slope = statistics.linear_regression([done for done, _ in half], [mb for _, mb in half]).slope
        few = max(1, len(half) // 10)
        begin, end = (statistics.median(mb for _, mb in part) for part in (half[:few], half[-few:]))
        return slope * 100_000, begin, end


@row(
    number=24,
    fault="a backlog, full budget a million events, is there before the worker starts",
    observables=("I1", "order", "flat memory", "age"),
)
def backlog(trial: Trial) -> None:
    events = trial.count(ci=30_000, full=1_000_000)
    # The cache of sessions fills up in the first part of the drain, so that what grows behind it is something else.
    pipeline = trial.pipeline(partitions=PARTITIONS, PIPELINE__CACHED_SESSIONS=str(trial.count(ci=1_000, full=20_000)))
    _process("flood", bootstrap=pipeline.broker.bootstrap, count=events)
    worker, drain = pipeline.start("worker"), Drain()
    worker.wait_ready()
    trial.faulted(f"backlog of {events}")
    with drain.watching(pipeline, worker):
        pipeline.wait_committed(worker, seconds=1_500)
    ages: list[int] = []
    report = _one_outcome(trial, pipeline, events, ages)
    trial.outcome.check("order", not report.kinds()["out_of_order"] and report.scored == events, str(report))
    slope, begin, end = drain.second_half(events)
    memory = f"{begin:.0f} MB half way, {end:.0f} MB at the end, slope {slope:+.1f} MB each 100 000 events"
    trial.outcome.check("flat memory", end <= begin * (1 + FLAT_RATIO), memory)
    ages.sort()
    stated = f"age p50 {ages[len(ages) // 2] / 1000:.1f} s, max {ages[-1] / 1000:.1f} s"
    # Every event says when it was appended and when it was scored; a backlog is old, and never of the future.
    trial.outcome.check("age", len(ages) == events and ages[0] >= 0, stated)
    trial.outcome.note = f"{drain.per_s(events):,.0f} events/s; {memory}; {stated}"


@row(
    number=25,
    fault="one session sends half of all records",
    observables=("I1", "other partitions"),
    # A ratio of latencies needs a machine of its own.
    in_ci=False,
)
def hot_key(trial: Trial) -> None:
    """Pairs of open loops at one rate, with and without the hot session, interleaved; medians decide."""
    per_s, seconds = trial.count(ci=200, full=300), trial.count(ci=6, full=20)
    pipeline = trial.pipeline(partitions=PARTITIONS)
    worker = pipeline.start("worker")
    worker.wait_ready()
    _loop(pipeline, worker, per_s, 4, 0.5, "warm")
    with_hot: list[list[float]] = []
    without: list[list[float]] = []
    for pair in range(trial.count(ci=3, full=5)):
        trial.outcome.runs += 1
        order = [(0.5, f"h{pair}", with_hot), (0.0, f"e{pair}", without)]
        for share, run, kept in order if pair % 2 else order[::-1]:
            taken = _loop(pipeline, worker, per_s, seconds, share, run)
            hot = {name.partition("-")[0] for name in taken if "-hot-" in name} or {"0"}
            kept.append(sorted(ms for name, ms in taken.items() if name.partition("-")[0] not in hot))
    ratios = [_p99(hot) / _p99(even) for hot, even in zip(with_hot, without, strict=True)]
    ratio = statistics.median(ratios)
    told = (
        f"p99 of the other partitions {statistics.median(map(_p99, with_hot)):.1f} ms with and "
        f"{statistics.median(map(_p99, without)):.1f} ms without the hot session, median ratio {ratio:.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), {per_s} events/s"
    )
    trial.outcome.check("other partitions", ratio <= 2.0, told)
    trial.outcome.note = told
    pipeline.wait_committed(worker)
    trial.judge(pipeline, expected_dead_letters=())


@row(
    number=25,
    fault="sessions without number: each record is a new session's",
    observables=("I1", "keys", "flat memory"),
)
def new_sessions(trial: Trial) -> None:
    ttl_s = 60
    pipeline = trial.pipeline(partitions=PARTITIONS, REDIS__SESSION_TTL_S=str(ttl_s), PIPELINE__CACHED_SESSIONS="1000")
    worker = pipeline.start("worker")
    worker.wait_ready()
    trial.outcome.runs = 1
    began_s, sent, drain, most = time.monotonic(), 0, Drain(), 0
    # One block after the other, the last one answered before the next is sent: as fast as the worker takes them.
    with drain.watching(pipeline, worker):
        while time.monotonic() - began_s < trial.count(ci=10, full=100):
            sent += pipeline.produce(_lonely(range(sent, sent + trial.count(ci=2_000, full=10_000))))
            pipeline.wait_committed(worker)
            most = max(most, _sessions(pipeline))
    took_s = time.monotonic() - began_s
    # What the last `ttl_s` brought, and the server's own slack in forgetting.
    allowed = min(sent, 1.25 * sent * ttl_s / took_s + 2_000)
    forever = [key for key, left_ms in _times_to_live(pipeline) if left_ms < 0 and not key.endswith(b":w")]
    longest_ms = max(left_ms for key, left_ms in _times_to_live(pipeline) if b"}:s:" in key)
    told = f"{sent:,} sessions in {took_s:.0f} s, at most {most:,} keys of sessions at once, each for {ttl_s} s"
    trial.outcome.check(
        "keys",
        0 < most <= allowed and longest_ms <= ttl_s * 1000 and not forever,
        f"{told}; allowed {allowed:,.0f}; longest {longest_ms} ms; without end {forever[:2]}",
    )
    slope, begin, end = drain.second_half(sent)
    memory = f"{begin:.0f} MB half way, {end:.0f} MB at the end, slope {slope:+.1f} MB each 100 000 sessions"
    trial.outcome.check("flat memory", end <= begin * (1 + FLAT_RATIO), memory)
    trial.outcome.note = f"{told} ({sent / took_s * 60:,.0f} a minute); {memory}"
    _one_outcome(trial, pipeline, sent)


def _one_outcome(trial: Trial, pipeline: Pipeline, events: int, ages: list[int] | None = None) -> ledger.Report:
    """I1 on more records than memory holds whole: every one is scored; `ages` gets how old each was, ms."""
    bootstrap = pipeline.broker.bootstrap
    report = ledger.check(
        _slim(ledger.read_topic(bootstrap, INPUT)),
        _slim(ledger.read_topic(bootstrap, EVENTS), ages),
        ledger.read_topic(bootstrap, DEAD_LETTERS),
        input_topic=INPUT,
        input_topic_id=ledger.topic_id(bootstrap, INPUT),
        expected_dead_letters=(),
    )
    trial.outcome.events += report.inputs
    trial.outcome.check("I1", report.ok and report.scored == events, str(report))
    return report


def _slim(records: Iterable[Record], ages: list[int] | None = None) -> Iterator[Record]:
    """Yield records with what the ledger looks at and nothing else: a million whole ones are too many."""
    wanted = ("type", "session_id", "tenant", "sequence", "event_id", "evaluation_id", "source", "replayed", "redriven")
    for record in records:
        body = orjson.loads(record.value or b"{}")
        if ages is not None:
            ages.append(body["scored_at"] - body["ingested_at"])
        kept = orjson.dumps({name: body[name] for name in wanted if name in body})
        headers = tuple(pair for pair in record.headers if pair[0] == "ce_id")
        yield Record(record.partition, record.offset, record.key, kept, headers, record.time_ms)


def _lonely(numbers: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield one record each of sessions that never come again."""
    for number in numbers:
        session = f"lonely-{number}"
        yield session.encode(), orjson.dumps({
            "type": "capture.telemetry.v1", "event_id": f"e{number}", "session_id": session, "tenant": "t",
            "flow": "login", "sequence": 0, "effective_at": 1_790_000_000_000, "observed_at": 1_790_000_000_100,
            "collector": {"name": "c", "version": "1"}, "account_ref": f"a{number % 50_000}",
        })  # fmt: skip


def _sessions(pipeline: Pipeline) -> int:
    return sum(b"}:s:" in key for key in pipeline.stored_keys())


def _times_to_live(pipeline: Pipeline) -> list[tuple[bytes, int]]:
    """Every key with the ms that it has left, -1 for no end."""
    with pipeline.redis.client() as client:
        keys = list(client.scan_iter(count=5_000))
        with client.pipeline(transaction=False) as asked:
            for key in keys:
                asked.pttl(key)
            found = asked.execute()
    # What ran out meanwhile is -2.
    return [(key, left_ms) for key, left_ms in zip(keys, found, strict=True) if left_ms != -2]


def _command(what: str, settings: dict[str, object]) -> list[str]:
    return [sys.executable, "-m", "tests.fault.open_loop", what, json.dumps(settings)]


def _process(what: str, **settings: object) -> str:
    """Run one of the processes of `open_loop` to its end; return what it prints."""
    done = subprocess.run(_command(what, settings), capture_output=True, text=True, timeout=1_200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _loop(
    pipeline: Pipeline, worker: Process, per_s: float, seconds: float, hot_share: float, run: str
) -> dict[str, float]:
    """One open loop; return the milliseconds from due to read, by event id. Every record is answered."""
    bootstrap = pipeline.broker.bootstrap
    asked: dict[str, object] = {"bootstrap": bootstrap, "wanted": int(per_s * seconds), "partitions": PARTITIONS}
    reader = subprocess.Popen(_command("read", {**asked, "patience_s": seconds + 60}), stdout=subprocess.PIPE)
    assert reader.stdout is not None
    try:
        assert reader.stdout.readline() == b"ready\n"
        due = json.loads(
            _process(
                "send",
                bootstrap=bootstrap,
                per_s=per_s,
                seconds=seconds,
                hot_share=hot_share,
                run=run,
                partitions=PARTITIONS,
            )
        )
        came = json.loads(reader.communicate(timeout=seconds + 90)[0])
    finally:
        reader.kill()
    missing = due.keys() - came.keys()
    assert not missing, f"{len(missing)} of {len(due)} records were not answered:\n{worker.text()[-1500:]}"
    return {name: (came[name] - at) * 1000.0 for name, at in due.items()}


def _p99(taken: list[float]) -> float:
    return taken[int(len(taken) * 0.99)]
