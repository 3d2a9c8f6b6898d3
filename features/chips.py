"""How many logical cores go with a graphics chip that a browser names: by PCI device, by Mesa's code name, by product.

From the makers' specifications of the processors that hold the chip. A set is every number that a processor of the
family has, with or without hyper-threading where the maker sells both; a chip that is not here says nothing.
"""

from typing import Final

Cores = frozenset[int]


def _of(*rows: tuple[str, tuple[int, ...]]) -> dict[str, Cores]:
    return {chip: frozenset(cores) for chips, cores in rows for chip in chips.split()}


INTEL: Final[dict[str, Cores]] = _of(
    ("0102", (2, 4, 8)),  # Sandy Bridge
    ("0112 0116 0122 0126", (2, 4, 8)),
    ("0152 0156", (2, 4)),  # Ivy Bridge
    ("0162 0166", (4, 8)),
    ("0402 0A06", (2, 4)),  # Haswell
    ("0412 0416 0D26", (4, 8)),
    ("041E 0A16 0A26 0A2E", (4,)),
    ("0F31 22B0 22B1", (2, 4)),  # Bay Trail, Braswell
    ("1606", (2, 4)),  # Broadwell
    ("1616 161E 1626 162B", (4,)),
    ("1612", (4, 8)),
    ("1902 1906", (2, 4)),  # Skylake
    ("1912", (2, 4, 8)),
    ("191B", (4, 8)),
    ("1916 191E 1921 1926 1927", (4,)),
    ("5902 5906 591E", (2, 4)),  # Kaby Lake, Amber Lake
    ("5912 5917 591B", (4, 8)),
    ("5916 591C 5921 5926 5927 87C0", (4,)),
    ("3184", (4,)),  # Apollo Lake, Gemini Lake
    ("5A84", (4,)),
    ("3185 5A85", (2, 4)),
    ("3E90 3E93 3EA1", (2, 4)),  # Coffee Lake, Whiskey Lake
    ("3E91", (4,)),
    ("3E92", (4, 6, 8, 12)),
    ("3E98", (6, 8, 12, 16)),
    ("3E9B", (4, 8, 12, 16)),
    ("3E94", (8, 12, 16)),
    ("3EA0 3EA5 3EA6", (4, 8)),
    ("9B21 9BA8", (2, 4)),  # Comet Lake
    ("9B41 9BCA 9BCC", (4, 8, 12)),
    ("9BA4 9BC4", (8, 12, 16)),
    ("9BC5 9BF6", (8, 12, 16, 20)),
    ("9BC8", (4, 8, 12, 16, 20)),
    ("8A51 8A52", (8,)),  # Ice Lake
    ("8A56 8A5A 8A5C", (4, 8)),
    ("4E55 4E61 4E71", (2, 4)),  # Jasper Lake
    ("9A49", (8,)),  # Tiger Lake
    ("9A40", (4, 8)),
    ("9A78", (2, 4, 8)),
    ("9A60 9A68", (12, 16)),
    ("4C8A", (12, 16)),  # Rocket Lake
    ("4C8B", (12,)),
    ("46A3 46A6 4626", (12, 16, 20)),  # Alder Lake
    ("46A8 46AA", (12,)),
    ("46B3", (5, 6, 8)),
    ("4628", (5, 6, 8, 12)),
    ("4680", (12, 16, 20, 24)),
    ("4690", (12, 16)),
    ("4682 4692", (8, 12)),
    ("4693", (2, 4)),
    ("4688 468B", (12, 16, 20, 24)),
    ("46D0 46D1 46D2 46D4", (2, 4, 8)),
    ("A7A0", (16, 20)),  # Raptor Lake
    ("A7A1", (12,)),
    ("A7A8 A7A9", (6, 8, 12, 16)),
    ("A7AA A7AB", (8, 12, 16, 20)),
    ("A7AC A7AD", (8, 12)),
    ("A720 A721", (8, 12, 16, 20)),
    ("A780", (12, 16, 20, 24, 28, 32)),
    ("A782", (8, 12, 16)),
    ("A788 A78B", (16, 20, 24, 28, 32)),
    ("7D45", (10, 14)),  # Meteor Lake, Arrow Lake
    ("7D55 7DD5", (18, 22)),
    ("7D41", (10, 14)),
    ("7D51 7DD1", (14, 16)),
    ("7D67", (10, 14, 20, 24)),
    ("64A0", (8,)),  # Lunar Lake
)
"""By PCI device, upper case, as Chrome names it after the product: `(0x00009A49)`."""

AMD: Final[dict[str, Cores]] = _of(
    ("98E4", (2,)),  # Stoney Ridge, and what came before it
    ("9850 9851 9874 1309 130A 130B 130F", (2, 4)),
    ("15DD", (4, 8)),  # Raven Ridge, Picasso
    ("15D8", (2, 4, 8)),
    ("1636", (4, 6, 8, 12, 16)),  # Renoir
    ("1638 164C 15E7", (8, 12, 16)),  # Cezanne, Lucienne, Barcelo
    ("1681 1114", (8, 12, 16)),  # Rembrandt, Krackan
    ("15BF 1900", (12, 16)),  # Phoenix, Hawk Point
    ("15C8 1901", (8, 12)),
    ("150E", (20, 24)),  # Strix Point
    ("1586", (12, 16, 24, 32)),
    ("1506", (2, 4, 8)),  # Mendocino
    ("164E 13C0", (12, 16, 24, 32)),  # Raphael, Granite Ridge
    ("163F", (8,)),  # Van Gogh
)
"""Likewise, graphics inside a processor only: cards go with any."""

