"""A stop in a process of its own: while starting, while running, twice, with the loop blocked, and at its limit."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from stream.exit_status import INTERRUPTED, STUCK

PROCESS = """
import asyncio, sys, threading, time
from stream import logs
from stream.settings import LogSettings
from stream.stopping import Stop

how = sys.argv[1]
logs.configure(LogSettings(format="text"))
stop = Stop(2.0)
stop.install()

def block(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

def say_ready():
    print("ready", flush=True)

if how == "starting":
    say_ready()
    block(30)

async def main():
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    stop.running(lambda: loop.call_soon_threadsafe(done.set))
    say_ready()
    if how == "blocked":
        block(30)
    await done.wait()
    if how == "slow":
        await asyncio.sleep(0.7)
    if how == "hangs":
        await asyncio.sleep(30)

asyncio.run(main())
if how == "lingers":
    threading.Thread(target=time.sleep, args=(30,)).start()  # as a library's that waits for a broker
    stop.ended(0)
    sys.exit(0)
stop.leave(0)
"""


def started(how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end_of(process: subprocess.Popen[str]) -> tuple[int, float, str]:
    """Return exit status, seconds until it ended, and what it said."""
    began = time.monotonic()
    _, said = process.communicate(timeout=20)
    return process.returncode, time.monotonic() - began, said


@pytest.mark.parametrize(
    ("how", "number", "status", "least_s", "most_s", "words"),
    [
        ("starting", signal.SIGTERM, 0, 0.0, 1.0, "stopped while it was starting: nothing had begun"),
        ("starting", signal.SIGINT, INTERRUPTED, 0.0, 1.0, "stopped while it was starting"),
        ("running", signal.SIGTERM, 0, 0.0, 1.0, "stopping: what is in flight is finished, which takes at most 2 s"),
        ("running", signal.SIGINT, 0, 0.0, 1.0, "stopping: what is in flight is finished"),
        ("slow", signal.SIGTERM, 0, 0.6, 1.7, "stopping: "),
        ("lingers", signal.SIGTERM, 0, 0.0, 2.0, "stopping: "),
        ("hangs", signal.SIGTERM, STUCK, 1.3, 3.0, "the stop did not end within 2 s (health.stop_s) and is cut off"),
        ("blocked", signal.SIGTERM, STUCK, 1.3, 3.0, "thread MainThread stands at"),
    ],
)
def test_a_stop_has_a_limit_a_status_and_words(
    how: str, number: signal.Signals, status: int, least_s: float, most_s: float, words: str
) -> None:
    process = started(how)
    process.send_signal(number)
    code, took_s, said = end_of(process)
    assert code == status, said
    assert least_s <= took_s < most_s
    assert words in said
    assert "Traceback" not in said


def test_signals_that_come_again_change_nothing_however_many() -> None:
    process = started("slow")
    for _ in range(60):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    code, _, said = end_of(process)
    assert code == 0, said
    assert "already stopping; it takes at most" in said


def test_a_second_interrupt_ends_it_at_once() -> None:
    process = started("hangs")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    code, took_s, said = end_of(process)
    assert code == INTERRUPTED, said
    assert took_s < 1.0
    assert "interrupted again: it ends at once" in said
