"""Live people: whom bot scores are ranked among, whatever bots are among them, and how far a day may move that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from features.meta import Meta
from features.registry import REGISTRY_HASH
from models import live_people
from models.bot_ranking import BotRanking
from models.calibration import CalibrationTable, Calibrator, rank_people
from models.calibration_table import MIN_PEOPLE, Ranks
from models.cells import ANY, Cell, Kind, chain
from models.channels import Planner
from models.day_start import DAY_MS, LEVELS, DayStart, reach_of
from models.engine import Engine
from models.live_people import (
    LEAST_TRUSTED,
    SILENT_MS,
    SMALL,
    SUSPICION,
    LivePeople,
    LiveRanks,
    hold,
    rank_beside,
)
from models.scorer import FloatArray
from models.snapshots import SnapshotSet, compact
from schemas.served import ServedFeatures

CELL = Cell("signup", "mouse", "web", "lt7s")
ALL = Cell(ANY, "mouse", ANY, ANY)
Key = tuple[str, Kind, Cell]
KEY: Key = ("bot", "now", ALL)
_numbers = count()


def served(session: str, raw: float, top: float | None = None, **more: Any) -> ServedFeatures:
    known: dict[str, object] = {
        "evaluation_id": f"id:0:{next(_numbers)}",
        "session_id": session,
        "flow": "signup",
        "cell": list(CELL),
        "features_hash": REGISTRY_HASH,
        "features": [],
        "raw": {"bot": raw},
        "raw_max": {"bot": raw if top is None else top},
        "overall": 0.1,
        "flagged_by": [],
        "cohort": "unlabelled",
        "sequence": 1,
        "is_final": True,
        "ingested_at": 1_700_000_000_000,
        "observed_s": 5.0,
        "sampling_ratio": 1.0,
        "scorers": "a",
    }
    return ServedFeatures(**(known | more))  # type: ignore[arg-type]


def score(ranks: Ranks, raw: float) -> float:
    table = CalibrationTable({KEY: ranks}, "live", 1)
    return Calibrator([table]).score("bot", "now", ALL, raw).score


def naive_p(people: Sequence[Sequence[float]], raw: float) -> float:
    return (1.0 + sum(sum(v >= raw for v in values) / len(values) for values in people)) / (len(people) + 1.0)


def naive_beside(trusted: Sequence[Sequence[float]], others: Sequence[Sequence[float]], raw: float) -> float:
    """P-value of one raw score: walks up through all scores as the definition says."""
    everybody = [*trusted, *others]
    if len(trusted) < LEAST_TRUSTED or not others:
        return naive_p(everybody, raw)
    share, heavy_below, found = len(trusted) / len(everybody), False, 1.0
    for value in sorted({v for values in everybody for v in values}):
        p, own = naive_p(everybody, value), naive_p(trusted, value)
        if p < 0.5 and own < p:
            above = round(own * (len(trusted) + 1) - 1, 9)
            total = round(p * (len(everybody) + 1) - 1, 9)
            if binom.cdf(math.ceil(above), math.floor(total), share) < SUSPICION:
                heavy_below, p = True, own
        found = min(found, p)
        if value >= raw:
            return max(found, 1.0 / (len(trusted) + 1)) if _any_heavy(trusted, others) else found
    least = len(trusted) if heavy_below else len(everybody)
    return 1.0 / (least + 1)


def _any_heavy(trusted: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> bool:
    return rank_beside(trusted, others).ranks.n_people == len(trusted)


@settings(max_examples=40, deadline=None)
@given(
    n_trusted=st.integers(0, 90), n_others=st.integers(0, 200), bots=st.floats(0.0, 0.5), seed=st.integers(0, 999),
    decimals=st.integers(1, 6),
)  # fmt: skip
def test_people_beside_each_other_rank_as_their_naive_twin_says(
    n_trusted: int, n_others: int, bots: float, seed: int, decimals: int
) -> None:
    rng = np.random.default_rng(seed)

    def drawn(n: int, low: float) -> list[list[float]]:
        return [np.round(rng.uniform(low, 1.0, rng.integers(1, 4)), decimals).tolist() for _ in range(n)]

    n_bots = int(bots * n_others)
    trusted, others = drawn(n_trusted, 0.0), drawn(n_others - n_bots, 0.0) + drawn(n_bots, 0.9)
    if not trusted and not others:
        return
    found = rank_beside(trusted, others)
    assert found.ranks.n_people in {n_trusted, n_trusted + n_others}
    assert (found.trusted is not None) == (n_trusted >= LEAST_TRUSTED)
    for raw in (0.0, 0.3, 0.7, 0.9, 0.95, 0.99, 1.0, 1.1):
        assert 1.0 - score(found.ranks, raw) == pytest.approx(naive_beside(trusted, others, raw), abs=1e-8)


def share_above(ranks: Ranks, scores: np.ndarray, bar: float = 0.98) -> float:
    return float(np.mean([score(ranks, v) >= bar for v in scores.tolist()]))


@pytest.mark.parametrize("share_of_bots", [0.0, 0.05, 0.1, 0.3])
def test_bots_among_the_unlabelled_cost_neither_people_nor_what_is_found(share_of_bots: float) -> None:
    """Over many live streams of 1 000 sessions, a quarter of them trusted; bots score well above people."""
    people, found, plain = [], [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n_bots = int(750 * share_of_bots)
        trusted = rng.normal(size=(250, 1)).tolist()
        others = [*rng.normal(size=(750 - n_bots, 1)).tolist(), *rng.normal(4.0, 1.0, (n_bots, 1)).tolist()]
        ranks = rank_beside(trusted, others).ranks
        people.append(share_above(ranks, rng.normal(size=500)))
        bots = rng.normal(4.0, 1.0, 200)
        found.append(share_above(ranks, bots))
        plain.append(share_above(rank_people([*trusted, *others]), bots))
    assert np.mean(people) < 0.026
    assert np.mean(found) > 0.9
    # What this protects from: ranked among everybody, bots are soon as usual as people.
    assert np.mean(plain) > 0.9 or share_of_bots
    assert np.mean(plain) < 0.6 or not share_of_bots


def test_without_trusted_people_everybody_counts_and_the_event_says_so() -> None:
    found = rank_beside([], [[0.1], [0.2]])
    assert (found.ranks.basis, found.trusted) == ("unlabelled", None)
    assert rank_beside([[0.1]] * LEAST_TRUSTED, []).ranks.basis == "trusted"
    bots = rank_beside([[i / 100] for i in range(60)], [[0.9 + i / 1e4] for i in range(200)])
    assert (bots.ranks.basis, bots.ranks.n_people) == ("trusted", 60)
    told = Calibrator([CalibrationTable({KEY: bots.ranks}, "live", 1)]).score("bot", "now", ALL, 0.5).calibration
    assert (told.basis, told.state, told.n_people, told.cell) == ("trusted", "live", 60, ALL.key)


# Who counts.


def sessions(n: int, *, prefix: str = "s", **more: Any) -> Iterator[ServedFeatures]:
    rng = np.random.default_rng(n)
    for i in range(n):
        yield served(f"{prefix}{i}", float(rng.beta(2, 5)), **more)


def people_in(live: LivePeople, kind: Kind = "now", cell: Cell = ALL) -> int:
    found = live.ranks().get(("bot", kind, cell))
    return found.ranks.n_people if found is not None else 0


def test_a_session_counts_in_its_cell_and_in_what_that_backs_off_to() -> None:
    live = LivePeople(1.0)
    for item in sessions(60):
        assert live.take(item) is None
    for kind in ("now", "anytime"):
        cell = CELL if kind == "now" else CELL._replace(evidence=ANY)
        for parent in chain(cell, "bot"):
            assert people_in(live, kind, parent) == 60
    assert {key[0] for key in live.ranks()} == {"bot"}


def test_what_independent_channels_flag_ranks_nobody_before_or_after_and_behaviour_flags_nothing() -> None:
    live = LivePeople(1.0)
    assert live.take(served("good", 0.99, flagged_by=["bot", "anomaly"])) is None
    for channel in ("device", "injection", "replay", "velocity"):
        assert live.take(served(channel, 0.5)) is None
        assert live.take(served(channel, 0.5, flagged_by=["bot", channel])) == "flagged"
        assert live.take(served(channel, 0.5)) == "flagged"
    assert people_in(live) == 1


def test_the_latest_of_an_amount_of_evidence_counts_and_a_person_once() -> None:
    live = LivePeople(1.0)
    live.take(served("a", 0.2, account_ref="one"))
    live.take(served("a", 0.4, account_ref="one"))
    live.take(served("b", 0.8, account_ref="one"))
    live.take(served("c", 0.6))
    ranks = live.ranks()["bot", "now", ALL].ranks
    assert (ranks.n_people, ranks.values, ranks.tail) == (2, [0.4, 0.6, 0.8], [2.0, 1.5, 0.5])


def test_only_whole_sessions_rank_the_highest_scores() -> None:
    live = LivePeople(1.0)
    begin = 1_700_000_000_000
    live.take(served("open", 0.2, 0.7, is_final=False, ingested_at=begin))
    assert (people_in(live), people_in(live, "anytime")) == (1, 0)
    live.take(served("other", 0.3, ingested_at=begin + SILENT_MS))
    assert people_in(live, "anytime") == 1
    live.take(served("other", 0.3, ingested_at=begin + SILENT_MS + 1))
    assert live.ranks()["bot", "anytime", ALL].ranks.values == [0.3, 0.7]


@pytest.mark.parametrize("entity", ["account_ref", "device_ref", "address_ref"])
@pytest.mark.parametrize("share", [0.01, 0.05])
def test_nobody_counts_for_more_than_their_share(entity: str, share: float) -> None:
    live, counted = LivePeople(share), 0
    rng = np.random.default_rng(3)
    for i in range(1_500):
        loud = rng.random() < 0.6
        before = len(live)
        refs: dict[str, Any] = {entity: "loud" if loud else f"own-{i}"}
        reason = live.take(served(f"s{i}", 0.99 if loud else 0.1, **refs))
        counted += loud and reason is None
        assert reason in ({None, "influence"} if loud else {None})
        assert counted <= max(1.0, share * max(SMALL, before))
    assert counted >= share * len(live) - 1


def test_who_goes_gives_their_share_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_people, "KEPT_UNLABELLED", 50)
    live = LivePeople(0.01)
    for i in range(500):
        assert live.take(served(f"s{i}", 0.5, device_ref=f"d{i % 60}")) is None
    assert len(live) == 50
    assert live.full
    assert sum(live._of_entity.values()) == 50
    for i in range(450, 500):
        live.take(served(f"s{i}", 0.5, flagged_by=["device"]))
    assert (len(live), live._of_entity) == (0, {})


def test_a_session_that_is_vouched_for_later_is_trusted_from_then_on() -> None:
    live = LivePeople(1.0)
    for item in sessions(LEAST_TRUSTED):
        live.take(item)
    assert live.sizes() == (0, LEAST_TRUSTED)
    for i in range(LEAST_TRUSTED):
        live.take(served(f"s{i}", 0.3, cohort="control" if i % 2 else "trusted"))
    assert live.sizes() == (LEAST_TRUSTED, 0)
    assert live.ranks()["bot", "now", ALL].ranks.basis == "trusted"
    live.take(served("s0", 0.4, cohort="unlabelled"))
    assert live.sizes() == (LEAST_TRUSTED, 0)


def test_scores_of_other_scorers_are_not_compared() -> None:
    live = LivePeople(1.0)
    live.take(served("a", 0.2))
    assert live.take(served("b", 0.3, scorers=None)) == "no_scorers"
    live.take(served("c", 0.4, scorers="b"))
    assert (live.scorers, live.ranks()["bot", "now", ALL].ranks.values) == ("b", [0.4])


# A step a day.


def beginning(values: Sequence[float], day: int = 1) -> DayStart:
    ranks = rank_people([[v] for v in values])
    return DayStart(day, {KEY: reach_of(ranks.values, ranks.tail, ranks.n_people)})


@settings(max_examples=60, deadline=None)
@given(
    old=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=150),
    new=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=150),
    known=st.lists(st.floats(0.0, 1.0), max_size=60), factor=st.floats(1.0, 3.0), raw=st.floats(-0.1, 1.1),
)  # fmt: skip
@example([0.0], [1.0], [0.5], 1.0, 0.5)
def test_a_p_value_grows_by_no_more_than_a_day_allows(
    old: list[float], new: list[float], known: list[float], factor: float, raw: float
) -> None:
    trusted = rank_people([[v] for v in known]) if known else None
    wanted = rank_people([[v] for v in new])
    held = hold({KEY: LiveRanks(wanted, trusted)}, beginning(old), factor)
    before = (1 + sum(v >= raw for v in old)) / (len(old) + 1)
    level = min((one for one in LEVELS if before <= one + 1e-12), default=1.0)
    limit = min(1.0, factor * level) if level < 1.0 else 1.0
    if known:
        limit = max(limit, (1 + sum(v >= raw for v in known)) / (len(known) + 1))
    want = (1 + sum(v >= raw for v in new)) / (len(new) + 1)
    found = 1.0 - score(held.cells[KEY], raw)
    # Nobody says more than so many people allow, also where the day would.
    assert found == pytest.approx(max(min(want, limit), 1 / (len(new) + 1)), abs=1e-9)
    CalibrationTable.from_flat(CalibrationTable({KEY: held.cells[KEY]}, "live", 1).to_flat())


def test_a_flood_moves_the_threshold_by_a_step_a_day_and_is_told() -> None:
    rng = np.random.default_rng(1)
    quiet = rng.normal(size=1_000).tolist()
    flood = [*quiet[:700], *rng.normal(5.0, 0.5, 300).tolist()]
    bar = float(np.quantile(quiet, 0.98))
    held = hold({KEY: LiveRanks(rank_people([[v] for v in flood]), None)}, beginning(quiet), 2.0)
    assert held.ratio > 5.0
    assert 1.0 - score(held.cells[KEY], bar + 0.1) <= 2.0 * 0.02 + 1e-9
    assert score(held.cells[KEY], 5.0) >= 0.998
    usual = hold(
        {KEY: LiveRanks(rank_people([[v] for v in rng.normal(size=1_000).tolist()]), None)}, beginning(quiet), 2.0
    )
    assert usual.ratio < 1.0
    # What people known to be genuine show is no flood.
    trusted = rank_people([[v] for v in rng.normal(3.0, 1.0, 100).tolist()])
    shown = hold({KEY: LiveRanks(rank_people([[v] for v in flood]), trusted)}, beginning(quiet), 2.0)
    assert 1.0 - score(shown.cells[KEY], bar + 0.1) > 0.2


def ranked(ranking: BotRanking, values: Sequence[float] | FloatArray, day: int, prefix: str) -> CalibrationTable:
    """Take sessions, and publish what is made of them on a day."""
    for i, value in enumerate(values):
        assert ranking.people.take(served(f"{prefix}{i}", float(value))) is None
    made = ranking.make(day * DAY_MS + 5)
    whole = CalibrationTable(made.cells, "live", MIN_PEOPLE, scorers=made.scorers, day=made.day)
    table = CalibrationTable.from_flat(compact(whole).to_flat())
    ranking.published(table)
    return table


def at(table: CalibrationTable, raw: float) -> float:
    return Calibrator([table]).score("bot", "now", CELL, raw).score


def test_from_day_to_day_a_flood_gets_a_step_further_also_over_a_restart() -> None:
    rng = np.random.default_rng(2)
    ranking = BotRanking(None, 1.0, 2.0)
    first = ranked(ranking, rng.normal(size=1_500), 1, "a")
    bar = 2.6
    before = 1.0 - at(first, bar)
    assert before < 0.012
    steps = []
    table = first
    for day in (2, 3, 4):
        for hour in range(3):
            table = ranked(ranking, rng.normal(5.0, 0.5, 150), day, f"{day}{hour}")
            steps.append(1.0 - at(table, bar))
        ranking, people = BotRanking(table, 1.0, 2.0), ranking.people
        ranking.people = people  # what a process keeps is lost at a restart; the snapshot is not
    # 2 % is the level that the first day's p-value is known to be within.
    assert [step <= 0.021 * 2**day for day, step in zip(np.repeat((1, 2, 3), 3), steps, strict=True)] == [True] * 9
    assert steps[0] == pytest.approx(steps[2], rel=0.05)
    assert steps[8] > 2.0 * steps[0]


def test_a_restart_keeps_who_was_ranked_until_as_many_came_anew() -> None:
    rng = np.random.default_rng(3)
    table = ranked(BotRanking(None, 1.0, 2.0), rng.normal(size=400), 1, "a")
    again = BotRanking(table, 1.0, 2.0)
    assert again.make(DAY_MS).cells == {k: r for k, r in table.cells.items() if k[0] == "bot"}
    few = ranked(again, rng.normal(3.0, 1.0, 100), 1, "b")
    assert (few.people("bot", "now", CELL), at(few, 2.0)) == (400, at(table, 2.0))
    more = ranked(again, rng.normal(size=400), 1, "c")
    assert more.people("bot", "now", CELL) == 500
    other = BotRanking(table, 1.0, 2.0)
    for i in range(60):
        other.people.take(served(f"d{i}", 0.5, scorers="b"))
    made = other.make(DAY_MS)
    assert (made.scorers, {ranks.n_people for ranks in made.cells.values()}) == ("b", {60})


def test_trusted_people_who_come_to_speak_alone_are_served_though_they_are_fewer() -> None:
    rng = np.random.default_rng(4)
    ranking = BotRanking(None, 1.0, 2.0)
    for i, value in enumerate(rng.normal(size=80)):
        ranking.people.take(served(f"t{i}", float(value), cohort="trusted"))
    clean = ranked(ranking, rng.normal(size=300), 1, "a")
    assert clean.people("bot", "now", CELL) == 380
    flooded = ranked(ranking, rng.normal(3.0, 0.3, 150), 1, "b")
    assert flooded.people("bot", "now", CELL) == 80
    assert at(flooded, 3.0) >= 1.0 - 1.5 / 81
    # Nor do unlabelled sessions take their place after a restart, until people known to be genuine are there again.
    again = BotRanking(flooded, 1.0, 2.0)
    kept = ranked(again, rng.normal(3.0, 0.3, 200), 1, "c")
    assert (kept.people("bot", "now", CELL), at(kept, 3.0)) == (80, at(flooded, 3.0))
    for i, value in enumerate(rng.normal(size=60)):
        again.people.take(served(f"u{i}", float(value), cohort="trusted"))
    assert ranked(again, [], 1, "d").people("bot", "now", CELL) == 60


def test_a_worker_serves_live_ranks_of_its_own_scorers_only(shipped: Engine) -> None:
    ranks = rank_people([[i / 100] for i in range(100)])
    cells: dict[Key, Ranks] = {("bot", "now", CELL): ranks, ("bot", "anytime", CELL._replace(evidence=ANY)): ranks}
    cells["anomaly", "now", CELL] = rank_people([[0.1]] * 60)
    for scorers, state in ((shipped.scorers, "live"), (None, "live"), ("others", "prior")):
        served_set = SnapshotSet(calibration={"signup": CalibrationTable(cells, "live", MIN_PEOPLE, scorers=scorers)})
        planner = Planner(shipped.policy, shipped._tables, shipped.scorers)
        meta = Meta(flow="signup", pointer_type="mouse", collector="web")
        plan = planner.plan(meta, 100.0, 0.0, 5.0, served_set)
        assert plan.cell == CELL
        calibrator = planner._calibrators["signup"]
        assert calibrator.score("bot", "now", plan.cell, 0.5).calibration.state == state
        assert calibrator.score("anomaly", "now", plan.cell, 0.5).calibration.state == "live"


@pytest.fixture(scope="module")
def shipped() -> Engine:
    return Engine.load()
