"""The pure parts, each beside a naive twin: commit tracker, waiting records, limiter, marks, murmur2, options."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.transport import TransportConfigurationError, TransportOptions, murmur2, partition_of
from stream.transport.limiter import ChunkLimiter
from stream.transport.marks import PauseMarks
from stream.transport.pending import Pending
from stream.transport.tracker import CommitTracker

# --- commit tracker ---------------------------------------------------------------------------------


class NaiveTracker:
    """Remembers every finished offset; an offset is finished when its last reading was done."""

    def __init__(self, start: int, committed: int | None) -> None:
        self.position = start
        self.best = committed
        for offset in range(committed or 0, start):  # below the start nothing is left to do
            self.best = offset + 1

    def done(self, first: int, following: int) -> None:
        if following > first >= self.position:
            for offset in range(self.position, following):
                self.position = offset + 1
            self.best = self.position if self.best is None else max(self.best, self.position)

    def rewind(self, offset: int) -> None:
        self.position = offset


steps = st.lists(
    st.one_of(
        st.tuples(st.just("next"), st.integers(1, 5), st.integers(0, 3)),  # length, hole before it
        st.tuples(st.just("stale"), st.integers(1, 5), st.integers(1, 9)),  # length, how far back
        st.tuples(st.just("rewind"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("skip"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("confirm"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(start=st.integers(0, 20), committed=st.none() | st.integers(0, 20), plan=steps)
def test_tracker_is_its_naive_twin(start: int, committed: int | None, plan: list[tuple[str, int, int]]) -> None:
    tracker, naive = CommitTracker(start, committed), NaiveTracker(start, committed)
    stored: int | None = committed
    for kind, a, b in plan:
        if kind == "next":
            first = tracker.position + b
            assert tracker.done(first, first + a)
            naive.done(first, first + a)
        elif kind == "stale":
            first = tracker.position - b
            assert not tracker.done(first, first + a)
            naive.done(first, first + a)
        elif kind == "rewind":
            tracker.rewind(a)
            naive.rewind(a)
        elif kind == "skip":
            tracker.skip_to(a)
            naive.done(naive.position, a)
        else:
            wanted = tracker.to_commit()
            if wanted is not None:
                assert stored is None or wanted > stored  # a commit never goes back
                stored = wanted
                tracker.confirmed(wanted)
        assert (tracker.position, tracker.committable) == (naive.position, naive.best)
        assert tracker.to_commit() == (naive.best if naive.best is not None and naive.best != stored else None)


def test_tracker_refuses_an_empty_chunk() -> None:
    tracker = CommitTracker(5, 5)
    assert not tracker.done(5, 5)
    assert tracker.to_commit() is None


def test_tracker_has_a_start_beyond_the_commit_committed() -> None:
    """The predecessor did it all and died before its commit; no record may ever come that would say so."""
    tracker = CommitTracker(5, 3)
    assert tracker.to_commit() == 5
    tracker.confirmed(5)
    assert tracker.to_commit() is None
    assert CommitTracker(5, 7).to_commit() is None
    assert CommitTracker(0, None).to_commit() is None


# --- waiting records --------------------------------------------------------------------------------


def naive_take(waiting: list[bytes], max_records: int, max_bytes: int) -> list[bytes]:
    taken: list[bytes] = []
    while waiting and len(taken) < max_records:
        if taken and sum(map(len, taken)) + len(waiting[0]) > max_bytes:
            break
        taken.append(waiting.pop(0))
        if sum(map(len, taken)) >= max_bytes and waiting and len(waiting[0]) > 0:
            break
    return taken


records = st.lists(st.binary(max_size=6), max_size=8)
pending_steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), records),
        st.tuples(st.just("take"), st.tuples(st.integers(1, 9), st.integers(1, 20))),
        st.tuples(st.just("back"), st.just(None)),
        st.tuples(st.just("clear"), st.just(None)),
    ),
    max_size=30,
)


@given(plan=pending_steps)
def test_pending_is_a_plain_list(plan: list[tuple[str, Any]]) -> None:
    pending: Pending[bytes] = Pending()
    naive: list[bytes] = []
    last: list[bytes] = []
    for kind, what in plan:
        if kind == "push":
            pending.push(what, sum(map(len, what)))
            naive.extend(what)
        elif kind == "take":
            last = pending.take(*what)
            assert last == naive_take(naive, *what)
        elif kind == "back":
            pending.push_front(last)
            naive[:0] = last
            last = []
        else:
            assert pending.clear() == len(naive)
            naive.clear()
        assert (len(pending), pending.byte_count) == (len(naive), sum(map(len, naive)))


# --- limiter ----------------------------------------------------------------------------------------


@given(fixed_s=st.floats(0.0, 0.003), each_s=st.floats(0.000_005, 0.002), warm=st.integers(0, 50))
def test_limiter_converges_to_the_target(fixed_s: float, each_s: float, warm: int) -> None:
    """Whatever came before (single records of a quiet time), a backlog soon gets chunks of the wanted cost."""
    limiter = ChunkLimiter(0.005, 4096, 64)
    for _ in range(warm):
        limiter.measured(1, fixed_s + each_s)
    costs = []
    for _ in range(60):
        costs.append(fixed_s + each_s * limiter.limit)
        limiter.measured(limiter.limit, costs[-1])
    settled = sorted(costs[30:])
    best = fixed_s + each_s * max(1, min(4096, int((0.005 - fixed_s) / each_s)))
    assert 0.5 * best <= settled[len(settled) // 2] <= 0.0055
    assert settled[-1] <= 0.0105  # a probe doubles once


def test_a_fixed_cost_above_the_target_does_not_end_in_single_records() -> None:
    limiter = ChunkLimiter(0.005, 4096, 64)
    for _ in range(100):
        limiter.measured(1, 0.00802)
    taken = []
    for _ in range(100):
        taken.append(limiter.limit)
        limiter.measured(limiter.limit, 0.008 + 0.00002 * limiter.limit)
    assert sorted(taken)[50] >= 60


def test_one_cheap_chunk_does_not_open_the_bound_wide() -> None:
    limiter = ChunkLimiter(0.005, 4096, 64)
    limiter.measured(10, 0.000_000_1)
    assert limiter.limit <= 128


def test_costly_records_come_alone() -> None:
    limiter = ChunkLimiter(0.005, 4096, 64)
    taken = []
    for _ in range(100):
        taken.append(limiter.limit)
        limiter.measured(limiter.limit, 0.02 * limiter.limit)
    assert sorted(taken[20:])[40] == 1
    assert max(taken[20:]) <= 2


@given(st.lists(st.tuples(st.integers(-3, 5000), st.floats(allow_nan=True, allow_infinity=True)), max_size=50))
def test_limiter_stays_in_bounds(measured: list[tuple[int, float]]) -> None:
    limiter = ChunkLimiter(0.005, 4096, 64)
    for count, loop_s in measured:
        limiter.measured(count, loop_s)
        assert 1 <= limiter.limit <= 4096


# --- marks ------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 300)), max_size=60))
def test_marks_have_hysteresis(seen: list[tuple[int, int]]) -> None:
    marks = PauseMarks(20, 10, 200, 100)
    paused = False
    for count, size in seen:
        if count >= 20 or size >= 200:
            expected = True
        elif count <= 10 and size <= 100:
            expected = False
        else:
            expected = paused
        assert marks.update(count, size) == (expected != paused)
        paused = expected
        assert marks.is_paused == paused


# --- murmur2 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # from Kafka's own UtilsTest
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_javas(text: bytes, expected: int) -> None:
    assert murmur2(text) == expected & 0xFFFFFFFF


@given(st.binary(max_size=40), st.integers(1, 64))
def test_partition_is_in_range(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


# --- options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"poll_wait_s": 0}, "poll_wait_s must be > 0"),
        ({"drain_deadline_s": 6.0}, "below the session timeout"),
        ({"pause_low_records": 10_000}, "pause_low_records"),
        ({"pause_low_bytes": 1 << 30}, "pause_low_bytes"),
        ({"group_protocol": "raft"}, "'raft'"),
        ({"linger_ms": -1}, "linger_ms"),
        ({"retry_min_s": 9.0}, "retry_min_s"),
        ({"consumer_properties": {"enable.auto.commit": True}}, "enable.auto.commit"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(TransportConfigurationError, match=says.replace(".", r"\.")):
        TransportOptions(**wrong)


def test_properties_reach_librdkafka() -> None:
    options = TransportOptions(
        common_properties={"security.protocol": "SASL_SSL", "sasl.mechanisms": "SCRAM-SHA-512", "linger.ms": 7},
        consumer_properties={"fetch.wait.max.ms": 2},
        producer_properties={"linger.ms": 9},
        group_instance_id="one",
    )
    consumer = options.consumer_config("h:1", "g")
    assert consumer["security.protocol"] == "SASL_SSL"
    assert consumer["fetch.wait.max.ms"] == 2
    assert (consumer["group.id"], consumer["group.instance.id"]) == ("g", "one")
    assert (consumer["enable.auto.commit"], consumer["auto.offset.reset"]) == (False, "error")
    assert consumer["session.timeout.ms"] == 6000
    producer = options.producer_config("h:1")
    assert (producer["linger.ms"], producer["acks"], producer["partitioner"]) == (9, "all", "murmur2_random")
    assert options.admin_config("h:1")["sasl.mechanisms"] == "SCRAM-SHA-512"


@pytest.mark.parametrize(
    ("session_s", "own", "wanted"),
    [(None, {}, 20_000), (45.0, {}, 45_000), (None, {"max.poll.interval.ms": 90_000}, 90_000)],
)
def test_a_join_whose_answer_is_lost_is_given_up(session_s: float | None, own: dict[str, Any], wanted: int) -> None:
    for protocol in ("classic", "cooperative", "consumer"):
        options = TransportOptions(group_protocol=protocol, session_timeout_s=session_s, consumer_properties=own)
        assert options.consumer_config("h:1", "g")["max.poll.interval.ms"] == wanted


def test_the_consumer_protocol_leaves_session_times_to_the_broker() -> None:
    config = TransportOptions(group_protocol="consumer").consumer_config("h:1", "g")
    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & set(config)
    assert TransportOptions(group_protocol="consumer").session_s == 6.0


@pytest.mark.parametrize(
    ("options", "incremental"),
    [
        ({}, False),
        ({"group_protocol": "cooperative"}, True),
        ({"group_protocol": "consumer"}, True),
        ({"consumer_properties": {"partition.assignment.strategy": "cooperative-sticky"}}, True),
    ],
)
def test_what_is_incremental(options: dict[str, Any], incremental: bool) -> None:
    assert TransportOptions(**options).is_incremental is incremental


def test_it_imports_nothing_of_the_packages_around_it() -> None:
    import ast
    from pathlib import Path

    import stream.transport

    for file in Path(stream.transport.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            assert not {name.split(".")[0] for name in names} & {"schemas", "features", "models", "stream"}, file
