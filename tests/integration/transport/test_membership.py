"""Workers join, leave, die and freeze under load, with every group protocol: nothing lost, few repeats."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.transport.harness import Bench, Verdict, Worker
from tests.support.kafka import KafkaBroker

PROTOCOLS: dict[str, dict[str, Any]] = {
    "classic": {"group_protocol": "classic"},
    "cooperative": {"group_protocol": "cooperative"},
    "consumer": {"group_protocol": "consumer", "session_timeout_s": 6.0},
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def owns(count: int) -> Any:
    def now(events: list[dict[str, Any]]) -> bool:
        stats = [e for e in events if e["event"] == "stats"]
        return bool(stats) and stats[-1]["in_partition"] == count

    return now


def pair(bench: Bench, *names: str) -> tuple[Worker, Worker]:
    """Start two workers, static members where `names` are given, and wait until each owns half of the partitions."""
    ids: list[dict[str, Any]] = [{"group_instance_id": name} for name in names] or [{}, {}]
    a, b = (bench.start(name, **options) for name, options in zip("ab", ids, strict=True))
    a.wait_for(owns(2))
    b.wait_for(owns(2))
    return a, b


def judged(bench: Bench, feeding: threading.Thread, *workers: Worker) -> Verdict:
    """Wait until all that is fed is committed, stop the workers in order, and compare what came out."""
    feeding.join()
    bench.wait_complete()
    for worker in workers:
        worker.stop()
    return bench.judge()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_joins_and_leaves_lose_and_repeat_nothing(group_broker: KafkaBroker, tmp_path: Path, protocol: str) -> None:
    with Bench(group_broker, tmp_path, options=PROTOCOLS[protocol], uvloop=protocol == "cooperative") as bench:
        a = bench.start("a")
        a.wait_for(owns(4))
        feeding = bench.feed(24_000, 2_000)
        b = bench.start("b")
        b.wait_for(owns(2))
        c = bench.start("c")
        c.wait_for(lambda events: [e for e in events if e["event"] == "stats" and e["in_partition"]])
        b.stop()
        a.stop()
        d = bench.start("d")
        d.wait_for(owns(2))
        verdict = judged(bench, feeding, c, d)
        assert (verdict.sent, verdict.lost, verdict.repeated, verdict.backwards) == (24_000, 0, 0, 0)
        for worker in bench.workers:
            assert not worker.events("fatal")
            assert worker.events("stats")[-1]["drain_timeouts"] == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_killed_worker_loses_nothing(group_broker: KafkaBroker, tmp_path: Path, protocol: str) -> None:
    with Bench(group_broker, tmp_path, options=PROTOCOLS[protocol]) as bench:
        a, b = pair(bench)
        feeding = bench.feed(24_000, 2_000)
        time.sleep(2)
        killed = time.time()
        a.kill()
        b.wait_for(owns(4))
        c = bench.start("c")
        c.wait_for(owns(2))
        verdict = judged(bench, feeding, b, c)
        assert (verdict.sent, verdict.lost) == (24_000, 0)
        # What the dead one had published and not committed: a second's worth and a chunk, of its two partitions.
        assert verdict.repeated <= 2 * 2_000
        taken_over = min(
            at for rows in bench.results().values() for _, pid, at in rows if at > killed and _last(rows, a, at)
        )
        print(f"takeover {protocol}: {taken_over - killed:.2f} s, repeated {verdict.repeated}")
        assert taken_over - killed < 9.0


def _last(rows: list[tuple[int, int, float]], dead: Worker, at: float) -> bool:
    """Whether the partition belonged to the dead worker before."""
    before = [pid for _, pid, when in rows if when < at]
    return bool(before) and before[-1] == dead.process.pid


STATIC = {"session_timeout_s": 20.0}


def caught_up(events: list[dict[str, Any]]) -> bool:
    """Two partitions, read to the end and committed but for a second's worth."""
    stats = [e for e in events if e["event"] == "stats"]
    if not stats or stats[-1]["in_partition"] != 2 or stats[-1]["lag"] > 200:
        return False
    return all(position - (committed or 0) < 1_000 for position, committed, _ in stats[-1]["committed"].values())


def changes(worker: Worker) -> int:
    return len(worker.events("assigned")) + len(worker.events("revoked")) + len(worker.events("lost"))


