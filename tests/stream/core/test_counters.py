"""Entity counters of chunks against the definition over all links.

What holds (ADR 0004): where every event carries its references or its session is cached, counters are those of the
definition as of the last time they were due, and where a chunk begins changes nothing, as long as a chunk lies within
one bucket. A chunk that spans buckets reads each entity once, as of its first event there: members that leave the
window inside the chunk still count. A stored session that is not cached, and whose event does not repeat its
references, keeps the counters that it has, and stays due: so the pipeline plans again once it has read such a session.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.session import Meta
from features.velocity import (
    ALL_PAIRS,
    BUCKET_MS,
    WINDOWS_MS,
    Count,
    Entity,
    Link,
    What,
    bucket_of,
    count,
    counts_of,
    refs_of,
)
from schemas.signals import Signal, SignalRefs
from schemas.telemetry import Capture, Collector, Device, Network, Telemetry
from stream import counters as stream_counters
from stream.state import Counters, MemoryStore, Watermark
from tests.stream.core import naive_counters

T = TypeVar("T")
ALL = ALL_PAIRS
T0 = 1_700_000_100_000 - 1_700_000_100_000 % BUCKET_MS
TOPIC = "capture.telemetry"


class Event(NamedTuple):
    """One record: when it was appended, of which session, and which references it carries."""

    at_ms: int
    session: str
    account: str | None = None
    device: str | None = None
    ip: str | None = None
    country: str | None = None
    capture: str | None = None
    alike: str | None = None
    """How its device looks, where it says so."""
    number: int = 0
    """A repeat of a result is filtered before it is observed, so each has its own id."""
    is_signal: bool = False
    is_erasure: bool = False
    """A request to forget the session, in place of an event."""
    is_left_out: bool = False
    """A repeat, or refused: planned for, not observed."""

    def decoded(self) -> Telemetry | Signal:
        shared: dict[str, Any] = {
            "event_id": f"e{self.number}",
            "session_id": self.session,
            "tenant": "t",
            "flow": "signup",
            "effective_at": self.at_ms,
            "observed_at": self.at_ms,
            "account_ref": self.account,
            "device_ref": self.device,
        }
        if self.is_signal:
            refs = SignalRefs(capture_ref=self.capture) if self.capture else None
            return Signal(**shared, kind="document", provider="p", model_version="1", outcome="timeout", refs=refs)
        network = Network(ip_ref=self.ip, ip_country=self.country) if self.ip or self.country else None
        capture = Capture(capture_ref=self.capture) if self.capture else None
        collector = Collector(name="c", version="1")
        device = alike(self.alike) if self.alike else None
        return Telemetry(**shared, sequence=0, collector=collector, network=network, capture=capture, device=device)


def alike(look: str) -> Device:
    """A device that looks like all of this look."""
    agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/150.0.0.0 Safari/537.36"
    return Device(user_agent=agent, gpu_renderer="ANGLE (NVIDIA, A)", canvas_hash=look, fonts_hash=look)


def now(work: Coroutine[Any, Any, T]) -> T:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waited")


@dataclass
class Worker:
    """The calls that the pipeline makes, in its order, with a store of its own."""

    refresh_ms: int
    is_cached: bool = True
    store: MemoryStore = field(default_factory=MemoryStore)
    metas: dict[str, Meta] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    watermark: Watermark | None = None
    fails: bool = False
    is_naive: bool = False
    n_reads: int = 0
    n_asked: int = 0

    def chunk(self, events: Sequence[Event]) -> list[tuple[list[Count | None], bool]]:
        """Process a chunk; return each event's counters, and whether they could not be read."""
        code = naive_counters if self.is_naive else stream_counters
        plan = code.CounterPlan(self.refresh_ms)
        for event in events:
            meta = self.metas.get(event.session) if self.is_cached else None
            if event.is_erasure:
                plan.erase(event.session, meta)
            else:
                plan.add(event.decoded(), event.at_ms, meta)
        reads = plan.reads()
        self.n_reads += len(reads)
        self.n_asked += sum(len(read.members) for read in reads)
        assert len({(read.entity, read.ref) for read in reads}) == len(reads)
        answers: list[Counters | None] = now(self.store.load(TOPIC, 0, [], reads)).counters
        counters = code.ChunkCounters(reads, [None] * len(reads) if self.fails else answers, self.refresh_ms)
        found = []
        for event in events:
            if event.is_erasure:
                self.metas.pop(event.session, None)
                continue
            if event.is_left_out:
                continue
            meta = self.metas.setdefault(event.session, Meta())
            decoded = event.decoded()
            if isinstance(decoded, Signal):
                meta.observe_signal(decoded, event.at_ms)
            else:
                meta.observe(decoded, event.at_ms)
            unread = counters.apply(meta, event.session, event.at_ms)
            parts = (*meta.counters, meta.capture_counters)
            own = [count for part in parts for count in counts_of(part)] + counts_of(meta.template_counters)[:2]
            found.append((own, unread))
        mark = Watermark("id", (self.watermark.offset if self.watermark else 0) + len(events))
        now(self.store.commit(TOPIC, 0, self.watermark, mark, {}, counters.links, 1000))
        self.watermark = mark
        self.links += counters.links
        return found


