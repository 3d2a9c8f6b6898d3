"""How commands get to a Redis Cluster: each to the master of its slot, all masters at the same time.

Built on the same bounded exchanges as for one server. A master that does not answer costs its own commands an error
answer and nobody else's: it is not asked again until it answers a probe, or the cluster has another master for its
slots. Redirections are followed on the connection that they were sent for (ASKING binds to a connection), and a slot
that moved is remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Sequence
from typing import Final, NamedTuple

from redis import exceptions
from redis.crc import key_slot

from stream.state.base import StoreError, StoreMisconfigured, StoreUnavailable
from stream.state.connections import ConnectionOptions, StandaloneLink
from stream.state.stats import StoreStats
from stream.state.wire import Answer, Command

log = logging.getLogger(__name__)

SLOTS: Final = 16_384
REDIRECTIONS: Final = 5
"""How often a command is sent to another node before it counts as unanswered."""
AGAIN_S: Final = 0.02
"""First pause before a command whose slot is just moving is sent again; it doubles."""
PROBE_S: Final = (0.1, 1.0)
"""First and longest pause between two looks at a master that does not answer, s."""

Address = tuple[str, int]
_turns: Final = itertools.count(1)


class Place(NamedTuple):
    """Where a command goes (None: nobody serves its slot), and what has to be sent right ahead of it."""

    address: Address | None
    ahead: tuple[Command, ...] = ()


class ClusterLink:
    """Connections to all masters of a cluster. See `Link`."""

    def __init__(self, options: ConnectionOptions, stats: StoreStats) -> None:
        arguments = options.arguments()
        if options.sentinels() is not None or arguments.get("db", 0) != 0 or "path" in arguments:
            raise StoreMisconfigured("a Redis Cluster has database 0 only and is reached over TCP, without sentinels")
        self._options = options
        self._stats = stats
        self._seed: Address = (arguments.get("host", "localhost"), arguments.get("port", 6379))
        self._nodes: dict[Address, StandaloneLink] = {}
        self._owners: list[Address | None] = [None] * SLOTS
        self.turn = next(_turns)
        """Changes whenever a slot that could not be served may be served now."""
        self._away: dict[Address, str] = {}
        """Masters that did not answer, and what to say of them."""
        self._asking_for_slots: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None

    async def exchange(self, commands: Sequence[Command], at: Sequence[bytes] | None = None) -> list[Answer]:
        """See `Link`; a node that does not answer gives its commands a `StoreUnavailable` as their answer."""
        if not any(self._owners):
            await self._ask_for_slots()
        answers: list[Answer] = [None] * len(commands)
        slots = [key_slot(key) for key in (at if at is not None else map(_key_of, commands))]
        places = {i: Place(self._owners[slot]) for i, slot in enumerate(slots)}
        for turn in range(1 + REDIRECTIONS):
            await self._send(commands, places, answers)
            places = self._redirected(places, slots, answers)
            if not places:
                break
            if turn == REDIRECTIONS:
                for i in places:
                    answers[i] = StoreUnavailable(f"Redis Cluster: the slot {slots[i]} is being moved")
                break
            self._stats.redirections_total += len(places)
            if all(isinstance(answers[i], exceptions.TryAgainError) for i in places):
                await asyncio.sleep(AGAIN_S * 2**turn)
        for i, answer in enumerate(answers):
            if isinstance(answer, exceptions.ClusterDownError):
                answers[i] = StoreUnavailable(f"Redis Cluster: no master serves the slot {slots[i]}: {answer}")
            if isinstance(answers[i], StoreUnavailable) and self._owners[slots[i]] not in {None, *self._away}:
                # Nobody looks after this one: it may be over with the next exchange.
                self.turn = next(_turns)
        return answers

    async def each(self, command: Command) -> list[tuple[str, Answer]]:
        """See `Link`."""
        await self._ask_for_slots()
        masters = [self._node(address) for address in self._masters()]
        found = await asyncio.gather(*(node.each(command) for node in masters))
        return [one for answers in found for one in answers]

    async def close(self) -> None:
        """See `Link`."""
        for task in (self._asking_for_slots, self._probing):
            if task is not None:
                task.cancel()
                # Whatever went wrong with it has been answered or told by those who waited for it.
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.close()

    async def _send(self, commands: Sequence[Command], places: dict[int, Place], answers: list[Answer]) -> None:
        """Send commands to their places and put the answers into theirs."""
        groups: dict[Address, list[int]] = {}
        for i, place in places.items():
            if place.address is None:
                answers[i] = StoreUnavailable("Redis Cluster: no master serves a slot")
                self._look_after()
            elif place.address in self._away:
                answers[i] = StoreUnavailable(self._away[place.address])
                self._look_after()
            else:
                groups.setdefault(place.address, []).append(i)

        async def send(address: Address, group: list[int]) -> None:
            sent = [part for i in group for part in (*places[i].ahead, commands[i])]
            try:
                found = iter(await self._node(address).exchange(sent))
            except StoreUnavailable as error:
                # Not the error itself: its traceback holds the answers.
                self._away[address] = text = str(error)
                for i in group:
                    answers[i] = StoreUnavailable(text)
                self._look_after()
                return
            for i in group:
                for _ in places[i].ahead:
                    next(found)
                answers[i] = next(found)

        await asyncio.gather(*(send(address, group) for address, group in groups.items()))

    def _redirected(
        self, places: dict[int, Place], slots: Sequence[int], answers: Sequence[Answer]
    ) -> dict[int, Place]:
        """Return the commands that have to be sent again, and where to."""
        again: dict[int, Place] = {}
        for i, (address, _) in places.items():
            answer = answers[i]
            if isinstance(answer, exceptions.AskError):  # MOVED is a kind of ASK in redis-py
                to = (answer.host or (address or self._seed)[0], answer.port)
                is_ask = not isinstance(answer, exceptions.MovedError)
                if not is_ask:
                    self._owners[slots[i]] = to
                    self._look_after()
                again[i] = Place(to, (("ASKING",),) if is_ask else ())
            elif isinstance(answer, exceptions.TryAgainError):
                again[i] = Place(self._owners[slots[i]])
        return again

    def _node(self, address: Address) -> StandaloneLink:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = StandaloneLink(self._options, self._stats, address=address)
        return node

    def _masters(self) -> list[Address]:
        return list(dict.fromkeys(owner for owner in self._owners if owner is not None))

    # --- who owns what -----------------------------------------------------------------------------

    async def _ask_for_slots(self) -> None:
        """Learn who owns the slots; several callers share one look. Raises `StoreError` when nobody answers."""
        if self._asking_for_slots is None or self._asking_for_slots.done():
            self._asking_for_slots = asyncio.ensure_future(self._learn_slots())
        await asyncio.shield(self._asking_for_slots)

    async def _learn_slots(self) -> None:
        known = [address for address in self._masters() if address not in self._away]
        last: str | None = None
        for address in dict.fromkeys([*known, *self._nodes, self._seed]):
            try:
                [(_, ranges)] = await self._node(address).each(("CLUSTER SLOTS",))
            except StoreMisconfigured:
                raise
            except StoreError as error:
                last = str(error)
                continue
            owners: list[Address | None] = [None] * SLOTS
            for first, end, master, *_replicas in ranges:
                host = master[0].decode() if master[0] else address[0]
                if host != "?":
                    owners[first : end + 1] = [(host, int(master[1]))] * (end + 1 - first)
            self._stats.topology_changes_total += owners != self._owners and any(self._owners)
            if owners != self._owners:
                self.turn = next(_turns)
            self._owners = owners
            await self._forget_nodes()
            return
        raise StoreUnavailable(last or "no node of the Redis Cluster is known")

    async def _forget_nodes(self) -> None:
        """Close the links of nodes that are no master any more."""
        masters = {*self._masters(), self._seed}
        for address in [address for address in self._nodes if address not in masters]:
            # In use or not: its connections that are out come back to a closed link and are dropped.
            await self._nodes.pop(address).close()
        for address in [address for address in self._away if address not in masters]:
            del self._away[address]
            self.turn = next(_turns)

    def _look_after(self) -> None:
        """See to it, in the background, that masters which are away come back, and that moved slots are known."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.ensure_future(self._probe())

    async def _probe(self) -> None:
        pause_s, longest_s = PROBE_S
        while True:
            await _went_well(self._ask_for_slots())
            for address in list(self._away):
                if await _went_well(self._node(address).each(("PING",))):
                    self._away.pop(address, None)
                    self.turn = next(_turns)
            if not self._away and all(self._owners):
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)


async def _went_well(call: Awaitable[object]) -> bool:
    try:
        await call
    except StoreError:
        return False
    except Exception as error:  # noqa: BLE001 - who asks here is the only one who would ever find a master again
        log.warning("a node of the Redis Cluster could not be asked: %s", type(error).__name__)
        return False
    return True


def _key_of(command: Command) -> bytes:
    """Return the first key of a command: all its keys share one hash tag."""
    key: bytes = command[3] if command[0] == "EVALSHA" else command[1]
    return key
