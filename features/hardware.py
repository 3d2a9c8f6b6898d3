"""Which numbers of logical cores go with which graphics: integrated graphics are part of a processor.

From the makers' specifications. A browser that was put together from parts claims graphics and cores of two machines.
Discrete cards go with any processor, so they say nothing; nor do browsers that give a class of graphics in place of the
real ones ("or similar", "Apple GPU").
"""

import functools
import re
from typing import Final

_FAMILIES: Final[tuple[tuple[str, frozenset[int]], ...]] = (
    (r"Apple M1 Ultra", frozenset({20})),
    (r"Apple M1 (Pro|Max)", frozenset({8, 10})),
    (r"Apple M2 Ultra", frozenset({24})),
    (r"Apple M2 Max", frozenset({12})),
    (r"Apple M2 Pro", frozenset({10, 12})),
    (r"Apple M3 Ultra", frozenset({28, 32})),
    (r"Apple M3 Max", frozenset({14, 16})),
    (r"Apple M3 Pro", frozenset({11, 12})),
    (r"Apple M4 Max", frozenset({14, 16})),
    (r"Apple M4 Pro", frozenset({12, 14})),
    (r"Apple M4\b", frozenset({8, 9, 10})),
    (r"Apple M[123]\b", frozenset({8})),
    (r"\bHD Graphics (520|5500|620|615|515|4400|4200)\b", frozenset({2, 4})),
    (r"\bUHD Graphics 620\b", frozenset({4, 8})),
    (r"\bUHD Graphics 60[05]\b", frozenset({2, 4})),
    (r"\bUHD Graphics 630\b", frozenset({2, 4, 6, 8, 12, 16, 20})),
    (r"\bUHD Graphics 730\b", frozenset({8, 12, 16})),
    (r"\bUHD Graphics 7[57]0\b", frozenset({8, 12, 16, 20, 24, 28, 32})),
    (r"\bHD Graphics (3000|4000|4600|530|630)\b", frozenset({2, 4, 8})),
    (r"Iris\(R\) Xe Graphics", frozenset({4, 6, 8, 10, 12, 16, 20})),
    (r"Iris\(R\) Plus Graphics", frozenset({4, 8})),
    (r"Arc\(TM\) 1[34]0V", frozenset({8})),
    (r"Arc\(TM\) Graphics", frozenset({14, 16, 18, 22})),
    (r"Vega 3 Graphics", frozenset({2, 4})),
    (r"Vega (6|8|9|10|11) Graphics", frozenset({4, 8, 12, 16})),
    (r"AMD Radeon \(TM\) Graphics|AMD Radeon\(TM\) Graphics", frozenset({2, 4, 6, 8, 12, 16})),
    (r"Radeon (660M|680M|760M|780M) Graphics", frozenset({8, 12, 16})),
)
"""(graphics, numbers of logical cores that their processors have), the first that fits."""
_CLASS: Final = re.compile(r"or similar|^Apple GPU$")
_COMPILED: Final = tuple((re.compile(pattern), cores) for pattern, cores in _FAMILIES)


@functools.lru_cache(maxsize=1_024)
def cores_fit(renderer: str, cores: int) -> bool | None:
    """Whether a processor with these graphics has that number of logical cores; None: the graphics don't say."""
    if _CLASS.search(renderer):
        return None
    for family, known in _COMPILED:
        if family.search(renderer):
            return cores in known
    return None