def cut(events: Sequence[Event], at: Sequence[int]) -> Iterator[Sequence[Event]]:
    edges = [0, *sorted({place % (len(events) + 1) for place in at}), len(events)]
    return (events[a:b] for a, b in pairwise(edges) if a < b)


def values(found: list[tuple[list[Count | None], bool]]) -> list[list[Count | None]]:
    assert not any(unread for _, unread in found)
    return [counters for counters, _ in found]


def naive(links: Sequence[Link], meta: Meta, as_of_ms: int) -> list[Count | None]:
    refs = refs_of(meta)
    return [count(links, entity, refs[entity], what, as_of_ms) if entity in refs else None for entity, what in ALL]


def histories(*, step_ms: int, repeat_refs: bool = True, more: bool = False) -> st.SearchStrategy[list[Event]]:
    """Events in append order: few entities, so that they meet; each session has one account and one device.

    With `more`, a session's events disagree about them, and some are erasures or left out.
    """

    @st.composite
    def draw_history(draw: st.DrawFn) -> list[Event]:
        at_ms, events, seen = T0, [], set()
        for place in range(draw(st.integers(0, 14))):
            at_ms += draw(st.integers(0, step_ms))
            number = draw(st.integers(0, 4))
            session = f"s{number}"
            carries = repeat_refs or session not in seen or draw(st.booleans())
            seen.add(session)
            event = Event(
                at_ms,
                session,
                account=f"a{number // 2}" if carries else None,
                device=f"d{number % 3}" if carries and number else None,
                ip=f"i{draw(st.integers(0, 2))}" if carries else None,
                country=draw(st.sampled_from(["AT", "DE"])) if carries else None,
                capture=f"c{draw(st.integers(0, 1))}" if number > 1 and (repeat_refs or draw(st.booleans())) else None,
                alike=f"t{draw(st.integers(0, 1))}" if number > 1 and (repeat_refs or draw(st.booleans())) else None,
                number=place,
                is_signal=not carries and draw(st.booleans()),
            )
            if more:
                event = event._replace(
                    account=draw(st.sampled_from([None, event.account, "a9"])),
                    device=draw(st.sampled_from([None, event.device, "d9"])),
                    is_erasure=draw(st.integers(0, 9)) == 0,
                    is_left_out=draw(st.integers(0, 5)) == 0,
                )
            events.append(event)
        return events

    return draw_history()


CUTS = st.lists(st.integers(0, 20), max_size=6)
FAR_MS = 40 * 60_000
"""Steps that leave the shorter windows."""
WITHIN_BUCKET_MS = BUCKET_MS // 15
REFRESHES = st.sampled_from([0, 1, 2_000, 30_000, 60_000])


@given(histories(step_ms=FAR_MS), st.booleans())
def test_one_event_a_chunk_and_always_due_is_the_definition_over_all_links(events: list[Event], cached: bool) -> None:
    worker = Worker(refresh_ms=0, is_cached=cached)
    for event in events:
        (found,) = values(worker.chunk([event]))
        assert found == naive(worker.links, worker.metas[event.session], event.at_ms)


