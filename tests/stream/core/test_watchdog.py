"""The watchdog: what counts as silence and what doesn't, and a real process that it ends."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from stream.exit_status import STUCK
from stream.health import LOOP, POLL, PROGRESS, Health, Phase, Stuck
from stream.metrics import Metrics
from stream.stacks import task_stacks, thread_stacks
from stream.watchdog import FROZEN_S, LOOK_S, RunningClock, Watchdog

STALL_S, RESTART_S = 60.0, 120.0


class Manual:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def health(clock: Callable[[], float]) -> Health:
    made = Health(STALL_S, clock, RESTART_S)
    made.sign_of_life(LOOP)
    made.sign_of_life(POLL)
    return made


class TestSilence:
    def test_nothing_is_stuck_while_it_starts_however_long_that_takes(self) -> None:
        clock = Manual()
        made = health(clock)
        made.observe_partitions({"t[0]": (1, 5)}, broker_reachable=True)
        clock.now_s += 10_000
        assert made.stuck(0) is None
        assert made.is_alive
        made.ready()
        assert made.stuck(1) is None, "the start does not count"

    def test_nor_while_it_stops(self) -> None:
        clock = Manual()
        made = health(clock)
        made.ready()
        made.draining()
        clock.now_s += 10_000
        assert made.stuck(0) is None
        assert made.is_alive

    @pytest.mark.parametrize("silent", [LOOP, POLL])
    def test_a_part_that_gives_no_sign_of_life(self, silent: str) -> None:
        clock = Manual()
        made = health(clock)
        made.ready()
        for second in range(1, 200):
            clock.now_s += 1
            made.sign_of_life(POLL if silent == LOOP else LOOP)
            assert made.stuck(STALL_S) == (Stuck(silent, second) if second > STALL_S else None)
            assert made.phase is (Phase.STALLED if second > STALL_S else Phase.READY)
            assert made.is_alive is (second <= RESTART_S)
        made.sign_of_life(silent)
        assert made.phase is Phase.READY

    def test_lag_without_progress_names_the_slowest_partition(self) -> None:
        clock = Manual()
        made = health(clock)
        made.ready()
        for position in range(100):
            made.observe_partitions({"t[0]": (position, 5), "t[1]": (7, 5)}, broker_reachable=True)
            clock.now_s += 1
        made.sign_of_life(LOOP)
        made.sign_of_life(POLL)
        assert made.stuck(STALL_S) == Stuck(PROGRESS, 100.0, "t[1]")

    def test_a_blocked_loop_is_the_cause_and_the_lag_behind_it_its_effect(self) -> None:
        clock = Manual()
        made = health(clock)
        made.ready()
        made.observe_partitions({"t[0]": (1, 5)}, broker_reachable=True)
        clock.now_s += 100
        made.sign_of_life(POLL)
        assert made.stuck(STALL_S) == Stuck(LOOP, 100.0)

    def test_waiting_for_a_dependency_is_not_ready_but_alive_for_any_time(self) -> None:
        clock = Manual()
        made = health(clock)
        made.ready()
        for dependency, reachable in (("store", True), ("broker", True), ("broker", False)):
            for _ in range(1_000):
                clock.now_s += 1
                made.sign_of_life(LOOP)
                made.sign_of_life(POLL)
                waits: Any = {"t[0]": dependency} if reachable else {}
                made.observe_partitions({"t[0]": (1, 5), "t[1]": (9, 0)}, broker_reachable=reachable, waits=waits)
                assert made.phase is Phase.WAITING
                assert made.report()["waiting_for"] == [dependency]
                assert made.is_alive
            made.observe_partitions({"t[0]": (1, 5)}, broker_reachable=True)
            assert made.phase is Phase.READY, "it is back, and the outage does not count"

    def test_one_that_waits_does_not_excuse_another_that_is_stuck(self) -> None:
        clock = Manual()
        made = health(clock)
        made.ready()
        for _ in range(70):
            made.observe_partitions({"a": (1, 5), "b": (1, 5)}, broker_reachable=True, waits={"a": "store"})
            clock.now_s += 1
            made.sign_of_life(LOOP)
            made.sign_of_life(POLL)
        assert made.stuck(STALL_S) == Stuck(PROGRESS, 70.0, "b")


class TestClock:
    def test_a_freeze_does_not_pass(self) -> None:
        monotonic = Manual()
        clock = RunningClock(monotonic)
        began = clock()
        for _ in range(10):
            monotonic.now_s += LOOK_S
            clock.look()
        assert clock() - began == pytest.approx(10 * LOOK_S)
        monotonic.now_s += 3_600
        clock.look()
        assert clock() - began == pytest.approx(11 * LOOK_S)

    def test_looks_that_come_a_little_late_do(self) -> None:
        monotonic = Manual()
        clock = RunningClock(monotonic)
        began = clock()
        for _ in range(10):
            monotonic.now_s += FROZEN_S
            clock.look()
        assert clock() - began == pytest.approx(10 * FROZEN_S)


@pytest.fixture(autouse=True)
def no_timer_of_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process it would end the tests; the processes below have it."""
    monkeypatch.setattr("stream.watchdog._stderr", lambda: None)


def watchdog(restart_s: float, last_poll: Callable[[], float | None], ended: list[int]) -> tuple[Watchdog, Health]:
    clock = RunningClock()
    made = Health(0.5, clock, restart_s)
    return Watchdog(made, clock, Metrics(), restart_s, last_poll, ended.append), made