NAMED: Final[tuple[tuple[str, Cores], ...]] = tuple(
    (pattern, frozenset(cores))
    for pattern, cores in (
        (r"Iris\(R\) Xe Graphics \(TGL GT2\)", (8,)),  # Mesa: the code name stands for several PCI devices
        (r"\(TGL GT2\)", (2, 4, 8)),
        (r"\(TGL GT1\)", (12, 16)),
        (r"\b(HD Graphics 4600 \(HSW|UHD Graphics 620 \((KBL|WHL)) GT2\)", (4, 8)),
        (r"\b(HD Graphics 620 \(KBL|HD Graphics 520 \(SKL|HD Graphics 5500 \(BDW) GT2\)", (4,)),
        (r"\(CML GT2\)", (4, 8, 12, 16, 20)),
        (r"\(ICL GT(1|2)\)", (4, 8)),
        (r"\(ADL GT2\)", (12, 16, 20)),
        (r"\(ADL-S GT0\.5\)", (2, 4)),
        (r"\(ADL-S GT1\)", (8, 12, 16, 20, 24)),
        (r"\(RPL-U\)", (8, 12)),
        (r"\(RPL-P\)", (12, 16, 20)),
        (r"Arc\(tm\) Graphics \(MTL\)", (18, 22)),
        (r"\(MTL\)", (10, 14, 18, 22)),
        (r"\(ARL\)", (10, 14, 16, 20, 24)),
        (r"\(LNL\)", (8,)),
        (r"\(IVB GT1\)", (2, 4)),
        (r"\((BSW|BYT)\)", (2, 4)),
        (r"\brenoir\b", (4, 6, 8, 12, 16)),
        (r"\brembrandt\b", (8, 12, 16)),
        (r"\bphoenix2\b", (8, 12)),
        (r"\bphoenix\b", (12, 16)),
        (r"\braven2?\b", (2, 4, 8)),
        (r"\bgfx1150\b", (20, 24)),
        (r"\bgfx1152\b", (8, 12, 16)),
        (r"Apple M1 Ultra", (20,)),
        (r"Apple M1 (Pro|Max)", (8, 10)),
        (r"Apple M2 Ultra", (24,)),
        (r"Apple M2 Max", (12,)),
        (r"Apple M2 Pro", (10, 12)),
        (r"Apple M3 Ultra", (28, 32)),
        (r"Apple M3 Max", (14, 16)),
        (r"Apple M3 Pro", (11, 12)),
        (r"Apple M4 Max", (14, 16)),
        (r"Apple M4 Pro", (12, 14)),
        (r"Apple M4\b", (8, 9, 10)),
        (r"Apple M5\b(?! (Pro|Max|Ultra))", (9, 10)),
        (r"Apple M[123]\b", (8,)),
        (r"\bHD Graphics (520|5500|620|615|515|4400|4200)\b", (2, 4)),
        (r"\bHD Graphics (5000|6000)\b|\bUHD Graphics 617\b", (4,)),
        (r"\bIris\(TM\) Graphics (540|550|6100)\b|\bIris\(TM\) Plus Graphics 6[45]0\b|\bIntel Iris OpenGL", (4,)),
        (r"\bIris\(TM\) Plus Graphics\b|\bIris Pro\b|\bIris\(TM\) Pro\b", (4, 8)),
        (r"\bUHD Graphics 620\b", (4, 8)),
        (r"\bUHD Graphics 60[05]\b", (2, 4)),
        (r"\bUHD Graphics 630\b", (2, 4, 6, 8, 12, 16, 20)),
        (r"\bUHD Graphics 730\b", (8, 12, 16)),
        (r"\bUHD Graphics 7[57]0\b", (8, 12, 16, 20, 24, 28, 32)),
        (r"\bHD Graphics (3000|4000|4600|530|630)\b", (2, 4, 8)),
        (r"Iris\(R\) Xe Graphics", (4, 6, 8, 10, 12, 16, 20)),
        (r"Iris\(R\) Plus Graphics", (4, 8)),
        (r"Arc\(TM\) 1[34]0V", (8,)),
        (r"Arc\(TM\) 1[34]0T", (14, 16)),
        (r"Arc\(TM\) (Pro )?Graphics", (8, 14, 16, 18, 22)),
        (r"Vega 3 Graphics", (2, 4)),
        (r"Vega (6|8|9|10|11) Graphics", (4, 8, 12, 16)),
        (r"AMD Radeon \(TM\) Graphics|AMD Radeon\(TM\) Graphics", (2, 4, 6, 8, 12, 16)),
        (r"Radeon (660M|680M|760M|780M) Graphics", (8, 12, 16)),
        # Cards of notebooks go with processors for notebooks of their time.
        (r"GeForce RTX [345]0\d0 (Ti )?(\d+GB )?Laptop GPU", (8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32)),
        (r"Adreno\(TM\) X1-85", (10, 12)),
        (r"Adreno\(TM\) (X1-45|8cx Gen 3)", (8,)),
    )
)
"""(pattern in the renderer, cores), the first that fits, where no PCI device says it."""
