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
        from stream.garbage import YOUNG_OBJECTS, quiet_garbage_collector

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
    _in_a_process(script)


def test_what_the_start_made_is_not_looked_at() -> None:
    script = """
        import gc
        from stream.garbage import quiet_garbage_collector

        gc.disable()
        made = [[i] for i in range(100_000)]
        looked = []
        gc.callbacks.append(lambda phase, info: looked.append(phase))
        quiet_garbage_collector()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 100_000
        assert not looked
        """
    _in_a_process(script)


def test_a_cycle_given_up_after_a_look_goes_at_rest_only() -> None:
    """The collector does not see it under load, whoever calls it; a process with nothing to do looks at everything."""
    script = """
        import gc, weakref
        from stream.garbage import REST_S, WHOLE_LOOK_EVERY_S, YOUNG_OBJECTS, Rests, quiet_garbage_collector

        class Cycle: pass

        def given_up_after_a_look():
            one = Cycle()
            one.itself = one
            made = [[i] for i in range(2 * YOUNG_OBJECTS)]
            return weakref.ref(one)

        quiet_garbage_collector()
        now = 0.0
        rests = Rests(lambda: now)
        gone = given_up_after_a_look()
        gc.collect()
        assert gone() is not None

        working = {"a": (0, 0), "b": (7, 3)}
        for now in range(5_000):
            working = {"a": (0, 0), "b": (now, 3)}
            # One waits, the other works; then it does not any more, and then it has records but gets nowhere.
            assert not rests.observe(working, {"a": "store"})
        for now in range(5_000, 6_000):
            assert not rests.observe(working, {"a": "store"})
        assert gone() is not None

        def looks(first, end, places, waits):
            global now
            found = []
            for now in range(first, end):
                if rests.observe(places, waits):
                    found.append(now)
            return found

        every = int(WHOLE_LOOK_EVERY_S)
        first = 6_000 + int(REST_S)
        assert looks(6_000, first + 2 * every, working, dict.fromkeys(working, "store")) == [first, first + every]
        assert gone() is None
        gone = given_up_after_a_look()
        assert looks(10_000, 10_100, {}, {}) == [10_000], "owns nothing"
        assert gone() is None
        drained = {"a": (5, 0)}
        assert looks(20_000, 20_100, drained, {})[0] <= 20_000 + REST_S + 1, "nothing is left"
        assert gc.get_freeze_count() > 10_000, "what is kept is frozen again"
        """
    _in_a_process(script)


def _in_a_process(script: str) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60)
