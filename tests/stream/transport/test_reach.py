"""Whether brokers can be reached, from reports as librdkafka writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream.transport.reach import UNANSWERED_S, Reach

SILENT_US = int(UNANSWERED_S * 1e6) + 1


def broker(nodeid: int, state: str = "UP", *, waiting: int = 1, silent_us: int = 90_000, **more: Any) -> dict[str, Any]:
    known = {"nodeid": nodeid, "source": "learned", "state": state, "waitresp_cnt": waiting, "rxidle": silent_us}
    return known | more


def report(
    *brokers: dict[str, Any], group: str = "up", joined: str = "steady", leaders: dict[int, int] | None = None
) -> str:
    coordinator = broker(-1, source="logical")
    partitions = {"-1": {"leader": -1}} | {str(p): {"leader": leader} for p, leader in (leaders or {}).items()}
    return json.dumps(
        {
            "brokers": {str(number): one for number, one in enumerate([*brokers, coordinator])},
            "cgrp": {"state": group, "join_state": joined},
            "topics": {"t": {"partitions": partitions}},
        }
    )


@pytest.mark.parametrize(
    ("said", "is_away"),
    [
        (report(broker(1)), False),
        (report(broker(1, "DOWN")), True),
        (report(broker(1, "TRY_CONNECT"), broker(2)), False),
        (report(broker(1, "INIT"), broker(2, "DOWN")), True),
        (report(broker(1, silent_us=SILENT_US)), True),
        (report(broker(1, silent_us=SILENT_US, waiting=0)), False),
        (report(broker(1, silent_us=SILENT_US), broker(2)), False),
        (report(broker(1, silent_us=-1)), False),
        (report(broker(1), group="wait-coord"), True),
        (report(), True),
    ],
)
def test_one_report(said: str, is_away: bool) -> None:
    reach = Reach()
    reach.take(said)
    assert (reach.away_since is not None) is is_away


def test_away_counts_from_the_first_report_that_says_so_to_the_first_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 10.0
    monkeypatch.setattr("stream.transport.reach.clock", lambda: now)
    reach = Reach()
    assert reach.away_s() == 0.0
    for now in (11.0, 12.0, 15.0):  # noqa: B007 - the clock reads it
        reach.take(report(broker(1, "DOWN")))
    assert reach.away_s() == 4.0
    reach.take(report(broker(1)))
    assert reach.away_s() == 0.0


def test_a_partition_whose_leader_is_away_while_others_answer() -> None:
    reach = Reach()
    reach.take(report(broker(1), broker(2, "DOWN"), leaders={0: 1, 1: 2, 2: -1}))
    assert reach.away_since is None
    assert reach.away_partitions == {("t", 1), ("t", 2)}


def test_a_group_that_refuses_its_member_is_as_good_as_away_until_it_is_in_again() -> None:
    reach = Reach()
    reach.take(report(broker(1)))
    reach.refused()
    assert reach.away_since is not None
    for joined in ("init", "wait-join", "wait-metadata"):
        reach.take(report(broker(1), joined=joined))
        assert reach.away_since is not None
    reach.take(report(broker(1)))
    assert reach.away_since is None


def test_where_a_reader_of_committed_records_has_to_stop() -> None:
    reach = Reach()
    found = json.loads(report(broker(1), leaders={0: 1, 1: 1, 2: 1}))
    partitions = found["topics"]["t"]["partitions"]
    partitions["0"]["ls_offset"] = 40
    partitions["1"]["ls_offset"] = -1001  # nothing was fetched yet
    reach.take(json.dumps(found))
    assert reach.stable_ends == {("t", 0): 40}
