"""What input can make grow, at its bound: sessions, events, labels, the cache, waiting bytes, the door's headers."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import msgspec
import pytest
from confluent_kafka import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.meta import MAX_RECENT_SIGNALS, MAX_UPSTREAM
from features.signal_table import SIGNALS
from features.velocity import CAPTURE_NAMES, PAIR_NAMES, TEMPLATE_NAMES
from models.reasons import MAX_REASONS
from schemas.base import FLOWS, MAX_SAMPLES
from schemas.deadletter import DeadLetterReason
from schemas.envelope import encode
from schemas.risk import Action
from schemas.signals import Finding, Signal
from schemas.telemetry import Network, Pointer, Telemetry
from stream.door import MAX_HEADER_BYTES, Door
from stream.metrics import STAGES, Metrics
from stream.transport import OutRecord
from stream.transport.pending import Pending
from stream.transport.weight import weights
from tests.schemas.strategies import messages
from tests.stream.core.doubles import chunk as door_chunk
from tests.stream.core.doubles import record as door_record
from tests.stream.core.test_door import a_signal
from tests.support.pipeline_world import START_MS, TOPIC, FakeRecord, World, chunk, processed, simulated

SESSION = "s" * 64
MAX_EVENT_BYTES = 65_536
MAX_STATE_BYTES = 16_384
HOSTILE = "hostile"


def of_session(event: Telemetry | Signal, number: int) -> Telemetry | Signal:
    """The same event as one of ours, of one session and tenant, with as many samples as there may be."""
    changes: dict[str, Any] = {"session_id": SESSION, "tenant": "t", "event_id": f"e{number}"}
    if isinstance(event, Telemetry):
        column = [float(i) for i in range(MAX_SAMPLES)]
        changes |= {"sequence": number, "pointer": Pointer(t=column, x=column, y=column)}
        changes |= {"network": Network(ip_ref=f"ip{number}", ip_country="GB", timezone="z" * 256)}
    else:
        changes |= {"findings": [Finding(name="n" * 64, value="v" * 128)] * 32}
    return msgspec.structs.replace(event, **changes)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_session_and_its_events_stay_small_whatever_and_however_much_it_sends(data: st.DataObject) -> None:
    kinds = st.one_of(messages(Telemetry), messages(Signal))
    drawn = data.draw(st.lists(kinds, min_size=2, max_size=4))
    sent = [of_session(drawn[number % len(drawn)], number) for number in range(80)]
    records = [FakeRecord(i, encode(event), SESSION.encode(), START_MS + 400_000 * i) for i, event in enumerate(sent)]

    async def run() -> tuple[World, list[int]]:
        world, sizes = World(), []
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        for first in range(0, len(records), 16):
            await pipeline.process(owned, chunk(records[first : first + 20]))
            blob = (await world.store.load(TOPIC, 0, [SESSION], [])).blobs[SESSION]
            sizes.append(len(blob or b""))
        return world, sizes

    world, sizes = asyncio.run(run())
    assert len(world.events()) == len(records)
    assert 0 < max(sizes) <= MAX_STATE_BYTES
    # What was reached after 64 events, by when a kind that is one of four has filled its bounds, is not exceeded after
    # 80 but for a digit here and there.
    assert sizes[4] <= sizes[3] + 200
    for out in world.log:
        assert len(out.value or b"") <= MAX_EVENT_BYTES
    for event in world.events():
        assert len(event.reasons) <= MAX_REASONS
        assert event.signals.keys() <= SIGNALS.keys()
        assert event.velocity.keys() <= {*PAIR_NAMES, *CAPTURE_NAMES, *TEMPLATE_NAMES}


def test_upstream_results_are_kept_up_to_their_bound() -> None:
    signal = msgspec.json.decode(a_signal(SESSION), type=Signal)
    sent = [msgspec.structs.replace(signal, event_id=f"e{number}") for number in range(100)]

    async def run() -> None:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        await pipeline.process(
            owned, chunk([FakeRecord(i, encode(s), SESSION.encode(), START_MS + i) for i, s in enumerate(sent)])
        )
        _, meta = owned.sessions.get(SESSION)
        assert len(meta.recent_signals) == MAX_RECENT_SIGNALS
        assert len(meta.upstream) == MAX_UPSTREAM
        assert meta.recent_signals[-1] == "e99"

    asyncio.run(run())


def hostile_records() -> Iterator[bytes]:
    """Records whose every free text says so; some are scored, some are dead letters of many kinds."""
    for number, event in enumerate(simulated(60, 21)):
        changed = msgspec.structs.replace(
            event,
            tenant=f"{HOSTILE}-{event.tenant}",
            event_id=f"{HOSTILE}-{number}",
            account_ref=f"{HOSTILE}-a{number}",
            collector=msgspec.structs.replace(
                event.collector, name=f"{HOSTILE}-{number}", version=f"{HOSTILE}{number}"
            ),
        )
        yield encode(changed)
        yield encode(changed).replace(b'"flow":"', b'"flow":"hostile-')
        yield encode(changed).replace(b"capture.telemetry.v1", b"capture.hostile.v%d" % number)
    yield from (b"", b"hostile", b"[" * 200, b'{"hostile":1}', a_signal(provider="hostile", kind="hostile"))
    yield from (a_signal(f"hostile-{n}", provider=f"hostile-{n}", event_id=f"hostile-{n}") for n in range(40))


def test_no_label_of_a_metric_comes_from_a_record() -> None:
    records = [FakeRecord(i, body, None, START_MS + i) for i, body in enumerate(hostile_records())]

    world = asyncio.run(processed(records, 50))
    allowed = {
        "flow": set(FLOWS),
        "action": set(get_args(Action)),
        "reason": {*DeadLetterReason, "retention", "truncated"},
        "filter": {"duplicate", "erasure"},
        "stage": set(STAGES),
        "source": {"cache", "store", "new"},
    }
    seen: dict[str, set[str]] = {}
    dead: set[str] = set()
    for family in world.metrics.registry.collect():
        for sample in family.samples:
            if family.name == "tellwire_dead_letters" and sample.value:
                dead.add(sample.labels["reason"])
            for name, value in sample.labels.items():
                assert HOSTILE not in value, sample
                seen.setdefault(name, set()).add(value)
    for name, values in allowed.items():
        assert seen.get(name, set()) <= values, name
    assert len(dead) >= 4, "dead letters of many kinds were counted"
    assert seen["flow"]


def test_the_cache_holds_what_it_may_and_not_more() -> None:
    first = simulated(1, 1)[0]
    sent = [msgspec.structs.replace(first, session_id=f"s{number}") for number in range(900)]
    records = [FakeRecord(i, encode(e), e.session_id.encode(), START_MS + i) for i, e in enumerate(sent)]

    async def run() -> None:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(sessions=100), await world.owned()
        for begin in range(0, len(records), 150):
            await pipeline.process(owned, chunk(records[begin : begin + 150]))
            assert len(owned.sessions) <= 100
            assert len(owned.sessions.rows) <= 2 * (100 + 150)

    asyncio.run(run())


def message(value: bytes, key: bytes | None = b"k", headers: Any = None) -> Message:
    return Message(topic="t", value=value, key=key, headers=headers)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (message(b"12345"), 6),
        (message(b"12345", key=None), 5),
        (message(b"", key=b"x" * 1_000), 1_000),
        (message(b"v", headers=[("name", b"content"), ("n", None)]), 1 + 1 + 11 + 1),
    ],
)
def test_a_record_weighs_its_value_key_and_headers(made: Message, expected: int) -> None:
    assert weights([made]) == [expected]
    assert weights([message(b"ab"), made]) == [3, expected]


def test_a_chunk_of_large_headers_and_keys_is_cut_by_its_bytes() -> None:
    pending: Pending[Message] = Pending(weights)
    records = [message(b"v", headers=[("h", b"x" * 999)]) for _ in range(10)]
    records += [message(b"v", key=b"x" * 1_000) for _ in range(10)]
    pending.push(records, sum(weights(records)))
    assert pending.byte_count > 20_000
    assert len(pending.take(4_096, 5_100)) == 5
    assert len(pending.take(4_096, 5_100)) == 5
    pending.push_front(records[:10])
    while pending:
        assert len(pending.take(4_096, 5_100)) == 5
    assert pending.byte_count == 0


@pytest.mark.parametrize(("size", "forwarded"), [(MAX_HEADER_BYTES - 1, True), (MAX_HEADER_BYTES, False)])
def test_the_door_forwards_headers_up_to_their_bound(size: int, forwarded: bool) -> None:
    out: list[OutRecord] = []

    async def publish(records: Sequence[OutRecord]) -> None:
        out.extend(records)

    async def run() -> None:
        made, ended = door_chunk([door_record(a_signal(), the_headers=[("h", b"x" * size)])])
        await Door(TOPIC, publish, Metrics()).process(made)
        assert ended == ["done"]

    asyncio.run(run())
    assert [record.topic for record in out] == [TOPIC if forwarded else "risk.deadletter"]
    if not forwarded:
        assert dict(out[0].headers or [])["dlq_reason"] == b"too_large"
        assert dict(out[0].headers or [])["h"] == b"x" * size, "a dead letter keeps all"


@pytest.mark.parametrize(
    "body", [b"[" * 200, b"{", b'{"type":"capture.telemetry.v1"}', b"\xff", b"", a_signal(tenant="")]
)
def test_a_rejected_record_is_let_go_without_a_collection_of_cycles(body: bytes) -> None:
    """The collector runs rarely; megabytes that only it could free would pile up between two of its runs."""

    async def run() -> list[weakref.ref[FakeRecord]]:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        records = [FakeRecord(i, body, b"k", START_MS) for i in range(3)]
        watched = [weakref.ref(record) for record in records]
        held = chunk(records)
        await pipeline.process(owned, held)
        assert len([out for out in world.log if out.topic == "risk.deadletter"]) == 3
        return watched

    gc.collect()
    gc.disable()
    try:
        watched = asyncio.run(run())
        assert [one() for one in watched] == [None] * 3
    finally:
        gc.enable()
