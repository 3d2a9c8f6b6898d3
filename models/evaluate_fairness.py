"""What a score does to people whose input looks otherwise: the same left-out people, as recorded and adapted.

Metamorphic: nobody says how risky tremor is, but a person who trembles must not be flagged more than the same person
who does not. Pointer people are judged by an engine whose models saw nothing of their source and whose calibration
did not see them; typing people by what ships, since nothing of it was trained. The whole engine decides: models,
rules on input, calibration, default policy.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.signal_table import SIGNALS
from models.adapted import ADAPTED, Adapt
from models.dataset import Recording, Truth
from models.engine import Engine
from models.evaluate_keys import PEOPLE_SOURCES as TYPING_SOURCES
from models.evaluate_keys import first_keys
from models.evaluate_stats import Floats, Interval, mean_with_interval, share_with_interval
from models.evaluate_targets import Target, listed
from models.offline import Cut, OfflineScorer
from models.policy import load_policy
from models.train_people import LeftOut, PersonScores, prior_calibration
from models.train_vectors import END, Sample, events_of
from schemas.telemetry import Device, Telemetry

INPUTS: Final = ("mouse", "touchpad", "touch", "pen", "keys")
TYPED: Final = frozenset({
    "tremor of 4 to 8 Hz", "half speed", "keyboard only", "missing batches", "missing releases", "reduced motion",
})  # fmt: skip
"""Changes that are tried on typing; the others are about a pointer."""
NOT_POINTED: Final = frozenset({"keyboard only"})
BY_HAND: Final = frozenset({"touch", "pen"})
NOT_BY_HAND: Final = frozenset({"mouse keys", "dwell clicks"})
"""Changes that a finger or a pen cannot have."""
REDUCED_MOTION: Final = "reduced motion"
"""Not a way of moving: the page is told so, and that alone must change nothing."""
BAR: Final = 0.98
MOST_RISE: Final = 0.01
FOLDS: Final = 5
MOST_KEYS: Final = 80
FEWEST_KEYS: Final = 20


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What an engine said of sessions at their end: any-time bot score (-1: none), and the action's rank."""

    bot: Floats
    action: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Change:
    """One change on the people of one source and input, as recorded and changed.

    before, after: share at or above BAR of the any-time bot score; stepped_before, stepped_after: share that is asked
    for more (or blocked); rise, stepped_rise: the difference, person by person; blocked: share blocked after it.
    """

    name: str
    input: str
    source: str
    people: int
    sessions: int
    before: Interval
    after: Interval
    rise: Interval
    stepped_before: Interval
    stepped_after: Interval
    stepped_rise: Interval
    blocked: Interval


@dataclass(frozen=True, slots=True)
class Judged:
    """People of one source and input, and the engine that may judge each of them."""

    source: str
    input: str
    recordings: Sequence[Recording]
    unit: NDArray[np.str_]
    engines: Sequence[Engine]


_RANK: Final[Mapping[str, int]] = {"allow": 0, "step_up": 1, "block": 2}


def judge(engine: Engine, sessions: Sequence[list[Telemetry]]) -> Verdicts:
    """The engine's verdict on each session (its events in order), side by side."""
    scorer = OfflineScorer(engine, (Cut("end", END),))
    found: dict[str, tuple[float, int]] = {}
    for turn in zip_longest(*sessions):
        for (row,) in scorer.feed([event for event in turn if event is not None]):
            assessment = row.assessment
            if assessment is None:
                found[row.session_id] = (-1.0, 0)
                continue
            bot = assessment.scores.bot
            ever = bot.score_anytime if bot is not None and bot.score_anytime is not None else -1.0
            found[row.session_id] = (ever, _RANK[assessment.decision.action])
    rows = [found[events[0].session_id] for events in sessions]
    return Verdicts(np.asarray([r[0] for r in rows]), np.asarray([r[1] for r in rows], dtype=np.int64))


