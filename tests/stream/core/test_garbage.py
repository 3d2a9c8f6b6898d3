"""The garbage collector of a worker: short pauses however much is kept, and cycles still go."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


@pytest.mark.parametrize("kept", [200_000, 800_000])
def test_pauses_do_not_grow_with_what_is_kept_and_cycles_go(kept: int) -> None:
    """In a process of its own: it changes the collector for good."""
    script = f"""
        import gc, time, weakref
        from stream.process import YOUNG_OBJECTS, quiet_garbage_collector

        quiet_garbage_collector()
        looked = []

        def watch(phase, info):
            if phase == "start":
                looked.append(sum(gc.get_count()[:1]) + sum(len(gc.get_objects(generation=g)) for g in (1, 2)))

        gc.callbacks.insert(0, watch)
        kept = [[i] for i in range({kept})]
        assert len(looked) >= {kept} // YOUNG_OBJECTS - 1, looked
        assert max(looked) <= 1.2 * YOUNG_OBJECTS, looked
        gone = []
        for _ in range(100):
            class Cycle: pass
            one = Cycle()
            one.itself = one
            gone.append(weakref.ref(one))
        del one
        kept2 = [[i] for i in range(2 * YOUNG_OBJECTS)]
        # One that is being made just when the collector looks is kept with what survives.
        assert sum(ref() is not None for ref in gone) <= 1
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60)
