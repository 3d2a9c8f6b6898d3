"""What all open pages see: each view's own session, the bots that it unleashed, and the crowd that flows past.

A view is one load of the page. Sessions are known by a reference that is told nowhere else; their ids stay here. What
is kept is bounded, oldest first out. It runs in the page's event loop; time is passed in.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import secrets
from typing import Final

import msgspec

from schemas.risk import Action, RiskEvent
from stream.demo.page.fanout import Fanout, Message
from stream.demo.page.shown import Shown, Who, reason_of, show
from stream.simulation.traffic import TruthLine

VIEWS: Final = 256
BOTS_OF_A_VIEW: Final = 4
ROWS: Final = 12
ROW_EVERY_S: Final = 0.8
"""A row of the crowd may be read before the next one comes, s."""
CROWD: Final = 2_000
"""Simulated sessions under way whose strongest decision is remembered."""
_ACTORS: Final = ("person", "bot")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One session of the crowd when it was decided, or ended."""

    ref: str
    actor: str
    family: str
    flow: str
    action: Action
    risk: int
    observed_s: float
    why: str
    is_final: bool


class Side(msgspec.Struct, frozen=True):
    """All people, or all bots, of the simulation, by their strongest decision."""

    sessions: int
    allow: int
    step_up: int
    block: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that flows past, in numbers."""

    people: Side
    bots: Side
    is_simulation: bool
    is_embedded: bool
    events: int
    rate_per_s: float
    scored_p50_ms: float | None
    scored_p99_ms: float | None
    acked_p50_ms: float | None
    acked_p99_ms: float | None
    lost: int
    phase: str


@dataclasses.dataclass(slots=True)
class View:
    """One load of the page."""

    own: Shown | None = None
    bots: collections.OrderedDict[str, Shown] = dataclasses.field(default_factory=collections.OrderedDict)
    """By reference, oldest first."""
    sessions: dict[str, str] = dataclasses.field(default_factory=dict)
    """Session ids by reference."""


class Board:
    """Keeps what is shown, and tells the open pages what changed."""

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self._views: collections.OrderedDict[str, View] = collections.OrderedDict()
        self._sessions: dict[str, tuple[str, Shown]] = {}
        self._crowd: collections.OrderedDict[str, Action] = collections.OrderedDict()
        self._next: dict[str, Row] = {}
        self._last_actor = ""
        self._row_at_s = 0.0
        self._key = secrets.token_bytes(16)
        self._encode = msgspec.json.Encoder().encode
        self.rows: collections.deque[Row] = collections.deque(maxlen=ROWS)
        self.totals: Totals | None = None

    def new_view(self) -> str:
        """Begin a view; the oldest of too many is forgotten."""
        view = secrets.token_urlsafe(16)
        self._views[view] = View()
        if len(self._views) > VIEWS:
            _, old = self._views.popitem(last=False)
            for session_id in old.sessions.values():
                self._sessions.pop(session_id, None)
        return view

    def knows(self, view: str) -> bool:
        """Whether there is such a view."""
        return view in self._views

    def open(self, view: str, session_id: str, who: Who, told: str, ref: str = "") -> Shown:
        """Let a view show a session from now on. `ref`: of a bot that was announced before it had a session."""
        kept = self._views[view]
        shown = kept.bots.get(ref) if ref else None
        if shown is None:
            shown = Shown(ref=self.ref_of(session_id), who=who, told=told, state="open")
        self._sessions[session_id] = (view, shown)
        kept.sessions[shown.ref] = session_id
        if who == "visitor":
            kept.own = shown
        else:
            kept.bots[shown.ref] = shown
        self._tell(view, shown)
        return shown

    def announce(self, view: str, told: str) -> Shown:
        """Let a view show a bot that is being started; the oldest of too many is forgotten."""
        kept = self._views[view]
        shown = Shown(ref=secrets.token_hex(3), who="bot", told=told, state="starting")
        kept.bots[shown.ref] = shown
        if len(kept.bots) > BOTS_OF_A_VIEW:
            ref, _ = kept.bots.popitem(last=False)
            self._sessions.pop(kept.sessions.pop(ref, ""), None)
        self._tell(view, shown)
        return shown

    def mark(self, view: str, shown: Shown, state: str, note: str = "") -> None:
        """Say how far a bot's run is. What is final stays so."""
        if shown.state != "final":
            shown.state = state
        shown.note = note
        self._tell(view, shown)

    def take(self, event: RiskEvent, published_ms: int, now_ms: int, now_s: float, truth: TruthLine | None) -> None:
        """Show a risk event: of a session of ours, or, with its truth, of the crowd. A repeat changes nothing."""
        known = self._sessions.get(event.session_id)
        if known is not None:
            view, shown = known
            if event.sequence > shown.events:
                show(shown, event, published_ms, now_ms)
                self._tell(view, shown)
        elif truth is not None:
            self._crowd_take(event, truth)
            self._show_row(now_s)

    def tell_totals(self, totals: Totals) -> None:
        """Tell everybody how much has flowed past."""
        self.totals = totals
        self._fanout.tell_all(self._message("totals", totals, "totals"))

    def snapshot(self, view: str) -> list[Message]:
        """Return all that a page which just connected needs, as the messages that it would have got."""
        kept = self._views[view]
        found = [] if kept.own is None else [self._message("session", kept.own)]
        found += [self._message("session", bot) for bot in kept.bots.values()]
        if self.totals is not None:
            found.append(self._message("totals", self.totals))
        return [*found, self._message("rows", list(self.rows))]

    def ref_of(self, session_id: str) -> str:
        """Return the short reference of a session; it says nothing outside of this run."""
        return hashlib.blake2b(session_id.encode(), digest_size=3, key=self._key).hexdigest()

    def _crowd_take(self, event: RiskEvent, truth: TruthLine) -> None:
        """Keep a row of what was just decided, until it is its turn to be shown."""
        before = self._crowd.pop(event.session_id, "allow")
        action = event.decision.action
        if event.is_final:
            changed = True
        else:
            changed = action not in ("allow", before)
            self._crowd[event.session_id] = action
            if len(self._crowd) > CROWD:
                self._crowd.popitem(last=False)
        if not changed or truth.actor not in _ACTORS:
            return
        risks = [reason for reason in event.reasons if reason.polarity == "risk"]
        self._next[truth.actor] = Row(
            ref=self.ref_of(event.session_id),
            actor=truth.actor,
            family=truth.family.replace("_", " "),
            flow=event.flow.replace("_", " "),
            action=action,
            risk=event.risk_score,
            observed_s=event.observed_s,
            why=reason_of(risks[0]).text if risks and action != "allow" else "",
            is_final=event.is_final,
        )

    def _show_row(self, now_s: float) -> None:
        if now_s - self._row_at_s < ROW_EVERY_S or not self._next:
            return
        self._row_at_s = now_s
        # People and bots by turns, where both wait: the counts tell how many of each there are.
        actor = next((each for each in self._next if each != self._last_actor), self._last_actor)
        self._last_actor = actor
        row = self._next.pop(actor)
        self.rows.append(row)
        self._fanout.tell_all(self._message("row", row))

    def _tell(self, view: str, shown: Shown) -> None:
        self._fanout.tell(view, self._message("session", shown, f"session {shown.ref}"))

    def _message(self, event: str, value: object, about: str = "") -> Message:
        return Message(event, self._encode(value), about)
