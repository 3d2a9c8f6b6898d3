"""How the state machines run: `PROPERTY_EXAMPLES` in the environment says how long, a few seconds each without it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import Phase, settings

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "24"))
"""Sequences of rules a machine tries."""
_QUICK = (Phase.explicit, Phase.reuse, Phase.generate)


def machine(share: float, steps: int) -> settings:
    """Settings of one machine; `PROPERTY_SHRINK=1` makes a failing sequence short, which may take minutes."""
    phases = tuple(Phase) if os.environ.get("PROPERTY_SHRINK") else _QUICK
    return settings(max_examples=max(1, int(share * EXAMPLES)), stateful_step_count=steps, deadline=None, phases=phases)


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing: a machine makes the code under test complain thousands of times."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
