"""The simulated crowd: the same seed gives the same bytes, every event keeps the contract, the truth stays outside."""

import collections
import itertools

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.telemetry import Telemetry
from schemas.topics import MAX_TELEMETRY_BYTES
from stream.simulation.bots import FAMILIES
from stream.simulation.people import KINDS
from stream.simulation.population import Due, population

START_MS = 1_790_000_000_000
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Telemetry).decode


def crowd(seed: int, *, rate: float = 4.0, bots: float = 0.5, seconds: float = 20.0) -> list[Due]:
    return list(population(seed, start_ms=START_MS, sessions_per_s=rate, bot_ratio=bots, arrivals_s=seconds))


@pytest.fixture(scope="module")
def many() -> list[Due]:
    """A crowd with every family and kind in it."""
    return crowd(11, rate=8.0, seconds=60.0)


def sessions(dues: list[Due]) -> dict[str, list[Due]]:
    found: dict[str, list[Due]] = collections.defaultdict(list)
    for due in dues:
        found[due.truth.session_id].append(due)
    return found


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def trace(seed: int) -> list[tuple[int, bytes]]:
        return [(due.due_ms, encode(due.event)) for due in crowd(seed)]

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)
    # Another seed makes other people, not the same ones at other times.
    ids = [{due.truth.session_id for due in crowd(seed)} for seed in (3, 4)]
    assert not ids[0] & ids[1]


def test_a_start_moves_all_times_and_nothing_else() -> None:
    def shifted(by_ms: int) -> list[Due]:
        return list(population(5, start_ms=START_MS + by_ms, sessions_per_s=3, bot_ratio=0.4, arrivals_s=10.0))

    for early, late in zip(shifted(0), shifted(86_400_000), strict=True):
        late.event.effective_at -= 86_400_000
        late.event.observed_at -= 86_400_000
        assert late.due_ms - early.due_ms == 86_400_000
        assert encode(early.event) == encode(late.event)


def test_without_an_end_it_goes_on() -> None:
    endless = population(1, start_ms=START_MS, sessions_per_s=5, bot_ratio=0.3)
    assert sum(1 for _ in itertools.islice(endless, 3_000)) == 3_000


@pytest.mark.parametrize(("rate", "ratio"), [(0.0, 0.5), (-1.0, 0.5), (1.0, -0.1), (1.0, 1.1)])
def test_nonsense_is_refused(rate: float, ratio: float) -> None:
    with pytest.raises(ValueError, match="sessions_per_s"):
        next(population(1, start_ms=START_MS, sessions_per_s=rate, bot_ratio=ratio))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_every_event_keeps_the_contract(seed: int) -> None:
    for due in crowd(seed, seconds=8.0):
        raw = encode(due.event)
        assert decode(raw) == due.event
        assert len(raw) < MAX_TELEMETRY_BYTES / 4
        event = due.event
        for block in (event.pointer, event.touch, event.scroll, event.focus):
            if block is not None:
                assert block.t == sorted(block.t)
                assert block.t[0] >= 0.0
                assert block.t[-1] <= 501.0
        if event.keys is not None:
            assert event.keys.down == sorted(event.keys.down)
            pairs = zip(event.keys.down, event.keys.up, strict=True)
            assert all(up is None or down <= up <= down + 1_001.0 for down, up in pairs)


def test_events_are_due_in_order_and_sessions_complete(many: list[Due]) -> None:
    assert all(a.due_ms <= b.due_ms for a, b in itertools.pairwise(many))
    for dues in sessions(many).values():
        truth, events = dues[0].truth, [due.event for due in dues]
        assert [event.sequence for event in events] == list(range(truth.n_events))
        assert len({event.event_id for event in events}) == len(events)
        assert all(due.due_ms == due.event.observed_at for due in dues)
        assert all(a.due_ms < b.due_ms for a, b in itertools.pairwise(dues))
        assert events[0].device is not None
        assert events[0].network is not None
        assert all(event.device is None and event.network is None for event in events[1:])
        assert all(event.end is None for event in events[:-1])
        assert (events[-1].end is not None) == truth.ends


def test_every_family_and_kind_occurs_and_some_never_end(many: list[Due]) -> None:
    truths = [dues[0].truth for dues in sessions(many).values()]
    assert {t.family for t in truths if t.actor == "bot"} == set(FAMILIES)
    assert {t.family for t in truths if t.actor == "person"} == set(KINDS)
    assert 0.05 < sum(not t.ends for t in truths) / len(truths) < 0.4
    bots = sum(t.actor == "bot" for t in truths)
    # 5 sigma of a fair coin.
    assert abs(bots - len(truths) / 2) < 2.5 * len(truths) ** 0.5


def test_the_truth_is_not_in_the_telemetry(many: list[Due]) -> None:
    words = [name.encode() for name in FAMILIES] + [b"person", b'"bot"', b'"truth"', b"family"]
    assert not [word for due in many for word in words if word in encode(due.event)]
    shapes: dict[str, set[tuple[object, ...]]] = collections.defaultdict(set)
    for due in many:
        event = due.event
        shapes[due.truth.actor].add((event.tenant, event.collector.name, event.collector.sampling_interval_ms))
        shapes[due.truth.actor].add((len(event.session_id), len(event.account_ref or ""), len(event.nonce or "")))
    assert shapes["person"] == shapes["bot"]


def test_keys_of_successive_events_are_in_order(many: list[Due]) -> None:
    """The contract: rows wait for their release, later rows wait behind them, so all presses are in order."""
    n_late = 0
    for dues in sessions(many).values():
        start = dues[0].event.effective_at
        presses = []
        for due in dues:
            keys = due.event.keys
            if keys is not None:
                begin = due.event.effective_at - start
                presses += [begin + down for down in keys.down]
                n_late += sum(down < 0 for down in keys.down)
        # One tick of a clock that tells whole milliseconds.
        assert all(b >= a - 1.0 for a, b in itertools.pairwise(presses))
    assert n_late > 20, "no press lay before its event's start: the rule was not exercised"


def test_accounts_are_new_but_a_farm_shares_its_machines(many: list[Due]) -> None:
    first = [dues[0] for dues in sessions(many).values()]
    assert len({due.event.account_ref for due in first}) == len(first)
    farm = [due.event for due in first if due.truth.family == "device_farm"]
    others = [due.event for due in first if due.truth.family != "device_farm"]
    assert len(farm) > 8
    assert len({event.device_ref for event in farm}) == 2
    assert len({event.network.ip_ref for event in farm if event.network}) == 2
    assert len({event.device_ref for event in others}) == len(others)
