"""What is being fetched, and from where: starts, restarts and seeks of owned partitions on the poll thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition

from .line import Line
from .options import TransportOptions
from .part import Part

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from .hooks import PartitionKey


class Fetching:
    """The partitions that the consumer fetches. Every method runs on the poll thread."""

    def __init__(self, consumer: Consumer, options: TransportOptions, lines: Mapping[PartitionKey, Line]) -> None:
        """`lines` are those that are owned, as they change."""
        self._consumer = consumer
        self._options = options
        self._lines = lines
        self.parts: dict[PartitionKey, Part] = {}

    def start(self, offsets: Sequence[tuple[Line, int, int]]) -> None:
        """Begin to fetch: (line, epoch, offset) each."""
        new = [
            Part(line, epoch, offset, self._options)
            for line, epoch, offset in offsets
            if not line.gone and self._lines.get(line.key) is line
        ]
        if new:
            self._begin(new)

    def _begin(self, new: Sequence[Part]) -> None:
        # A restart of a stopped partition has to leave the assignment first; seeking is refused.
        old = [p for p in new if p.line.key in self.parts]
        for part in new:
            previous = self.parts.get(part.line.key)
            if previous is not None:
                part.handed_records = previous.handed_records
                part.handed_bytes = previous.handed_bytes
            self.parts[part.line.key] = part
        if self._options.is_incremental:
            if old:
                self._consumer.incremental_unassign([TopicPartition(*p.line.key) for p in old])
            self._consumer.incremental_assign([TopicPartition(*p.line.key, p.start) for p in new])
        else:
            running = {key: part for key, part in self.parts.items() if not part.is_stopped}
            self._consumer.assign([TopicPartition(*key, max(p.start, p.next_offset)) for key, p in running.items()])
            # Assigning anew forgets pauses.
            paused = [TopicPartition(*k) for k, p in self.parts.items() if p.marks.is_paused]
            if paused:
                self._consumer.pause(paused)

    def step_over(self, part: Part) -> None:
        """Begin one offset further on, after records that cannot be read.

        How many a batch has is not known, and skipping more would lose good ones; so this repeats, until
        a record comes and the hole before it is told as a gap.
        """
        if self.parts.get(part.line.key) is not part or part.line.gone:
            return
        beyond = max(part.start, part.next_offset) + 1
        self._begin([self._successor(part, beyond)])

    def _successor(self, part: Part, start: int) -> Part:
        fresh = Part(part.line, part.epoch, start, self._options)
        fresh.next_offset = part.next_offset
        fresh.hole = part.hole
        return fresh

    def seek(self, line: Line, epoch: int, offset: int) -> None:
        """Go on at ``offset``, with records stamped ``epoch``."""
        part = self.parts.get(line.key)
        if line.gone or part is None or part.line is not line:
            return
        part.epoch = epoch
        part.start = part.next_offset = offset
        part.hole = None
        if part.is_stopped:
            self.start([(line, epoch, offset)])
            return
        try:
            self._consumer.seek(TopicPartition(*line.key, offset))
        except KafkaException:
            # Not seekable in its present state (right after its start, or out of range).
            self.start([(line, epoch, offset)])
