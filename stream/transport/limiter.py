"""How many records a chunk may have: its measured cost against a target of event-loop time."""

from __future__ import annotations

_WEIGHT = 0.2
_PROBE_EVERY = 16
_MIN_SPREAD = 0.01
_MIN_SLOPE_SHARE = 0.02


class ChunkLimiter:
    """Adaptive bound of a chunk's records, from the loop time that chunks of different sizes took.

    A chunk of n records is taken to cost ``fixed + n * slope``, fitted to exponentially weighted moments; the
    next one gets as many as fit the target after the fixed part, at least 1 and at most ``max_records``. A
    plain mean per record would be misled by small chunks, whose cost is mostly fixed: after a quiet time, or
    with a fixed cost near the target, it would cut a backlog into single records. One limiter serves all
    partitions of a topic: the cost belongs to the topic's records.
    """

    __slots__ = ("_chunks", "_covariance", "_max", "_mean_n", "_mean_s", "_target_s", "_variance", "limit")

    def __init__(self, target_s: float, max_records: int, initial_records: int) -> None:
        self._target_s = target_s
        self._max = max_records
        self._chunks = 0
        self._mean_n = 0.0
        self._mean_s = 0.0
        self._variance = 0.0
        self._covariance = 0.0
        self.limit: int = min(initial_records, max_records)
        """Most records of the next chunk."""

    def measured(self, records: int, loop_s: float) -> None:
        """Take in one finished chunk. Input that is no time (<= 0 s, over an hour, NaN) is ignored."""
        if records <= 0 or not 1e-9 < loop_s < 3600.0:
            return
        self._chunks += 1
        if self._chunks == 1:
            self._mean_n, self._mean_s = float(records), loop_s
        else:
            off_n, off_s = records - self._mean_n, loop_s - self._mean_s
            self._mean_n += _WEIGHT * off_n
            self._mean_s += _WEIGHT * off_s
            self._variance = (1 - _WEIGHT) * (self._variance + _WEIGHT * off_n * off_n)
            self._covariance = (1 - _WEIGHT) * (self._covariance + _WEIGHT * off_n * off_s)
        wanted = self._wanted()
        # At most twice what was really seen: one cheap outlier must not stall the loop with a huge chunk.
        self.limit = max(1, min(wanted, self._max, max(2 * self.limit, 2 * records)))
        if self._chunks % _PROBE_EVERY == 0:
            # Chunks of one size tell nothing about the slope, so now and then the bound is doubled once.
            self.limit = min(2 * self.limit, self._max)

    def _wanted(self) -> int:
        mean = self._mean_s / self._mean_n
        slope = mean
        if self._variance > _MIN_SPREAD * self._mean_n * self._mean_n:
            slope = min(max(self._covariance / self._variance, _MIN_SLOPE_SHARE * mean), mean)
        fixed = self._mean_s - slope * self._mean_n
        # Where the fixed part alone takes the target, records are given half of it on top.
        room = max(self._target_s - fixed, self._target_s / 2)
        return self._max if slope * self._max <= room else int(room / slope)
