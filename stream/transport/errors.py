"""The exceptions of the transport: what can fail for good, and what ends the process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from .producer import OutRecord


class TransportError(Exception):
    """Base class of everything this package raises on purpose."""


class TransportConfigurationError(TransportError):
    """The options, the application or the topology cannot work (raised at start-up)."""


class TransportFatalError(TransportError):
    """The consumer or the producer cannot go on; the process has to end and be started again.

    A hook may raise it too, to end the process on purpose with one clear line.
    """


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """One record of a batch that was not acknowledged; where that got lost, it may have been written all the same."""

    index: int
    """Position in the list given to ``produce_batch``."""
    record: OutRecord
    error: KafkaError
    retriable: bool
    """True: never sent, or given up because the time ran out; False: refused for good."""


class ProduceError(TransportError):
    """Some records of a batch could not be delivered; all others of the batch were.

    No record was written behind one that failed (in its partition), so the whole batch may be repeated in order.
    ``failures`` says which, in batch order.
    """

    def __init__(self, failures: Sequence[FailedRecord], total: int) -> None:
        self.failures = tuple(failures)
        self.total = total
        kinds = sorted({f.error.name() for f in self.failures})
        super().__init__(f"{len(self.failures)} of {total} records not delivered: {', '.join(kinds)}")
