"""Which sessions are logged on `risk.features`: every one up to a stated rate, then a keyed share.

A session is logged whole or not at all.
"""

from hashlib import blake2b

_SCALE = 2**64


class FeatureSampler:
    """Chooses sessions at their first event, from append time and session id alone: a replay chooses the same share.

    A bucket that fills at `sessions_per_s` (append time) takes sessions whole; beyond it a session is taken when its
    hash falls below `share`.
    """

    def __init__(self, sessions_per_s: float, share: float) -> None:
        self._rate = sessions_per_s
        self._share = share
        # A bucket that can't hold one session would never give one.
        self._capacity = max(1.0, sessions_per_s)
        self._tokens = self._capacity
        self._at_ms = 0

    def choose(self, session_id: str, append_time_ms: int) -> float:
        """Return the sampling ratio under which the session is logged, 0 when it is not logged."""
        if self._rate > 0:
            passed_s = max(0, append_time_ms - self._at_ms) / 1000.0
            self._tokens = min(self._capacity, self._tokens + passed_s * self._rate)
            self._at_ms = max(self._at_ms, append_time_ms)
            if self._tokens >= 1.0:
                self._tokens -= 1.0
                return 1.0
        if self._share <= 0:
            return 0.0
        drawn = int.from_bytes(blake2b(session_id.encode(), digest_size=8, person=b"features").digest()) / _SCALE
        return self._share if drawn < self._share else 0.0
