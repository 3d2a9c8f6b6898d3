"""A redriven record in the pipeline: scored once under its first id, from the place where it is now."""

from __future__ import annotations

import asyncio
import dataclasses

import msgspec
import pytest

from schemas.envelope import encode
from stream.transport import OutRecord
from tests.support.pipeline_world import TOPIC, TOPIC_ID, FakeRecord, World, chunk, records_of, simulated


def redriven(record: FakeRecord, letter: OutRecord, offset: int, value: bytes | None = None) -> FakeRecord:
    """The dead letter's record sent again, to `offset`, mended where a value is given."""
    headers = [(name, content or b"") for name, content in letter.headers or []]
    return dataclasses.replace(record, position=offset, content=value or letter.value, sent_headers=headers)


def run(*chunks: list[FakeRecord]) -> World:
    async def process() -> World:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        for records in chunks:
            await pipeline.process(owned, chunk(records))
        return world

    return asyncio.run(process())


def letters(world: World) -> list[OutRecord]:
    return [record for record in world.log if record.topic == "risk.deadletter"]


def counted(world: World, name: str) -> float:
    return world.metrics.registry.get_sample_value(name) or 0.0


def test_a_mended_record_is_scored_under_its_first_id_and_seen_at_its_new_place() -> None:
    events = simulated(6, 3)
    records = records_of(events)
    bad = dataclasses.replace(records[2], content=b"{")
    (letter,) = letters(run([bad]))
    again = redriven(bad, letter, 6, encode(events[2]))
    world = run([*records[:2], bad, *records[3:]], [again], [dataclasses.replace(again, position=7)])
    *before, event = world.events()
    assert (event.evaluation_id, event.redriven, event.replayed) == (f"{TOPIC_ID}:0:2", True, False)
    assert (event.source.topic, event.source.partition, event.source.offset) == (TOPIC, 0, 6)
    assert event.event_id == events[2].event_id
    assert not any(each.redriven for each in before)
    published = world.log[-1]
    assert dict(published.headers or [])["ce_id"] == event.evaluation_id.encode()
    # Sent a second time: the session saw it already.
    assert len(world.events()) == 6
    assert counted(world, "tellwire_redriven_total") == 1
    assert world.metrics.filtered.labels("duplicate")._value.get() == 1


def test_a_record_that_was_scored_and_is_redriven_all_the_same_is_a_duplicate() -> None:
    records = records_of(simulated(4, 3))
    (letter,) = letters(run([dataclasses.replace(records[1], content=b"{")]))
    again = redriven(records[1], letter, 4, records[1].content)
    world = run([*records, again])
    assert len(world.events()) == 4
    assert world.metrics.filtered.labels("duplicate")._value.get() == 1


def test_a_record_that_fails_again_keeps_its_first_place_and_counts_its_attempts() -> None:
    (bad,) = records_of(simulated(1, 3))
    bad = dataclasses.replace(bad, content=b"{", position=5)
    (first,) = letters(run([bad]))
    (second,) = letters(run([redriven(bad, first, 9)]))
    (third,) = letters(run([redriven(bad, second, 12)]))
    headers = dict(third.headers or [])
    named = {name: headers[f"dlq_{name}"] for name in ("offset", "attempts", "redriven_offset")}
    assert named == {"offset": b"5", "attempts": b"3", "redriven_offset": b"12"}


@pytest.mark.parametrize(
    "forged",
    [{"dlq_offset": b"99"}, {"dlq_topic_id": b"other"}, {"dlq_partition": b"-1"}, {"dlq_offset": b"9" * 9_999}],
)
def test_forged_headers_give_no_identity_and_are_counted(forged: dict[str, bytes]) -> None:
    (record,) = records_of(simulated(1, 3))
    said = {"dlq_topic": TOPIC.encode(), "dlq_topic_id": TOPIC_ID.encode(), "dlq_partition": b"0", "dlq_offset": b"1"}
    headers = list((said | forged).items())
    world = run([dataclasses.replace(record, position=7, sent_headers=headers)])
    (event,) = world.events()
    assert (event.evaluation_id, event.redriven, event.source.offset) == (f"{TOPIC_ID}:0:7", False, 7)
    assert counted(world, "tellwire_redrive_origins_refused_total") == 1
    believed = run([dataclasses.replace(record, position=7, sent_headers=list(said.items()))])
    assert believed.events()[0].evaluation_id == f"{TOPIC_ID}:0:1"


def test_forged_headers_of_a_record_that_is_refused_are_counted_once() -> None:
    first, second = records_of(simulated(1, 3)), records_of([msgspec.structs.replace(simulated(1, 3)[0], tenant="b")])
    forged = [("dlq_offset", b"99")]
    unread = FakeRecord(1, b"{", None, 0, forged)
    world = run([*first, unread, dataclasses.replace(second[0], position=2, sent_headers=forged)])
    assert [dict(letter.headers or [])["dlq_reason"] for letter in letters(world)] == [
        b"malformed_json",
        b"tenant_mismatch",
    ]
    assert counted(world, "tellwire_redrive_origins_refused_total") == 2
