"""What a chunk's records are on their way through the stages: items, what was refused, what was scored."""

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from confluent_kafka import Message

from features.columns import NO_COLUMNS, Columns
from schemas.envelope import Rejected
from schemas.erasure import Erasure
from schemas.risk import Scores
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
    row: int
    """Its place in the batch's columns."""
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


class Halves(msgspec.Struct, frozen=True, gc=False):
    """An encoded risk event, around the place of its latency."""

    before: bytes
    after: bytes


class Evaluated(msgspec.Struct, gc=False):
    """One scored record: its encoded risk event and, where its session is in the sample, its served vector."""

    item: Item
    evaluation_id: str
    scored_at: int
    flow: str
    action: str
    degraded: list[str]
    scores: Scores
    coverage: float
    stages_ms: dict[str, float]
    """Time by stage, ms; one object for all that was evaluated together, complete after the last."""
    risk: Halves
    served: bytes | None


class Waiting(NamedTuple):
    """One movement that is to be asked about (stream/movements.py)."""

    session_id: str
    tenant: str
    packed: bytes
    keep: bool


@dataclass(slots=True)
class Batch:
    """Some consecutive records of a chunk, on their way through the stages."""

    items: list[Item | ErasureItem] = field(default_factory=list)
    columns: Columns = NO_COLUMNS
    """Numbers of all items' events, ready to be folded."""
    rejected: list[Refused] = field(default_factory=list)
    filtered: int = 0
    evaluated: list[Evaluated] = field(default_factory=list)
    folded_only: int = 0
    """Records that were scored and are not told: their events were published long ago."""
    touched: dict[str, None] = field(default_factory=dict)
    erased: dict[str, None] = field(default_factory=dict)
    """Sessions to forget; where one is also `touched`, it began anew behind its erasure."""
    erasures: int = 0
    movements: list[Waiting] = field(default_factory=list)
    """Movements that ended in its events and are to be asked about, in offset order."""
    unasked: set[str] = field(default_factory=set)
    """Sessions of these."""
    asked: set[str] = field(default_factory=set)
    """Sessions whose movements were asked about."""
    must_ask: bool = False
    """Evaluation can't go on before they are asked about: a session's next event is in the same batch."""

    def refuse(self, item: Item | ErasureItem, why: Rejected) -> None:
        """Make a dead letter of an item instead of a risk event."""
        self.rejected.append(Refused(item.record, why, item.headers, item.origin))
