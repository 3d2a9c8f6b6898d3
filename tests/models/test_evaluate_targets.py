"""Figures that scores are held to: known answers on made-up data, a leak that must show, splits that share nobody."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.registry import N_FEATURES
from models.dataset import read_recordings, read_truth
from models.evaluate import session_models
from models.evaluate_pointer import CUT_NAMES, FOLDS, leave_family_out
from models.evaluate_report_targets import targets_text
from models.evaluate_stats import Judged, across, auc, found_at, side
from models.evaluate_targets import (
    can_say,
    counted,
    session_targets,
    slices_of,
    source_target,
    window_targets,
)
from models.evaluate_whole import (
    Anytime,
    Sessions,
    by_family,
    by_source,
    family_model,
    judges,
    person_left_out,
    score_sessions,
    source_left_out,
    source_model,
    whole_samples,
)
from models.train_fit import person_folds
from models.train_vectors import Table, tabulate
from models.train_windows import Recipe, training_samples
from tests.models.recordings import folder, small_world

Floats = NDArray[np.float64]
SOURCES = ("lab", "shop", "bank")


def _judged(name: str, people: Floats, bots: Floats, persons: int = 10) -> Judged:
    return Judged(
        name, people, np.asarray([f"p{i % persons:02}" for i in range(len(people))]), np.full(len(people), "lab"),
        bots, np.asarray([f"{name}{i}" for i in range(len(bots))]),
    )  # fmt: skip


@given(st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=20), min_size=1, max_size=4), st.integers(0, 99))
def test_mean_and_worst_against_their_naive_twin(bots: list[list[int]], seed: int) -> None:
    people = np.random.default_rng(seed).integers(0, 10, 40).astype(float)
    judged = [_judged(f"f{i}", people, np.asarray(b, dtype=float)) for i, b in enumerate(bots)]
    for measure in (auc, lambda a, b: found_at(a, b, 0.1)):
        found = across(judged, measure, bootstraps=5)
        twin = {}
        for one in judged:
            humans, robots = side(one.people, one.person), side(one.bots, one.session)
            twin[one.name] = measure(humans, robots)
        assert found.mean.value == pytest.approx(sum(twin.values()) / len(twin))
        assert found.worst.value == pytest.approx(min(twin.values()))
        assert twin[found.worst_of] == pytest.approx(min(twin.values()))
        assert {name: one.value for name, one in found.each.items()} == pytest.approx(twin)


def test_a_person_is_drawn_for_all_families_alike() -> None:
    rng = np.random.default_rng(1)
    # Persons differ, their rows do not: the interval must come from who is drawn.
    people = np.repeat(rng.uniform(0.0, 1.0, 10), 5)
    person = np.repeat([f"p{i}" for i in range(10)], 5)
    same = [Judged(n, people, person, np.full(50, "lab"), np.full(9, 0.5), np.full(9, n)) for n in "abcdefgh"]
    one, many = across(same[:1], auc), across(same, auc)
    width = one.mean.high - one.mean.low
    assert width > 0.1
    # Eight times the same question of the same people says no more than once.
    assert many.mean.high - many.mean.low == pytest.approx(width)
    assert many.worst.low == pytest.approx(one.worst.low)


def test_a_bot_without_a_score_is_not_found() -> None:
    bots = np.asarray([0.9] * 6 + [np.nan] * 6)
    one = _judged("f", np.linspace(0, 0.5, 50), bots)
    found = across([one], lambda a, b: found_at(a, b, 0.01), unscored_lowest=True)
    assert found.mean.value == pytest.approx(0.5)
    assert across([one], auc).mean.value == pytest.approx(1.0)
    nobody = across([_judged("f", np.zeros(2), bots)], auc)
    assert np.isnan(nobody.mean.value)
    assert nobody.each["f"].text() == "n=0"


def test_few_sessions_are_named_and_not_counted() -> None:
    assert counted({"many": 100, "few": 99}) == (["many"], ["few (99 sessions)"])


LEAK = 0
"""Column that says the label in one source, and nothing elsewhere."""


def _leaky_table(per: int = 60, seed: int = 3) -> Table:
    """Three sources; in each, two families of 120 windows. In `lab` alone a column of the instrument is the label."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, str, str, str, str]] = []
    for source in SOURCES:
        rows += [(0, source, f"{source}-p{i % 12}", "", f"{source}-s{i}") for i in range(per)]
        for family in ("one", "two"):
            rows += [(1, source, "", f"{source}_{family}", f"{source}-{family}{i}") for i in range(2 * per)]
    label = np.asarray([r[0] for r in rows])
    group = np.asarray([r[1] for r in rows])
    X = np.full((len(rows), len(CUT_NAMES), N_FEATURES), np.nan, dtype=np.float32)
    noise = rng.uniform(0, 1, len(rows))
    X[:, :, LEAK] = np.where(group == "lab", label, noise)[:, None]
    return Table(
        X=X, reached=np.ones(X.shape[:2], bool), label=label, source=group, group=group,
        person=np.asarray([r[2] for r in rows]), family=np.asarray([r[3] for r in rows]),
        origin=np.full(len(rows), "recorded"), session=np.asarray([r[4] for r in rows]),
    )  # fmt: skip


