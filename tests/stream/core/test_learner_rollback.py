"""Back to an older learner and older workers: what a version with other features published is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from schemas.envelope import decode_served, encode
from stream.learner import Learner
from stream.metrics import Metrics
from stream.snapshots import MAX_TRIES, SnapshotReader
from stream.transport import StartAt
from tests.stream.core.test_learner import (
    _Snapshots,
    a_vector,
    asked,
    feed,
    learnt,
    people,
    skipped,
    start_of,
    transport,
)
from tests.stream.core.test_learner import learner as learner  # noqa: PLC0414 - its fixtures
from tests.stream.core.test_learner import snapshots as snapshots  # noqa: PLC0414
from tests.stream.core.test_snapshots import NOWHERE, Polled, a_pair, all_of, falling_back, give, members

NEWER = "f" * 64
"""Hash of the newer version's registry of features."""


@pytest.fixture
def reader() -> Iterator[SnapshotReader]:
    found = SnapshotReader(NOWHERE, Metrics())
    yield found
    found.stop()


def topic(newer: int) -> list[Polled]:
    """The topic after an upgrade: a pair of this version's, then the newer version's."""
    pairs = [a_pair(1), *(a_pair(2 + at, features_hash=NEWER) for at in range(newer))]
    return [record for pair in pairs for record in all_of(*pair)]


def of_newer(value: bytes) -> bytes:
    return encode(msgspec.structs.replace(decode_served(value, None), features_hash=NEWER))


@pytest.mark.parametrize("newer", range(MAX_TRIES + 3))
def test_the_pair_of_before_serves_again_while_few_came_after_it(reader: SnapshotReader, newer: int) -> None:
    fetched = falling_back(reader, *topic(newer))
    if newer < MAX_TRIES:
        assert reader.current.members == members(*a_pair(1))
        assert reader.learnt["signup"].offsets == {0: 1}
    else:
        # What ships serves, and a learner begins anew; no more is read again than at any start.
        assert (reader.current.members, reader.learnt) == ({}, {})
        assert len(fetched) == MAX_TRIES


async def test_a_learner_goes_on_where_the_pair_of_before_ends(
    learner: Learner, snapshots: _Snapshots, reader: SnapshotReader
) -> None:
    falling_back(reader, *topic(1))
    snapshots.learnt, snapshots.current = dict(reader.learnt), reader.current
    learner._resume()
    assert learner._next["signup"] == {0: 1}
    assert learner._flows["signup"]._trees.export().hash == a_pair(1)[1].hash


async def test_without_one_it_learns_from_its_own_vectors_of_the_log_and_serves_again(
    learner: Learner, reader: SnapshotReader
) -> None:
    falling_back(reader, *topic(MAX_TRIES))
    assert await start_of(learner, asked(2)) == StartAt(0)
    await people(learner, 40, at=0)
    await feed(learner, [of_newer(a_vector(f"n{at}")) for at in range(30)], at=40)
    assert (learnt(learner, "signup"), skipped(learner, "other_features")) == (40, 30)
    await people(learner, 30, at=70)
    await learner.publish()
    (batch,) = transport(learner).batches
    give(reader, *(Polled(one.value, the_key=one.key) for one in batch))
    assert set(reader.current.members) == {"anomaly_hst/signup", "calibration/signup"}
    assert reader.learnt["signup"].offsets[2] == 100
