"""The standard workload: telemetry of many live sessions that look mostly like people, ready-made bytes by seed.

Per event about 25 pointer samples, 0.5 to 0.9 kB; the first event of a session also has viewport and device (some 2 kB
more), and every twentieth the network. Movements are those of the simulated crowd (`stream.simulation`): some visits
are simulated once, cut into events and mirrored, shifted and slowed a little, so that making an event costs
microseconds; each session of a person bends its way across the screen by waves of its own, or all would be copies of
the same few recordings. A stated share of sessions are bots'. A session ends with its visit, and another one takes its
place: the number of live sessions stays the same. Accounts and addresses are drawn by Zipf's law; most sessions of an
account are on its own device, and its owner's hand and country are always the same.
"""

import functools
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np

from schemas.telemetry import Pointer
from stream.simulation.bots import FAMILIES, stock_of
from stream.simulation.people import Visit, person
from stream.simulation.recording import tick

START_MS: Final = 1_790_000_000_000
SAMPLES: Final = 25
"""Pointer samples of one event, on average."""
BOT_RATIO: Final = 0.02
"""Share of sessions that are bots'."""
NETWORK_EVERY: Final = 20
"""Events of a session from one network block to the next."""
ZIPF_EXPONENT: Final = 0.8
ACCOUNTS, ADDRESSES = 200_000, 100_000
"""How many there are to draw from; each account has a device of its own."""
OTHER_DEVICE_RATIO: Final = 0.1
"""Share of sessions at another device than the account's own; that one is drawn as accounts are."""
PEOPLE: Final = ("mouse", "touchpad", "mouse", "password_manager", "mouse")
BOTS: Final = ("mouse_straight", "mouse_bezier", "mouse_wind", "replay_jitter", "headless_webdriver")
_PEOPLE_VISITS, _BOT_VISITS = 64, 10
_VARIANTS: Final = 4
_LONGEST_PAUSE_MS: Final = 1_500.0
_BLOCK: Final = 8_192
"""Places drawn at a time: part of what the seed means."""
_EVENT_ID: Final = re.compile(rb'"event_id":"([^"]+)"')
_encode: Final = msgspec.json.Encoder().encode

Rng = np.random.Generator
Row = tuple[float, float, float, int, int]


BEND_PX: Final = 60.0
"""How far a person's session bends its way along each axis at most, in waves of 1/3 to 1/10 of 4 096 px."""
_WAVES: Final = 3
_BENDS: Final = [round(BEND_PX * math.sin(2.0 * math.pi * at / 4_096)) for at in range(4_096)]
_BELOW: Final = int(BEND_PX)
_NUMBERS: Final = [b"%d.0" % max(0, at) for at in range(-_BELOW, 16_384)]
"""Places as JSON, from -BEND_PX on; those outside the page are at its edge."""


class Piece(NamedTuple):
    """One event's pointer block, when it begins and how long it is, ms from the beginning of its visit."""

    begin_ms: int
    length_ms: int
    x: tuple[int, ...]
    y: tuple[int, ...]
    parts: tuple[bytes, bytes, bytes]
    """Its JSON before x, between x and y, and behind y."""

    def pointer(self, bend: int) -> bytes:
        """Return its JSON, bent by the waves that the number's bits say; 0: as it was made."""
        before, between, behind = self.parts
        if not bend:
            xs, ys = [_NUMBERS[x + _BELOW] for x in self.x], [_NUMBERS[y + _BELOW] for y in self.y]
        else:
            at_x, at_y = bend & 4_095, bend >> 12 & 4_095
            by_x, by_y = _WAVES + (bend >> 24 & 7), _WAVES + (bend >> 27 & 7)
            places = list(zip(self.x, self.y, strict=True))
            xs = [_NUMBERS[x + _BENDS[by_x * y + at_x & 4_095] + _BELOW] for x, y in places]
            ys = [_NUMBERS[y + _BENDS[by_y * x + at_y & 4_095] + _BELOW] for x, y in places]
        return b"".join((before, b",".join(xs), between, b",".join(ys), behind))


@dataclass(frozen=True, slots=True)
class Script:
    """One way that a session goes: ready-made JSON of what changes from event to event, and of what does not."""

    pieces: tuple[Piece, ...]
    surroundings: bytes
    """Viewport and device, of the first event."""
    network: bytes
    """The network block without its end: the address is the session's own."""


class Cast(NamedTuple):
    """All actors of one seed, each with the ways that its sessions go."""

    people: tuple[tuple[Script, ...], ...]
    bots: tuple[tuple[Script, ...], ...]


def workload(
    events: int, *, sessions: int = 10_000, seed: int = 1, in_turn: bool = False
) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each event; the same arguments give the same bytes, and fewer events their beginning.

    Each event is that of a live session drawn at random; with `in_turn` every session has one event first, so that
    from then on all are known.
    """
    cast = cast_of(seed)
    rng = np.random.default_rng([seed, 1])
    is_bot = (rng.random(sessions) < BOT_RATIO).tolist()
    accounts, addresses = _zipf(rng, ACCOUNTS, sessions), _zipf(rng, ADDRESSES, sessions)
    devices = np.where(rng.random(sessions) < OTHER_DEVICE_RATIO, _zipf(rng, ACCOUNTS, sessions), accounts).tolist()
    turns, lives = [0] * sessions, [0] * sessions
    for begin in range(0, events, _BLOCK):
        slots = rng.integers(sessions, size=_BLOCK)
        if in_turn and begin < sessions:
            first = np.arange(begin, min(begin + _BLOCK, sessions))
            slots[: first.size] = first
        for number, slot in enumerate(slots[: events - begin].tolist(), begin):
            people = cast.bots if is_bot[slot] else cast.people
            script = people[accounts[slot] % len(people)][lives[slot] % _VARIANTS]
            turn = turns[slot]
            session = b"bench-%d-%d-%d" % (seed, slot, lives[slot])
            refs = (accounts[slot], devices[slot], addresses[slot])
            bend = 0 if is_bot[slot] else zlib.crc32(session) | 1
            yield session, _event(b"e%d-%d" % (seed, number), session, turn, script, refs, bend)
            if turn + 1 < len(script.pieces):
                turns[slot] = turn + 1
            else:
                turns[slot] = 0
                lives[slot] += 1


def event_number(event_id: bytes) -> int:
    """Return an event's number in its workload."""
    return int(event_id[event_id.rindex(b"-") + 1 :])


