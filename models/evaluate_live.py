"""Calibration on live people, measured: a recorded source plays a new deployment, with bots among its sessions.

Of a source that is in no training, half of the people (and of the bots) stream in and are ranked as the learner ranks
live sessions; the other half is judged. A quarter of the sessions are people known to be genuine, or nobody is; of the
rest a stated share are bots that no other channel flags. People, and bots, of calibration and test are never the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bot_ranking import BotRanking
from models.calibration import CalibrationTable, Calibrator
from models.calibration_table import MIN_PEOPLE
from models.cells import Cell, Kind, evidence_of
from models.evaluate_pointer import PointerLearner
from models.evaluate_stats import Floats, Interval
from models.evaluate_targets import BAR, Target, listed
from models.evaluate_whole import Sessions, by_source
from models.train_vectors import Table
from models.train_windows import WINDOW_MS
from schemas.base import Flow
from schemas.served import ServedFeatures

SIZES: tuple[int, ...] = (300, 1_000)
"""Sessions, or windows, that have streamed in."""
BOT_SHARES: tuple[float, ...] = (0.0, 0.05, 0.1, 0.3)
"""Of the sessions that nobody vouches for."""
TRUSTED_SHARES: tuple[float, ...] = (0.25, 0.0)
"""Of all sessions."""
DRAWS = 40
NEARLY = 0.9
"""Share of a size that counts as it."""
FLOW: Flow = "signup"


@dataclass(frozen=True, slots=True)
class LiveStream:
    """Sessions or windows of one source, by a model that never saw it. unit: the person where known, else the session.

    kind: what is ranked, `anytime` the highest raw score of whole sessions, `now` the last one of windows. family: ""
    for people. A NaN is without a score.
    """

    source: str
    kind: Kind
    raw: Floats
    unit: NDArray[np.str_]
    family: NDArray[np.str_]
    observed_s: Floats


@dataclass(frozen=True, slots=True)
class LiveResult:
    """After `sessions` of a source: people and bots at or above 0.98, over draws of who streams in, who is judged."""

    source: str
    what: str
    asked: int
    sessions: int
    trusted: float
    bots: float
    people_flagged: Interval
    bots_found: Interval


def measure(streams: Sequence[LiveStream], draws: int = DRAWS, seed: int = 1) -> list[LiveResult]:
    """All sizes, shares of bots, and with trusted people or without. A source with fewer sessions gives what it has."""
    found: list[LiveResult] = []
    for number, stream in enumerate(streams):
        for trusted in TRUSTED_SHARES:
            for asked in SIZES:
                for share in BOT_SHARES if (stream.family != "").any() else BOT_SHARES[:1]:
                    rng = np.random.default_rng((seed, 23, number, asked, int(100 * share)))
                    result = _over_draws(stream, asked, trusted, share, draws, rng)
                    if result is not None:
                        found.append(result)
    return found


def _over_draws(
    stream: LiveStream, asked: int, trusted: float, share: float, draws: int, rng: np.random.Generator
) -> LiveResult | None:
    people, bots, sizes = [], [], []
    for _ in range(draws):
        drawn = _draw(stream, asked, trusted, share, rng)
        if drawn is None:
            return None
        table, test, n = drawn
        calibrator = Calibrator([table])
        flagged = np.asarray([_score(calibrator, stream, i) >= BAR for i in test.tolist()])
        mine = stream.family[test] == ""
        people.append(_by_unit(flagged[mine], stream.unit[test][mine]))
        families = stream.family[test]
        each = [float(flagged[families == f].mean()) for f in np.unique(families[~mine])]
        bots.append(float(np.mean(each)) if each else np.nan)
        sizes.append(n)
    what = "sessions, any time" if stream.kind == "anytime" else "windows, at their end"
    return LiveResult(stream.source, what, asked, min(sizes), trusted, share, _spread(people), _spread(bots))


def _draw(
    stream: LiveStream, size: int, trusted: float, share: float, rng: np.random.Generator
) -> tuple[CalibrationTable, NDArray[np.int64], int] | None:
    """Who streams in, ranked; whom it is judged on; and how many streamed in."""
    persons, bots = stream.family == "", stream.family != ""
    pool, test = _halves(stream, persons & ~np.isnan(stream.raw), rng)
    bot_pool, bot_test = _halves(stream, bots, rng)
    bot_pool = bot_pool[~np.isnan(stream.raw[bot_pool])]
    # As many as there are of both, in the proportions asked for.
    n_bots = (1.0 - trusted) * share
    size = min(size, int(len(pool) / (1.0 - n_bots)))
    if n_bots:
        size = min(size, int(len(bot_pool) / n_bots))
    if size < MIN_PEOPLE:
        return None
    wrong = rng.permutation(bot_pool)[: round(size * n_bots)]
    right = rng.permutation(pool)[: size - len(wrong)]
    vouched = set(right[: round(size * trusted)].tolist())
    ranking = BotRanking(None, 1.0, 2.0)
    for i in rng.permutation(np.concatenate([right, wrong])).tolist():
        ranking.people.take(_served(stream, i, known=i in vouched))
    made = ranking.make(0)
    return CalibrationTable(made.cells, "live", MIN_PEOPLE), np.concatenate([test, bot_test]), size


def _halves(
    stream: LiveStream, rows: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of one half of the units, and of the other."""
    names = np.unique(stream.unit[rows])
    first = set(rng.permutation(names)[: (len(names) + 1) // 2].tolist())
    mine = np.asarray([str(unit) in first for unit in stream.unit])
    return np.flatnonzero(rows & mine), np.flatnonzero(rows & ~mine)


def _cell(stream: LiveStream, i: int) -> Cell:
    return Cell(FLOW, "mouse", "live", evidence_of(float(stream.observed_s[i])))


def _served(stream: LiveStream, i: int, *, known: bool) -> ServedFeatures:
    raw = {"bot": float(stream.raw[i])}
    return ServedFeatures(
        evaluation_id=str(i), session_id=str(i), flow=FLOW, cell=list(_cell(stream, i)), features_hash="", features=[],
        raw=raw, raw_max=raw, overall=0.0, flagged_by=[], cohort="trusted" if known else "unlabelled", sequence=1,
        is_final=True, ingested_at=0, observed_s=float(stream.observed_s[i]), sampling_ratio=1.0, scorers="evaluated",
    )  # fmt: skip


def _score(calibrator: Calibrator, stream: LiveStream, i: int) -> float:
    if np.isnan(stream.raw[i]):
        return 0.0
    return calibrator.score("bot", stream.kind, _cell(stream, i), float(stream.raw[i])).score


def _by_unit(hit: NDArray[np.bool_], unit: NDArray[np.str_]) -> float:
    _, number = np.unique(unit, return_inverse=True)
    return float(np.mean(np.bincount(number, weights=hit) / np.bincount(number)))


def _spread(values: Sequence[float]) -> Interval:
    known = np.asarray(values)
    if np.isnan(known).any():
        return Interval(np.nan, np.nan, np.nan)
    return Interval(float(known.mean()), *np.quantile(known, (0.025, 0.975)).tolist())


def live_targets(results: Sequence[LiveResult]) -> list[Target]:
    """What is asked of calibration on live people, with trusted ones among them; by source and share of bots."""
    found: list[Target] = []
    for size, asked in zip(SIZES, (("at most 4 %", "1.5-2.5 %"), ("1-3 %", "1.5-2.5 %")), strict=True):
        rows = [r for r in results if r.trusted and r.asked == size]
        few: dict[str, int] = {}
        for r in rows:
            if r.sessions < NEARLY * size:
                few[r.source] = max(r.sessions, few.get(r.source, 0))
        silent = [f"{source} (there are {n})" for source, n in few.items()]
        enough = [r for r in rows if r.sessions >= NEARLY * size]
        figure = f"people of a left-out source at or above {BAR} after {size} of its sessions or windows"
        people = {_name(r): r.people_flagged for r in enough}
        found.append(listed(figure, "source", asked, people, silent, higher=False))
        bots = {_name(r): r.bots_found for r in enough if not np.isnan(r.bots_found.value)}
        figure = f"bots of a left-out source found at {BAR} after {size} of its sessions or windows"
        found.append(listed(figure, "family and its source", ("0.85", "0.95"), bots, silent, higher=True))
    return found


def _name(result: LiveResult) -> str:
    return f"{result.source} with {result.bots:.0%} bots"


def live_text(results: Sequence[LiveResult]) -> str:
    """The figures as a table."""
    rows = [
        f"| `{r.source}` | {r.what} | {r.sessions} | {r.trusted:.0%} | {r.bots:.0%} | {r.people_flagged.text()} "
        f"| {'n=0' if np.isnan(r.bots_found.value) else r.bots_found.text()} |"
        for r in results
        if r.asked == SIZES[0] or r.sessions > SIZES[0]
    ]
    head = (
        "| source left out | of | streamed in | known genuine | bots among the rest | people at or above 0.98 "
        "| bots found |"
    )
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows, ""])


