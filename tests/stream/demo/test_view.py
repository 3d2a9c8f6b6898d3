"""The live view and the summary as text, in several terminals: they fit, and what must be said is said."""

from __future__ import annotations

import io
import random
import re

import pytest
from rich.console import Console

from stream.demo import glyphs as g
from stream.demo.summary import show, summarise
from stream.demo.tally import Quantiles, Tally
from stream.demo.view import Scene, View
from stream.simulation.traffic import Counts
from tests.stream.demo.test_tally import START_MS, risk, truth

SIZES = [(80, 24), (100, 30), (124, 30), (160, 50), (240, 70)]


def scene(**changes: object) -> Scene:
    values: dict[str, object] = {
        "source": "simulated people and bots",
        "simulation": True,
        "broker": "embedded broker 127.0.0.1:43003",
        "store": "embedded Valkey",
        "embedded": True,
        "phase": "running",
        "now_s": 42.0,
        "traffic_s": 40.0,
        "seconds": 60.0,
        "acked": Quantiles(2.1, 8.4, 900),
        "snapshots": 3,
        "learnt": 412,
    }
    return Scene(**(values | changes))  # type: ignore[arg-type]


def busy() -> Tally:
    """30 people of whom one is stepped up; 20 bots of whom 15 are blocked and 2 stepped up; one dead letter."""
    tally, dice = Tally(), random.Random(1)
    offset = 0
    for number in range(50):
        bot = number >= 30
        tally.learn(
            truth(
                f"s{number}",
                "bot" if bot else "person",
                dice.choice(["mouse_wind", "replay_jitter"]) if bot else "mouse",
            )
        )
        for k in range(4):
            action = "allow"
            if k == 3 and (number == 0 or 45 <= number < 47):
                action = "step_up"
            if k >= 2 and 30 <= number < 45:
                action = "block"
            event = risk(f"s{number}", offset, action, 0.5 * (k + 1), final=k == 3)  # type: ignore[arg-type]
            tally.take(event, START_MS + 150, 20.0 + 0.1 * offset)
            offset += 1
    tally.bury("invalid_json")
    tally.hear(Counts(sessions=50, sent=offset + 1, acked=offset + 1), 40.0)
    return tally


def text_of(tally: Tally, what: Scene, width: int, height: int, encoding: str = "utf-8") -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    console = Console(file=out, width=width, height=height, color_system=None, legacy_windows=False)
    console.print(View(tally, what))
    out.seek(0)
    return out.read().splitlines()


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("tally", [Tally(), busy()], ids=["empty", "busy"])
def test_it_fits_the_terminal_exactly(width: int, height: int, tally: Tally) -> None:
    lines = text_of(tally, scene(), width, height)
    assert len(lines) == height
    assert max(len(line) for line in lines) <= width


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_says_what_runs_and_that_it_is_a_simulation(width: int, height: int) -> None:
    text = "\n".join(text_of(busy(), scene(), width, height))
    for needed in (
        "simulated people and bots",
        "embedded broker: no instrument for latency",
        "simulation: no figure of real traffic",
        "0:40 of 1:00",
        "learnt 412, 3 snapshots",
        "embedded broker 127.0.0.1:43003",
        "p50 2.1 ms  p99 8.4 ms",
        "received → acknowledged",
    ):
        assert needed in text
    assert re.search(r"dead letters +1\b", text)
    assert re.search(r"out .* 200 ", text)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_decisions_stand_against_the_truth(width: int, height: int) -> None:
    lines = text_of(busy(), scene(), width, height)
    people = next(line for line in lines if line.startswith(" people "))
    bots = next(line for line in lines if line.startswith(" bots "))
    assert re.search(r"people +30 .* 1 stepped up +3\.3 %", people)
    assert re.search(r"bots +20 .* 17 found +85\.0 %", bots)
    # Shares of the bar: 3, 2 and 15 of 20; the marks differ without any colour.
    cells = [bots.partition("found")[0].count(mark) for mark in "░▒█"]
    assert cells[0] == pytest.approx(sum(cells) * 3 / 20, abs=1.6)
    assert cells[2] == pytest.approx(sum(cells) * 15 / 20, abs=1.6)


def test_the_latest_decisions_carry_truth_score_time_and_reason() -> None:
    lines = text_of(busy(), scene(), 100, 40)
    rows = [line for line in lines if "stand in rule" in line]
    assert len(rows) > 10
    assert any(re.search(r"● bot +signup +block +0\.\d\d +1\.5s +stand in rule$", row) for row in rows)
    assert any(re.search(r"● bot +signup +step up", row) for row in rows)


