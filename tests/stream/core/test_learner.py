"""The learner process: where it begins, what it learns once and only once, what it publishes and deletes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from features.registry import N_FEATURES, NAMES, REGISTRY_HASH
from models.snapshots import EMPTY
from schemas.base import Flow
from schemas.envelope import decode_snapshot, encode
from schemas.served import ServedFeatures
from stream.learner import KEPT_MS, Learner, _FromSnapshots
from stream.learning import FlowLearner
from stream.settings import Settings
from stream.snapshots import Learnt
from stream.transport import OutRecord, ProduceError, StartAt, StartRequest
from tests.stream.core.doubles import chunk, record

WINDOW = 20
_drawn = np.random.default_rng(4)


def a_vector(session: str, flow: str = "signup", *, random: bool = False) -> bytes:
    return encode(
        ServedFeatures(
            evaluation_id="id:0:1",
            session_id=session,
            flow=flow,  # type: ignore[arg-type]
            cell=[flow, "mouse", "web", "lt3s"],
            features_hash=REGISTRY_HASH,
            features=_drawn.random(N_FEATURES).tolist() if random else [0.5] * N_FEATURES,
            raw={},
            raw_max={},
            overall=0.0,
            flagged_by=[],
            cohort="unlabelled",
            sequence=1,
            is_final=False,
            ingested_at=1_700_000_000_000,
            observed_s=2.0,
            sampling_ratio=1.0,
        )
    )


class _Snapshots:
    """Stands in for the reader of snapshots."""

    def __init__(self) -> None:
        self.current = EMPTY
        self.learnt: dict[str, Learnt] = {}
        self.waits: list[bool] = [True]
        self.old: list[bytes] = []
        self.asked_before: list[int] = []

    def start(self, timeout_s: float) -> bool:
        return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> bool:
        assert timeout_s > 0
        return self.waits.pop(0)

    def superseded(self, before_ms: int) -> list[bytes]:
        self.asked_before.append(before_ms)
        return self.old


class _Transport:
    """Owns partitions and keeps what is produced; `while_producing` runs before each batch is acknowledged."""

    def __init__(self, owned: int) -> None:
        self.owned = owned
        self.batches: list[list[OutRecord]] = []
        self.fails = False
        self.while_producing: Any = None
        self.producer = self

    def assignment(self) -> list[tuple[str, int]]:
        return [("risk.features", i) for i in range(self.owned)]

    async def produce_batch(self, records: Sequence[OutRecord]) -> None:
        if self.while_producing is not None:
            await self.while_producing()
        if self.fails:
            raise ProduceError([], len(records))
        if records:
            self.batches.append(list(records))


@pytest.fixture
def snapshots() -> _Snapshots:
    return _Snapshots()


@pytest.fixture
def learner(monkeypatch: pytest.MonkeyPatch, snapshots: _Snapshots) -> Learner:
    monkeypatch.setattr("stream.learner.check_topics", lambda *_: {"risk.features": 4, "models.snapshots": 1})
    monkeypatch.setattr("stream.learner.SnapshotReader", lambda *_: snapshots)
    sections: dict[str, Any] = {
        "kafka": {"bootstrap_servers": "127.0.0.1:1"},
        "learner": {"window_size": WINDOW, "min_learnt": 1, "max_share_per_source": 1},
    }
    found = Learner(Settings(**sections))
    found.transport = cast("Any", _Transport(4))
    found._resume()
    return found


def transport(learner: Learner) -> _Transport:
    return cast("_Transport", learner.transport)


def counted(learner: Learner, name: str, **labels: str) -> float:
    return learner.metrics.registry.get_sample_value(name, labels) or 0.0


def learnt(learner: Learner, flow: str) -> float:
    return counted(learner, "tellwire_learner_learnt_total", flow=flow)


def skipped(learner: Learner, reason: str) -> float:
    return counted(learner, "tellwire_learner_skipped_total", reason=reason)


async def feed(learner: Learner, values: Sequence[bytes | None], *, at: int, partition: int = 2) -> list[str]:
    records = [record(value, the_offset=at + i) for i, value in enumerate(values)]
    one, ended = chunk(records, partition=partition, topic="risk.features")
    await learner._learn(one)
    return ended


def trees_of(learner: Learner, flow: Flow = "signup", vectors: int = 30) -> FlowLearner:
    """Another learner's flow, that far."""
    prior = learner.engine.anomaly_of(flow)
    assert prior is not None
    found = FlowLearner(flow, prior, None, 1.0, WINDOW)
    found._trees.learn(np.random.default_rng(1).random((vectors, N_FEATURES)))
    return found