@given(histories(step_ms=FAR_MS, repeat_refs=False), REFRESHES)
def test_in_between_the_values_are_those_of_the_last_time_they_were_due(events: list[Event], refresh_ms: int) -> None:
    worker = Worker(refresh_ms=refresh_ms)
    held: dict[str, tuple[int, tuple[dict[Entity, str], str | None], list[Count | None]]] = {}
    for event in events:
        (found,) = values(worker.chunk([event]))
        meta = worker.metas[event.session]
        at_ms, known, counters = held.get(event.session, (-(10**15), ({}, None), []))
        knows = (refs_of(meta), meta.ip_country)
        if event.at_ms - at_ms >= refresh_ms or known != knows:
            counters = naive(worker.links, meta, event.at_ms)
            held[event.session] = (event.at_ms, knows, counters)
        assert found == counters
        assert event.at_ms - meta.counters_as_of_ms < max(refresh_ms, 1)


@given(histories(step_ms=WITHIN_BUCKET_MS, repeat_refs=False), CUTS, REFRESHES)
def test_where_a_chunk_begins_changes_nothing_within_a_bucket(
    events: list[Event], cuts: list[int], refresh_ms: int
) -> None:
    single, chunked = Worker(refresh_ms), Worker(refresh_ms)
    one_by_one = [values(single.chunk([event]))[0] for event in events]
    together = [found for part in cut(events, cuts) for found in values(chunked.chunk(part))]
    assert together == one_by_one
    assert chunked.links == single.links


@given(histories(step_ms=WITHIN_BUCKET_MS), CUTS, REFRESHES)
def test_the_same_without_a_cache_where_events_repeat_their_references(
    events: list[Event], cuts: list[int], refresh_ms: int
) -> None:
    single, chunked = Worker(refresh_ms), Worker(refresh_ms, is_cached=False)
    one_by_one = [values(single.chunk([event]))[0] for event in events]
    assert [found for part in cut(events, cuts) for found in values(chunked.chunk(part))] == one_by_one


@given(
    st.sampled_from([5, 1_500, WITHIN_BUCKET_MS]).flatmap(
        lambda step_ms: histories(step_ms=step_ms, repeat_refs=False, more=True)
    ),
    CUTS,
    REFRESHES,
    st.sampled_from([1, 1_000]),
    st.sets(st.integers(0, 6)),
)
def test_whatever_comes_it_is_what_the_plain_twin_makes_of_it(
    events: list[Event], cuts: list[int], refresh_ms: int, cap: int, outages: set[int]
) -> None:
    worker, twin = (Worker(refresh_ms, store=MemoryStore(cap=cap), is_naive=is_naive) for is_naive in (False, True))
    for number, part in enumerate(one for rough in cut(events, cuts) for one in by_bucket(rough)):
        worker.fails = twin.fails = number in outages
        assert worker.chunk(part) == twin.chunk(part)
        assert worker.links == twin.links
        assert worker.metas == twin.metas
        assert worker.n_reads <= twin.n_reads
        assert worker.n_asked <= twin.n_asked