def test_a_leak_of_the_instrument_shows_only_with_its_source_left_out() -> None:
    table = _leaky_table()

    def learn(rows: NDArray[np.bool_]):  # type: ignore[no-untyped-def]
        """The simplest learner that there is: means of people and bots in the leaking column, source by source."""
        bots, people = rows & (table.label == 1), rows & (table.label == 0)
        lab = {s: rows & (table.source == s) for s in SOURCES}
        leaning = sum(
            np.nan_to_num(table.X[bots & r, 0, LEAK].mean() - table.X[people & r, 0, LEAK].mean())
            for r in lab.values()
            if (bots & r).any() and (people & r).any()
        )

        def score(wanted: NDArray[np.bool_]) -> Floats:
            # Without anything learnt every score is the same.
            raw = table.X[:, :, LEAK].astype(float) * (1.0 if leaning > 0.3 else 0.0)
            return np.where(wanted[:, None], raw, np.nan)

        return score

    alone = {"lab_one": leave_family_out(table, learn, "lab_one")}
    apart = table.group == "lab"
    with_source = {"lab_one": (table, learn(~apart)(apart))}
    in_source, left_out = window_targets(
        replace(table, group=np.where(apart, "lab", "lab2")),
        {"lab_one": np.where(apart[:, None], alone["lab_one"], np.nan)}, with_source,
    )  # fmt: skip
    assert in_source.left_out == "family"
    assert in_source.mean.value == 1.0
    assert left_out.mean.value == pytest.approx(0.5)
    assert left_out.worst_of == "lab_one"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("world"), small_world(6))


def test_no_model_has_seen_whom_it_judges(data: Path) -> None:
    truths = read_truth(data)
    table = tabulate(
        training_samples(read_recordings(data), truths, Recipe(windows=1, bot_copies=1, counterparts=1), 1), (5.0,)
    )
    learnt = session_models(table)
    fold_of = dict(zip(table.person.tolist(), person_folds(table, FOLDS, 1).tolist(), strict=True))
    sources = ("sapimouse", "balabit", "delbot")
    samples = list(whole_samples(data, truths, (*sources, "sapimouse_gen")))
    assert {s.family for s in samples} > {None, "pyclick"}
    for sample in samples:
        named = judges(sample, learnt, fold_of, sources)
        # By the model without its source at least, and one more where its family counts; people by one for each family.
        assert source_model(sample.group) in named
        for name in named:
            rows = learnt[name]
            assert rows.any()
            assert not (rows & (table.session == sample.recording.session_id)).any(), name
            if sample.label:
                assert not (rows & (table.family == sample.family)).any(), name
            else:
                assert not (rows & (table.person == sample.person)).any(), name
            if name.startswith("source "):
                assert not (rows & (table.group == sample.group)).any(), name
    person = next(s for s in samples if s.label == 0)
    assert len([n for n in judges(person, learnt, fold_of, sources) if n.startswith("family ")]) == 3


