"""The overall score: channels joined so that the result stays a p-value under any dependence between them."""

import math
from collections.abc import Iterable, Mapping

from schemas.risk import ChannelName


def overall(weights: Mapping[ChannelName, float], scores: Mapping[str, float]) -> float:
    """1 - min(1, min_i (1 - s_i) / w_i) over the channels expected in the flow, `weights` summing to 1.

    A channel without a score counts as p = 1: it adds nothing and takes nothing away, so hiding it gains nothing.
    (Weighted Bonferroni: P(min p_i / w_i <= a) <= sum of w_i a = a.)
    """
    least = 1.0
    for channel, weight in weights.items():
        score = scores.get(channel)
        if score is not None:
            least = min(least, (1.0 - score) / weight)
    return 1.0 - least


def hundredths(score: float) -> int:
    """0 to 100, rounded down, so that 100 means 1 and nothing less."""
    found = math.floor(score * 100.0 + 1e-9)
    return found if 0 <= found <= 100 else min(100, max(0, found))


def coverage(expected: Iterable[str], seen: Iterable[str]) -> tuple[float, list[str]]:
    """Share of the expected evidence that was seen, and what is missing, in the expected order."""
    have = set(seen)
    wanted = list(expected)
    missing = [name for name in wanted if name not in have]
    return (len(wanted) - len(missing)) / len(wanted) if wanted else 1.0, missing
