"""What the learner learns: usual sessions only, nobody too much, and the same whether it was restarted or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest

from features.registry import N_FEATURES, NAMES, REGISTRY_HASH
from models.anomaly import FlatHST
from models.anomaly_learn import AnomalyLearner
from models.calibration import MIN_PEOPLE, CalibrationBuilder, CalibrationTable, Calibrator
from models.cells import EVIDENCE, Cell
from models.scorer import FloatArray
from models.snapshots import EMPTY, SnapshotSet, compact, read_snapshot
from schemas.envelope import decode_snapshot, encode
from schemas.risk import CHANNELS
from schemas.served import ServedFeatures
from stream import learning
from stream.learning import ANOMALY, INFLUENCE_WINDOW, FlowLearner, Made

WINDOW = 40
COLUMNS = np.array([3, 5, 8], dtype=np.int64)
SHARE = 0.1


@pytest.fixture(scope="module")
def prior() -> FlatHST:
    learner = AnomalyLearner(
        [NAMES[i] for i in COLUMNS], COLUMNS, np.zeros(3), np.ones(3), n_trees=10, height=5, window_size=WINDOW
    )
    learner.learn(vectors(WINDOW, seed=0))
    return learner.export()


def vectors(n: int, seed: int) -> FloatArray:
    found = np.full((n, N_FEATURES), np.nan)
    found[:, COLUMNS] = np.random.default_rng(seed).beta(2, 5, (n, 3))
    return found


_numbers = count()


def served(
    session: str, vector: FloatArray, *, evidence: str = EVIDENCE[0], source: str | None = None, **more: object
) -> ServedFeatures:
    known: dict[str, object] = {
        "evaluation_id": f"id:0:{next(_numbers)}",
        "session_id": session,
        "flow": "signup",
        "cell": ["signup", "mouse", "web", evidence],
        "features_hash": REGISTRY_HASH,
        "features": [None if value != value else value for value in vector.tolist()],
        "raw": {},
        "raw_max": {},
        "overall": 0.1,
        "flagged_by": [],
        "cohort": "unlabelled",
        "sequence": 1,
        "is_final": False,
        "ingested_at": 1_700_000_000_000,
        "observed_s": 1.0,
        "sampling_ratio": 1.0,
        "source_ref": source,
    }
    return ServedFeatures(**(known | more))  # type: ignore[arg-type]


def sessions(n: int, *, seed: int = 1, prefix: str = "s") -> Iterator[ServedFeatures]:
    """`n` sessions of their own sources, two amounts of evidence each."""
    drawn = vectors(2 * n, seed)
    for i in range(n):
        yield served(f"{prefix}{i}", drawn[2 * i], evidence=EVIDENCE[0])
        yield served(f"{prefix}{i}", drawn[2 * i + 1], evidence=EVIDENCE[1])


def learner(prior: FlatHST, latest: FlatHST | None = None, share: float = SHARE) -> FlowLearner:
    return FlowLearner("signup", prior, latest, share)


def test_a_new_learner_has_the_shape_of_the_prior(prior: FlatHST) -> None:
    one = learner(prior)
    for item in sessions(WINDOW):
        one.learn(item)
    trees = one._trees.export()
    assert trees.arrays.mass.shape == prior.arrays.mass.shape
    assert (trees.names, trees.window_size) == (prior.names, prior.window_size)
    assert np.array_equal(trees.low, prior.low)


def test_each_vector_has_one_outcome(prior: FlatHST) -> None:
    one, (vector,) = learner(prior), vectors(1, 3)
    assert one.learn(served("s", vector)) is None
    assert one.learn(served("s", vector)) == "same_evidence"
    assert one.learn(served("s", vector, evidence=EVIDENCE[1])) is None
    assert one.learn(served("s2", vector, features_hash="other")) == "other_features"
    assert one.learn(served("s2", vector, features=[0.5])) == "malformed"
    assert one.learn(served("s2", vector, cell=["signup"])) == "malformed"
    assert one.learn(served("s2", vector, flagged_by=["bot"])) == "flagged"
    assert one.learn(served("s3", vector, flagged_by=["anomaly"])) is None
    assert one.learnt_since_snapshot == one._trees.n_learnt == 3


def test_a_flagged_session_is_not_learnt_before_or_after_and_ranks_nobody(prior: FlatHST) -> None:
    one = learner(prior)
    for item in sessions(MIN_PEOPLE + WINDOW):
        one.learn(item)
    before = calibrated(one)
    strange = np.full(N_FEATURES, 0.99)
    assert one.learn(served("bad", strange)) is None
    assert calibrated(one) != before
    assert one.learn(served("bad", strange, evidence=EVIDENCE[1], flagged_by=["anomaly", "device"])) == "flagged"
    assert one.learn(served("bad", strange, evidence=EVIDENCE[2])) == "flagged"
    assert "bad" not in one._sessions


def calibrated(one: FlowLearner) -> str:
    """The hash of the calibration, which is what its sessions say."""
    return made_by(one).calibration.hash


def made_by(one: FlowLearner, offsets: dict[str, int] | None = None, created_at: int = 0) -> Made:
    found = one.snapshots(offsets or {}, created_at)
    assert found is not None
    return found


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_no_source_has_more_than_its_share_of_the_latest_vectors(prior: FlatHST, share: float) -> None:
    one, drawn = learner(prior, share=share), vectors(1, 3)[0]
    rng = np.random.default_rng(7)
    learnt: list[str] = []
    for i in range(3 * INFLUENCE_WINDOW):
        loud = rng.random() < 0.7
        source = "loud" if loud else f"person-{i}"
        if one.learn(served(f"s{i}", drawn, source=source)) is None:
            learnt.append(source)
        assert learnt[-INFLUENCE_WINDOW:].count("loud") <= share * INFLUENCE_WINDOW
    assert learnt.count("loud") >= share * INFLUENCE_WINDOW
    assert sum(source != "loud" for source in learnt) > 300


def test_a_source_without_influence_ranks_nobody_either(prior: FlatHST) -> None:
    one, drawn = learner(prior), vectors(1, 3)[0]
    reasons = [one.learn(served(f"s{i}", drawn, source="loud")) for i in range(200)]
    allowed = int(SHARE * INFLUENCE_WINDOW)
    assert reasons == [None] * allowed + ["influence"] * (200 - allowed)
    assert len(one._sessions) == allowed


def test_a_share_below_one_vector_still_lets_everybody_teach_once(prior: FlatHST) -> None:
    one, drawn = learner(prior, share=0.0001), vectors(1, 3)[0]
    assert [one.learn(served(f"s{i}", drawn, source=f"p{i % 600}")) for i in range(600)] == [None] * 600
    assert one.learn(served("x", drawn, source="p599")) == "influence"


def test_without_a_source_the_session_is_its_own(prior: FlatHST) -> None:
    one, drawn = learner(prior, share=0.0001), vectors(1, 3)[0]
    assert one.learn(served("s", drawn)) is None
    assert one.learn(served("s", drawn, evidence=EVIDENCE[1])) == "influence"
    assert one.learn(served("t", drawn)) is None


def test_no_snapshot_until_there_are_people_and_a_whole_window(prior: FlatHST) -> None:
    one = learner(prior)
    assert one.snapshots({}, 0) is None
    fed = 0
    for fed, item in enumerate(sessions(MIN_PEOPLE), start=1):
        one.learn(item)
        if len(one._sessions) < MIN_PEOPLE or fed < WINDOW:
            assert one.snapshots({}, 0) is None
    assert fed == 2 * MIN_PEOPLE
    made = made_by(one)
    assert one.learnt_since_snapshot == fed
    one.published(made)
    assert one.learnt_since_snapshot == 0


def through_the_wire(one: FlowLearner, offsets: dict[str, int]) -> SnapshotSet:
    """Publish, read back and check, as a worker does."""
    found = EMPTY
    made = made_by(one, offsets, created_at=5)
    for snapshot in (made.calibration, made.trees):
        read = decode_snapshot(encode(snapshot), None)
        assert (read.offsets, read.created_at, read.n_learnt) == (offsets, 5, one._trees.n_learnt)
        found = found.apply(read, NAMES, REGISTRY_HASH)
    return found


def test_snapshots_come_back_equal_and_score_equally(prior: FlatHST) -> None:
    one = learner(prior)
    for item in sessions(2 * MIN_PEOPLE):
        one.learn(item)
    live = through_the_wire(one, {"0": 7, "3": 12})
    trees = one._trees.export()
    assert live.anomaly["signup"].hash == trees.hash
    rows = vectors(50, seed=9)
    assert np.array_equal(live.anomaly["signup"].raw(rows), trees.raw(rows))
    assert live.calibration["signup"].state == "live"


def test_a_resumed_learner_goes_on_as_if_it_never_stopped(prior: FlatHST) -> None:
    whole, first = learner(prior), learner(prior)
    for item in sessions(2 * MIN_PEOPLE, seed=1):
        whole.learn(item)
        first.learn(item)
    resumed = learner(prior, through_the_wire(first, {}).anomaly["signup"])
    for item in sessions(MIN_PEOPLE + 7, seed=2, prefix="t"):
        assert resumed.learn(item) == whole.learn(item)
    assert resumed._trees.export().hash == whole._trees.export().hash
    assert resumed._trees.n_learnt == whole._trees.n_learnt


def test_the_calibration_is_that_of_a_plain_twin(prior: FlatHST) -> None:
    one, items = learner(prior), list(sessions(MIN_PEOPLE + 20))
    for item in items:
        one.learn(item)
    made = made_by(one)
    model = one._trees.export()
    assert made.trees.hash == model.hash == made.calibration.definition["trees"]
    builder = CalibrationBuilder()
    for name in dict.fromkeys(item.session_id for item in items):
        own = [item for item in items if item.session_id == name]
        scores = [float(model.raw(as_row(item))[0]) for item in own]
        for item, score in zip(own, scores, strict=True):
            builder.add(name, Cell(*item.cell), only_anomaly(score))
        builder.add(name, Cell(*own[-1].cell), only_anomaly(np.nan), only_anomaly(max(scores)))
    table = read_snapshot(made.calibration, NAMES, REGISTRY_HASH)
    assert isinstance(table, CalibrationTable)
    assert table.hash == compact(builder.build("live")).hash


def as_row(item: ServedFeatures) -> FloatArray:
    """The vector as the learner keeps it."""
    found = np.array([[np.nan if value is None else value for value in item.features]])
    return found.astype(np.float32).astype(np.float64)


def only_anomaly(score: float) -> Sequence[float]:
    return [score if i == ANOMALY else np.nan for i in range(len(CHANNELS))]


def test_memory_is_bounded(prior: FlatHST, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "MAX_SESSIONS", 20)
    one, drawn = learner(prior), vectors(1, 3)[0]
    for i in range(60):
        one.learn(served(f"s{i}", drawn))
        one.learn(served(f"bad{i}", drawn, flagged_by=["bot"]))
    for i in range(200):
        one.learn(served("s59", drawn, evidence=f"evidence {i}", raw={"anomaly": i / 200}))
    assert list(one._sessions) == [f"s{i}" for i in range(40, 60)]
    assert list(one._flagged) == [f"bad{i}" for i in range(40, 60)]
    kept = one._sessions["s59"]
    assert len(kept.vectors) == learning.MAX_VECTORS
    assert {vector.dtype for _, vector in kept.vectors.values()} == {np.dtype(np.float32)}


def test_a_snapshot_is_due_once_a_window_and_only_counted_when_published(prior: FlatHST) -> None:
    one, due = learner(prior), []
    for i, item in enumerate(itertools.islice(sessions(2 * WINDOW), 4 * WINDOW), start=1):
        one.learn(item)
        if one.is_due(min_learnt=10):
            due.append(i)
            made = one.snapshots({}, 0)
            if made is not None:
                one.published(made)
    # Its 50th session brings its vector 99; from then on there is one for each window that was completed.
    assert due == [*range(WINDOW, 2 * MIN_PEOPLE), 3 * WINDOW, 4 * WINDOW]
    one._published_learnt = 3 * WINDOW
    assert [one.is_due(WINDOW), one.is_due(WINDOW + 1)] == [True, False]


def test_a_resumed_learner_is_not_due_before_its_next_window(prior: FlatHST) -> None:
    one = learner(prior)
    for item in sessions(MIN_PEOPLE + 3):
        one.learn(item)
    resumed = learner(prior, made_by(one).model)
    assert (resumed.learnt_since_snapshot, resumed.is_due(0)) == (0, False)
    left = WINDOW - 2 * (MIN_PEOPLE + 3) % WINDOW
    for i, item in enumerate(itertools.islice(sessions(WINDOW, prefix="t"), left), start=1):
        resumed.learn(item)
        assert resumed.is_due(0) == (i == left)


def anytime(made: Made) -> FloatArray:
    """The any-time values of all people, ascending."""
    names, start = made.calibration.definition["cells"], made.calibration.arrays["start"]
    assert isinstance(names, list)
    at = names.index("anomaly anytime signup/mouse/web/*")
    bounds = np.frombuffer(start.data, "<i4")
    return np.frombuffer(made.calibration.arrays["values"].data, "<f8")[bounds[at] : bounds[at + 1]]


def test_the_served_maximum_stands_only_where_live_trees_scored_the_whole_session(prior: FlatHST) -> None:
    one = learner(prior)
    for item in sessions(MIN_PEOPLE + 10):
        one.learn(item)
    made = made_by(one)
    one.published(made)
    drawn = vectors(2, seed=5)
    by_live = [{"anomaly": float(made.model.raw(drawn[i : i + 1])[0])} for i in range(2)]
    peak = {"anomaly": 0.999_5}

    def top_after(name: str, sequence: int = 1) -> float:
        one.learn(served(name, drawn[0], raw=by_live[0], raw_max=by_live[0], sequence=sequence))
        second = by_live[1] if name != "mixed" else {"anomaly": 0.123}
        one.learn(served(name, drawn[1], raw=second, raw_max=peak, evidence=EVIDENCE[1], sequence=2))
        return float(anytime(made_by(one))[-1])

    assert top_after("mixed") < 0.999_5
    assert top_after("late", sequence=4) < 0.999_5
    assert top_after("whole") == 0.999_5


def test_the_strangest_vector_counts_though_it_is_not_the_first_of_its_evidence(prior: FlatHST) -> None:
    one = learner(prior)
    for item in sessions(MIN_PEOPLE + 10):
        one.learn(item)
    before = anytime(made_by(one))[-1]
    usual, strange = vectors(1, seed=5)[0], np.full(N_FEATURES, np.nan)
    strange[COLUMNS] = 0.999
    for vector, raw in ((usual, 0.3), (strange, 0.9), (usual, 0.3)):
        one.learn(served("s", vector, raw={"anomaly": raw}, raw_max={"anomaly": 0.9}, sequence=5))
    made = made_by(one)
    assert anytime(made)[-1] == made.model.raw(strange.astype(np.float32).astype(np.float64)[np.newaxis, :])[0] > before


def test_one_session_with_ever_new_amounts_of_evidence_is_bounded(prior: FlatHST) -> None:
    one = learner(prior)
    drawn = vectors(40, seed=3)
    answers = [one.learn(served("one", drawn[n], evidence=f"evidence-{n}")) for n in range(40)]
    assert answers == [None] * learning.MAX_VECTORS + ["same_evidence"] * (40 - learning.MAX_VECTORS)
    (session,) = one._sessions.values()
    assert len(session.learnt) == len(session.vectors) == learning.MAX_VECTORS


def scored(name: str, vector: FloatArray, bot: float, **more: Any) -> ServedFeatures:
    return served(name, vector, raw={"bot": bot}, raw_max={"bot": bot}, scorers="s", is_final=True, **more)


def test_bot_scores_are_ranked_among_live_people_and_travel_with_the_trees(prior: FlatHST) -> None:
    one, drawn = learner(prior), vectors(3 * MIN_PEOPLE, 4)
    for i, vector in enumerate(drawn):
        one.learn(scored(f"s{i}", vector, i / 200, cohort="unlabelled" if i % 2 else "trusted"))
    made = made_by(one)
    assert (made.rise_ratio, one.people.sizes()) == (0.0, (75, 75))
    live = through_the_wire(one, {}).calibration["signup"]
    assert (live.scorers, live.day) == ("s", made.table.day)
    assert live.day is not None
    cell = Cell("signup", "mouse", "web", EVIDENCE[0])
    found = Calibrator([live]).score("bot", "anytime", cell, 0.7)
    assert (found.calibration.basis, found.calibration.n_people) == ("unlabelled", 150)
    assert found.score == pytest.approx(1 - 11 / 151)
    # What flags behaviour keeps nobody out of this ranking, though it keeps them from teaching the trees.
    assert one.learn(scored("high", drawn[0], 0.99, flagged_by=["bot"])) == "flagged"
    assert len(one.people) == 151


def test_a_resumed_learner_holds_a_flood_to_the_day_that_its_snapshot_began(prior: FlatHST) -> None:
    first, drawn = learner(prior), vectors(4 * MIN_PEOPLE, 4)
    for i, vector in enumerate(drawn):
        first.learn(scored(f"s{i}", vector, i / 400))
    made = made_by(first, created_at=86_400_000)
    resumed = FlowLearner("signup", prior, made.model, SHARE, ranked=made.table)
    for i, vector in enumerate(np.concatenate([drawn, drawn])):
        resumed.learn(scored(f"f{i}", vector, 0.9))
    flooded = made_by(resumed, created_at=2 * 86_400_000)
    assert flooded.rise_ratio > 10.0
    cell = Cell("signup", "mouse", "web", EVIDENCE[0])
    before, after = (Calibrator([m.table]).score("bot", "now", cell, 0.6).score for m in (made, flooded))
    assert 0.98 < after <= before
