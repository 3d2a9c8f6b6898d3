"""From raw scores to a session's channel scores: running maxima, calibration in its cell, overall scores.

What is the same for all sessions of one kind (flow, input, source, amount of evidence) is resolved once into a `Plan`:
weights, rankings, and the score objects that say only why there is no score.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

from models.assessment import SessionMeta
from models.calibration import CalibrationTable, Calibrator, CellScorer
from models.calibration_table import INJECTION_PRIOR, REPLAY_PRIOR
from models.cells import ANY, EVIDENCE, EVIDENCE_EDGES_S, Cell, input_of, source_of
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

Found = tuple[ChannelScore, float, float, float]
"""A channel's score, its p-value now by weight (1 without data now), its any-time score, and that one's p by weight."""

_NOT_EXPECTED: Final = ChannelScore(state="not_expected")
_DEPENDENCY: Final[Mapping[str, str]] = {
    "anomaly": "snapshot",
    "bot": "models",
    "device": "models",
    "replay": "movements",
}
_OF_SIGNALS: Final = frozenset({"device", "injection"})
STATED: Final = CalibrationTable({}, "prior", 1, {("injection", ANY): INJECTION_PRIOR, ("replay", ANY): REPLAY_PRIOR})
"""What ranks injection and replay while there are no people to rank it among."""


_SHARES: Final[tuple[tuple[ChannelName, ChannelName], ...]] = (("injection", "device"), ("replay", "bot"))
"""Channels that share another one's weight where a policy does not name them."""


class Channel:
    """One channel that a flow expects, in one cell."""

    __slots__ = ("_ever", "_ever_known", "_ever_values", "_now", "_now_known", "_now_values", "known", "weight")

    def __init__(self, name: ChannelName, weight: float, now: CellScorer, ever: CellScorer) -> None:
        self.weight = weight
        self._now, self._now_values, self._now_known = now, now.values, now.known
        self._ever, self._ever_values, self._ever_known = ever, ever.values, ever.known
        # Signals give few values, models give one for each event: only the former's scores come again.
        self.known: dict[tuple[float, float], Found] | None = {} if name in _OF_SIGNALS else None

    def score(self, value: float, highest: float) -> Found:
        """The score of a raw value (NaN: no data now) where the session's highest so far is `highest`."""
        known = self.known
        if known is not None and (found := known.get((value, highest))) is not None:
            return found
        # The ranks of most scores are known already: then this spares a call.
        ever = self._ever_known.get(bisect_left(self._ever_values, highest)) or self._ever.score(highest)
        weight = self.weight
        if value != value:
            no_data = ChannelScore(
                state="no_data", score_anytime=ever[0], raw_max=highest, weight=weight, calibration=ever[1]
            )
            return no_data, 1.0, ever[0], (1.0 - ever[0]) / weight
        now = self._now_known.get(bisect_left(self._now_values, value)) or self._now.score(value)
        scored = ChannelScore(
            state="scored",
            score=now[0],
            score_anytime=ever[0],
            raw=value,
            raw_max=highest,
            weight=weight,
            calibration=now[1],
        )
        found = scored, (1.0 - now[0]) / weight, ever[0], (1.0 - ever[0]) / weight
        if known is not None and len(known) < MAX_KNOWN:
            known[value, highest] = found
        return found


class Plan:
    """How sessions of one kind are scored."""

    __slots__ = ("cell", "channels", "flagged_from", "unexpected")

    def __init__(
        self, cell: Cell, weights: Mapping[ChannelName, float], calibrator: Calibrator, flagged_from: float
    ) -> None:
        self.cell = cell
        self.flagged_from = flagged_from
        """The bar: any-time scores from here on corroborate."""
        shared = shared_weights(weights)
        self.channels = [
            (
                i,
                name,
                Channel(name, shared[name], calibrator.at(name, "now", cell), calibrator.at(name, "anytime", cell)),
                ChannelScore(state="no_data", weight=weights[name]) if name in weights else _NOT_EXPECTED,
                ChannelScore(state="degraded", weight=shared[name])
                if name in weights or name == "replay"
                else _NOT_EXPECTED,
            )
            for i, name in enumerate(CHANNELS)
            if name in shared
        ]
        """Of each expected channel: index, name, ranking, and its score without data and without what it needs."""
        self.unexpected = [i for i, name in enumerate(CHANNELS) if name not in shared]


def shared_weights(weights: Mapping[ChannelName, float]) -> dict[ChannelName, float]:
    """The weights by which channels are combined, of a policy's for a flow.

    Where a policy does not name `injection`, it is expected from the first evidence of a camera step on, and shares the
    weight of `device`: both are read off what the client says of itself, and their prior is stated for the larger of
    the two. So a session without a camera step is scored as if there were no such channel. In the same way `replay` is
    expected from the first copies of other sessions' movements that could have been found on, and shares the weight of
    `bot`: both are read off the input, and its prior is stated ten times above what people showed.
    """
    shared = dict(weights)
    for name, beside in _SHARES:
        if name not in weights and beside in weights:
            shared[name] = weights[beside]
    return shared


class Planner:
    """Finds the plan of a session; serves one policy and changes with the snapshot.

    Args:
        policy: Weights by flow.
        tables: People to rank among where no live ones do, in the order of preference.
        scorers: Hash of the scorers that serve the bot channel; live people ranked by others are left out there.
    """

    def __init__(self, policy: Policy, tables: Sequence[CalibrationTable], scorers: str) -> None:
        self._scorers = scorers
        self._policy = policy
        self._tables = (*tables, STATED)
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
            if live is not None and live.scorers not in {None, self._scorers}:
                live = live.without("bot")
            found = Calibrator([live, *self._tables] if live is not None else self._tables)
            self._calibrators[flow] = found
        return found


def scores_of(
    plan: Plan, raw: Sequence[float], raw_max: list[float], degraded: Sequence[str]
) -> tuple[Scores, dict[str, float], list[str]]:
    """All channels and the overall scores; the any-time score of each channel that has one; channels above the bar.

    raw: one row of `Engine.raw`; raw_max: the session's running maxima, brought up to date here; both in the order of
    CHANNELS. Overall is 1 - min(1, min_i (1 - s_i) / w_i) over the channels that the flow expects, their weights w_i
    adding up to 1 (some may share one, `shared_weights`); one without a score counts as p = 1, so
    hiding it gains nothing. (Weighted Bonferroni, a p-value under any dependence: P(min p_i / w_i <= a) <= sum of
    w_i a = a.)
    """
    for i in plan.unexpected:
        value = raw[i]
        if value == value and not raw_max[i] >= value:
            raw_max[i] = value
    anytime: dict[str, float] = {}
    flagged: list[str] = []
    flagged_from = plan.flagged_from
    found = [_NOT_EXPECTED] * len(CHANNELS)
    least_now = least_ever = 1.0
    for i, name, channel, no_data, missing in plan.channels:
        value, highest = raw[i], raw_max[i]
        if value == value and not highest >= value:
            highest = raw_max[i] = value
        if highest != highest:
            found[i] = missing if degraded and _DEPENDENCY.get(name) in degraded else no_data
            continue
        found[i], p_now, ever, p_ever = channel.score(value, highest)
        anytime[name] = ever
        if ever >= flagged_from:
            flagged.append(name)
        if p_ever < least_ever:  # noqa: PLR1730 - spares a call
            least_ever = p_ever
        if p_now < least_now:  # noqa: PLR1730
            least_now = p_now
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
