"""Every observable is seen to fail: one sound run, then one thing at a time made wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from features.session import STATE_VERSION
from features.session import decode as decode_state
from features.session import encode as encode_state
from stream.state import ConnectionOptions, RedisStore
from stream.state.counters import COUNTERS_VERSION, ENTRY
from stream.state.keys import Keys
from tests.fault import observe, replay
from tests.fault.observe import Commit, Evidence
from tests.fault.row import Needs, Outcome, Row, Verdict, load_rows, row
from tests.fault.table import markdown, verdict, write
from tests.support import ledger
from tests.support.kafka import KafkaBroker
from tests.support.ledger import Record
from tests.support.pipeline import Pipeline
from tests.support.pipeline_world import START_MS, TOPIC_ID, FakeRecord, World, chunk, records_of, simulated
from tests.support.redis import RedisServer

EVERY = ("I1", "I2", "I3", "I4", "I5")


def plain_row(observables: tuple[str, ...] = EVERY, must_fail: tuple[str, ...] = ()) -> Row:
    return Row(0, "nothing", observables, Needs(), must_fail, lambda _: None, "tellwire", in_ci=True)


@pytest.fixture(scope="module")
def sound(_redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Evidence]:
    """What a pipeline left that nothing happened to: the real one and a real Redis, records and log made by hand."""
    pipeline = Pipeline(KafkaBroker(), _redis_server, tmp_path_factory.mktemp("sound"), partitions=1)
    with _redis_server.client() as client:
        client.flushall()
        client.script_flush()
    return pipeline, asyncio.run(process(pipeline, records_of(simulated(500, 3))))


async def process(pipeline: Pipeline, records: Sequence[FakeRecord]) -> Evidence:
    world = World(movements=True)
    options = ConnectionOptions(url=pipeline.redis.url, cluster=False, timeout_s=10)
    store = RedisStore(options, state_version=f"{STATE_VERSION}.{pipeline.partitions}", prefix=replay.PREFIX)
    await store.open()
    world.store = store  # type: ignore[assignment]
    product = world.pipeline()
    product._intake._refs = replay.refs()
    product._counters_refresh_ms = 2_000
    now_ms = START_MS
    product._evaluator._now_ms = lambda: now_ms
    owned = await world.owned()
    commits = []
    for first in range(0, len(records), 23):
        part = records[first : first + 23]
        now_ms = part[-1].append_ms + 20
        await product.process(owned, chunk(part))
        commits.append(Commit(0, part[-1].position + 1, part[-1].append_ms + 60))
    await store.close()
    inputs = [Record(0, one.position, one.name, one.content, (), one.append_ms) for one in records]
    out = [record for record in world.log if record.topic == observe.EVENTS]
    events = [
        Record(0, at, one.key, one.value, tuple(one.headers or ()), commits[at // 23].time_ms - 10)
        for at, one in enumerate(out)
    ]
    return Evidence(inputs, events, [], commits, TOPIC_ID)


def judged(pipeline: Pipeline, evidence: Evidence) -> dict[str, Verdict]:
    """Return what I1 to I4 say of this evidence."""
    outcome = Outcome()
    report = ledger.check(
        evidence.inputs, evidence.events, evidence.dead_letters, input_topic=observe.INPUT,
        input_topic_id=evidence.topic_id, expected_dead_letters=[],
    )  # fmt: skip
    fresh = Evidence(
        evidence.inputs, evidence.events, evidence.dead_letters, evidence.commits, evidence.topic_id, report
    )
    replayed = replay.replay(fresh)
    observe.one_outcome(fresh, outcome)
    observe.commits_trace(fresh, outcome, replayed.filtered)
    replay.recomputed(replayed, outcome)
    replay.final_state(pipeline, fresh, replayed, outcome)
    return outcome.verdicts


def failing(pipeline: Pipeline, evidence: Evidence) -> set[str]:
    return {name for name, found in judged(pipeline, evidence).items() if not found.ok}


def test_a_sound_run_satisfies_all(sound: tuple[Pipeline, Evidence]) -> None:
    assert failing(*sound) == set()


def test_an_event_that_is_missing_fails_i1_and_the_commit_behind_it(sound: tuple[Pipeline, Evidence]) -> None:
    pipeline, evidence = sound
    gone = dataclasses.replace(evidence, events=evidence.events[1:])
    assert {"I1", "I3"} <= failing(pipeline, gone)


def test_an_event_that_is_there_twice_fails_i1_unless_it_is_marked(sound: tuple[Pipeline, Evidence]) -> None:
    pipeline, evidence = sound
    last = evidence.events[-1]
    assert failing(pipeline, dataclasses.replace(evidence, events=[*evidence.events, last])) == {"I1"}
    marked = msgspec.json.decode(last.value or b"") | {"replayed": True}
    repeated = dataclasses.replace(last, value=msgspec.json.encode(marked))
    assert failing(pipeline, dataclasses.replace(evidence, events=[*evidence.events, repeated])) == set()


def test_a_score_that_its_input_does_not_give_fails_i4(sound: tuple[Pipeline, Evidence]) -> None:
    pipeline, evidence = sound
    last = evidence.events[-1]
    body = msgspec.json.decode(last.value or b"")
    body["replayed"] = True
    body["scores"]["overall"] = 0.123456
    altered = dataclasses.replace(last, value=msgspec.json.encode(body))
    assert failing(pipeline, dataclasses.replace(evidence, events=[*evidence.events, altered])) == {"I4"}


def test_counters_that_change_without_being_due_fail_i4(sound: tuple[Pipeline, Evidence]) -> None:
    """A counter that grows between two reads of it was counted twice by somebody."""
    pipeline, evidence = sound
    events = list(evidence.events)
    previous: dict[str, int] = {}
    for at, event in enumerate(evidence.decoded):
        began = previous.setdefault(event.session_id, event.ingested_at)
        if event.sequence > 1 and event.ingested_at - began < 1_900 and event.velocity:
            body = msgspec.json.decode(events[at].value or b"")
            first = next(iter(body["velocity"].values()))
            first["h24"] = (first["h24"] or 0) + 1
            events[at] = dataclasses.replace(events[at], value=msgspec.json.encode(body))
            break
    else:
        pytest.fail("no session with two events close to one another")
    assert "I4" in failing(pipeline, dataclasses.replace(evidence, events=events))


def test_a_commit_that_passes_unfinished_work_fails_i3(sound: tuple[Pipeline, Evidence]) -> None:
    pipeline, evidence = sound
    first = min(evidence.answered_ms.values())
    early = Commit(0, 10, first - 1)
    assert failing(pipeline, dataclasses.replace(evidence, commits=[early, *evidence.commits])) == {"I3"}
    assert failing(pipeline, dataclasses.replace(evidence, commits=[])) == {"I3"}, "no commit at all shows nothing"


@pytest.mark.slow
def test_every_commit_of_the_group_is_found_in_the_brokers_log(kafka_broker: KafkaBroker) -> None:
    topic = kafka_broker.create_topic(partitions=2)
    began_ms = time.time_ns() // 1_000_000
    # Names of their own: a member of that name elsewhere on the shared broker would refuse these commits.
    ours = f"ahead-{topic}"
    for group in (ours, f"another-{topic}"):
        settings = {"bootstrap.servers": kafka_broker.bootstrap, "group.id": group, "enable.auto.commit": False}
        client = Consumer(settings)
        for offset in (3, 8, 5):
            client.commit(offsets=[TopicPartition(topic, 1, offset)], asynchronous=False)
        client.close()
    found = observe.commits(kafka_broker.bootstrap, ours, topic)
    assert [(commit.partition, commit.offset) for commit in found] == [(1, 3), (1, 8), (1, 5)]
    assert all(began_ms <= commit.time_ms <= time.time_ns() // 1_000_000 for commit in found)


def a_session(pipeline: Pipeline, evidence: Evidence) -> tuple[bytes, str]:
    keys = Keys(replay.PREFIX, f"{STATE_VERSION}.{pipeline.partitions}")
    event = evidence.decoded[0]
    return keys.sessions(observe.INPUT, event.source.partition, [event.session_id])[0], event.session_id


def count_an_event_twice(pipeline: Pipeline, evidence: Evidence) -> bytes:
    key, session_id = a_session(pipeline, evidence)
    with pipeline.redis.client() as client:
        meta, numbers = decode_state(session_id, client.get(key))
        meta.n_events += 1
        client.set(key, encode_state(session_id, meta, numbers), keepttl=True)
    return key


def change_a_sum(pipeline: Pipeline, evidence: Evidence) -> bytes:
    key, session_id = a_session(pipeline, evidence)
    with pipeline.redis.client() as client:
        meta, numbers = decode_state(session_id, client.get(key))
        numbers[0] += 1.0
        client.set(key, encode_state(session_id, meta, numbers), keepttl=True)
    return key


def lose_a_session(pipeline: Pipeline, evidence: Evidence) -> bytes:
    key, _ = a_session(pipeline, evidence)
    with pipeline.redis.client() as client:
        client.delete(key)
    return key


def swap_a_session(pipeline: Pipeline, evidence: Evidence) -> bytes:
    key, session_id = a_session(pipeline, evidence)
    other = next(event for event in evidence.decoded if event.session_id != session_id)
    keys = Keys(replay.PREFIX, f"{STATE_VERSION}.{pipeline.partitions}")
    (theirs,) = keys.sessions(observe.INPUT, other.source.partition, [other.session_id])
    with pipeline.redis.client() as client:
        client.set(key, client.get(theirs) or b"", keepttl=True)
    return key


def invent_a_session(pipeline: Pipeline, evidence: Evidence) -> bytes:
    key, _ = a_session(pipeline, evidence)
    with pipeline.redis.client() as client:
        client.set(key + b"-nobody", b"x")
    return key + b"-nobody"


def count_a_member_more(pipeline: Pipeline, _: Evidence) -> bytes:
    key = next(key for key in pipeline.stored_keys() if f":c{COUNTERS_VERSION}:e".encode() in key)
    with pipeline.redis.client() as client:
        tag, _ = ENTRY.unpack_from(client.get(key))
        client.append(key, ENTRY.pack(tag, b"12345678"))
    return key


def set_back_the_watermark(pipeline: Pipeline, evidence: Evidence) -> bytes:
    key = Keys(replay.PREFIX, f"{STATE_VERSION}.{pipeline.partitions}").watermark(observe.INPUT, 0)
    with pipeline.redis.client() as client:
        client.set(key, f"{evidence.decoded[0].source.topic_id}:3|x")
    return key


@pytest.mark.parametrize(
    "tamper",
    [
        count_an_event_twice,
        change_a_sum,
        lose_a_session,
        swap_a_session,
        invent_a_session,
        count_a_member_more,
        set_back_the_watermark,
    ],
)
def test_state_that_is_not_the_replays_fails_i2(
    tamper: Callable[[Pipeline, Evidence], bytes], sound: tuple[Pipeline, Evidence]
) -> None:
    pipeline, evidence = sound
    with pipeline.redis.client() as client:
        before = {key: client.dump(key) for key in pipeline.stored_keys()}
        key = tamper(pipeline, evidence)
        try:
            assert failing(pipeline, evidence) == {"I2"}
        finally:
            client.delete(key)
            if before.get(key) is not None:
                client.restore(key, 0, before[key])


def test_recovery_counts_from_the_fault_to_the_slowest_partition() -> None:
    def record(partition: int, offset: int, time_ms: int) -> ledger.Record:
        return ledger.Record(partition, offset, b"k", b"{}", (), time_ms)

    evidence = Evidence([record(p, o, 1_000 * o) for p in (0, 1) for o in range(20)], [], [], [], "t")
    answers = {(p, o): 1_000 * o + 10 for p in (0, 1) for o in range(20)}
    # Partition 1 stands still from 5 s to 12 s.
    answers |= {(1, o): 12_000 for o in range(5, 12)}
    evidence.__dict__["answered_ms"] = answers
    assert evidence.recovery_s(5_000) == pytest.approx(7.0)
    assert evidence.recovery_s(13_500) == pytest.approx(0.51)
    assert evidence.stall_s(0, 19_000) == pytest.approx(7.0)
    assert evidence.recovery_s(30_000) is None, "nothing was left to answer"
    evidence.__dict__["answered_ms"] = {place: at for place, at in answers.items() if place[0] == 0}
    del evidence.__dict__["rhythm"]
    assert evidence.recovery_s(5_000) == float("inf")


def test_what_nobody_checked_fails_and_what_must_fail_may_not_hold() -> None:
    outcome = Outcome()
    assert plain_row(("I1",)).failures(outcome) == ["I1: nobody checked it"]
    outcome.check("I1", ok=True, detail="fine")
    assert not plain_row(("I1",)).failures(outcome)
    assert verdict(plain_row(("I1",), ("I1",)), outcome) == "FAILED", "blind"
    outcome.check("I1", ok=False, detail="wrong")
    outcome.check("I1", ok=True, detail="a later run was fine")
    assert plain_row(("I1",)).failures(outcome) == ["I1: wrong"]
    assert not plain_row(("I1",), ("I1",)).failures(outcome)


def test_the_matrix_is_written_between_its_markers_and_nothing_else_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Guarantees\n\nAbove.\n")
    one = plain_row(("I1",))
    held, lost = Outcome(), Outcome(runs=2, recovery_s=[1.0, 3.0], note="two | three")
    held.check("I1", ok=True, detail="")
    lost.check("I1", ok=False, detail="")
    write({"a": (one, held)}, "First.", page)
    page.write_text(page.read_text() + "\nBelow.\n")
    write({"a": (one, lost)}, "Second.", page)
    text = page.read_text()
    assert text.startswith("# Guarantees\n\nAbove.\n")
    assert text.endswith("\nBelow.\n")
    assert "First." not in text
    assert markdown({"a": (one, lost)}) in text
    assert "I1 FAILED" in text
    assert "two \\| three" in text
    assert "median 3.0, longest 3.0" in text


def test_every_number_of_the_matrix_has_a_row_and_a_declaration_is_refused_twice() -> None:
    rows = load_rows()
    assert set(range(1, 31)) - {one.number for one in rows.values()} == set()
    stock = {one.number for one in rows.values() if one.system != "tellwire" and one.must_fail}
    assert stock >= {1, 5, 6}, "the proof that the observables see"
    taken = next(iter(rows.values()))
    with pytest.raises(ValueError, match="declared twice"):
        row(number=taken.number, fault="again", observables=("I1",))(taken.run)