def measure(people: Iterable[Judged], seed: int = 1, adapted: Mapping[str, Adapt] = ADAPTED) -> list[Change]:
    """Every change on everybody it can happen to."""
    found: list[Change] = []
    for one in people:
        plain = _verdicts(one, [_events(r, number) for number, r in enumerate(one.recordings)])
        for place, (name, adapt) in enumerate(adapted.items()):
            if not can_have(name, one.input):
                continue
            rng = np.random.default_rng((seed, 23, place))
            changed = [_events(adapt(r, rng), number) for number, r in enumerate(one.recordings)]
            found.append(change_of(name, one, plain, _verdicts(one, changed)))
        told = [[_told(_events(r, number), reduced=yes) for number, r in enumerate(one.recordings)]
                for yes in (False, True)]  # fmt: skip
        found.append(change_of(REDUCED_MOTION, one, _verdicts(one, told[0]), _verdicts(one, told[1])))
    return found


def can_have(name: str, kind: str) -> bool:
    """Whether a change can happen to an input."""
    if kind == "keys":
        return name in TYPED
    return name not in NOT_POINTED and not (kind in BY_HAND and name in NOT_BY_HAND)


def _events(recording: Recording, number: int) -> list[Telemetry]:
    return events_of(replace(recording, session_id=f"session-{number}"))


def _told(events: list[Telemetry], *, reduced: bool) -> list[Telemetry]:
    first = msgspec.structs.replace(events[0], device=Device(reduced_motion=reduced))
    return [first, *events[1:]]


def _verdicts(people: Judged, sessions: Sequence[list[Telemetry]]) -> Verdicts:
    bot, action = np.full(len(sessions), -1.0), np.zeros(len(sessions), dtype=np.int64)
    for engine in dict.fromkeys(people.engines):
        mine = [i for i, own in enumerate(people.engines) if own is engine]
        verdicts = judge(engine, [sessions[i] for i in mine])
        bot[mine], action[mine] = verdicts.bot, verdicts.action
    return Verdicts(bot, action)


def change_of(name: str, people: Judged, before: Verdicts, after: Verdicts) -> Change:
    """The figures of one change."""
    unit = people.unit
    flagged = [(v.bot >= BAR) for v in (before, after)]
    stepped = [(v.action > 0) for v in (before, after)]
    return Change(
        name, people.input, people.source, len(np.unique(unit)), len(unit),
        share_with_interval(flagged[0], unit), share_with_interval(flagged[1], unit),
        mean_with_interval(flagged[1].astype(np.float64) - flagged[0], unit),
        share_with_interval(stepped[0], unit), share_with_interval(stepped[1], unit),
        mean_with_interval(stepped[1].astype(np.float64) - stepped[0], unit),
        share_with_interval(after.action > 1, unit),
    )  # fmt: skip


def pointer_people(
    samples: Iterable[Sample],
    shipped: Engine,
    models: LeftOut,
    scores: Sequence[PersonScores],
    most: int,
    seed: int = 1,
) -> Iterator[Judged]:
    """People who point, at most `most` windows a source and input, each with an engine that knows nothing of them.

    models: by source, trained without it; scores: the same people's, for the calibration, each by the model without
    their source. A source that has no model was in no training: it is judged by what ships.
    """
    policy = load_policy(known_signals=SIGNALS)
    names = sorted({one.person for one in scores})
    order = np.random.default_rng((seed, 29)).permutation(len(names))
    fold_of = {name: int(place) % FOLDS for name, place in zip(names, order, strict=True)}
    tables = [prior_calibration(one for one in scores if fold_of[one.person] != q) for q in range(FOLDS)]
    known: dict[tuple[str, int], Engine] = {}

    def engine_of(sample: Sample) -> Engine:
        if sample.group not in models.pointer:
            return shipped
        key = (sample.group, fold_of.get(sample.person or "", 0))
        if key not in known:
            known[key] = Engine(
                shipped.artifacts._replace(
                    pointer=models.pointer[key[0]],
                    anomaly={"*": models.anomaly[key[0]]},
                    calibration=tables[key[1]],
                ),
                policy,
            )
        return known[key]

    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        if sample.label == 0 and sample.recording.pointer_type in INPUTS:
            groups.setdefault((sample.source, sample.recording.pointer_type), []).append(sample)
    for number, ((source, kind), mine) in enumerate(sorted(groups.items())):
        picked = np.sort(np.random.default_rng((seed, 31, number)).permutation(len(mine))[:most])
        chosen = [mine[i] for i in picked.tolist()]
        yield Judged(
            source, kind, [s.recording for s in chosen],
            np.asarray([s.person or s.recording.session_id for s in chosen]), [engine_of(s) for s in chosen],
        )  # fmt: skip


