"""The transport's figures as metrics: one table of families, read from the transport's latest statistics."""

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream.transport import TransportStats

Sample = tuple[tuple[str, ...], float]
"""Label values and value."""


class Family(NamedTuple):
    """One metric family: `name` without the `_total` that counters get, and how its samples are read."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    read: Callable[[TransportStats], Iterable[Sample]]
    labels: tuple[str, ...] = ()


def _one(value: Callable[[TransportStats], float | None]) -> Callable[[TransportStats], Iterable[Sample]]:
    def read(stats: TransportStats) -> Iterable[Sample]:
        found = value(stats)
        return [] if found is None else [((), found)]

    return read


def _lags(stats: TransportStats) -> Iterable[Sample]:
    return [((t, str(p)), one.lag) for (t, p), one in stats.partitions.items() if one.lag is not None]


def _progress_ages(stats: TransportStats) -> Iterable[Sample]:
    partitions = stats.partitions.items()
    return [((t, str(p)), one.last_progress_age_s) for (t, p), one in partitions if one.last_progress_age_s is not None]


def _commit_failures(stats: TransportStats) -> Iterable[Sample]:
    return [((kind,), number) for kind, number in stats.counters.commit_failures.items()]


_PARTITION: Final = ("topic", "partition")

FAMILIES: Final = (
    Family(
        "tellwire_records_received",
        "counter",
        "Records received from the broker.",
        _one(lambda s: s.counters.records_received_total),
    ),
    Family(
        "tellwire_records_stale",
        "counter",
        "Records dropped because their partition was moved.",
        _one(lambda s: s.counters.records_stale_total),
    ),
    Family("tellwire_input_bytes", "counter", "Bytes of values received.", _one(lambda s: s.counters.bytes_total)),
    Family("tellwire_commits", "counter", "Offset commits.", _one(lambda s: s.counters.commits_total)),
    Family("tellwire_commit_failures", "counter", "Commits refused, by error.", _commit_failures, ("error",)),
    Family("tellwire_rebalances", "counter", "Assignments received.", _one(lambda s: s.counters.assigns_total)),
    Family(
        "tellwire_partitions_lost",
        "counter",
        "Times that partitions were taken away.",
        _one(lambda s: s.counters.losses_total),
    ),
    Family(
        "tellwire_pauses",
        "counter",
        "Times that consumption was paused for back-pressure.",
        _one(lambda s: s.counters.pauses_total),
    ),
    Family(
        "tellwire_membership_stalls",
        "counter",
        "Times that membership was in doubt.",
        _one(lambda s: s.counters.stalls_total),
    ),
    Family("tellwire_consumer_lag_records", "gauge", "Records not finished yet.", _lags, _PARTITION),
    Family(
        "tellwire_partition_progress_age_seconds",
        "gauge",
        "Time since a chunk was finished.",
        _progress_ages,
        _PARTITION,
    ),
    Family("tellwire_partitions_assigned", "gauge", "Partitions owned.", _one(lambda s: len(s.partitions))),
    Family("tellwire_pending_records", "gauge", "Records waiting in the process.", _one(lambda s: s.pending_records)),
    Family("tellwire_pending_bytes", "gauge", "Bytes waiting in the process.", _one(lambda s: s.pending_bytes)),
    Family("tellwire_last_poll_age_seconds", "gauge", "Time since the last poll.", _one(lambda s: s.last_poll_age_s)),
)


class TransportWatch(Collector):
    """Exports the transport's latest figures; `stats` is replaced by the loop, read by the scraping thread."""

    def __init__(self) -> None:
        self.stats: TransportStats | None = None

    def collect(self) -> Iterable[Metric]:
        """Yield one family a figure; nothing before the first tick."""
        stats = self.stats
        if stats is None:
            return
        for family in FAMILIES:
            make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = make(family.name, family.text, labels=family.labels)
            for labels, value in family.read(stats):
                metric.add_metric(labels, value)
            yield metric
