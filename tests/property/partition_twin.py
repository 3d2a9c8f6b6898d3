"""One partition, as a person would keep books of it: the naive twin of the commit tracker."""

from __future__ import annotations

from tests.property.simulated_kafka import Log


class Twin:
    """One partition, as a person would keep books of it."""

    def __init__(self) -> None:
        self.finished: set[int] = set()
        self.next: int | None = None
        """The offset that must come next; None: nobody reads."""
        self.reached = 0
        """Everything below was done in this assignment or committed before it, whatever was rewound since."""

    def lowest_unfinished(self, log: Log) -> int:
        return next((offset for offset in log.records() if offset not in self.finished), log.end)
