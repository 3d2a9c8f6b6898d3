"""`tellwire evaluate`: every figure that the documentation states, from one run over the recorded sessions.

Leave-one-family-out and leave-one-source-out for the pointer model and for the plain baseline, an ablation, sources
that are in no training, the keystroke scorer on people that it was not made from, and the shipped engine end to end.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import evaluate_baseline as baseline
from models.calibration import Calibrator
from models.cells import ANY, Cell
from models.dataset import Recording, Truth, read_recordings, read_truth
from models.engine import Engine
from models.evaluate_fairness import Change, fairness_targets
from models.evaluate_instrument import Apart, Leak, bots_of, leaks, people_of, told_apart
from models.evaluate_keys import SEEDS, KeyPeople, KeyResult, choose, evaluate_keys
from models.evaluate_left_out import PEOPLE_SOURCES, UNSEEN_POINTER, fairness, models_left_out, spliced_sessions
from models.evaluate_live import DRAWS, LiveResult, live_streams, live_targets
from models.evaluate_live import measure as measure_live
from models.evaluate_pointer import (
    CUT_NAMES,
    FOLDS,
    FamilyResult,
    Fit,
    PointerLearner,
    Rows,
    SourceResult,
    baseline_fit,
    calibration_of,
    families_of,
    family_curve,
    family_results,
    held_out_people,
    leave_family_out,
    leave_source_out,
    pointer_fit,
    unit_of,
    unseen_source,
    without_family,
)
from models.evaluate_replay import People, people_from, replay_targets
from models.evaluate_replay import measure as measure_replays
from models.evaluate_stats import Floats, Interval, share_with_interval
from models.evaluate_streams import Stream, streams
from models.evaluate_takeover import Takeover
from models.evaluate_targets import (
    Slice,
    Target,
    key_target,
    session_targets,
    slices_of,
    source_target,
    window_targets,
)
from models.evaluate_whole import Sessions, family_model, score_sessions, source_model, whole_samples
from models.keystroke_range import KeystrokeRange
from models.offline import Cut, OfflineScorer
from models.train import TrainSettings, quick
from models.train_fit import person_folds, predict
from models.train_people import pointer_model
from models.train_vectors import END, Table, tabulate
from models.train_windows import SHIPPABLE, Recipe, group_of, recorded_samples, training_samples

NOT_IN_TRAINING = ("captcha2017", "hofstra", "aalto_sample", "mobikey", "cmu_partial", "key_gen")
MOST_END_TO_END = 600


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """quick: a sixth of the data and few rounds, to show that it works; key_seeds: draws of each kind of typing bot."""

    quick: bool = False
    train: TrainSettings = field(default_factory=TrainSettings)
    key_seeds: int = SEEDS


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """The shipped engine on sessions of a source in no training: decisions at the end, by label and family."""

    source: str
    family: str
    sessions: int
    scored: Interval
    stepped_up: Interval
    at_095: Interval
    """Bot channel, any time, at or above 0.95."""
    at_098: Interval
    kinds: dict[str, float]
    """Share of sessions by the kind of sender that the event names at the end, largest first; `none`: no kind."""


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures."""

    windows: dict[str, int]
    people: dict[str, int]
    families: list[FamilyResult]
    families_baseline: list[FamilyResult]
    families_ablation: list[FamilyResult]
    sources: list[SourceResult]
    sources_baseline: list[SourceResult]
    unseen: list[SourceResult]
    unseen_baseline: list[SourceResult]
    keys: list[KeyResult]
    key_people: list[KeyPeople]
    end_to_end: list[EndToEnd]
    targets: list[Target]
    slices: list[Slice]
    leaks: list[Leak]
    apart: list[Apart]
    changes: list[Change]
    streams: list[Stream]
    takeovers: list[Takeover]
    live: list[LiveResult]
    quick: bool
    features_hash: str
    columns: int


