"""Token buckets in bounded memory: who sends too much waits. Per process; the clock is passed in."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

_MARGIN: Final = 1e-9


class Buckets:
    """One bucket a key: `burst` requests at once, `rate_per_s` after that. Refilled when asked.

    At most `max_entries` keys are remembered; beyond, the one that was asked for longest ago is forgotten, and begins
    with a full bucket when it comes again. So memory is bounded, and who sends more keys than that gains bursts only.
    """

    def __init__(self, rate_per_s: float, burst: int, max_entries: int) -> None:
        self._rate = rate_per_s
        self._burst = float(burst)
        self._max = max_entries
        # Tokens left, and when; least recently asked first. A dict would look for its first entry among the deleted.
        self._held: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, key: Hashable, now_s: float) -> float:
        """Take one request of `key` and return 0.0; or take none, and return the seconds until there will be one.

        `now_s`: monotonic, s.
        """
        held = self._held
        left, since = held.pop(key, (self._burst, now_s))
        left = min(self._burst, left + max(0.0, now_s - since) * self._rate)
        enough = left >= 1.0 - _MARGIN
        held[key] = (left - 1.0 if enough else left, now_s)
        if len(held) > self._max:
            held.popitem(last=False)
        return 0.0 if enough else (1.0 - left) / self._rate
