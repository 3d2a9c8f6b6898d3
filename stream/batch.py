"""What a chunk's records are on their way through the stages: items, what was refused, what was scored."""

from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Message

from schemas.envelope import Rejected
from schemas.erasure import Erasure
from schemas.risk import RiskEvent
from schemas.served import ServedFeatures
from schemas.signals import Signal
from schemas.telemetry import Telemetry
from stream.origin import Origin


class Item(msgspec.Struct):
    """One decoded record."""

    record: Message
    offset: int
    ingested_ms: int
    event: Telemetry | Signal
    headers: list[tuple[str, bytes]]
    origin: Origin | None = None
    """Its first place, where it was a dead letter and was sent again."""


class ErasureItem(msgspec.Struct):
    """One decoded request to forget a session, at its place among the records."""

    record: Message
    offset: int
    event: Erasure
    headers: list[tuple[str, bytes]]
    origin: Origin | None = None


class Refused(msgspec.Struct):
    """One record that becomes a dead letter, and why."""

    record: Message
    why: Rejected
    headers: list[tuple[str, bytes]]
    origin: Origin | None = None


@dataclass(slots=True)
class Evaluated:
    """One scored record: its risk event, and its served vector where its session is in the sample."""

    item: Item
    event: RiskEvent
    served: ServedFeatures | None


@dataclass(slots=True)
class Batch:
    """Some consecutive records of a chunk, on their way through the stages."""

    items: list[Item | ErasureItem] = field(default_factory=list)
    rejected: list[Refused] = field(default_factory=list)
    filtered: int = 0
    evaluated: list[Evaluated] = field(default_factory=list)
    touched: dict[str, None] = field(default_factory=dict)
    erased: dict[str, None] = field(default_factory=dict)
    """Sessions to forget; where one is also `touched`, it began anew behind its erasure."""
    erasures: int = 0

    def refuse(self, item: Item | ErasureItem, why: Rejected) -> None:
        """Make a dead letter of an item instead of a risk event."""
        self.rejected.append(Refused(item.record, why, item.headers, item.origin))
