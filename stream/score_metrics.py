"""Counts acknowledged risk events: their outcomes, their scores and what these rest on, from which drift is told."""

from collections.abc import Sequence

from stream.batch import Evaluated
from stream.metrics import Metrics


def count_events(metrics: Metrics, evaluated: Sequence[Evaluated]) -> None:
    """Count events by flow and action, their scores, those that were sent again, and what they were scored without."""
    for (flow, action), number in _tally(evaluated).items():
        metrics.risk_events.add(number, flow, action)
    _observe_scores(metrics, evaluated)
    for one in evaluated:
        if one.item.origin is not None:
            metrics.redriven.inc()
        for dependency in one.degraded:
            metrics.degraded_events.labels(dependency).inc()
            metrics.degraded_time.note(dependency)


def _tally(evaluated: Sequence[Evaluated]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for one in evaluated:
        key = (one.flow, one.action)
        found[key] = found.get(key, 0) + 1
    return found


def _observe_scores(metrics: Metrics, evaluated: Sequence[Evaluated]) -> None:
    """Count the score of each channel that has one, the overall score and the coverage of each event."""
    series = metrics.risk_scores.series
    overall, bot, anomaly = series["overall"].observe, series["bot"].observe, series["anomaly"].observe
    injection, device = series["injection"].observe, series["device"].observe
    replay, ring = series["replay"].observe, series["ring"].observe
    coverage = metrics.coverage.observe
    for one in evaluated:
        scores = one.scores
        overall(scores.overall)
        coverage(one.coverage)
        # Written out: this is once an event, and a loop over names costs twice as much.
        if (channel := scores.bot) is not None and channel.score is not None:
            bot(channel.score)
        if (channel := scores.anomaly) is not None and channel.score is not None:
            anomaly(channel.score)
        if (channel := scores.injection) is not None and channel.score is not None:
            injection(channel.score)
        if (channel := scores.device) is not None and channel.score is not None:
            device(channel.score)
        if (channel := scores.replay) is not None and channel.score is not None:
            replay(channel.score)
        if (channel := scores.ring) is not None and channel.score is not None:
            ring(channel.score)
