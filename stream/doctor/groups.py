"""Looks at the consumer groups: members, owners of partitions, lag, and whether a lag moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from stream.doctor.finding import Finding, Findings, error, ok, warning

LOOK_AGAIN_S: Final = 3.0
"""A partition with a lag must have moved after this time, s."""
_WAIT_S: Final = 15.0
_MOVING: Final = frozenset({"NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS"})
Place = tuple[str, int]
Answer = TypeVar("Answer")


class Group:
    """One consumer group on some topics' partitions."""

    def __init__(
        self,
        admin: AdminClient,
        properties: Mapping[str, Any],
        name: str,
        process: str,
        places: Sequence[Place],
        *,
        is_needed: bool = True,
    ) -> None:
        """`properties`: of a consumer, to ask for offsets. `process`: the command whose processes are its members.

        `is_needed`: the process on whose behalf is looked joins it; else it may be hidden from this user.
        """
        self._admin = admin
        self._properties = properties
        self._name = name
        self._process = process
        self._places = places
        self._is_needed = is_needed
        self._is_hidden = False
        self._owners: dict[Place, str] = {}
        self._where = f"group {name}"

    def members(self) -> Findings:
        """Find who is in it and who owns what."""
        try:
            group = _once_coordinated(self._described)
        except KafkaException as failed:
            code = failed.args[0].name()
            if code == "GROUP_AUTHORIZATION_FAILED":
                self._is_hidden = True
                yield self._refused()
                return
            if code != "GROUP_ID_NOT_FOUND":
                raise
            members, state = [], "there is none"
        else:
            members, state = list(group.members), group.state.name.lower()
        if not members:
            yield error(
                "group.members",
                self._where,
                f"no member ({state})",
                "nothing is read: the lag grows until the log's retention is over",
                f"start `tellwire {self._process}`",
            )
            return
        owners = self._owners
        for member in members:
            for one in member.assignment.topic_partitions:
                owners[one.topic, one.partition] = f"{member.client_id} at {member.host}"
        idle = sum(not member.assignment.topic_partitions for member in members)
        left = [place for place in self._places if place not in owners]
        told = f"{len(members)} member(s), {len(owners)} partitions owned"
        if self._process == "learner" and len(members) > 1:
            yield error(
                "group.members",
                self._where,
                told,
                "learners take partitions from each other, and none publishes",
                "run one learner",
            )
        elif left:
            yield error(
                "group.owners",
                self._where,
                f"{told}; without an owner: {_shown(left)}",
                "their records are not read" + (f"; the group is {state}" if state != "stable" else ""),
                "if a rebalance goes on, look again; else look at /readyz of each member",
            )
        else:
            yield ok("group.members", self._where, told + (f", {idle} in reserve" if idle else ""))

    def _refused(self) -> Finding:
        if not self._is_needed:
            return ok("acl.group", self._where, f"hidden from this user; it is the {self._process}'s")
        return error(
            "acl.group",
            self._where,
            "this user may not describe it",
            f"`tellwire {self._process}` can't join it",
            "grant READ on the group to the user of its members",
        )

    def _described(self, wait_s: float) -> Any:
        # A cluster that has just started makes the topic of groups only when first asked for one.
        return self._admin.describe_consumer_groups([self._name], request_timeout=wait_s)[self._name].result()

    def lag(self) -> Findings:
        """Find how far behind it is, what it can't read any more, and what does not move. After `members`."""
        if self._is_hidden:
            return
        first, first_ends = self._committed(), self._ends(OffsetSpec.latest())  # type: ignore[no-untyped-call]
        lows = self._ends(OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        gone = [place for place, offset in first.items() if offset is not None and offset < lows[place]]
        if gone:
            yield error(
                "group.lost",
                self._where,
                f"committed offsets are before the log's beginning: {_shown(gone)}",
                "these records were removed before they were read; they have no risk events",
                "longer retention (`tellwire topics diff`), and more or faster workers",
            )
        lags = {place: first_ends[place] - _position(offset, lows[place]) for place, offset in first.items()}
        behind = [place for place, lag in lags.items() if lag > 0]
        total = sum(lags[place] for place in behind)
        if not behind:
            yield ok("group.lag", self._where, "no lag")
            return
        time.sleep(LOOK_AGAIN_S)
        second = self._committed()
        stuck = [place for place in behind if second[place] == first[place]]
        if stuck:
            yield error(
                "group.stuck",
                self._where,
                f"did not move in {LOOK_AGAIN_S:g} s although records wait: "
                + ", ".join(self._behind(place, lags[place]) for place in stuck[:8]),
                "their sessions get no events; a start or a rebalance takes a few seconds",
                "look again; if it stays, see docs/runbooks/partition-stuck.md",
            )
        else:
            yield ok("group.lag", self._where, f"{total} records behind, and moving in all {len(behind)} partitions")

    def _behind(self, place: Place, lag: int) -> str:
        owner = self._owners.get(place)
        return f"{place[0]}[{place[1]}] ({lag} behind, {f'held by {owner}' if owner else 'held by nobody'})"

    def _committed(self) -> dict[Place, int | None]:
        # By a consumer, which never joins. librdkafka's administrative client is ended by a segmentation fault where a
        # broker answers that it does not coordinate the group (any more, or yet): librdkafka's issue 5040.
        consumer = Consumer({**self._properties, "group.id": self._name, "enable.auto.commit": False})
        asked = [TopicPartition(*place) for place in self._places]
        try:
            found = _once_coordinated(lambda wait_s: consumer.committed(asked, timeout=wait_s))
        finally:
            consumer.close()
        return {(one.topic, one.partition): one.offset if one.offset >= 0 else None for one in found}

    def _ends(self, which: OffsetSpec) -> dict[Place, int]:
        asked = self._admin.list_offsets(
            {TopicPartition(*place): which for place in self._places}, request_timeout=_WAIT_S
        )
        return {(one.topic, one.partition): future.result().offset for one, future in asked.items()}


def _once_coordinated(ask: Callable[[float], Answer]) -> Answer:
    """Ask, with the time that is left for an answer, s; again while the group is changing its coordinator."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            return ask(max(0.1, deadline - time.monotonic()))
        except KafkaException as failed:
            if failed.args[0].name() not in _MOVING or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def warn_of_name(group: str, other: str) -> Findings:
    """Tell of two processes that share a group."""
    if group == other:
        yield warning(
            "settings.groups",
            f"group {group}",
            "workers and learner have the same one",
            "they take partitions from each other",
            "give kafka.learner_group a name of its own",
        )


def _position(offset: int | None, low: int) -> int:
    return low if offset is None else offset


def _shown(places: Sequence[Place]) -> str:
    text = ", ".join(f"{topic}[{number}]" for topic, number in places[:8])
    return text if len(places) <= 8 else f"{text} and {len(places) - 8} more"
