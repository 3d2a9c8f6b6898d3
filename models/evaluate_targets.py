"""The figures that the scores are held to: what is asked at least, what is aimed for, and what was measured.

Each is taken with a bot family left out and, beside it, with the family's whole source left out too (its people, its
bots and what was generated from them), which is what a new deployment sees. Families with too few sessions are printed
but not counted; what was not measured says so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.evaluate_keys import KeyResult
from models.evaluate_pointer import CUT_NAMES, Rows, unit_of
from models.evaluate_stats import (
    NOTHING,
    Across,
    Floats,
    Interval,
    Judged,
    Side,
    across,
    auc,
    found_at,
    share_with_interval,
)
from models.evaluate_whole import (
    LONGEST_S,
    Anytime,
    Sessions,
    by_family,
    by_source,
    person_left_out,
    source_left_out,
)
from models.train_vectors import Table

LEAST_SESSIONS = 100
"""Families with fewer sessions are printed, not counted."""
BAR = 0.98
HIGHER = True
"""More is better."""
ALONE = "family"
WITH_SOURCE = "family and its source"


@dataclass(frozen=True, slots=True)
class Target:
    """One figure: what is asked and aimed for (mean, worst), and what was measured by which protocol.

    higher: whether more is better. each: the figure by family or source; not_counted: those with too few sessions, or
    that cannot say such a score; n: what it rests on, in words.
    """

    figure: str
    left_out: str
    higher: bool
    at_least: str
    aim: str
    mean: Interval
    worst: Interval
    worst_of: str
    each: dict[str, Interval]
    not_counted: list[str]
    n: str


@dataclass(frozen=True, slots=True)
class Slice:
    """How much there is of one input type in one source: people (sessions where the source names none) and sessions."""

    pointer_type: str
    source: str
    people: int
    people_sessions: int
    bot_sessions: int


def counted(sessions_of: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Families that count, and those with too few sessions, each with how many it has."""
    enough = [family for family, n in sessions_of.items() if n >= LEAST_SESSIONS]
    return enough, [f"{family} ({n} sessions)" for family, n in sessions_of.items() if n < LEAST_SESSIONS]


def judged_windows(table: Table, scores: Floats, family: str, cut: int, among: Rows) -> Judged:
    """A left-out family at a cut of observed time, against the people of `among`."""
    recorded = table.origin == "recorded"
    people, bots = recorded & (table.label == 0) & among, recorded & (table.family == family)
    return Judged(
        family, scores[people, cut], unit_of(table)[people], table.group[people], scores[bots, cut], table.session[bots]
    )


def judged_sessions(sessions: Sessions, scores: Floats, family: str, among: Rows) -> Judged:
    """A left-out family over whole sessions, against the people of `among`."""
    people, bots = (sessions.label == 0) & among, sessions.family == family
    return Judged(
        family, scores[people], sessions.unit[people], sessions.group[people], scores[bots], sessions.session[bots]
    )


def found_at_1pct(people: Side, bots: Side) -> float:
    """Share of bots above the raw score that costs 1 % of the people."""
    return found_at(people, bots, 0.01)


def _over_families(
    figure: str, left_out: str, asked: tuple[str, str], judged: Sequence[Judged], measure: Callable[[Side, Side], float]
) -> Target:
    enough, few = counted({one.name: len(np.unique(one.session)) for one in judged})
    # A session that showed nothing yet is neither above nor below people; one that ended so was not found.
    found: Across = across(
        [one for one in judged if one.name in enough], measure, unscored_lowest=measure is found_at_1pct
    )
    unscored = sum(int(np.isnan(one.bots).sum()) for one in judged if one.name in enough)
    people = len({str(name) for one in judged for name in one.person})
    return Target(
        figure, left_out, HIGHER, *asked, found.mean, found.worst, found.worst_of, found.each, few,
        f"{len(enough)} families, {people} people; {unscored} of {sum(len(o.bots) for o in judged if o.name in enough)}"
        " bots without a score",
    )  # fmt: skip


def window_targets(
    table: Table, alone: Mapping[str, Floats], with_source: Mapping[str, tuple[Table, Floats]]
) -> list[Target]:
    """AUC after 5 s. alone: window scores by left-out family; with_source: table and scores without its source."""
    cut = CUT_NAMES.index("5")
    everyone = np.ones(len(table), dtype=bool)
    asked = ("0.98 / 0.93", "0.995 / 0.97")
    figure = "AUC after 5 s of pointer data, mean / worst"
    judged = [judged_windows(table, scores, family, cut, everyone) for family, scores in alone.items()]
    theirs = []
    for family, (other, scores) in with_source.items():
        group = other.group[other.family == family][0]
        theirs.append(judged_windows(other, scores, family, cut, other.group == group))
    return [
        _over_families(figure, ALONE, asked, judged, auc),
        _over_families(figure, WITH_SOURCE, asked, theirs, auc),
    ]