def by_bucket(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """As the pipeline cuts a chunk (ADR 0010)."""
    return (list(group) for _, group in groupby(events, lambda event: bucket_of(event.at_ms)))


def in_window(links: Sequence[Link], entity: Entity, ref: str, what: What, since_ms: int) -> int:
    chosen = [link for link in links if (link.entity, link.ref, link.what) == (entity, ref, what)]
    return len({link.member for link in chosen if link.bucket_ms >= bucket_of(since_ms)})


@given(histories(step_ms=FAR_MS), CUTS)
def test_a_chunk_over_several_buckets_counts_from_the_window_of_its_first_event(
    events: list[Event], cuts: list[int]
) -> None:
    worker = Worker(refresh_ms=0)
    for part in cut(events, cuts):
        before, first = list(worker.links), dict[tuple[Entity, str], int]()
        found = values(worker.chunk(part))
        metas = {event.session: Meta() for event in part}
        # The references as of each event, and the links so far, again from the beginning.
        replay = Worker(refresh_ms=0, metas={})
        for event in events[: events.index(part[0])]:
            replay.chunk([event])
        written = before
        for event, counters in zip(part, found, strict=True):
            replay.chunk([event])
            written = replay.links
            metas[event.session] = replay.metas[event.session]
            refs = refs_of(metas[event.session])
            for entity, ref in refs.items():
                first.setdefault((entity, ref), event.at_ms)
            for (entity, what), counter in zip(ALL, counters, strict=True):
                if entity not in refs:
                    assert counter is None
                    continue
                ref = refs[entity]
                assert counter is not None
                exact = count(written, entity, ref, what, event.at_ms)
                for name, window_ms in WINDOWS_MS.items():
                    wide = in_window(written, entity, ref, what, first[entity, ref] - window_ms)
                    assert getattr(exact, name) <= getattr(counter, name) <= wide


def test_a_session_that_is_not_due_enters_the_next_bucket_without_counting_twice() -> None:
    worker = Worker(refresh_ms=60_000)
    worker.chunk([Event(T0 + BUCKET_MS - 10, "s0", account="a")])
    later = T0 + BUCKET_MS + 10
    first, second = values(worker.chunk([Event(later, "s0"), Event(later + 1, "s1", account="a")]))
    assert first[0] == Count(1, 1, 1)
    assert second[0] == Count(2, 2, 2)


def test_a_stored_session_that_is_not_cached_keeps_its_counters_and_stays_due() -> None:
    worker = Worker(refresh_ms=2_000)
    first = values(worker.chunk([Event(T0, "s0", account="a")]))[0]
    worker.chunk([Event(T0 + 1_000, "s1", account="a"), Event(T0 + 1_001, "s2", account="a")])
    worker.is_cached = False
    held = values(worker.chunk([Event(T0 + 10_000, "s0")]))[0]
    assert held == first
    worker.is_cached = True
    again = values(worker.chunk([Event(T0 + 10_001, "s0")]))[0]
    assert again == naive(worker.links, worker.metas["s0"], T0 + 10_001)
    assert again[0] == Count(3, 3, 3)


def test_counters_that_could_not_be_read_are_told_and_read_with_the_next_event() -> None:
    worker = Worker(refresh_ms=60_000, fails=True)
    found = worker.chunk([Event(T0, "s0", account="a"), Event(T0 + 1, "s0")])
    assert found == [([None] * len(ALL), True)] * 2
    worker.fails = False
    again = values(worker.chunk([Event(T0 + 2, "s0")]))[0]
    assert again[0] == Count(1, 1, 1)
    worker.fails = True
    assert values(worker.chunk([Event(T0 + 3, "s0")]))[0] == again


def test_a_session_without_entities_has_no_counters_and_asks_for_none() -> None:
    worker = Worker(refresh_ms=0, fails=True)
    assert worker.chunk([Event(T0, "s0")]) == [([None] * len(ALL), False)]
    assert worker.links == []


def test_a_link_is_written_once_a_session_and_bucket_and_when_a_reference_appears() -> None:
    worker = Worker(refresh_ms=0)
    worker.chunk([Event(T0, "s0", account="a"), Event(T0 + 1, "s0", account="a")])
    assert worker.links == [Link("account", "a", "sessions", "s0", T0)]
    worker.chunk([Event(T0 + 2, "s0", device="d")])
    assert len(worker.links) == 1 + 4
    worker.chunk([Event(T0 + 3, "s0"), Event(T0 + BUCKET_MS, "s0"), Event(T0 + BUCKET_MS + 1, "s0")])
    assert len(worker.links) == 1 + 4 + 4
    assert {link.bucket_ms for link in worker.links} == {T0, T0 + BUCKET_MS}


@pytest.mark.parametrize("sessions", [3, 1_500])
def test_an_estimate_says_so_and_is_not_moved_by_the_chunk(sessions: int) -> None:
    worker = Worker(refresh_ms=0, store=MemoryStore(cap=1_000))
    worker.chunk([Event(T0, f"s{i}", account="a") for i in range(sessions)])
    counter = values(worker.chunk([Event(T0 + 1, "new", account="a")]))[0][0]
    assert counter is not None
    assert counter.approximate == (sessions > 1_000)
    if counter.approximate:
        assert 0.8 * sessions < counter.h24 < 1.2 * sessions
    else:
        assert counter.h24 == sessions + 1
