"""What a trial left on the brokers, and the observables I1 (one outcome), I3 (commits) and I5 (recovery).

Nothing here asks the worker. I1 is the independent ledger's; I3 reads every commit that the group ever made from the
broker's own log of them; I5 is counted on the broker's clock. I2 and I4 replay the log: see replay.py.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import msgspec

from schemas.risk import RiskEvent
from tests.fault.row import Outcome
from tests.support import ledger
from tests.support.ledger import Place, Record
from tests.support.pipeline import Pipeline

INPUT, EVENTS, DEAD_LETTERS = "capture.telemetry", "risk.events", "risk.deadletter"
IN_FLIGHT_MS = 250
"""What a process had on its way when it was hit still arrives; later events are its successor's."""
RSS_LIMIT_MB = 600
"""Resident memory of any process of ours; a worker has about 250 MB with what it must load."""

_risk_events = msgspec.json.Decoder(RiskEvent)


@dataclass(frozen=True)
class Commit:
    """One offset commit, as the group's coordinator logged it."""

    partition: int
    offset: int
    """Everything below it counts as finished."""
    time_ms: int
    """When it was logged, epoch ms."""


@dataclass
class Evidence:
    """All topics of a trial as they are now, each read once."""

    inputs: list[Record]
    events: list[Record]
    dead_letters: list[Record]
    commits: list[Commit]
    topic_id: str
    report: ledger.Report = field(default_factory=ledger.Report)

    @cached_property
    def decoded(self) -> list[RiskEvent]:
        """All risk events, each partition in order; empty where they are not ours to decode."""
        return [_risk_events.decode(record.value or b"") for record in self.events]

    @cached_property
    def answered_ms(self) -> dict[Place, int]:
        """When the first outcome of each input was appended, epoch ms."""
        found: dict[Place, int] = {}
        for record, event in zip(self.events, self.decoded, strict=True):
            place = (event.source.partition, event.source.offset)
            found[place] = min(record.time_ms, found.get(place, record.time_ms))
        for record in self.dead_letters:
            answered = ledger.answered_by(record, INPUT)
            if answered is not None:
                found[answered] = min(record.time_ms, found.get(answered, record.time_ms))
        return found

    @cached_property
    def appended_ms(self) -> dict[Place, int]:
        """When each input was appended, epoch ms."""
        return {(record.partition, record.offset): record.time_ms for record in self.inputs}

    @cached_property
    def rhythm(self) -> dict[int, list[int]]:
        """By partition: the times at which something was answered for the first time, ascending, epoch ms."""
        found: dict[int, list[int]] = defaultdict(list)
        for (partition, _), time_ms in self.answered_ms.items():
            found[partition].append(time_ms)
        return {partition: sorted(times) for partition, times in found.items()}

    def recovery_s(self, fault_ms: int) -> float | None:
        """Return how long after a fault the slowest partition published its first new outcome, s.

        Partitions to which nothing was left to answer don't count; None when there was none. A partition that never
        published again counts up to infinity.
        """
        since_ms = fault_ms + IN_FLIGHT_MS
        waiting = {p for (p, offset), _ in self.appended_ms.items() if self._open_at((p, offset), since_ms)}
        slowest = None
        for partition in waiting:
            times = self.rhythm.get(partition, [])
            at = bisect_right(times, since_ms)
            took_s = (times[at] - fault_ms) / 1000.0 if at < len(times) else float("inf")
            slowest = took_s if slowest is None else max(slowest, took_s)
        return slowest

    def stall_s(self, since_ms: int, until_ms: int) -> float:
        """Return the longest time within these (epoch ms) in which a partition had work and published nothing, s."""
        longest_ms = 0
        for partition, times in self.rhythm.items():
            arrivals = sorted(time_ms for (p, _), time_ms in self.appended_ms.items() if p == partition)
            edges = [since_ms, *times[bisect_left(times, since_ms) : bisect_right(times, until_ms)], until_ms]
            for earlier, later in pairwise(edges):
                # Work was there from the moment at which more had arrived than was answered.
                backlog = bisect_right(times, earlier)
                if backlog < len(arrivals):
                    longest_ms = max(longest_ms, later - max(earlier, arrivals[backlog]))
        return longest_ms / 1000.0

    def _open_at(self, place: Place, time_ms: int) -> bool:
        return self.answered_ms.get(place, time_ms + 1) > time_ms


