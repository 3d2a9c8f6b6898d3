"""From raw scores to a session's channel scores: running maxima, calibration in its cell, overall scores.

What is the same for all sessions of one kind (flow, input, source, amount of evidence) is resolved once into a `Plan`:
weights, rankings, and the score objects that say only why there is no score.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

from models.assessment import SessionMeta
from models.calibration import CalibrationTable, Calibrator, CellScorer
from models.cells import EVIDENCE, EVIDENCE_EDGES_S, Cell, input_of, source_of
from models.policy import Policy
from models.snapshots import EMPTY, SnapshotSet
from schemas.risk import CHANNELS, ChannelName, ChannelScore, Scores

MIN_KEYS: Final = 10
MIN_POINTER_SAMPLES: Final = 10
"""Fewer presses or samples than these don't make a session one of that input type."""
MAX_PLANS: Final = 1_000
"""Cells come from the wire (collector names); a bound keeps a hostile producer from filling the memory."""
MAX_KNOWN: Final = 64
"""Scores of one channel and plan that are kept to be used again."""

_NOT_EXPECTED: Final = ChannelScore(state="not_expected")
_DEPENDENCY: Final[Mapping[str, str]] = {"anomaly": "snapshot", "bot": "models", "device": "models"}


class Channel:
    """One channel that a flow expects, in one cell."""

    __slots__ = ("degraded", "dependency", "ever", "index", "known", "name", "no_data", "now", "weight")

    def __init__(self, name: ChannelName, weight: float, now: CellScorer, ever: CellScorer) -> None:
        self.name = name
        self.index = CHANNELS.index(name)
        self.weight = weight
        self.now = now
        self.ever = ever
        self.no_data = ChannelScore(state="no_data", weight=weight)
        self.degraded = ChannelScore(state="degraded", weight=weight)
        self.dependency = _DEPENDENCY.get(name)
        # Signals give few values, models give one for each event: only the former's scores come again.
        self.known: dict[tuple[float, float], tuple[ChannelScore, float | None, float]] | None = (
            {} if name == "device" else None
        )

    def score(self, value: float, highest: float) -> tuple[ChannelScore, float | None, float]:
        """The score of a raw value (NaN: no data now) and the session's highest so far; now and any-time score too."""
        known = self.known
        if known is not None and (found := known.get((value, highest))) is not None:
            return found
        # Mostly known already: then this spares a call.
        ever = self.ever.known.get(bisect_left(self.ever.values, highest))
        ever_score, ever_rests_on = ever if ever is not None else self.ever.score(highest)
        if value == value:
            now = self.now.known.get(bisect_left(self.now.values, value))
            now_score, rests_on = now if now is not None else self.now.score(value)
            found = (
                ChannelScore(
                    state="scored",
                    score=now_score,
                    score_anytime=ever_score,
                    raw=value,
                    raw_max=highest,
                    weight=self.weight,
                    calibration=rests_on,
                ),
                now_score,
                ever_score,
            )
            if known is not None and len(known) < MAX_KNOWN:
                known[value, highest] = found
            return found
        no_data = ChannelScore(
            state="no_data",
            score_anytime=ever_score,
            raw_max=highest,
            weight=self.weight,
            calibration=ever_rests_on,
        )
        return no_data, None, ever_score


class Plan:
    """How sessions of one kind are scored."""

    __slots__ = ("cell", "channels", "flagged_from", "unexpected")

    def __init__(
        self, cell: Cell, weights: Mapping[ChannelName, float], calibrator: Calibrator, flagged_from: float
    ) -> None:
        self.cell = cell
        self.flagged_from = flagged_from
        """The bar: any-time scores from here on corroborate."""
        self.channels = [
            Channel(name, weights[name], calibrator.at(name, "now", cell), calibrator.at(name, "anytime", cell))
            for name in CHANNELS
            if name in weights
        ]
        self.unexpected = [i for i, name in enumerate(CHANNELS) if name not in weights]