def live_streams(sessions: Sessions, table: Table, learner: PointerLearner, unseen: str) -> list[LiveStream]:
    """Sources that play a new deployment: whole sessions where short, else windows. unseen: the one in no training."""
    streams = [*streams_of_sessions(sessions, (unseen, "delbot"))]
    for source in ("balabit", "sapimouse"):
        apart = table.group == source
        scores = learner(~apart)(apart & (table.origin == "recorded"))
        streams.append(stream_of_windows(table, scores, source, WINDOW_MS / 1000.0))
    return streams


def streams_of_sessions(sessions: Sessions, sources: Sequence[str]) -> Iterator[LiveStream]:
    """Whole mouse sessions of sources, by their highest raw score by the model without the source."""
    raw = by_source(sessions, sessions.top)
    for source in sources:
        mine = (sessions.group == source) & (sessions.pointer_type == "mouse")
        yield LiveStream(
            source, "anytime", raw[mine], sessions.unit[mine], sessions.family[mine], sessions.duration_s[mine]
        )


def stream_of_windows(table: Table, scores: Floats, source: str, observed_s: float) -> LiveStream:
    """Recorded windows of a source, by their last raw score (samples, cuts)."""
    mine = (table.origin == "recorded") & (table.group == source)
    unit = np.where(table.person != "", table.person, table.session)[mine]
    seconds = np.full(int(mine.sum()), observed_s)
    return LiveStream(source, "now", scores[mine, -1], unit, table.family[mine], seconds)
