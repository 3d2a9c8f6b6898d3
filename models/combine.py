"""What is said of an event as a whole: its score in hundredths, and how much of the expected evidence was seen."""

import math
from collections.abc import Iterable


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
