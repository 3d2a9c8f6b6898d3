"""Every metric of our own, one line each: name, kind, labels, meaning. Those of the transport: transport_watch.py.

Base units, `_total` on counters, no identifier ever as a label. What every chunk changes is of the loop's own kind.
"""

from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.deadletter import DeadLetterReason
from schemas.risk import CHANNELS
from stream.degraded_time import DegradedTime
from stream.loop_metrics import LoopCounter, LoopHistogram
from stream.start_clock import PHASES as START_PHASES

STAGE_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Seconds, for the stages of one chunk."""
END_TO_END_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds, from the broker's append to the acknowledged risk event."""
LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0)
"""Seconds, for timers that come late."""
SCORE_BUCKETS: Final = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
"""Scores are quantiles of people, so that where the thresholds are decides."""
RATIO_BUCKETS: Final = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)
COUNT_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

Stage = Literal["decode", "read", "features", "models", "decide", "publish", "write"]
STAGES: Final[tuple[Stage, ...]] = ("decode", "read", "features", "models", "decide", "publish", "write")
DEPENDENCIES: Final = ("broker", "store", "counters", "movements")
"""What a process may have to do without."""
SCORED: Final = (*CHANNELS, "overall")


class Metrics:
    """The metrics of one process, on a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = r = registry if registry is not None else CollectorRegistry()
        self.build_info = Gauge(
            "tellwire_build_info",
            "Version and feature registry of this process; always 1.",
            ["version", "features"],
            registry=r,
        )
        self.ready = Gauge("tellwire_ready", "1 while the process is ready.", registry=r)
        self.start_seconds = Gauge(
            "tellwire_start_seconds",
            f"Time of each phase from the start of the process until it was ready: {', '.join(START_PHASES)}.",
            ["phase"],
            registry=r,
        )
        self.chunks = LoopCounter("tellwire_chunks_total", "Chunks finished.", r)
        self.chunk_records = LoopHistogram("tellwire_chunk_records", "Records in a chunk.", COUNT_BUCKETS, r)
        self.stage_seconds = LoopHistogram(
            "tellwire_stage_seconds", "Time of one chunk in a stage.", STAGE_BUCKETS, r, "stage", STAGES
        )
        self.stage_errors = LoopCounter(
            "tellwire_stage_errors_total",
            "Batches that failed in a stage: on their data (they go one by one then), or because something was away.",
            r,
            ("stage",),
        )
        self.received_to_acked_seconds = LoopHistogram(
            "tellwire_received_to_acked_seconds",
            "From a chunk's hand-over to its acknowledged risk events.",
            STAGE_BUCKETS,
            r,
        )
        self.append_to_acked_seconds = LoopHistogram(
            "tellwire_append_to_acked_seconds",
            "From the broker's append of a chunk's oldest record to its acknowledged risk events.",
            END_TO_END_BUCKETS,
            r,
        )
        self.risk_events = LoopCounter("tellwire_risk_events_total", "Risk events acknowledged.", r, ("flow", "action"))
        self.movements = LoopCounter(
            "tellwire_movements_total",
            "Pointer movements looked up among those of other sessions: compared (none is a copy), near (a copy was "
            "found), unanswered (asked in vain, and asked again) or dropped (too many waited).",
            r,
            ("outcome",),
        )
        self.dead_letters = Counter("tellwire_dead_letters_total", "Dead letters acknowledged.", ["reason"], registry=r)
        self.risk_scores = LoopHistogram(
            "tellwire_risk_score",
            "Scores of acknowledged risk events, 0 to 1: of each channel that had one, and overall.",
            SCORE_BUCKETS,
            r,
            "channel",
            SCORED,
        )
        self.coverage = LoopHistogram(
            "tellwire_coverage_ratio",
            "Share of the flow's expected evidence that acknowledged risk events rest on, 0 to 1.",
            RATIO_BUCKETS,
            r,
        )
        self.redriven = Counter(
            "tellwire_redriven_total", "Risk events acknowledged for dead letters that were sent again.", registry=r
        )
        self.origins_refused = Counter(
            "tellwire_redrive_origins_refused_total",
            "Records whose `dlq_` headers name a first place that can't be true; they have their own identity.",
            registry=r,
        )
        self.filtered = Counter(
            "tellwire_filtered_total", "Records dropped by a declared filter.", ["filter"], registry=r
        )
        self.folded_only = LoopCounter(
            "tellwire_folded_only_total", "Records folded again after a rewind, not published again.", r
        )
        self.sessions = LoopCounter(
            "tellwire_sessions_read_total", "Sessions of a chunk by where their state came from.", r, ("source",)
        )
        self.state_conflicts = Counter(
            "tellwire_state_conflicts_total",
            "Reads and writes of state stopped because the stored watermark was not this owner's: lost, rolled_back, "
            "newer (another owner wrote) or other_topic.",
            ["found"],
            registry=r,
        )
        self.state_mismatches = Counter(
            "tellwire_state_mismatches_total",
            "Stored values that were another session's, another version's or corrupt.",
            registry=r,
        )
        self.rewound = Counter(
            "tellwire_rewound_offsets_total",
            "Input offsets between the stored watermark and the committed offset, when the store had lost them: their "
            "records are folded again.",
            ["found"],
            registry=r,
        )
        self.store_retries = Counter(
            "tellwire_store_retries_total",
            "Calls to the state store that had to be repeated: unavailable, full or misconfigured.",
            ["reason"],
            registry=r,
        )
        self.store_waiting = Gauge(
            "tellwire_store_waiting_partitions",
            "Partitions whose chunk waits for the state store, by reason. Not 0 for a minute: alarm.",
            ["reason"],
            registry=r,
        )
        self.links_dropped = Counter(
            "tellwire_links_dropped_total",
            "Links of entity counters given up because their servers were away for too long: counters lack them.",
            registry=r,
        )
        self.abandoned = Counter(
            "tellwire_chunks_abandoned_total", "Chunks given up and read again.", ["reason"], registry=r
        )
        self.degraded_events = Counter(
            "tellwire_degraded_events_total", "Risk events scored without a dependency.", ["dependency"], registry=r
        )
        self.degraded_seconds = Counter(
            "tellwire_degraded_seconds_total",
            "Time in which the broker or the store did not answer, or events were scored without entity counters.",
            ["dependency"],
            registry=r,
        )
        self.degraded_time = DegradedTime(self.degraded_seconds)
        self.input_partitions = Gauge(
            "tellwire_input_partitions",
            "Partitions of all topics that the consumer group reads, whoever owns them.",
            registry=r,
        )
        self.partition_stopped = Gauge(
            "tellwire_partition_stopped",
            "1 while a partition stands still on purpose, and a person must look.",
            ["topic", "partition"],
            registry=r,
        )
        self.unclean_starts = Counter(
            "tellwire_unclean_starts_total",
            "Partitions taken over from a process that ended without giving them up, and without progress.",
            registry=r,
        )
        self.crash_suspects = Gauge(
            "tellwire_crash_suspects",
            "Offsets that go one by one, because one of them may end the process; no series while there are none.",
            ["topic", "partition"],
            registry=r,
        )
        self.gap_records = Counter(
            "tellwire_gap_records_total", "Input offsets that could not be read.", ["reason"], registry=r
        )
        self.last_progress = Gauge(
            "tellwire_last_progress_timestamp_seconds", "When a chunk was last finished.", registry=r
        )
        self.loop_lag_seconds = Histogram(
            "tellwire_loop_lag_seconds",
            "How late the event loop came to a timer that is due twice a second.",
            buckets=LAG_BUCKETS,
            registry=r,
        )
        self.silence_seconds = Gauge(
            "tellwire_watchdog_silence_seconds",
            "Time since the last sign of life of the event loop, of the poll thread, and of chunks while records wait.",
            ["watched"],
            registry=r,
        )
        self.waiting_for = Gauge(
            "tellwire_waiting_for", "1 while a dependency does not answer: broker, store.", ["dependency"], registry=r
        )
        self.signals_forwarded = Counter(
            "tellwire_signals_forwarded_total", "Signals forwarded from the door to the telemetry topic.", registry=r
        )
        self.artefact_info = Gauge(
            "tellwire_artefact_info",
            "Which models (hash of their manifest) and which policy (hash of its file) serve; always 1.",
            ["models", "policy"],
            registry=r,
        )
        self.artefact_loaded = Gauge(
            "tellwire_artefact_loaded_timestamp_seconds", "When what serves began to.", ["what"], registry=r
        )
        self.artefact_swaps = Counter(
            "tellwire_artefact_swaps_total",
            "New models and policies by what became of them: swapped, refused or not_tried.",
            ["what", "outcome"],
            registry=r,
        )
        self.artefact_refused = Gauge(
            "tellwire_artefact_refused",
            "1 while the configured files hold something that was refused, and something older serves.",
            ["what"],
            registry=r,
        )
        self.snapshot_timestamp = Gauge(
            "tellwire_snapshot_timestamp_seconds", "When the served snapshot was made.", ["kind", "flow"], registry=r
        )
        self.snapshot_rejected = Counter(
            "tellwire_snapshots_rejected_total", "Snapshots refused by their structural check.", registry=r
        )
        self.snapshot_fallbacks = Counter(
            "tellwire_snapshot_fallbacks_total",
            "Starts at which an older snapshot serves a flow, because its latest is refused.",
            ["flow"],
            registry=r,
        )
        self._of_the_learner(r)
        self._begin()

    def _of_the_learner(self, r: CollectorRegistry) -> None:
        self.learnt = Counter("tellwire_learner_learnt_total", "Vectors learnt.", ["flow"], registry=r)
        self.not_learnt = Counter("tellwire_learner_skipped_total", "Vectors not learnt.", ["reason"], registry=r)
        self.learner_people = Gauge(
            "tellwire_learner_people",
            "Sessions that the live ranking of a flow's bot scores rests on: known to be genuine, or unlabelled.",
            ["flow", "cohort"],
            registry=r,
        )
        self.threshold_rise = Gauge(
            "tellwire_learner_threshold_rise_ratio",
            "Share of live people at or above the day's first bot threshold, over what a day allows it to become. "
            "Above 1: the threshold is held back.",
            ["flow"],
            registry=r,
        )
        self.snapshots_published = Counter(
            "tellwire_learner_snapshots_total", "Snapshots published.", ["kind", "flow"], registry=r
        )

    def _begin(self) -> None:
        """Show from the start what alerts look for: a series that begins with its first fault never rises."""
        for outcome in ("compared", "near", "unanswered", "dropped"):
            self.movements.add(0, outcome)
        for stage in STAGES:
            self.stage_errors.add(0, stage)
        for reason in DeadLetterReason:
            self.dead_letters.labels(reason.value)
        for found in ("lost", "rolled_back", "newer", "other_topic"):
            self.state_conflicts.labels(found)
        for found in ("lost", "rolled_back"):
            self.rewound.labels(found)
        for reason_of_gap in ("retention", "truncated"):
            self.gap_records.labels(reason_of_gap)
        for dependency in DEPENDENCIES:
            self.degraded_seconds.labels(dependency)
        for dependency in ("broker", "store"):
            self.waiting_for.labels(dependency)
        for what in ("models", "policy"):
            self.artefact_refused.labels(what)
