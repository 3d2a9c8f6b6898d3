"""Which cores, memory and screens go with the graphics that a browser names: integrated graphics are part of a machine.

From the makers' specifications (`features.chips`, and Apple's below). A browser that was put together from parts claims
graphics, cores, memory and screen of several machines. Discrete cards go with any processor, so they say nothing; nor
do browsers that give a class of graphics in place of the real ones ("or similar", "Apple GPU"). None: nobody can tell.
"""

import functools
import re
from typing import Final

from features.chips import AMD, INTEL, NAMED

FULL_MEMORY_SINCE: Final = 147
"""First Chrome whose deviceMemory goes up to 32 GiB on desktops; before, everything from 8 on was 8."""
LARGE_MEMORY_SINCE: Final = 140
"""No Chrome before told more than 8 GiB; some between the two may, in trials of their maker."""
_CLASS: Final = re.compile(r"or similar|^Apple GPU$")
_PCI: Final = re.compile(r"^ANGLE \((Intel|AMD)\b.*?\(0x0000([0-9A-F]{4})\)")
_STATED: Final = re.compile(r"\b(\d{1,3})-Core Processor\b")
_CHROME: Final = re.compile(r"\bChrome/(\d{1,4})\.")
_APPLE: Final = re.compile(r"\bApple M([1-5])\b(?: (Pro|Max|Ultra)\b)?")
_COMPILED: Final = tuple((re.compile(pattern), cores) for pattern, cores in NAMED)

_SMALLEST_GIB: Final[dict[tuple[str, str], float]] = {
    ("1", ""): 8.0,
    ("2", ""): 8.0,
    ("3", ""): 8.0,
    ("4", ""): 16.0,
    ("5", ""): 16.0,
    ("1", "Pro"): 16.0,
    ("2", "Pro"): 16.0,
    ("3", "Pro"): 16.0,
    ("4", "Pro"): 16.0,
    ("5", "Pro"): 16.0,
}
"""Least memory of a Mac by generation and variant of its processor, as deviceMemory rounds it: 18 GiB are 16, and 24
may be. Max and Ultra begin with 32."""
_LARGEST_GIB: Final[dict[tuple[str, str], float]] = {("1", ""): 16.0}
"""Likewise the most, where it is below 32."""

_SIZES: Final[tuple[tuple[frozenset[tuple[str, str]], frozenset[tuple[int, int]]], ...]] = (
    (  # MacBook Air with a notch, 13 and 15 inches
        frozenset({("2", ""), ("3", ""), ("4", ""), ("5", "")}),
        frozenset({(1470, 956), (1710, 1112), (1280, 832), (1710, 1107), (1440, 932), (1280, 828), (1920, 1243)}),
    ),
    (  # MacBook Pro, 14 inches
        frozenset(
            {(generation, variant) for generation in "12345" for variant in ("Pro", "Max")}
            | {(generation, "") for generation in "345"}
        ),
        frozenset({(1512, 982), (1352, 878), (1147, 745), (1800, 1169)}),
    ),
    (  # MacBook Pro, 16 inches
        frozenset({(generation, variant) for generation in "12345" for variant in ("Pro", "Max")}),
        frozenset({(1728, 1117), (1496, 967), (1312, 848), (1168, 755), (2056, 1329)}),
    ),
)
"""(processors, sizes that macOS offers on the built-in screens of Macs with them, CSS px): screens with a notch have
sizes that no other screen has."""


def is_class(renderer: str) -> bool:
    """Whether a browser gives a class of graphics in place of the real ones."""
    return _CLASS.search(renderer) is not None


@functools.lru_cache(maxsize=1_024)
def cores_fit(renderer: str, cores: int) -> bool | None:
    """Whether a processor with these graphics has that number of logical cores."""
    if is_class(renderer):
        return None
    device = _PCI.search(renderer)
    if device is not None:
        known = (INTEL if device[1] == "Intel" else AMD).get(device[2])
        if known is not None:
            return cores in known
    stated = _STATED.search(renderer)
    if stated is not None:
        return cores in {int(stated[1]), 2 * int(stated[1])}
    for family, among in _COMPILED:
        if family.search(renderer):
            return cores in among
    return None


def cores_are_usual(cores: int, system: str) -> bool:
    """Whether PCs come with that number of logical cores: an odd one is left where somebody took some away."""
    return system not in {"windows", "linux"} or cores % 2 == 0 or cores < 3


@functools.lru_cache(maxsize=1_024)
def memory_fits(renderer: str, memory_gib: float, agent: str) -> bool | None:
    """Whether a Mac with this processor has that memory, as a browser with this user agent rounds it."""
    processor = _processor_of(renderer)
    if processor is None:
        return None
    least = _SMALLEST_GIB.get(processor, 32.0)
    most = _LARGEST_GIB.get(processor, 32.0)
    chrome = _CHROME.search(agent)
    if chrome is None or int(chrome[1]) < FULL_MEMORY_SINCE:
        least, most = min(least, 8.0), max(most, 8.0)
    return least <= memory_gib <= most


def memory_is_told(memory_gib: float, agent: str) -> bool:
    """Whether a browser with this user agent ever tells that memory: False for an old Chrome with more than 8 GiB."""
    if memory_gib <= 8.0:
        return True
    chrome = _CHROME.search(agent)
    return chrome is None or int(chrome[1]) >= LARGE_MEMORY_SINCE


@functools.lru_cache(maxsize=1_024)
def screen_fits(renderer: str, width_px: float, height_px: float) -> bool | None:
    """Whether a Mac with these graphics has a screen of that size; monitors go with any, so most sizes say nothing."""
    size = int(width_px), int(height_px)
    known = [processors for processors, sizes in _SIZES if size in sizes]
    if not known or is_class(renderer):
        return None
    processor = _processor_of(renderer)
    return processor is not None and any(processor in processors for processors in known)


def _processor_of(renderer: str) -> tuple[str, str] | None:
    found = _APPLE.search(renderer)
    return None if found is None or is_class(renderer) else (found[1], found[2] or "")