def test_a_wide_terminal_shows_the_families() -> None:
    text = "\n".join(text_of(busy(), scene(), 160, 50))
    assert re.search(r"● mouse wind +\d+ ", text)
    assert re.search(r"● replay jitter +\d+ ", text)
    assert "stand in rule   (a stand-in decided)" in text
    assert re.search(r"○ mouse +30 .* 3 %", text)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_says_where_the_page_is_with_the_broker_beside_it(width: int, height: int) -> None:
    lines = text_of(busy(), scene(page="http://127.0.0.1:8471"), width, height)
    assert lines[1].startswith(" page http://127.0.0.1:8471  embedded broker 127.0.0.1:43003")
    assert len(lines) == height
    assert not any("page" in line for line in text_of(busy(), scene(), width, height)[:2])


def test_no_claim_about_the_broker_where_it_is_a_real_one() -> None:
    text = "\n".join(text_of(busy(), scene(embedded=False, broker="broker k1:9092", simulation=False), 160, 50))
    assert "broker k1:9092" in text
    assert "no instrument" not in text
    assert "simulation" not in text


def test_an_ascii_terminal_gets_ascii() -> None:
    lines = text_of(busy(), scene(), 80, 24, encoding="ascii")
    assert len(lines) == 24
    assert any(re.search(r"bots .*#", line) for line in lines)


def test_colour_is_never_the_only_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    Console(file=out, width=80, height=24, force_terminal=True).print(View(busy(), scene()))
    assert "\x1b[3" not in out.getvalue()
    assert "\x1b[38" not in out.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert [line.rstrip() for line in plain] == [line.rstrip() for line in text_of(busy(), scene(), 80, 24)]


def test_bars_are_as_wide_as_asked_and_show_whatever_occurred() -> None:
    for counts in ([1, 0, 0], [1000, 1, 1], [5, 5, 5], [0, 0, 7], [333, 333, 334]):
        bar = g.bar(dict(zip(("allow", "step_up", "block"), counts, strict=True)), 20, g.UNICODE).plain
        assert len(bar) == 20
        assert [mark in bar for mark in "░▒█"] == [n > 0 for n in counts]
    assert g.bar({"allow": 0}, 9, g.UNICODE).plain == " " * 9


def test_columns_grow_with_their_values() -> None:
    assert g.spark([0, 1, 4, 8], g.UNICODE) == " ▁▄█"
    assert g.spark([0, 0], g.UNICODE) == "  "
    assert g.columns([8, 4, 1], 2, g.UNICODE) == ["█  ", "██▂"]


@pytest.mark.parametrize("width", [80, 160])
def test_the_summary_says_it_all(width: int) -> None:
    console = Console(record=True, width=width, file=io.StringIO(), color_system=None)
    show(console, busy(), scene(), seed=7)
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for needed in (
        r"SUMMARY of a simulation .* seed 7",
        r"all bots +20 +3 +2 +15 +85\.0 % +1\.5 s",
        r"all people +30 +29 +1 +0 +3\.3 % +2\.0 s",
        r"201 in = 200 risk events \+ 1 dead letters: nothing lost",
        r"received → acknowledged p50 2\.1 ms +p99 8\.4 ms",
        r"embedded broker: no instrument for latency",
        r"412 vectors learnt, 3 snapshots published",
        r"Simulated people are not people",
    ):
        assert re.search(needed, text), needed


def test_the_summary_of_recordings_claims_no_evaluation() -> None:
    console = Console(record=True, width=80, file=io.StringIO(), color_system=None)
    show(console, busy(), scene(simulation=False, source="recorded sessions, played again"), seed=7)
    text = console.export_text()
    assert "this is no evaluation" in text
    assert "imulat" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_the_summary_tells_a_loss() -> None:
    tally = busy()
    tally.hear(Counts(sessions=50, sent=210, acked=210), 41.0)
    console = Console(record=True, width=100, file=io.StringIO())
    show(console, tally, scene(), seed=7)
    text = console.export_text()
    assert "9 without an answer" in text
    assert "nothing lost" not in text
    found = summarise(tally, scene(), 7)
    assert (found.lost, found.risk_events, found.dead_letters) == (9, 200, {"invalid_json": 1})
    assert found.bots["block"] == 15
    assert sum(row["sessions"] for row in found.families) == found.sessions == 50