def held(learner: Learner, offsets: dict[int, int], flow: Flow = "signup", vectors: int = 30) -> Learnt:
    return Learnt(trees_of(learner, flow, vectors)._trees.export(), offsets)


def hooks(learner: Learner) -> _FromSnapshots:
    return _FromSnapshots(learner._adopt, learner._start_of)


def asked(partition: int, low: int = 0, high: int = 100) -> StartRequest:
    return StartRequest("risk.features", "id", partition, 99, low, high)


async def start_of(learner: Learner, request: StartRequest) -> StartAt:
    return (await hooks(learner).resolve_start([request]))["risk.features", request.partition]


async def test_what_it_cannot_learn_is_counted_and_never_stops_it(learner: Learner) -> None:
    values = [a_vector("s1"), b"{", None, a_vector("s1"), a_vector("s2", "login"), b'{"type":"x"}']
    assert await feed(learner, values, at=10) == ["done"]
    assert (learnt(learner, "signup"), learnt(learner, "login")) == (1, 1)
    reasons = ("malformed_json", "empty", "same_evidence", "unknown_type")
    assert [skipped(learner, reason) for reason in reasons] == [1, 1, 1, 1]
    assert all(known == {2: 16} for known in learner._next.values())


async def test_a_vector_that_raises_is_counted_and_the_others_are_learnt_once(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FlowLearner.learn

    def breaks(self: FlowLearner, served: ServedFeatures) -> str | None:
        if served.session_id == "bad":
            raise ZeroDivisionError
        return real(self, served)

    monkeypatch.setattr(FlowLearner, "learn", breaks)
    values = [a_vector("a"), a_vector("bad"), a_vector("b")]
    assert await feed(learner, values, at=0) == ["done"]
    assert (learnt(learner, "signup"), skipped(learner, "error")) == (2, 1)
    assert await feed(learner, values, at=0) == ["done"]
    assert (learnt(learner, "signup"), skipped(learner, "error")) == (2, 1)


async def test_what_a_flows_snapshot_holds_is_not_learnt_again(learner: Learner, snapshots: _Snapshots) -> None:
    snapshots.learnt = {"signup": held(learner, {2: 12})}
    learner._resume()
    await feed(learner, [a_vector(f"s{i}") for i in range(4)] + [a_vector("l", "login")], at=10)
    assert (learnt(learner, "signup"), learnt(learner, "login")) == (2, 1)
    assert learner._offsets_of("signup") == {"2": 15}


async def test_reading_begins_where_some_flow_has_not_learnt(learner: Learner, snapshots: _Snapshots) -> None:
    flows = tuple(learner._flows)
    snapshots.learnt = {flow: held(learner, {0: 60, 1: 7, 3: 80}, flow) for flow in flows}
    snapshots.learnt["signup"] = held(learner, {0: 50, 1: 7})
    learner._resume()
    assert [await start_of(learner, asked(i, low=low)) for i, low in ((0, 0), (1, 10), (2, 5), (3, 0))] == [
        StartAt(50), StartAt(10), StartAt(5), StartAt(0)
    ]  # fmt: skip
    # A log that ends before was made anew, or cut: nothing of its end may be skipped.
    assert await start_of(learner, asked(0, high=20)) == StartAt(20)
    await feed(learner, [a_vector("after")], at=20, partition=0)
    assert learnt(learner, "signup") == 1


async def test_a_flow_without_a_snapshot_is_learnt_from_the_beginning(learner: Learner, snapshots: _Snapshots) -> None:
    snapshots.learnt = {"login": held(learner, {0: 5000}, "login")}
    learner._resume()
    assert await start_of(learner, asked(0, high=9000)) == StartAt(0)
    await feed(learner, [a_vector("a"), a_vector("b", "login")], at=100, partition=0)
    assert (learnt(learner, "signup"), learnt(learner, "login")) == (1, 0)
    assert (learner._next["signup"][0], learner._next["login"][0]) == (102, 5000)


async def test_after_a_rebalance_it_goes_on_from_what_it_holds_itself(learner: Learner, snapshots: _Snapshots) -> None:
    await feed(learner, [a_vector(f"s{i}") for i in range(40)], at=0)
    before = learner._flows["signup"]
    snapshots.learnt = {"signup": held(learner, {2: 25})}
    assert await start_of(learner, asked(2)) == StartAt(40)
    assert learner._flows["signup"] is before


async def test_where_another_learner_has_published_more_its_snapshot_is_taken(
    learner: Learner, snapshots: _Snapshots
) -> None:
    await feed(learner, [a_vector(f"s{i}") for i in range(40)], at=0)
    login = learner._flows["login"]
    snapshots.learnt = {"signup": held(learner, {2: 70}, vectors=47)}
    assert await start_of(learner, asked(2)) == StartAt(40)
    assert learner._flows["signup"]._trees.n_learnt == 47
    assert learner._flows["login"] is login
    await feed(learner, [a_vector(f"t{i}") for i in range(40)], at=40)
    assert learner._flows["signup"]._trees.n_learnt == 47 + 10


def test_it_waits_for_the_latest_snapshots_and_says_so_once(
    learner: Learner, snapshots: _Snapshots, caplog: pytest.LogCaptureFixture
) -> None:
    snapshots.waits = [False, False, False, True]
    learner._await_snapshots()
    assert snapshots.waits == []
    assert [r.getMessage() for r in caplog.records if r.name == "stream.learner"] == [
        "models.snapshots was not read to its end yet; learning begins when it was"
    ]
    assert learner.health.phase == "starting"


async def people(learner: Learner, n: int, *, at: int, flow: str = "signup") -> None:
    await feed(learner, [a_vector(f"{flow}-{at + i}", flow, random=True) for i in range(n)], at=at)


async def test_a_snapshot_is_published_once_a_window_and_its_halves_belong_together(learner: Learner) -> None:
    await people(learner, 70, at=0)
    await learner.publish()
    (batch,) = transport(learner).batches
    found = [decode_snapshot(one.value, one.key) for one in batch]
    calibration, trees = found[:2]
    assert [one.key for one in batch] == [
        f"calibration/signup/{calibration.hash}".encode(),
        f"anomaly_hst/signup/{trees.hash}".encode(),
        b"calibration/signup/latest",
        b"anomaly_hst/signup/latest",
    ]
    assert found[2:] == found[:2]
    assert calibration.definition["trees"] == trees.hash
    assert calibration.offsets == trees.offsets == {"2": 70}
    await people(learner, WINDOW - 11, at=70)
    await learner.publish()
    assert len(transport(learner).batches) == 1
    await people(learner, 1, at=79)
    await learner.publish()
    assert len(transport(learner).batches) == 2
    live = EMPTY
    for one in transport(learner).batches[1]:
        live = live.apply(decode_snapshot(one.value, one.key), NAMES, REGISTRY_HASH)
    assert set(live.members) == {"anomaly_hst/signup", "calibration/signup"}


async def test_offsets_are_those_of_the_moment_the_trees_were_taken(learner: Learner) -> None:
    await people(learner, 70, at=0)
    await people(learner, 70, at=70, flow="login")
    later = itertools.count(140)

    async def more() -> None:
        await people(learner, 1, at=next(later))
        await people(learner, 1, at=next(later), flow="login")

    transport(learner).while_producing = more
    await learner.publish()
    found = [decode_snapshot(one.value, one.key) for batch in transport(learner).batches for one in batch]
    assert {one.flow for one in found} == {"signup", "login"}
    assert all((one.offsets, one.n_learnt) == ({"2": 140}, 70) for one in found)
    assert learner._flows["login"].learnt_since_snapshot > 0


async def test_what_could_not_be_published_is_due_again(learner: Learner) -> None:
    await people(learner, 70, at=0)
    transport(learner).fails = True
    await learner.publish()
    assert counted(learner, "tellwire_learner_snapshots_total", kind="calibration", flow="signup") == 0
    transport(learner).fails = False
    await learner.publish()
    assert len(transport(learner).batches) == 1
    assert counted(learner, "tellwire_learner_snapshots_total", kind="calibration", flow="signup") == 1


async def test_only_the_owner_of_all_partitions_publishes_and_deletes(learner: Learner, snapshots: _Snapshots) -> None:
    await people(learner, 70, at=0)
    snapshots.old = [b"calibration/signup/old"]
    transport(learner).owned = 3
    await learner.publish()
    assert transport(learner).batches == []
    transport(learner).owned = 4
    await learner.publish()
    tombstones = transport(learner).batches[1]
    assert [(one.topic, one.key, one.value, one.partition) for one in tombstones] == [
        ("models.snapshots", b"calibration/signup/old", None, 0)
    ]
    made = decode_snapshot(transport(learner).batches[0][0].value, None)
    assert snapshots.asked_before == [made.created_at - KEPT_MS]
    assert KEPT_MS == 7 * 24 * 3600 * 1000
