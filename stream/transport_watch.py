"""The transport's figures as metrics: one table of families, read from the transport's latest statistics."""

from collections.abc import Iterable
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from stream.metric_family import Family, Sample, collected, one
from stream.transport import TransportStats


def _lags(stats: TransportStats) -> Iterable[Sample]:
    return [((t, str(p)), one.lag) for (t, p), one in stats.partitions.items() if one.lag is not None]


def _positions(stats: TransportStats) -> Iterable[Sample]:
    return [((t, str(p)), one.position) for (t, p), one in stats.partitions.items()]


def _progress_ages(stats: TransportStats) -> Iterable[Sample]:
    partitions = stats.partitions.items()
    return [((t, str(p)), one.last_progress_age_s) for (t, p), one in partitions if one.last_progress_age_s is not None]


def _commit_failures(stats: TransportStats) -> Iterable[Sample]:
    return [((kind,), number) for kind, number in stats.counters.commit_failures.items()]


_PARTITION: Final = ("topic", "partition")

FAMILIES: Final[tuple[Family[TransportStats], ...]] = (
    Family(
        "tellwire_records_received",
        "counter",
        "Records received from the broker.",
        one(lambda s: s.counters.records_received_total),
    ),
    Family(
        "tellwire_records_stale",
        "counter",
        "Records dropped because their partition was moved.",
        one(lambda s: s.counters.records_stale_total),
    ),
    Family("tellwire_input_bytes", "counter", "Bytes of values received.", one(lambda s: s.counters.bytes_total)),
    Family("tellwire_commits", "counter", "Offset commits.", one(lambda s: s.counters.commits_total)),
    Family("tellwire_commit_failures", "counter", "Commits refused, by error.", _commit_failures, ("error",)),
    Family("tellwire_rebalances", "counter", "Assignments received.", one(lambda s: s.counters.assigns_total)),
    Family(
        "tellwire_partitions_lost",
        "counter",
        "Times that partitions were taken away.",
        one(lambda s: s.counters.losses_total),
    ),
    Family(
        "tellwire_pauses",
        "counter",
        "Times that consumption was paused for back-pressure.",
        one(lambda s: s.counters.pauses_total),
    ),
    Family(
        "tellwire_membership_stalls",
        "counter",
        "Times that membership was in doubt.",
        one(lambda s: s.counters.stalls_total),
    ),
    Family("tellwire_consumer_lag_records", "gauge", "Records not finished yet.", _lags, _PARTITION),
    Family(
        "tellwire_partition_position_offset",
        "gauge",
        "First offset that is not finished yet. With a lag and without a rise of it, nothing is done.",
        _positions,
        _PARTITION,
    ),
    Family(
        "tellwire_partition_progress_age_seconds",
        "gauge",
        "Time since a chunk was finished.",
        _progress_ages,
        _PARTITION,
    ),
    Family("tellwire_partitions_assigned", "gauge", "Partitions owned.", one(lambda s: len(s.partitions))),
    Family("tellwire_pending_records", "gauge", "Records waiting in the process.", one(lambda s: s.pending_records)),
    Family("tellwire_pending_bytes", "gauge", "Bytes waiting in the process.", one(lambda s: s.pending_bytes)),
    Family("tellwire_last_poll_age_seconds", "gauge", "Time since the last poll.", one(lambda s: s.last_poll_age_s)),
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
        yield from collected(FAMILIES, stats)