def session_targets(
    sessions: Sessions, families: Sequence[str], known: tuple[str, ...], sources: tuple[str, ...], folds: int
) -> list[Target]:
    """Figures over whole sessions. families: left-out ones with models; known: sources in training; sources: all."""
    targets: list[Target] = []
    judged = [
        judged_sessions(sessions, by_family(sessions, sessions.last, f, folds), f, np.isin(sessions.group, known))
        for f in families
    ]
    last = by_source(sessions, sessions.last)
    theirs = []
    for family in [str(f) for f in np.unique(sessions.family) if f]:
        group = sessions.group[sessions.family == family][0]
        theirs.append(judged_sessions(sessions, last, family, sessions.group == group))
    asked = ("0.90 / 0.6", "0.98 / 0.9")
    figure = "found at 1 % false positives of the raw output, whole session, mean / worst"
    targets.append(_over_families(figure, ALONE, asked, judged, found_at_1pct))
    targets.append(_over_families(figure, WITH_SOURCE, asked, theirs, found_at_1pct))
    short = sessions.duration_s <= LONGEST_S
    flagged = f"genuine sessions of up to 10 min with score_anytime ever at or above {BAR}"
    within = person_left_out(sessions, known)
    targets.append(_over_sources(flagged, "person", sessions, dict.fromkeys(known, within), short))
    apart = {s: source_left_out(sessions, s, known) for s in sources}
    targets.append(_over_sources(flagged, "source", sessions, apart, short))
    ever = {}
    for family in [str(f) for f in np.unique(sessions.family) if f]:
        mine = sessions.family == family
        found = apart.get(str(sessions.group[mine][0]))
        if found is not None and can_say(found, mine):
            ever[family] = share_with_interval(found.score[mine] >= BAR, sessions.unit[mine])
    targets.append(
        listed(f"bots with score_anytime ever at or above {BAR}", WITH_SOURCE, ("-", "-"), ever, [], higher=True)
    )
    return targets


def can_say(found: Anytime, rows: Rows) -> bool:
    """Whether so few people rank these sessions that none of them could be flagged."""
    scored = rows & ~np.isnan(found.score)
    return bool(scored.any()) and int(found.people[scored].max()) >= round(1.0 / (1.0 - BAR)) - 1


def _over_sources(figure: str, left_out: str, sessions: Sessions, found: Mapping[str, Anytime], among: Rows) -> Target:
    each, silent = {}, []
    for source, one in found.items():
        mine = among & (sessions.group == source) & (sessions.label == 0) & ~np.isnan(one.score)
        if not can_say(one, mine):
            silent.append(f"{source} ({int(one.people[mine].max(initial=0))} people to rank among)")
            continue
        each[source] = share_with_interval(one.score[mine] >= BAR, sessions.unit[mine])
    return listed(figure, left_out, ("2 % within its interval", "the same"), each, silent, higher=False)


def listed(
    figure: str,
    left_out: str,
    asked: tuple[str, str],
    each: Mapping[str, Interval],
    silent: list[str],
    *,
    higher: bool,
) -> Target:
    """A figure of several sources, families or kinds: each by itself, their mean, and the worst."""
    values = {name: one for name, one in each.items() if not np.isnan(one.value)}
    mean = Interval(float(np.mean([v.value for v in values.values()])), np.nan, np.nan) if values else NOTHING
    worst = (min if higher else max)(values, key=lambda name: values[name].value) if values else ""
    return Target(
        figure, left_out, higher, *asked, mean, values[worst] if worst else NOTHING, worst, dict(each), silent,
        f"{len(values)} of {len(values) + len(silent)}",
    )  # fmt: skip


def source_target(flagged: Mapping[str, tuple[Interval, int]]) -> Target:
    """People at or above 0.98 at the end of a window, by left-out source: share, and people they are ranked among."""
    least = round(1.0 / (1.0 - BAR)) - 1
    each = {source: share for source, (share, ranked) in flagged.items() if ranked >= least}
    silent = [f"{source} ({ranked} people to rank among)" for source, (_, ranked) in flagged.items() if ranked < least]
    figure = f"people of a left-out source at or above {BAR}, before any calibration on it, worst source"
    return listed(figure, "source", ("at most 6 %", "at most 3 %"), each, silent, higher=False)


def key_target(keys: Sequence[KeyResult]) -> Target:
    """Typing bots with random delays after 40 keys: the worst seed of each kind, on the worst source of people."""
    each: dict[str, Interval] = {}
    for one in keys:
        if one.keys == 40 and one.bots.startswith("random") and not np.isnan(one.worst_seed_auc):
            before = each.get(one.bots, NOTHING).value
            if np.isnan(before) or one.worst_seed_auc < before:
                each[one.bots] = Interval(one.worst_seed_auc, np.nan, np.nan)
    figure = "typing bots with random delays, AUC after 40 keys, worst seed and source of people"
    return listed(figure, "source (nothing is trained)", ("0.98", "0.995"), each, [], higher=True)


def slices_of(sessions: Sessions, types: Sequence[str] = ("mouse", "touchpad", "touch", "pen")) -> list[Slice]:
    """What there is of each input type in each source; types without anything stand there with zeros."""
    found: list[Slice] = []
    for kind in types:
        of_kind = sessions.pointer_type == kind
        if not of_kind.any():
            found.append(Slice(kind, "-", 0, 0, 0))
        for source in np.unique(sessions.group[of_kind]):
            mine = of_kind & (sessions.group == source)
            people = mine & (sessions.label == 0)
            found.append(Slice(
                kind, str(source), len(np.unique(sessions.unit[people])), int(people.sum()), int((mine & ~people).sum())
            ))  # fmt: skip
    return found