@dataclass(frozen=True, slots=True)
class Result:
    """The figures, and the curves that the plots show: ROC (false, true) by family and model at 5 s."""

    summary: Summary
    curves: dict[str, dict[str, tuple[Floats, Floats]]]


def evaluate(
    data: Path, settings: EvaluateSettings | None = None, progress: Callable[[str], None] | None = None
) -> Result:
    """Run everything on the folder `data`. Raises DatasetError when it cannot be read."""
    settings = settings or EvaluateSettings()
    tell = progress or (lambda _: None)
    train = quick(settings.train) if settings.quick else settings.train
    truths, seed = read_truth(data), train.fit.seed
    tell("reading and folding windows")
    table = tabulate(training_samples(read_recordings(data), truths, train.recipe, seed))
    plain = plain_table(data, truths, table, train.recipe, seed)
    learner = pointer_fit(table, train.fit)
    learners: dict[str, Fit] = {
        "model": learner,
        "baseline": baseline_fit(table, plain),
        "ablation": pointer_fit(table, train.fit, generated=False),
    }
    families: dict[str, list[FamilyResult]] = {name: [] for name in learners}
    curves: dict[str, dict[str, tuple[Floats, Floats]]] = {name: {} for name in learners}
    alone: dict[str, Floats] = {}
    with_source: dict[str, tuple[Table, Floats]] = {}
    for family in families_of(table):
        instrument = str(table.group[table.family == family][0])
        for name, learn in learners.items():
            tell(f"without family {family}: {name}")
            scores = leave_family_out(table, learn, family)
            families[name] += family_results(table, scores, family, instrument)
            curves[name][family] = family_curve(table, scores, family, 2)
            if name == "model":
                alone[family] = scores
    sources: dict[str, list[SourceResult]] = {"model": [], "baseline": []}
    for source in PEOPLE_SOURCES:
        for name in sources:
            tell(f"without source {source}: {name}")
            sources[name] += leave_source_out(table, learners[name], source, by_source=name == "model")
    tell(f"{UNSEEN_POINTER}, in no training")
    other, unseen, unseen_plain = unseen_pointer(data, truths, table, plain, train)
    for family, group in _groups_of(table):
        apart = table.group == group
        with_source[family] = (table, learner(~apart)(apart & (table.origin == "recorded")))
    everyone = learner.booster(np.ones(len(table), dtype=bool))
    for family, _ in _groups_of(other):
        with_source[family] = (other, predict(everyone, other, np.ones(len(other), dtype=bool)))
    tell("whole sessions, event by event")
    sessions = scored_sessions(data, truths, table, learner, train.recipe.every)
    tell("calibration on live people")
    live = measure_live(live_streams(sessions, table, learner, UNSEEN_POINTER), 2 if settings.quick else DRAWS)
    tell("what tells sources of people apart")
    people = people_of((table, other), CUT_NAMES.index("5"))
    leaking = leaks(people, bots_of((table, other), CUT_NAMES.index("5")))
    tell("replays and morphs of people")
    replays = measure_replays(strokes_of_people(data, truths, train.recipe.every))
    tell("people whose input looks otherwise")
    engine = Engine.load()
    models = models_left_out(table, learner, train)
    changes = fairness(data, truths, models, engine, train)
    tell("keystrokes")
    keys, key_people = keystrokes(
        data, truths, engine, 4 if settings.quick else settings.key_seeds, 60 if settings.quick else 300
    )
    tell("the shipped engine, end to end")
    end = list(end_to_end(data, truths, engine, 60 if settings.quick else MOST_END_TO_END))
    recorded = table.origin == "recorded"
    at_end = {s.source: (s.flagged["0.98"], s.calibrated_on) for s in [*sources["model"], *unseen] if s.cut == "end"}
    summary = Summary(
        windows={str(s): int((recorded & (table.source == s)).sum()) for s in np.unique(table.source)},
        people={
            str(g): len(np.unique(table.person[(table.group == g) & (table.label == 0)]))
            for g in np.unique(table.group)
        },
        families=families["model"],
        families_baseline=families["baseline"],
        families_ablation=families["ablation"],
        sources=sources["model"],
        sources_baseline=sources["baseline"],
        unseen=unseen,
        unseen_baseline=unseen_plain,
        keys=keys,
        key_people=key_people,
        end_to_end=end,
        targets=[
            *window_targets(table, alone, with_source),
            *session_targets(sessions, list(alone), PEOPLE_SOURCES, (*PEOPLE_SOURCES, UNSEEN_POINTER), FOLDS),
            source_target(at_end),
            key_target(keys),
            *replay_targets(replays),
            *fairness_targets(changes),
            *live_targets(live),
        ],
        slices=slices_of(sessions),
        leaks=leaking,
        apart=told_apart(people),
        changes=changes,
        streams=streams(data),
        takeovers=spliced_sessions(data, truths, models, train),
        live=live,
        quick=settings.quick,
        features_hash=str(engine.versions["features"]),
        columns=len(engine.artifacts.pointer.inputs) if engine.artifacts.pointer is not None else 0,
    )
    return Result(summary, curves)


