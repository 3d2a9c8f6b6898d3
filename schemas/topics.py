"""The one table of topics: name, key, messages, partitions, broker configuration and who may evolve what.

`tellwire topics apply` creates them, AsyncAPI and the reference page are generated from them, and tests read them.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from schemas.erasure import Erasure
from schemas.label import Label
from schemas.risk import RiskEvent
from schemas.served import ServedFeatures
from schemas.signals import Signal
from schemas.snapshot import Snapshot
from schemas.telemetry import Telemetry

TELEMETRY_TOPIC: Final = "capture.telemetry"
SIGNALS_TOPIC: Final = "capture.signals"
"""Topics that clients write to."""

DAY_MS: Final = 86_400_000
MAX_RECORD_BYTES: Final = 1_048_576
"""Largest record on any topic, bytes."""
MAX_OUTPUT_BYTES: Final = 8 * MAX_RECORD_BYTES
"""Largest record that is ever published (a snapshot), bytes."""
MAX_TELEMETRY_BYTES: Final = 262_144
"""Largest telemetry or signal record, bytes; a larger one is a dead letter."""

Compatibility = Literal["BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"]


class TopicSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One topic.

    `partitions` is the default of `tellwire topics apply`; `co_partitioned_with` names a topic that must have the same
    number, because records keep their partition. `replicas` is for production; a smaller cluster
    has as many as it has brokers. `config` is the broker's topic configuration.
    """

    name: str
    summary: str
    direction: Literal["in", "out"]
    key: str
    messages: tuple[type[msgspec.Struct], ...]
    partitions: int
    compatibility: Compatibility
    config: Mapping[str, str]
    co_partitioned_with: str | None = None
    replicas: int = 3
    headers: tuple[str, ...] = ()


CLOUD_EVENT_HEADERS: Final = (
    "content-type",
    "ce_specversion",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_subject",
    "traceparent",
    "tracestate",
)

TOPICS: Final[tuple[TopicSpec, ...]] = (
    TopicSpec(
        name=TELEMETRY_TOPIC,
        summary="Capture-session telemetry, results of other models for the same sessions, and erasures of them.",
        direction="in",
        key="session_id",
        messages=(Telemetry, Signal, Erasure),
        partitions=4,
        compatibility="BACKWARD_TRANSITIVE",
        config={
            "cleanup.policy": "delete",
            "retention.ms": str(7 * DAY_MS),
            "message.timestamp.type": "LogAppendTime",
            "compression.type": "uncompressed",
            "max.message.bytes": str(MAX_RECORD_BYTES),
        },
    ),
    TopicSpec(
        name=SIGNALS_TOPIC,
        summary="A door for teams that may not write to capture.telemetry: validated, then forwarded there.",
        direction="in",
        key="session_id",
        messages=(Signal,),
        partitions=4,
        compatibility="BACKWARD_TRANSITIVE",
        config={
            "cleanup.policy": "delete",
            "retention.ms": str(7 * DAY_MS),
            "message.timestamp.type": "LogAppendTime",
            "compression.type": "uncompressed",
            "max.message.bytes": str(MAX_RECORD_BYTES),
        },
    ),
    TopicSpec(
        name="risk.labels",
        summary="What sessions turned out to be, days later: for evaluation and training. No process reads them yet.",
        direction="in",
        key="session_id",
        messages=(Label,),
        partitions=4,
        compatibility="BACKWARD_TRANSITIVE",
        config={"cleanup.policy": "delete", "retention.ms": str(365 * DAY_MS), "max.message.bytes": "65536"},
    ),
    TopicSpec(
        name="risk.events",
        summary="The risk of a session after each input record.",
        direction="out",
        key="session_id",
        messages=(RiskEvent,),
        partitions=4,
        compatibility="FULL_TRANSITIVE",
        config={
            "cleanup.policy": "delete",
            "retention.ms": str(30 * DAY_MS),
            "max.message.bytes": str(MAX_RECORD_BYTES),
        },
        co_partitioned_with=TELEMETRY_TOPIC,
        headers=CLOUD_EVENT_HEADERS,
    ),
    TopicSpec(
        name="risk.deadletter",
        summary="Input records that could not be processed: untouched bytes, the reason in headers.",
        direction="out",
        key="the input record's key",
        messages=(),
        partitions=4,
        compatibility="FULL_TRANSITIVE",
        config={
            "cleanup.policy": "delete",
            "retention.ms": str(7 * DAY_MS),
            # The input limit plus headers: what could be read can be kept.
            "max.message.bytes": str(MAX_RECORD_BYTES + 65_536),
        },
        co_partitioned_with=TELEMETRY_TOPIC,
        headers=(
            "dlq_reason",
            "dlq_path",
            "dlq_detail",
            "dlq_topic",
            "dlq_topic_id",
            "dlq_partition",
            "dlq_offset",
            "dlq_time",
            "dlq_attempts",
            "dlq_app_version",
            "dlq_truncated",
            "dlq_sha256",
            "dlq_redriven_partition",
            "dlq_redriven_offset",
            "dlq_redriven_at",
        ),
    ),
    TopicSpec(
        name="risk.features",
        summary="The served feature vectors, sampled: for learning, training and replay.",
        direction="out",
        key="session_id",
        messages=(ServedFeatures,),
        partitions=4,
        compatibility="FULL_TRANSITIVE",
        config={
            "cleanup.policy": "delete",
            "retention.ms": str(30 * DAY_MS),
            "max.message.bytes": str(MAX_RECORD_BYTES),
        },
        co_partitioned_with=TELEMETRY_TOPIC,
        headers=CLOUD_EVENT_HEADERS,
    ),
    TopicSpec(
        name="models.snapshots",
        summary="What the learner learnt: immutable snapshots by content hash.",
        direction="out",
        key="<kind>/<flow>/<hash or latest>",
        messages=(Snapshot,),
        partitions=1,
        compatibility="FULL_TRANSITIVE",
        config={
            "cleanup.policy": "compact",
            "delete.retention.ms": str(7 * DAY_MS),
            "max.message.bytes": str(MAX_OUTPUT_BYTES),
        },
        headers=CLOUD_EVENT_HEADERS,
    ),
)

TOPIC: Final[Mapping[str, TopicSpec]] = {spec.name: spec for spec in TOPICS}
"""The same topics by name."""