class Planner:
    """Finds the plan of a session; serves one policy and changes with the snapshot.

    Args:
        policy: Weights by flow.
        tables: People to rank among where no live ones do, in the order of preference.
    """

    def __init__(self, policy: Policy, tables: Sequence[CalibrationTable]) -> None:
        self._policy = policy
        self._tables = tuple(tables)
        self._snapshot = EMPTY
        self._calibrators: dict[str, Calibrator] = {}
        self._plans: dict[tuple[str, str, bool, bool, str, str, float], Plan] = {}

    def plan(
        self, meta: SessionMeta, samples: float, keys: float, observed_s: float, snapshot: SnapshotSet | None
    ) -> Plan:
        """The plan of a session of `samples` pointer samples and `keys` presses, `observed_s` seconds after its start.

        The three are features and may be NaN.
        """
        served = snapshot if snapshot is not None else EMPTY
        if served is not self._snapshot:
            self._snapshot, self._calibrators, self._plans = served, {}, {}
        has_pointer, has_keys = samples > 0, keys > 0
        if has_pointer and has_keys:
            # The odd key press of a mouse session, or the odd move of a typist, makes no mixed session.
            few_keys, few_moves = keys < MIN_KEYS, samples < MIN_POINTER_SAMPLES
            has_keys, has_pointer = not few_keys or few_moves, not few_moves or few_keys
        evidence = EVIDENCE[bisect_right(EVIDENCE_EDGES_S, observed_s)] if observed_s >= 0.0 else EVIDENCE[0]
        interval_ms = meta.sampling_interval_ms
        key = (meta.flow, meta.pointer_type, has_pointer, has_keys, evidence, meta.collector, interval_ms)
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            cell = Cell(
                meta.flow,
                input_of(meta.pointer_type, has_pointer=has_pointer, has_keys=has_keys),
                source_of(meta.collector, interval_ms),
                evidence,
            )
            weights = self._policy.flows[meta.flow].weights  # type: ignore[index]
            found = self._plans[key] = Plan(cell, weights, self._calibrator(meta.flow), self._policy.corroborate_at)
        return found

    def _calibrator(self, flow: str) -> Calibrator:
        found = self._calibrators.get(flow)
        if found is None:
            live = self._snapshot.calibration.get(flow)
            found = Calibrator([live, *self._tables] if live is not None else self._tables)
            self._calibrators[flow] = found
        return found


def scores_of(
    plan: Plan, raw: Sequence[float], raw_max: list[float], degraded: Sequence[str]
) -> tuple[Scores, dict[str, float], list[ChannelName]]:
    """All channels and the overall scores; the any-time score of each channel that has one; channels above the bar.

    raw: one row of `Engine.raw`; raw_max: the session's running maxima, brought up to date here; both in the order of
    CHANNELS. Overall is `models.combine.overall`.
    """
    for i in plan.unexpected:
        value = raw[i]
        if value == value and not raw_max[i] >= value:
            raw_max[i] = value
    anytime: dict[str, float] = {}
    flagged: list[ChannelName] = []
    flagged_from = plan.flagged_from
    found = [_NOT_EXPECTED] * len(CHANNELS)
    least_now = least_ever = 1.0
    for channel in plan.channels:
        i = channel.index
        value, highest = raw[i], raw_max[i]
        if value == value and not highest >= value:
            highest = raw_max[i] = value
        if highest != highest:
            found[i] = channel.degraded if degraded and channel.dependency in degraded else channel.no_data
            continue
        found[i], now, ever = channel.score(value, highest)
        anytime[channel.name] = ever
        if ever >= flagged_from:
            flagged.append(channel.name)
        p = (1.0 - ever) / channel.weight
        least_ever = min(least_ever, p)
        if now is not None:
            p = (1.0 - now) / channel.weight
            least_now = min(least_now, p)
    bot, anomaly, injection, device, replay, ring = found
    scores = Scores(
        overall=1.0 - least_now,
        overall_anytime=1.0 - least_ever,
        bot=bot,
        anomaly=anomaly,
        injection=injection,
        device=device,
        replay=replay,
        ring=ring,
    )
    return scores, anytime, flagged