async def test_it_lets_live_processes_live_and_ends_what_stops_polling(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[int] = []
    polls = True
    dog, made = watchdog(4.0, lambda: time.monotonic() if polls else 1.0, ended)
    dog.watch_loop()
    dog.start()
    made.ready()
    await asyncio.sleep(5.0)
    assert ended == []
    polls = False
    with caplog.at_level(logging.CRITICAL):
        deadline = time.monotonic() + 15
        while not ended and time.monotonic() < deadline:  # noqa: ASYNC110 - a list of another thread's
            await asyncio.sleep(0.05)
    dog.close()
    assert ended[0] == STUCK
    # Last words of a watchdog before it may still be on their way.
    first = next(record for record in caplog.records if "what" in vars(record))
    assert re.search(r"polls Kafka has not polled for \d+ s.*exit status 70.*nothing is lost", first.getMessage())
    assert vars(first)["what"] == POLL
    assert any("test_it_lets_live_processes_live" in r.getMessage() for r in caplog.records[1:]), "no stack of the task"


async def test_a_log_that_blocks_does_not_keep_it_from_acting(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    blocked = threading.Event()
    monkeypatch.setattr("stream.watchdog.LAST_WORDS_S", 0.2)
    monkeypatch.setattr("stream.watchdog.log.critical", lambda *_, **__: blocked.wait(30))
    dog, made = watchdog(1.0, lambda: None, ended)
    dog.watch_loop()
    dog.start()
    made.ready()
    time.sleep(2.0)  # noqa: ASYNC251 - the event loop is blocked, that is the point
    try:
        deadline = time.monotonic() + 3
        while not ended and time.monotonic() < deadline:
            time.sleep(0.05)  # noqa: ASYNC251 - still
        assert ended[:1] == [STUCK]
    finally:
        blocked.set()
        dog.close()


PROCESS = """
import asyncio, ctypes, sys, time
from stream import logs
from stream.health import Health
from stream.metrics import Metrics
from stream.settings import LogSettings
from stream.watchdog import RunningClock, Watchdog

how, restart_s, secret = sys.argv[1], float(sys.argv[2]), "person-4711"
logs.configure(LogSettings(format="json"))
clock = RunningClock()
health = Health(0.5, clock, restart_s)
dog = Watchdog(health, clock, Metrics(), restart_s, time.monotonic)

async def waits_for_ever(name):
    await asyncio.Event().wait()

async def main():
    other = asyncio.create_task(waits_for_ever(secret))
    dog.watch_loop()
    dog.start()
    if how == "lock while starting":
        ctypes.PyDLL(None).usleep(20_000_000)
    health.ready()
    if how == "lock at once":
        ctypes.PyDLL(None).usleep(20_000_000)
    await asyncio.sleep(1.0)
    print("ready", flush=True)
    if how == "loop":
        end = time.monotonic() + 30
        while time.monotonic() < end:
            pass
    elif how == "lock":
        # Holds Python's lock: no thread of Python runs.
        ctypes.PyDLL(None).usleep(20_000_000)
    else:
        await asyncio.sleep(30)

asyncio.run(main())
"""


def run(how: str, restart_s: float = 1.5) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, how, str(restart_s)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


class TestProcess:
    def test_a_blocked_event_loop_ends_it_with_stacks_and_without_a_value(self) -> None:
        process = run("loop")
        began = time.monotonic()
        _, err = process.communicate(timeout=30)
        assert process.returncode == STUCK
        assert time.monotonic() - began < 12
        lines = err.splitlines()
        assert '"level":"critical"' in lines[0]
        assert "the event loop has not run for " in lines[0]
        assert any("thread MainThread stands at" in line and "main" in line for line in lines)
        assert any("task waits_for_ever stands at" in line and "locks.py" in line for line in lines)
        assert "person-4711" not in err

    @pytest.mark.parametrize("how", ["lock while starting", "lock at once", "lock"])
    def test_a_call_that_keeps_pythons_lock_ends_it_through_the_interpreters_own_timer(self, how: str) -> None:
        process = run(how)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "Timeout (0:00:02" in err
        assert "in main" in err
        assert "person-4711" not in err

    def test_a_freeze_that_is_longer_than_the_limit_but_not_than_the_timer_is_survived(self) -> None:
        process = run("sleep", restart_s=8.0)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(9.0)
        process.send_signal(signal.SIGCONT)
        time.sleep(1.5)
        assert process.poll() is None
        process.kill()
        process.communicate()


def test_stacks_show_places_and_no_values() -> None:
    go_on = threading.Event()

    def works_on(secret: str) -> None:
        go_on.wait(10)
        assert secret

    thread = threading.Thread(target=works_on, args=("person-4711",), name="at-work")
    thread.start()
    try:
        frames = dict(thread_stacks())["at-work"]
    finally:
        go_on.set()
        thread.join()
    assert any(re.fullmatch(r"core/test_watchdog\.py:\d+ .*works_on", frame) for frame in frames)
    assert not any("person" in frame for frame in frames)
    assert frames[-1].startswith("python3")
    assert "wait" in frames[-1]


async def test_the_stack_of_a_task_goes_down_to_what_it_awaits() -> None:
    async def inner() -> None:
        await asyncio.sleep(10)

    async def outer() -> None:
        await inner()

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    (frames,) = [found for name, found in task_stacks(asyncio.get_running_loop()) if name.endswith("outer")]
    task.cancel()
    assert [frame.rsplit(".", 1)[-1] for frame in frames[:2]] == ["outer", "inner"]
    assert frames[2].endswith(" sleep")
