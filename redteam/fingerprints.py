"""Samples fingerprints as evasion tools do: `python -m redteam.fingerprints N SEED`, one JSON object a line.

From browserforge, whose Bayesian networks are Apify's: navigator, screen, video card, and headers that go with them.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict


def main() -> int:
    """Write the samples; returns the exit status."""
    from browserforge.fingerprints import FingerprintGenerator

    count, seed = int(sys.argv[1]), int(sys.argv[2])
    random.seed(seed)
    # A forger with a mouse does not call itself a phone.
    generator = FingerprintGenerator(device="desktop")
    for _ in range(count):
        print(json.dumps(asdict(generator.generate())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
