"""The gate: whether the present artefacts are worse than the previous ones on the same golden sessions, and in what.

Found at a fixed share of false positives by family, people flagged by source, decisions and reasons that flip, time and
memory: each against its tolerance, all of which stand in one table. Both sides are scored on the same sessions, so that
no chance is between them; groups are small all the same, so one session more or less never fails a group.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from models.evaluate_stats import Side, found_at, side
from models.gate_measure import Measurement, Outcome
from models.policy import ACTION_RANK

FALSE_POSITIVES: Final = (0.01, 0.05)
ENOUGH_PEOPLE: Final = 20
"""So many people of a family's own source, or input, and it is judged against these alone."""
LEAST_SESSIONS: Final = 2
"""So many sessions of a group must be worse before the group fails."""


class Tolerance(NamedTuple):
    """How much worse one figure may get."""

    name: str
    value: float
    unit: str
    meaning: str


TOLERANCES: Final[tuple[Tolerance, ...]] = (
    Tolerance("found", 0.05, "share of a family", "Sessions of a bot family fewer found at fixed false positives."),
    Tolerance("found_mean", 0.02, "share", "The same, mean of all families."),
    Tolerance("acted", 0.05, "share of a family", "Sessions of a bot family fewer that are stepped up or blocked."),
    Tolerance("people", 0.01, "share of a source", "People of a source more who are stepped up or blocked."),
    Tolerance("people_all", 0.005, "share", "The same, of all people."),
    Tolerance("blocked_people", 0.0, "sessions", "People more who are blocked."),
    Tolerance("flips", 0.05, "share", "Golden sessions whose decision is another, in either direction."),
    Tolerance("reasons", 0.15, "share of acted on", "Sessions acted on by both whose heaviest reason is another."),
    Tolerance("latency", 1.2, "ratio", "CPU time of models, decision and reasons an event."),
    Tolerance("memory", 1.1, "ratio", "Largest resident size of a process that serves the artefacts."),
)  # fmt: skip
DEFAULTS: Final[Mapping[str, float]] = {tolerance.name: tolerance.value for tolerance in TOLERANCES}


class Figure(NamedTuple):
    """One comparison. `worse`: by how much the present is worse, in the tolerance's unit; at or below it, it passes."""

    check: str
    group: str
    previous: float
    present: float
    worse: float
    passed: bool
    sessions: int


class Flip(NamedTuple):
    """A golden session whose decision is another."""

    name: str
    group: str
    is_bot: bool
    previous: str
    present: str
    why: str
    """Rules that decided, then and now."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All figures, what flips, and what could not be compared."""

    figures: list[Figure]
    flips: list[Flip]
    not_compared: list[str]

    @property
    def failed(self) -> list[Figure]:
        """What is worse than its tolerance."""
        return [figure for figure in self.figures if not figure.passed]

    @property
    def passed(self) -> bool:
        """Whether nothing is."""
        return not self.failed


def compare(previous: Measurement, present: Measurement, tolerances: Mapping[str, float] | None = None) -> Verdict:
    """Compare two measurements, `tolerances` by name instead of the table's."""
    allowed = {**DEFAULTS, **(tolerances or {})}
    figures = [
        *_found(previous.outcomes, present.outcomes, allowed),
        *_people(previous.outcomes, present.outcomes, allowed),
    ]
    flips: list[Flip] = []
    not_compared: list[str] = []
    not_compared += _one_sided(previous.outcomes, present.outcomes)
    if _are_the_same(previous, present):
        flips = list(_flips(previous.outcomes, present.outcomes))
        figures += _paired(previous.outcomes, present.outcomes, len(flips), allowed)
    else:
        not_compared.append("decisions and reasons session by session: the golden sessions are others")
    for check, a, b, unit in (
        ("latency", previous.us_per_event, present.us_per_event, "µs"),
        ("memory", previous.memory_mib, present.memory_mib, "MiB"),
    ):
        if a is None or b is None or previous.machine != present.machine:
            why = (
                "it was not measured" if a is None or b is None else "the previous one was measured on another machine"
            )
            not_compared.append(f"{check}: {why}")
        else:
            figures.append(Figure(check, unit, a, b, b / a, b / a <= allowed[check], 0))
    return Verdict(figures, flips, not_compared)


def _are_the_same(previous: Measurement, present: Measurement) -> bool:
    """Whether both are of the same golden sessions in the same order: a file may say so and hold others."""
    names = ([one.name for one in measured.outcomes] for measured in (previous, present))
    return previous.sessions == present.sessions and len({tuple(each) for each in names}) == 1


def _one_sided(previous: Sequence[Outcome], present: Sequence[Outcome]) -> Iterable[str]:
    """A line for each side that has bot families or sources of people which the other has not."""
    groups = [{(one.is_bot, one.group) for one in outcomes} for outcomes in (previous, present)]
    for which, only in (("previous", groups[0] - groups[1]), ("present", groups[1] - groups[0])):
        if only:
            yield f"{', '.join(group for _, group in sorted(only))}: only the {which} sessions have any"