def _groups_of(table: Table) -> list[tuple[str, str]]:
    """Recorded families and the source whose instrument each went through."""
    return [(family, str(table.group[table.family == family][0])) for family in families_of(table)]


def session_models(table: Table) -> dict[str, Rows]:
    """What each model that judges whole sessions learns from, by name: all but a family and some people, or sources."""
    fold = person_folds(table, FOLDS, 1)
    rows = {
        family_model(family, q): without_family(table, family, fold != q)
        for family in families_of(table)
        for q in range(FOLDS)
    }
    for source in (*PEOPLE_SOURCES, UNSEEN_POINTER):
        rows[source_model(source)] = table.group != source
        for beside in PEOPLE_SOURCES:
            if source not in {beside, UNSEEN_POINTER}:
                rows[source_model(source, beside)] = (table.group != source) & (table.group != beside)
    return rows


def scored_sessions(
    data: Path, truths: dict[str, Truth], table: Table, learner: PointerLearner, every: int
) -> Sessions:
    """Whole sessions of all sources with a pointer, each by every model that left out its family or its source."""
    models = {name: pointer_model(learner.booster(rows)) for name, rows in session_models(table).items()}
    fold_of = dict(zip(table.person.tolist(), person_folds(table, FOLDS, 1).tolist(), strict=True))
    samples = whole_samples(data, truths, (*SHIPPABLE, UNSEEN_POINTER), every)
    return score_sessions(samples, models, fold_of, PEOPLE_SOURCES)


def strokes_of_people(data: Path, truths: dict[str, Truth], every: int) -> People:
    """Strokes of the people whose sources name them."""
    samples = [s for s in whole_samples(data, truths, PEOPLE_SOURCES, every) if s.label == 0 and s.person]
    return people_from([s.recording for s in samples], [str(s.person) for s in samples])


def plain_table(data: Path, truths: dict[str, Truth], table: Table, recipe: Recipe, seed: int) -> NDArray[np.float32]:
    """The baseline's figures aligned with the table: NaN on rows that are not recorded."""
    samples = recorded_samples(read_recordings(data), truths, SHIPPABLE, recipe.windows, seed, recipe.every)
    figures = baseline.tabulate(samples)
    out = np.full((len(table), *figures.shape[1:]), np.nan, dtype=np.float32)
    out[table.origin == "recorded"] = figures
    return out


