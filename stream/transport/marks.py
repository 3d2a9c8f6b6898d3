"""When a partition is paused and resumed: high and low marks by records and by bytes."""

from __future__ import annotations


class PauseMarks:
    """Hysteresis for one partition: paused at a high mark, resumed below both low marks."""

    __slots__ = ("_high_bytes", "_high_records", "_low_bytes", "_low_records", "is_paused")

    def __init__(self, high_records: int, low_records: int, high_bytes: int, low_bytes: int) -> None:
        self._high_records = high_records
        self._low_records = low_records
        self._high_bytes = high_bytes
        self._low_bytes = low_bytes
        self.is_paused: bool = False

    def update(self, records: int, byte_count: int) -> bool:
        """Take in what waits now; returns True where ``is_paused`` changed."""
        if self.is_paused:
            if records <= self._low_records and byte_count <= self._low_bytes:
                self.is_paused = False
                return True
        elif records >= self._high_records or byte_count >= self._high_bytes:
            self.is_paused = True
            return True
        return False