def _found(previous: Sequence[Outcome], present: Sequence[Outcome], allowed: Mapping[str, float]) -> Iterable[Figure]:
    """Bots found by family: at fixed false positives of raw and overall scores, and by the decision."""
    families = sorted({one.group for one in present if one.is_bot} & {one.group for one in previous if one.is_bot})
    kinds: tuple[tuple[str, Literal["raw", "overall"]], ...] = (("bot channel", "raw"), ("overall", "overall"))
    for words, score in kinds:
        for rate in FALSE_POSITIVES:
            means = []
            for family in families:
                a, b = found_share(previous, family, score, rate), found_share(present, family, score, rate)
                n = sum(one.group == family and one.is_bot for one in present)
                means.append((a, b))
                yield _lower(f"found, {words}, {rate:.0%} false positives", family, a, b, n, allowed["found"])
            if means:
                a, b = (float(np.mean([pair[i] for pair in means])) for i in (0, 1))
                check = f"found, {words}, {rate:.0%} false positives, mean"
                yield Figure(check, "all families", a, b, a - b, a - b <= allowed["found_mean"] + 1e-9, len(means))
    for family in families:
        a, b = acted_share(previous, family, is_bot=True), acted_share(present, family, is_bot=True)
        n = sum(one.group == family and one.is_bot for one in present)
        yield _lower("stepped up or blocked", family, a, b, n, allowed["acted"])


def _lower(check: str, group: str, a: float, b: float, n: int, most: float) -> Figure:
    """A share that must not fall; one session more or less is no finding."""
    fewer = a - b
    return Figure(check, group, a, b, fewer, not (fewer > most + 1e-9 and fewer * n > LEAST_SESSIONS - 0.5), n)


def found_share(outcomes: Sequence[Outcome], family: str, score: Literal["raw", "overall"], rate: float) -> float:
    """Share of a family's sessions above what costs `rate` of people, people weighing the same; without a score: no.

    The people are those of its own source, where there are enough; else those with its types of input; else all.
    """
    family_sessions = [one for one in outcomes if one.is_bot and one.group == family]
    inputs = {one.input for one in family_sessions}
    everyone = [one for one in outcomes if not one.is_bot]
    own = [one for one in everyone if source_of(one.group) == source_of(family)]
    alike = [one for one in everyone if one.input in inputs]
    chosen = next((few for few in (own, alike) if len({one.person for one in few}) >= ENOUGH_PEOPLE), everyone)
    people = _side(chosen, score).known()
    bots = _side(family_sessions, score)
    if not len(people.score) or not len(bots.known().score):
        return 0.0
    return found_at(people, bots.known(), rate, bots_total=float(bots.weight.sum()))


def source_of(group: str) -> str:
    """Source of a group: `delbot` of `delbot/some_family`, `simulated` of `simulated/mouse`."""
    return group.partition("/")[0]


def _side(outcomes: Sequence[Outcome], score: Literal["raw", "overall"]) -> Side:
    values = [one.overall if score == "overall" else one.raw for one in outcomes]
    return side(
        np.asarray([np.nan if value is None else value for value in values], dtype=np.float64),
        np.asarray([one.person for one in outcomes], dtype=np.str_),
    )


def acted_share(outcomes: Sequence[Outcome], group: str | None, *, is_bot: bool) -> float:
    """Share of sessions of a group (None: all) of bots or people that were stepped up or blocked."""
    own = [one for one in outcomes if one.is_bot == is_bot and group in {None, one.group}]
    return sum(one.action != "allow" for one in own) / len(own) if own else 0.0


def _people(previous: Sequence[Outcome], present: Sequence[Outcome], allowed: Mapping[str, float]) -> Iterable[Figure]:
    groups = sorted(
        {one.group for one in present if not one.is_bot} & {one.group for one in previous if not one.is_bot}
    )
    for group in [*groups, None]:
        a, b = acted_share(previous, group, is_bot=False), acted_share(present, group, is_bot=False)
        n = sum(not one.is_bot and group in {None, one.group} for one in present)
        most = allowed["people" if group else "people_all"]
        more = b - a
        passed = not (more > most + 1e-9 and more * n > LEAST_SESSIONS - 0.5)
        yield Figure("people stepped up or blocked", group or "all sources", a, b, more, passed, n)
    was, now = (sum(not one.is_bot and one.action == "block" for one in side) for side in (previous, present))
    yield Figure("people blocked", "all sources", was, now, now - was, now - was <= allowed["blocked_people"], 0)


def _flips(previous: Sequence[Outcome], present: Sequence[Outcome]) -> Iterable[Flip]:
    for was, now in zip(previous, present, strict=True):
        if was.action != now.action:
            yield Flip(now.name, now.group, now.is_bot, was.action, now.action, f"{was.rule} -> {now.rule}")


def _paired(
    previous: Sequence[Outcome], present: Sequence[Outcome], flips: int, allowed: Mapping[str, float]
) -> Iterable[Figure]:
    share = flips / len(present)
    yield Figure("decisions that flip", "all sessions", 0.0, share, share, share <= allowed["flips"], len(present))
    acted = [
        (was, now)
        for was, now in zip(previous, present, strict=True)
        if ACTION_RANK[was.action] and ACTION_RANK[now.action]
    ]
    if acted:
        other = sum(was.reasons[:1] != now.reasons[:1] for was, now in acted) / len(acted)
        yield Figure(
            "heaviest reasons that change",
            "acted on by both",
            0.0,
            other,
            other,
            other <= allowed["reasons"],
            len(acted),
        )
