"""What a partition's chunk waits for: from the first call that is not answered to the first that is."""

from __future__ import annotations

import pytest

from stream.settings import RedisSettings
from stream.state.time_limit import TimeLimit
from stream.waits import CALL_LIMIT_S, NOTICED_S, Wait, call_limit_s


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("stream.waits.time.monotonic", made)
    return made


def test_a_short_wait_is_no_word_worth_and_a_long_one_is(clock: Clock) -> None:
    wait = Wait()
    assert wait.noticed() is None
    wait.begin("store")
    clock.now_s += NOTICED_S - 0.1
    assert wait.noticed() is None
    clock.now_s += 0.1
    assert wait.noticed() == "store"
    wait.end("store")
    assert wait.noticed() is None


def test_calls_that_fail_one_after_the_other_are_one_wait(clock: Clock) -> None:
    wait = Wait()
    for _ in range(1_000):
        wait.begin("store")
        clock.now_s += 2.0
    assert wait.noticed() == "store"


def test_another_dependency_is_another_wait(clock: Clock) -> None:
    wait = Wait()
    wait.begin("store")
    clock.now_s += 60
    wait.end("store")
    wait.begin("broker")
    assert wait.noticed() is None
    clock.now_s += NOTICED_S
    assert wait.noticed() == "broker"


def test_a_chunk_that_can_not_be_published_waits_for_the_broker_however_often_it_asks_the_store(clock: Clock) -> None:
    wait = Wait()
    for _ in range(100):
        wait.begin("store")
        wait.end("store")
        wait.begin("broker")
        clock.now_s += 1.0
    assert wait.noticed() == "broker"
    wait.end("broker")
    assert wait.noticed() is None


def test_one_call_that_never_comes_back_is_no_outage(clock: Clock) -> None:
    wait = Wait()
    wait.begin("broker")
    clock.now_s += CALL_LIMIT_S
    assert wait.noticed() == "broker"
    clock.now_s += 0.1
    assert wait.noticed() is None


@pytest.mark.parametrize("timeout_s", [0.5, 2.0, 34.0, 60.0])
def test_a_slow_call_within_its_own_limit_is_never_taken_for_one_that_hangs(clock: Clock, timeout_s: float) -> None:
    limit = TimeLimit(RedisSettings(timeout_s=timeout_s).timeout_s)
    for _ in range(10):
        limit.missed(limit.seconds)
    wait = Wait()
    wait.begin("store")
    clock.now_s += 3 * limit.seconds + NOTICED_S  # the call, a script that was forgotten, and the call again
    assert wait.noticed(call_limit_s(timeout_s)) == "store"
    clock.now_s += max(CALL_LIMIT_S, 3 * limit.seconds)
    assert wait.noticed(call_limit_s(timeout_s)) is None
