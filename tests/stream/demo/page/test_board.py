"""What the page shows: sessions by reference, repeats, bounds, the crowd's sample, reasons in words."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest

from schemas.risk import Reason
from stream.demo.page import board as board_module
from stream.demo.page.board import BOTS_OF_A_VIEW, ROW_EVERY_S, ROWS, VIEWS, Board
from stream.demo.page.fanout import Fanout, Mailbox, Message
from stream.demo.page.shown import TREND, reason_of
from tests.stream.demo.test_tally import risk, truth

NOW_MS = 1_790_000_000_400


def events(messages: list[Message], name: str) -> list[Any]:
    return [json.loads(each.data) for each in messages if each.event == name]


async def waiting(box: Mailbox) -> list[Message]:
    return await box.take(0.0)


async def test_a_session_is_shown_to_its_view_alone_and_never_by_its_id() -> None:
    fanout = Fanout(4)
    board = Board(fanout)
    mine, other = board.new_view(), board.new_view()
    assert mine != other
    with fanout.mailbox(mine) as box, fanout.mailbox(other) as elsewhere:
        shown = board.open(mine, "s_secret-id", "visitor", "you")
        board.take(risk("s_secret-id", 4, "block", 2.5), NOW_MS - 100, NOW_MS, 1.0, None)
        got = await waiting(box)
        assert await waiting(elsewhere) == []
    (told,) = events(got, "session")
    assert told["ref"] == shown.ref
    assert (told["action"], told["risk"], told["events"], told["observed_s"]) == ("block", 99, 5, 2.5)
    assert (told["published_ms"], told["back_ms"]) == (200, 300)
    assert told["trend"] == [[2.5, 0.99, 0.99, 0.99, None, None, None, None, None]]
    assert told["reasons"][0]["text"] == "Stand in rule: unlike people"
    assert b"secret-id" not in b"".join(each.data for each in got)


async def test_a_repeat_changes_nothing_and_a_final_session_stays_final() -> None:
    fanout = Fanout(4)
    board = Board(fanout)
    view = board.new_view()
    shown = board.open(view, "s", "visitor", "you")
    board.take(risk("s", 4, "block", 2.5, final=True), NOW_MS, NOW_MS, 1.0, None)
    with fanout.mailbox(view) as box:
        board.take(risk("s", 4, "block", 2.5), NOW_MS, NOW_MS, 1.0, None)
        board.take(risk("s", 3, "allow", 2.0), NOW_MS, NOW_MS, 1.0, None)
        assert len(box) == 0
        board.mark(view, shown, "done")
    assert (shown.state, shown.action, len(shown.trend)) == ("final", "block", 1)


async def test_the_trend_of_a_long_session_is_bounded() -> None:
    board = Board(Fanout(4))
    view = board.new_view()
    shown = board.open(view, "s", "visitor", "you")
    for offset in range(5 * TREND):
        board.take(risk("s", offset, "allow", offset / 2), NOW_MS, NOW_MS, 1.0, None)
        assert len(shown.trend) <= TREND
    times = [point[0] or 0.0 for point in shown.trend]
    # From its beginning to its end, in equal steps but for the last one.
    assert times[0] == 0.0
    assert times[-1] == (5 * TREND - 1) / 2
    assert {after - before for before, after in itertools.pairwise(times[:-1])} == {4.0}
    assert len(times) > TREND // 2


async def test_who_connects_gets_all_that_holds() -> None:
    board = Board(Fanout(4))
    view = board.new_view()
    board.open(view, "s", "visitor", "you")
    bot = board.announce(view, "a bot: scripted")
    board.take(risk("crowd", 4, "block", 2.5), NOW_MS, NOW_MS, 10.0, truth("crowd", "bot", "mouse_wind"))
    got = board.snapshot(view)
    assert [told["who"] for told in events(got, "session")] == ["visitor", "bot"]
    assert events(got, "session")[1]["ref"] == bot.ref
    ((row,),) = events(got, "rows")
    assert (row["actor"], row["family"], row["action"]) == ("bot", "mouse wind", "block")
    assert row["why"] == "Stand in rule: unlike people"
    assert row["ref"] != "crowd"


async def test_old_views_and_bots_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(Fanout(4))
    views = [board.new_view() for _ in range(VIEWS)]
    board.open(views[0], "s_old", "visitor", "you")
    assert board.knows(views[0])
    board.new_view()
    assert not board.knows(views[0])
    assert not board._sessions
    bots = [board.announce(views[5], "a bot") for _ in range(BOTS_OF_A_VIEW + 2)]
    for number in range(30):
        bot = board.announce(views[6], "a bot")
        board.open(views[6], f"s_bot{number}", "bot", "a bot", bot.ref)
    assert len(board._sessions) == BOTS_OF_A_VIEW
    kept = [told["ref"] for told in events(board.snapshot(views[5]), "session")]
    assert kept == [bot.ref for bot in bots[2:]]
    monkeypatch.setattr(board_module, "CROWD", 10)
    for number in range(30):
        session = f"c{number}"
        board.take(risk(session, 4, "allow", 2.5), NOW_MS, NOW_MS, 10.0, truth(session, "person", "mouse"))
    assert len(board._crowd) == 10


async def test_the_crowd_is_sampled_people_and_bots_by_turns_and_strangers_are_left_out() -> None:
    fanout = Fanout(4)
    board = Board(fanout)
    with fanout.mailbox("any") as box:
        for tick in range(40):
            for actor in ("person", "bot", "bot", "bot"):
                session = f"{actor}{tick}"
                told = truth(session, actor, "kind")
                board.take(risk(session, 4, "block", 1.0), NOW_MS, NOW_MS, 100 + tick * ROW_EVERY_S * 1.01, told)
            board.take(risk(f"stranger{tick}", 4, "block", 1.0), NOW_MS, NOW_MS, 100 + tick, None)
        rows = events(await waiting(box), "row")
    assert len(rows) == 40
    assert [row["actor"] for row in rows] == ["person", "bot"] * 20
    assert len(board.rows) == ROWS


async def test_a_session_of_the_crowd_is_a_row_when_its_decision_grows_and_when_it_ends() -> None:
    fanout = Fanout(4)
    board = Board(fanout)
    known = truth("c", "person", "mouse")
    with fanout.mailbox("any") as box:
        for at, (offset, action, final) in enumerate(
            [(0, "allow", False), (1, "step_up", False), (2, "step_up", False), (3, "block", False), (4, "block", True)]
        ):
            board.take(risk("c", offset, action, 1.0, final=final), NOW_MS, NOW_MS, 100.0 + at, known)  # type: ignore[arg-type]
        rows = events(await waiting(box), "row")
    assert [(row["action"], row["is_final"]) for row in rows] == [("step_up", False), ("block", False), ("block", True)]


def said(code: str, evidence: str, basis: Any = "signal", polarity: Any = "risk") -> tuple[str, str]:
    reason = Reason(
        code=code, category="device", weight=0.5, polarity=polarity, evidence=evidence, basis=basis, channel="device"
    )
    why = reason_of(reason)
    assert why.is_risk == (polarity == "risk")
    return why.text, why.evidence


def test_reasons_are_said_in_words() -> None:
    cue = "the user agent names a headless or scripted shell"
    assert said("HEADLESS_UA", "headless ua") == ("Headless UA", cue)
    assert said("HEADLESS_UA", "headless ua: 3") == ("Headless UA", f"{cue} (3)")
    assert said("KEY_HOLD_UNLIKE_PEOPLE", "x: 3", "model") == ("Key hold: unlike people", "x: 3")
    assert said("KEY_HOLD_LIKE_PEOPLE", "x: 3", "model", "trust") == ("Key hold: like people", "x: 3")
    assert said("DEVICE_ACCOUNTS_H24", "7 accounts with this device in 24 hours", "counter") == (
        "7 accounts with this device in 24 hours",
        "",
    )


async def test_what_speaks_for_risk_stands_first() -> None:
    board = Board(Fanout(1))
    view = board.new_view()
    shown = board.open(view, "s", "visitor", "you")
    event = risk("s", 4, "block", 2.5)
    trust = msgspec.structs.replace(event.reasons[0], polarity="trust", code="FORM_LIKE_PEOPLE")
    board.take(msgspec.structs.replace(event, reasons=[trust, *event.reasons]), NOW_MS, NOW_MS, 1.0, None)
    assert [why.is_risk for why in shown.reasons] == [True, False]
