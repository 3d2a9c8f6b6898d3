"""The demo's last word: what was found and whom it cost, against the truth, and whether anything was lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.demo import glyphs as g
from stream.demo.tally import FamilyRow, Quantiles, Tally, families, quantiles, total
from stream.demo.view import Scene, latency_text


class Summary(msgspec.Struct, kw_only=True):
    """The figures at the end, as `--json` prints them."""

    type: str = "demo.summary"
    simulation: bool
    source: str
    broker: str
    broker_embedded: bool
    """The embedded broker is no instrument for latency."""
    seed: int
    traffic_s: float
    records_sent: int
    records_acked: int
    records_failed: int
    risk_events: int
    dead_letters: dict[str, int]
    repeats: int
    replayed: int
    lost: int
    sessions: int
    sessions_under_way: int
    """Without a final risk event when the traffic stopped; some never end."""
    families: list[dict[str, Any]]
    people: dict[str, Any]
    bots: dict[str, Any]
    received_to_acked: Quantiles | None
    received_to_scored: Quantiles | None
    observed_to_read_back: Quantiles | None
    vectors_learnt: int
    snapshots: int
    late_ms_max: int


def summarise(tally: Tally, scene: Scene, seed: int) -> Summary:
    """Put the figures together."""
    rows = families(tally)
    return Summary(
        simulation=scene.simulation,
        source=scene.source,
        broker=scene.broker,
        broker_embedded=scene.embedded,
        seed=seed,
        traffic_s=round(scene.traffic_s, 1),
        records_sent=tally.traffic.sent,
        records_acked=tally.traffic.acked,
        records_failed=tally.traffic.failed,
        risk_events=tally.events,
        dead_letters=dict(tally.dead_letters),
        repeats=tally.repeats,
        replayed=tally.replayed,
        lost=tally.lost(),
        sessions=len(tally.sessions),
        sessions_under_way=sum(not seen.final for seen in tally.sessions.values()),
        families=[_row(row) for row in rows],
        people=_row(total(tally, "person")),
        bots=_row(total(tally, "bot")),
        received_to_acked=scene.acked,
        received_to_scored=quantiles(tally.scored_ms),
        observed_to_read_back=quantiles(tally.back_ms),
        vectors_learnt=scene.learnt,
        snapshots=scene.snapshots,
        late_ms_max=tally.traffic.late_ms_max,
    )


def show(console: Console, tally: Tally, scene: Scene, seed: int) -> None:
    """Print the summary for a person."""
    marks = g.ASCII if console.options.ascii_only else g.UNICODE
    what = "SUMMARY of a simulation" if scene.simulation else "SUMMARY"
    console.print()
    console.print(g.heading(what, console.width, marks, f"{scene.source}, seed {seed}"))
    rows = families(tally)
    known = [row for row in rows if row.actor in {"bot", "person"}]
    if known:
        console.print(_table(known, [total(tally, "bot"), total(tally, "person")], marks))
    for line in _facts(tally, scene, marks):
        console.print(line)
    console.print(Text(" found: at step up or block; after: median session time until then", g.MUTED))
    if scene.simulation:
        console.print(Text(" Simulated people are not people: these shares say nothing of real traffic.", g.MUTED))
    else:
        console.print(Text(" The models may have learnt from these very recordings: this is no evaluation.", g.MUTED))


def _table(rows: Sequence[FamilyRow], totals: Sequence[FamilyRow], marks: g.Glyphs) -> Table:
    table = Table(box=None, pad_edge=True, header_style="bold")
    for name, side in (
        ("", "left"),
        ("sessions", "right"),
        ("allow", "right"),
        ("step up", "right"),
        ("block", "right"),
        ("found", "right"),
        ("after", "right"),
    ):
        table.add_column(name, justify="right" if side == "right" else "left", no_wrap=True)
    for actor, word in (("bot", "bots"), ("person", "people")):
        mark, style = (marks.bot, "red") if actor == "bot" else (marks.person, "green")
        for row in rows:
            if row.actor == actor:
                table.add_row(Text.assemble((f"{mark} ", style), row.family.replace("_", " ")), *_cells(row))
        for row in totals:
            if row.actor == actor and row.sessions:
                table.add_row(f"all {word}", *_cells(row), style="bold", end_section=True)
    return table


def _cells(row: FamilyRow) -> list[str]:
    share = f"{100 * row.found / row.sessions:.1f} %" if row.sessions else ""
    after = f"{row.median_found_s:.1f} s" if row.median_found_s is not None else ""
    return [str(row.sessions), str(row.sessions - row.found), str(row.step_up), str(row.block), share, after]


def _facts(tally: Tally, scene: Scene, marks: g.Glyphs) -> list[Text]:
    lost, dead = tally.lost(), tally.dead_letters.total()
    verdict = ("nothing lost", "green bold") if lost == 0 else (f"{lost} without an answer", "red bold")
    if tally.traffic.failed:
        verdict = (f"{tally.traffic.failed} records could not be sent", "red bold")
    under_way = sum(not seen.final for seen in tally.sessions.values())
    arrow = marks.arrow
    return [
        Text.assemble(
            (" records   ", "bold"),
            f"{g.number(tally.traffic.acked)} in = {g.number(tally.events)} risk events + {dead} dead letters: ",
            verdict,
            f", {tally.repeats} repeats" if tally.repeats else "",
        ),
        Text.assemble(
            (" sessions  ", "bold"),
            f"{len(tally.sessions)}, {under_way} of them without an end (some never end)",
            f"; {g.number(tally.forgotten)} earlier ones are not in the table" if tally.forgotten else "",
        ),
        Text.assemble((" latency   ", "bold"), f"received {arrow} acknowledged ", latency_text(scene.acked)),
        Text.assemble((" " * 11), f"received {arrow} scored       ", latency_text(quantiles(tally.scored_ms))),
        Text.assemble(
            (" " * 11),
            f"observed {arrow} read back    ",
            latency_text(quantiles(tally.back_ms)),
        ),
        *([Text(" " * 11 + "embedded broker: no instrument for latency", g.MUTED)] if scene.embedded else []),
        Text.assemble(
            (" learner   ", "bold"), f"{g.number(scene.learnt)} vectors learnt, {scene.snapshots} snapshots published"
        ),
    ]


def _row(row: FamilyRow) -> dict[str, Any]:
    return {
        "actor": row.actor,
        "family": row.family,
        "sessions": row.sessions,
        "allow": row.sessions - row.found,
        "step_up": row.step_up,
        "block": row.block,
        "median_found_s": row.median_found_s,
    }