def test_static_members_come_back_without_a_rebalance(group_broker: KafkaBroker, tmp_path: Path) -> None:
    with Bench(group_broker, tmp_path, options={**PROTOCOLS["classic"], **STATIC}) as bench:
        a, b = pair(bench, "one", "two")
        feeding = bench.feed(20_000, 2_000)
        before = changes(b)
        time.sleep(1)
        a.stop()
        a2 = bench.start("a2", group_instance_id="one")
        a2.wait_for(caught_up)
        a2.kill()
        a3 = bench.start("a3", group_instance_id="one")
        a3.wait_for(owns(2))
        verdict = judged(bench, feeding, a3)
        assert changes(b) == before
        b.stop()
        assert (verdict.sent, verdict.lost) == (20_000, 0)
        assert verdict.repeated <= 2 * 1_500


def test_static_members_with_the_consumer_protocol(group_broker: KafkaBroker, tmp_path: Path) -> None:
    """An orderly restart keeps the partitions; after a hard death Kafka refuses the id until the session is over."""
    with Bench(group_broker, tmp_path, options={**PROTOCOLS["consumer"], **STATIC}) as bench:
        bench.configure_group(**{"consumer.session.timeout.ms": "20000"})
        a, b = pair(bench, "one", "two")
        feeding = bench.feed(20_000, 2_000)
        before = changes(b)
        time.sleep(1)
        a.stop()
        a2 = bench.start("a2", group_instance_id="one")
        a2.wait_for(caught_up)
        assert changes(b) == before
        a2.kill()
        refused = bench.start("a3", group_instance_id="one")
        assert refused.process.wait(30) == 1
        (fatal,) = refused.events("fatal")
        assert "instance ID" in fatal["error"]
        b.wait_for(owns(4), 40)
        verdict = judged(bench, feeding, b)
        assert (verdict.sent, verdict.lost) == (20_000, 0)
        assert verdict.repeated <= 2 * 1_500


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_zombie_publishes_nothing(group_broker: KafkaBroker, tmp_path: Path, protocol: str) -> None:
    """A process frozen past its session wakes up with chunks in flight and partitions that belong to somebody else."""
    with Bench(group_broker, tmp_path, options=PROTOCOLS[protocol], work_s=0.05) as bench:
        a, b = pair(bench)
        feeding = bench.feed(30_000, 1_500)
        time.sleep(2)
        a.process.send_signal(signal.SIGSTOP)
        b.wait_for(owns(4))
        time.sleep(1)
        woken = time.time()
        a.process.send_signal(signal.SIGCONT)
        a.wait_for(lambda events: [e for e in events if e["event"] == "lost"])
        lost_at = a.events("lost")[-1]["at"]
        a.wait_for(lambda events: [e for e in events if e["event"] == "assigned" and e["at"] > lost_at])
        verdict = judged(bench, feeding, a, b)
        assert (verdict.sent, verdict.lost) == (30_000, 0)
        again = min(e["at"] for e in a.events("assigned") if e["at"] > lost_at)
        by_zombie = [
            row
            for rows in bench.results().values()
            for row in rows
            if row[1] == a.process.pid and woken <= row[2] < again
        ]
        assert by_zombie == []


def test_a_chunk_slower_than_the_drain_is_read_again(group_broker: KafkaBroker, tmp_path: Path) -> None:
    with Bench(group_broker, tmp_path, options={"drain_deadline_s": 0.2}, work_s=5.0) as bench:
        a = bench.start("a")
        a.wait_for(owns(4))
        feeding = bench.feed(400, 50)
        time.sleep(1)
        b = bench.start("b")
        b.wait_for(owns(2))
        verdict = judged(bench, feeding, a, b)
        # What was late was not published: the chunk asked first whether it was still current.
        assert (verdict.sent, verdict.lost, verdict.repeated, verdict.backwards) == (400, 0, 0, 0)
        assert a.events("stats")[-1]["drain_timeouts"] >= 1
        assert a.events("not_current")


def test_a_broker_that_dies_and_comes_back_loses_nothing(group_broker: KafkaBroker, tmp_path: Path) -> None:
    with Bench(group_broker, tmp_path) as bench:
        a, b = pair(bench)
        feeding = bench.feed(12_000, 1_000)
        time.sleep(3)
        group_broker.restart(sig=signal.SIGKILL)
        verdict = judged(bench, feeding, a, b)
        assert (verdict.sent, verdict.lost) == (12_000, 0)
        assert not a.events("fatal")
        assert not b.events("fatal")