def collect(pipeline: Pipeline, expected_dead_letters: Collection[Place] | None = None) -> Evidence:
    """Read everything that a trial left on the brokers, and let the ledger audit it."""
    bootstrap = pipeline.broker.bootstrap
    topic_id = ledger.topic_id(bootstrap, INPUT)
    evidence = Evidence(
        inputs=list(ledger.read_topic(bootstrap, INPUT)),
        events=list(ledger.read_topic(bootstrap, EVENTS)),
        dead_letters=list(ledger.read_topic(bootstrap, DEAD_LETTERS)),
        commits=commits(bootstrap, pipeline.group),
        topic_id=topic_id,
    )
    evidence.report = ledger.check(
        evidence.inputs,
        evidence.events,
        evidence.dead_letters,
        input_topic=INPUT,
        input_topic_id=topic_id,
        expected_dead_letters=expected_dead_letters,
    )
    return evidence


def one_outcome(evidence: Evidence, outcome: Outcome) -> None:
    """I1: every input offset has exactly one outcome; repeats in the topic are marked."""
    outcome.check("I1", evidence.report.ok and evidence.report.inputs > 0, str(evidence.report))


def commits_trace(evidence: Evidence, outcome: Outcome, filtered: Collection[Place] = ()) -> None:
    """I3: at every commit, everything below it had its outcome on the broker already.

    `filtered`: inputs that a declared filter drops; they leave no outcome.
    """
    wrong = commits_ahead(evidence.commits, evidence.appended_ms, evidence.answered_ms, filtered)
    detail = f"{len(evidence.commits)} commits"
    if wrong:
        detail += f", {len(wrong)} passed unfinished work: {wrong[0]}"
    outcome.check("I3", evidence.commits and not wrong, detail)


def commits_ahead(
    made: Sequence[Commit],
    appended_ms: dict[Place, int],
    answered_ms: dict[Place, int],
    filtered: Collection[Place] = (),
) -> list[str]:
    """Return one line for each commit that passed an input whose outcome was not there yet."""
    # By partition: offsets ascending, and the latest answer among all offsets up to each.
    offsets: dict[int, list[int]] = defaultdict(list)
    finished_ms: dict[int, list[float]] = defaultdict(list)
    for place in sorted(appended_ms):
        partition, offset = place
        here = 0.0 if place in filtered else answered_ms.get(place, float("inf"))
        before = finished_ms[partition][-1] if finished_ms[partition] else 0.0
        offsets[partition].append(offset)
        finished_ms[partition].append(max(before, here))
    wrong = []
    for commit in made:
        at = bisect_left(offsets[commit.partition], commit.offset)
        if at and finished_ms[commit.partition][at - 1] > commit.time_ms:
            open_ones = [
                o for o in offsets[commit.partition][:at]
                if (commit.partition, o) not in filtered
                and answered_ms.get((commit.partition, o), float("inf")) > commit.time_ms
            ]  # fmt: skip
            wrong.append(f"offset {commit.offset} of partition {commit.partition} while {open_ones[:5]} were open")
    return wrong


def recoveries(evidence: Evidence, outcome: Outcome, faults_ms: Sequence[int], limit_s: float | None) -> None:
    """I5: after each fault every partition publishes again within `limit_s` (None: only noted), in bounded memory."""
    found = [took for fault in faults_ms if (took := evidence.recovery_s(fault)) is not None]
    outcome.recovery_s.extend(found)
    if limit_s is not None:
        worst = max(found, default=0.0)
        recovered = found and worst <= limit_s
        outcome.check("I5", recovered, f"slowest {worst:.1f} s of {len(found)}, limit {limit_s:.0f} s")
        outcome.check("I5", outcome.rss_mb <= RSS_LIMIT_MB, f"{outcome.rss_mb:.0f} MB, limit {RSS_LIMIT_MB} MB")


def commits(bootstrap: str, group: str, topic: str = INPUT) -> list[Commit]:
    """Return every commit of `group` for `topic`, as its coordinator logged them, in order of time."""
    found = [
        Commit(partition, offset, record.time_ms)
        for record in ledger.read_topic(bootstrap, "__consumer_offsets")
        if (partition := _committed_partition(record.key, group, topic)) is not None
        and (offset := _committed_offset(record.value)) is not None
    ]
    return sorted(found, key=lambda commit: commit.time_ms)


def _committed_partition(key: bytes | None, group: str, topic: str) -> int | None:
    """Return the partition that a record of `__consumer_offsets` is about; None for another group, topic or kind."""
    if key is None or struct.unpack_from(">h", key)[0] > 1:
        return None
    words, at = [], 2
    for _ in range(2):
        length = struct.unpack_from(">h", key, at)[0]
        words.append(key[at + 2 : at + 2 + length].decode())
        at += 2 + length
    return int(struct.unpack_from(">i", key, at)[0]) if words == [group, topic] else None


def _committed_offset(value: bytes | None) -> int | None:
    # Every version of the value begins with its number and the offset. None: the commit was deleted.
    return None if value is None else int(struct.unpack_from(">q", value, 2)[0])