def typing_people(
    sessions: Sequence[Recording], truths: Mapping[str, Truth], shipped: Engine, most: int
) -> Iterator[Judged]:
    """People who type, the first keys of at most `most` sessions a source; nothing that judges them was trained."""
    for source in TYPING_SOURCES:
        mine = [r for r in sessions if truths[r.session_id].source == source and len(r.key_down_ms) >= FEWEST_KEYS]
        mine = mine[:most]
        if mine:
            cut = [first_keys(r, min(MOST_KEYS, len(r.key_down_ms))) or r for r in mine]
            unit = np.asarray([truths[r.session_id].person or r.session_id for r in mine])
            yield Judged(source, "keys", cut, unit, [shipped] * len(mine))


def fairness_targets(changes: Sequence[Change]) -> list[Target]:
    """The rise of the flagged and of the stepped-up share by change, on the source and input where it is largest."""
    asked = (f"at most {MOST_RISE:g}", "0")
    figures = (
        (
            f"people whose input looks otherwise: rise of the share at or above {BAR}",
            _worst(changes, lambda one: one.rise),
        ),
        (
            "people whose input looks otherwise: rise of the share stepped up",
            _worst(changes, lambda one: one.stepped_rise),
        ),
        ("people whose input looks otherwise: share blocked", _worst(changes, lambda one: one.blocked)),
    )
    return [listed(figure, "source", asked, each, [], higher=False) for figure, each in figures]


def _worst(changes: Sequence[Change], figure: Callable[[Change], Interval]) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    for one in changes:
        if one.name not in found or figure(one).value > found[one.name].value:
            found[one.name] = figure(one)
    return found


def fairness_text(changes: Sequence[Change]) -> str:
    """A table row for each change and input: how many there are, and what it did on the worst source."""
    head = (
        "change", "input", "sources (people, sessions)", f"at or above {BAR}, worst source", "rise",
        "stepped up, worst source", "rise", "blocked",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---|---|---|---|---|---|---|---|"]
    for name in (*ADAPTED, REDUCED_MOTION):
        for kind in INPUTS:
            if not can_have(name, kind):
                continue
            mine = [one for one in changes if one.name == name and one.input == kind]
            if not mine:
                lines.append(f"| {name} | {kind} | n=0 | n=0 | n=0 | n=0 | n=0 | n=0 |")
                continue
            flagged = max(mine, key=lambda one: one.rise.value)
            stepped = max(mine, key=lambda one: one.stepped_rise.value)
            there = ", ".join(f"{one.source} ({one.people}, {one.sessions})" for one in mine)
            cells = (
                name, kind, there, _from_to(flagged.source, flagged.before, flagged.after), flagged.rise.text(),
                _from_to(stepped.source, stepped.stepped_before, stepped.stepped_after), stepped.stepped_rise.text(),
                f"{max(one.blocked.value for one in mine):.3f}",
            )  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _from_to(source: str, before: Interval, after: Interval) -> str:
    return f"{source}: {before.value:.3f} to {after.value:.3f}"