def number_in(value: bytes | None) -> int:
    """Return the number of the event that a record is, or is the answer to; -1 where it tells none."""
    found = _EVENT_ID.search(value or b"")
    return -1 if found is None else event_number(found[1])


def _event(event_id: bytes, session: bytes, turn: int, script: Script, refs: tuple[int, int, int], bend: int) -> bytes:
    piece = script.pieces[turn]
    begin_ms = START_MS + piece.begin_ms
    account, device, address = refs
    value = (
        b'{"type":"capture.telemetry.v1","event_id":"%b","session_id":"%b","tenant":"bench","flow":"login",'
        b'"sequence":%d,"effective_at":%d,"observed_at":%d,"collector":{"name":"bench-web","version":"1.0.0"},'
        b'"account_ref":"account-%d","device_ref":"device-%d","pointer":%b'
        % (event_id, session, turn, begin_ms, begin_ms + piece.length_ms + 30, account, device, piece.pointer(bend))
    )
    if turn == 0:
        value += script.surroundings
    if turn % NETWORK_EVERY == 0:
        value += b',"network":%b,"ip_ref":"ip-%d"}' % (script.network, address)
    return value + b"}"


@functools.cache
def cast_of(seed: int) -> Cast:
    """Simulate the visits and make their variants."""
    rng = np.random.default_rng([seed, 0])
    stock = stock_of(rng)
    people = [person(rng, PEOPLE[number % len(PEOPLE)], "signup") for number in range(_PEOPLE_VISITS)]
    bots = [FAMILIES[BOTS[number % len(BOTS)]](rng, "signup", stock) for number in range(_BOT_VISITS)]
    return Cast(*(tuple(_scripts(rng, visit) for visit in visits if _is_long(visit)) for visits in (people, bots)))


def _is_long(visit: Visit) -> bool:
    return len(visit.recording.pointer) >= 4 * SAMPLES


def _scripts(rng: Rng, visit: Visit) -> tuple[Script, ...]:
    rows = sorted(visit.recording.pointer)
    machine = visit.machine
    surroundings = b',"viewport":%b,"device":%b' % (_encode(machine.viewport), _encode(machine.device))
    network = _encode(msgspec.structs.replace(machine.network, ip_ref=None))[:-1]
    return tuple(Script(tuple(_pieces(rng, visit, rows)), surroundings, network) for _ in range(_VARIANTS))


def _pieces(rng: Rng, visit: Visit, rows: Sequence[Row]) -> Iterator[Piece]:
    """Cut the samples of a visit into pointer blocks, moved a little: no two sessions are equal."""
    recording, viewport = visit.recording, visit.machine.viewport
    slower = float(rng.uniform(0.9, 1.1))
    mirror_x, mirror_y = (rng.random(2) < 0.5).tolist()
    shift_x, shift_y = rng.integers(-40, 41, 2).tolist()
    t = slower * np.cumsum(np.minimum(np.diff([0.0, *(row[0] for row in rows)]), _LONGEST_PAUSE_MS))
    x = np.array([row[1] for row in rows])
    y = np.array([row[2] for row in rows])
    x = np.clip((viewport.width_px - x if mirror_x else x) + shift_x, 0.0, None)
    y = np.clip((viewport.height_px - y if mirror_y else y) + shift_y, 0.0, None)
    kinds, buttons = [row[3] for row in rows], [row[4] for row in rows]
    first = 0
    while first + SAMPLES // 2 < len(rows):
        last = min(len(rows), first + int(rng.integers(SAMPLES - 4, SAMPLES + 5)))
        here = slice(first, last)
        begin_ms = int(t[first])
        pointer = Pointer(
            t=[tick(at, begin_ms, recording.clock_step_ms) for at in t[here].tolist()],
            x=x[here].tolist(),
            y=y[here].tolist(),
            kind=kinds[here] if any(kinds[here]) else None,
            button=buttons[here] if any(buttons[here]) else None,
            pointer_type=recording.pointer_type,
            untrusted_count=last - first if recording.untrusted else 0,
            coalesced_count=(last - first) // 2 if recording.coalesced else 0,
        )
        before, rest = _encode(pointer).split(b'"x":[')
        between, behind = rest[rest.index(b"]") :].split(b'"y":[')
        xs, ys = (tuple(map(int, column.tolist())) for column in (x[here], y[here]))
        parts = (before + b'"x":[', between + b'"y":[', behind[behind.index(b"]") :])
        yield Piece(begin_ms, int(t[last - 1]) - begin_ms, xs, ys, parts)
        first = last


def _zipf(rng: Rng, count: int, draws: int) -> list[int]:
    """Draw numbers below `count`: the smaller, the likelier."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -ZIPF_EXPONENT
    found: list[int] = np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(draws)).tolist()
    return found
