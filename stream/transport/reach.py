"""Whether the brokers can be reached, as the consumer's own statistics tell; taken in on the poll thread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from .part import clock

UNANSWERED_S: Final = 5.0
"""A broker with requests underway that has said nothing for so long does not answer. Fetches come back in 0.1 s."""
_LOGICAL: Final = "logical"


class Reach:
    """The latest word on the brokers. Written by the poll thread, read from any: each field is replaced as a whole."""

    def __init__(self) -> None:
        self.away_since: float | None = None
        """Clock time since when no broker answers, or the group can't be joined; None while all is well."""
        self.away_partitions: frozenset[tuple[str, int]] = frozenset()
        """Partitions without a leader, or whose leader does not answer, while other brokers do."""

        self.stable_ends: Mapping[tuple[str, int], int] = {}
        """Where a reader of committed records has to stop: the first offset of an open transaction, or the end."""

        self._is_refused = False

    def away_s(self) -> float:
        """How long the brokers have been away, s; 0 while they answer."""
        since = self.away_since
        return 0.0 if since is None else clock() - since

    def refused(self) -> None:
        """The group does not let this member in: as good as away, until it is in again."""
        self._is_refused = True
        if self.away_since is None:
            self.away_since = clock()

    def take(self, statistics: str) -> None:
        """Take in one report of librdkafka's. Raises nothing that a report of its documented form could cause."""
        found = json.loads(statistics)
        answers = {
            broker["nodeid"]: _answers(broker)
            for broker in found.get("brokers", {}).values()
            if broker.get("source") != _LOGICAL
        }
        group = found.get("cgrp", {})
        if group.get("join_state") == "steady":
            self._is_refused = False
        if any(answers.values()) and group.get("state", "up") == "up" and not self._is_refused:
            self.away_since = None
        elif self.away_since is None:
            self.away_since = clock()
        self.stable_ends = {
            (name, number): one["ls_offset"]
            for name, topic in found.get("topics", {}).items()
            for number, one in _partitions(topic)
            if one.get("ls_offset", -1) >= 0
        }
        self.away_partitions = frozenset(
            (name, number)
            for name, topic in found.get("topics", {}).items()
            for number, one in _partitions(topic)
            if not answers.get(one.get("leader", -1), False)
        )


def _answers(broker: Mapping[str, Any]) -> bool:
    is_silent = broker.get("waitresp_cnt", 0) > 0 and broker.get("rxidle", 0) > UNANSWERED_S * 1e6
    return broker.get("state") == "UP" and not is_silent


def _partitions(topic: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    # Number -1 stands for "not assigned to any partition yet".
    return [(int(number), one) for number, one in topic.get("partitions", {}).items() if int(number) >= 0]