def unseen_pointer(
    data: Path, truths: dict[str, Truth], table: Table, plain: NDArray[np.float32], train: TrainSettings
) -> tuple[Table, list[SourceResult], list[SourceResult]]:
    """The source of people and bots that is in no training: its vectors, and results of the model and the baseline."""
    every = train.recipe.every
    samples = list(recorded_samples(read_recordings(data), truths, (UNSEEN_POINTER,), 1, train.fit.seed, every))
    other = tabulate(samples)
    figures = baseline.tabulate(samples)
    everything = np.ones(len(table), dtype=bool)
    rows = np.ones(len(other), dtype=bool)
    both = _joined(table, other)
    added = np.concatenate([~everything, rows])
    learners: tuple[Fit, Fit] = (pointer_fit(both, train.fit), baseline_fit(both, np.concatenate([plain, figures])))
    found: list[list[SourceResult]] = []
    for by_source, learn in zip((True, False), learners, strict=True):
        scores = learn(~added)(added)[len(table) :]
        held = held_out_people(both, learn, ~added, by_source=by_source)[: len(table)]
        results: list[SourceResult] = []
        for c in range(other.X.shape[1]):
            people = (table.origin == "recorded") & (table.label == 0)
            calibrate, n = calibration_of(held[:, c], people, unit_of(table), table.group)
            results.append(unseen_source(other, scores, calibrate, n, UNSEEN_POINTER)[c])
        found.append(results)
    return other, found[0], found[1]


def _joined(a: Table, b: Table) -> Table:
    return Table(
        **{
            name: np.concatenate([getattr(a, name), getattr(b, name)])
            for name in ("X", "reached", "label", "source", "group", "person", "family", "origin", "session")
        }
    )


def keystrokes(
    data: Path, truths: dict[str, Truth], engine: Engine, seeds: int, most: int
) -> tuple[list[KeyResult], list[KeyPeople]]:
    """The keystroke scorer that ships, with its stated prior."""
    scorer = engine.artifacts.keystroke
    if not isinstance(scorer, KeystrokeRange):
        return [], []
    calibrator = Calibrator([engine.artifacts.calibration])
    cell = Cell(ANY, "keys", ANY, ANY)
    sessions = choose(read_recordings(data), truths, most, 3)
    return evaluate_keys(sessions, truths, scorer, lambda raw: calibrator.score("bot", "now", cell, raw).score, seeds)


def end_to_end(data: Path, truths: dict[str, Truth], engine: Engine, most: int) -> Iterator[EndToEnd]:
    """The shipped engine, sessions scored alone, on the sources that are in no training."""
    groups: dict[tuple[str, str], list[Recording]] = {}
    for recording in read_recordings(data):
        truth = truths[recording.session_id]
        if truth.source in NOT_IN_TRAINING:
            groups.setdefault((truth.source, truth.family or ""), []).append(recording)
    for number, ((source, family), recordings) in enumerate(sorted(groups.items())):
        order = np.sort(np.random.default_rng((9, number)).permutation(len(recordings))[:most])
        scorer = OfflineScorer(engine, (Cut("end", END),))
        last = [rows[-1].assessment for rows in scorer.recordings(recordings[i] for i in order.tolist())]
        unit = np.asarray([truths[recordings[i].session_id].person or recordings[i].session_id for i in order.tolist()])
        bot = [a.scores.bot if a is not None else None for a in last]
        ever = np.asarray([b.score_anytime if b is not None and b.score_anytime is not None else -1.0 for b in bot])
        acted = np.asarray([a is not None and a.decision.action != "allow" for a in last])
        yield EndToEnd(
            source, family, len(last),
            share_with_interval(ever >= 0.0, unit), share_with_interval(acted, unit),
            share_with_interval(ever >= 0.95, unit), share_with_interval(ever >= 0.98, unit),
            kinds_of([a.automation.kind if a is not None and a.automation is not None else "none" for a in last]),
        )  # fmt: skip


def kinds_of(named: Sequence[str]) -> dict[str, float]:
    """Share of each kind, largest first."""
    return {kind: count / len(named) for kind, count in Counter(named).most_common()}


__all__ = ["EvaluateSettings", "Result", "Summary", "evaluate", "group_of", "replace"]