def test_whole_sessions_are_scored_after_each_event(data: Path) -> None:
    class Seconds:
        """Scores a session by how much of it has been observed: what is last is also largest."""

        def raw(self, rows: Floats) -> Floats:
            assert rows.shape[1] == N_FEATURES
            return np.where(np.arange(len(rows)) == len(rows) // 2, 0.9, np.arange(len(rows)) / 1000.0)

        def raw_of_all(self, rows: Floats) -> Floats:
            return self.raw(rows) + 0.05

    truths = read_truth(data)
    names = [source_model("balabit"), family_model("pyclick", 0)]
    found = score_sessions(
        whole_samples(data, truths, ("balabit", "sapimouse_gen")),
        dict.fromkeys(names, Seconds()),  # type: ignore[arg-type]
        {}, ("balabit",),
    )  # fmt: skip
    people, theirs = found.group == "balabit", found.family == "pyclick"
    assert (found.top[names[0]][people] == 0.9).all()
    assert (found.last[names[0]][people] < 0.9).all()
    assert np.isnan(found.last[names[0]][theirs]).all()
    assert (found.top[names[1]][theirs] == 0.9).all()
    assert np.isnan(found.top[names[1]][people]).all()
    assert found.duration_s[people].min() > 8.0


def _sessions(n: int = 120, seed: int = 5) -> Sessions:
    """Sessions of two sources with `n` people each, a third with ten, and a family of 120 in one of them."""
    rng = np.random.default_rng(seed)
    group = np.concatenate([np.full(n, "lab"), np.full(n, "shop"), np.full(10, "bank"), np.full(120, "lab")])
    label = np.concatenate([np.zeros(2 * n + 10, int), np.ones(120, int)])
    unit = np.asarray([f"u{i}" for i in range(len(group))])
    top = rng.uniform(0, 1, len(group))
    top[label == 1] = 2.0
    top[group == "bank"] = 1.5
    scores = {source_model(s): np.where(group == s, top, np.nan) for s in SOURCES}
    scores |= {
        source_model(s, o): np.where((group == s) | (group == o), top, np.nan)
        for s in SOURCES
        for o in SOURCES
        if s < o
    }
    family = np.where(label == 1, "lab_one", "")
    scores |= {family_model("lab_one", 0): np.where((label == 1) | (group == "lab"), top, np.nan)}
    return Sessions(
        label,
        group,
        unit,
        family,
        unit,
        np.full(len(group), "mouse"),
        np.full(len(group), 60.0),
        scores,
        scores,
        scores,
    )


def test_people_who_are_not_judged_are_still_among_those_who_rank_others() -> None:
    sessions = _sessions()
    silent = {name: np.where(np.arange(len(sessions)) % 3 == 0, np.nan, top) for name, top in sessions.top.items()}
    fewer = replace(sessions, top=silent)
    everybody, judged = (person_left_out(one, ("lab", "shop")) for one in (sessions, fewer))
    scored = ~np.isnan(judged.score)
    assert 0 < scored.sum() < (~np.isnan(everybody.score)).sum()
    assert np.array_equal(judged.score[scored], everybody.score[scored])
    assert np.array_equal(judged.people[scored], everybody.people[scored])


def test_who_is_ever_flagged_has_the_known_share() -> None:
    sessions = _sessions()
    assert by_source(sessions, sessions.top).tolist()[:3] == sessions.top[source_model("lab")].tolist()[:3]
    assert np.isnan(by_family(sessions, sessions.top, "lab_one", 1)[sessions.group == "shop"]).all()
    within = person_left_out(sessions, ("lab", "shop"))
    mine = np.isin(sessions.group, ("lab", "shop")) & (sessions.label == 0)
    # Ranked among their like, 2 % of people are at or above 0.98; nobody else has a score.
    assert (within.score[mine] >= 0.98).mean() == pytest.approx(0.02, abs=0.02)
    assert np.isnan(within.score[~mine]).all()
    # Nobody is among those who rank them: a fifth of the people is missing there.
    assert set(within.people[mine].tolist()) == {192}
    # A source that looks riskier than all others is flagged whole.
    assert (source_left_out(sessions, "bank", ("lab", "shop")).score[sessions.group == "bank"] >= 0.98).all()
    # And one with ten people to rank among can flag nobody, whatever it does.
    few = source_left_out(sessions, "lab", ("bank", "lab"))
    assert few.score[sessions.label == 1].max() < 0.98
    assert not can_say(few, sessions.group == "lab")


def test_figures_over_sessions_and_their_text() -> None:
    sessions = _sessions()
    targets = session_targets(sessions, ["lab_one"], ("lab", "shop"), SOURCES, 1)
    by = {(t.figure.split(" ")[0], t.left_out): t for t in targets}
    assert by["found", "family"].mean.value == 1.0
    assert by["found", "family and its source"].mean.value == 1.0
    assert by["genuine", "source"].worst_of == "bank"
    assert by["genuine", "source"].worst.value == 1.0
    assert by["genuine", "person"].worst.value < 0.05
    assert by["bots", "family and its source"].each["lab_one"].value == 1.0
    few = source_target({"lab": (by["genuine", "person"].worst, 200), "tiny": (by["genuine", "source"].worst, 12)})
    assert few.not_counted == ["tiny (12 people to rank among)"]
    assert set(few.each) == {"lab"}
    text = targets_text([*targets, few], slices_of(sessions))
    assert "| pen | - | n=0 | n=0 | n=0 |" in text
    assert "| mouse | bank | 10 | 10 | 0 |" in text
    assert "nan" not in text
    # A long session is no session of up to ten minutes.
    long = replace(sessions, duration_s=np.full(len(sessions), 601.0))
    nobody = session_targets(long, ["lab_one"], ("lab", "shop"), SOURCES, 1)
    assert next(t for t in nobody if t.left_out == "person").worst.text() == "n=0"


def test_an_empty_session_has_no_say() -> None:
    nothing = Anytime(np.full(3, np.nan), np.zeros(3, dtype=np.int64))
    assert not can_say(nothing, np.ones(3, dtype=bool))
