"""What open pages get: bounded mailboxes against a naive twin, views kept apart, slow and leaving pages."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from stream.demo.page.fanout import Fanout, Mailbox, Message


def message(number: int, about: str = "") -> Message:
    return Message("row", str(number).encode(), about)


def naive(puts: list[tuple[str, bool]], limit: int) -> list[list[bytes]]:
    """What each take returns: a list that is searched from end to end, every time."""
    taken: list[list[bytes]] = []
    waiting: list[tuple[str, bytes]] = []
    for number, (about, takes) in enumerate(puts):
        waiting = [each for each in waiting if not about or each[0] != about]
        waiting.append((about, str(number).encode()))
        waiting = waiting[-limit:]
        if takes:
            taken.append([data for _, data in waiting])
            waiting = []
    return taken


@given(
    puts=st.lists(st.tuples(st.sampled_from(["", "", "you", "bot", "totals"]), st.booleans())), limit=st.integers(1, 6)
)
def test_a_mailbox_agrees_with_a_naive_list(puts: list[tuple[str, bool]], limit: int) -> None:
    async def run() -> list[list[bytes]]:
        box, taken = Mailbox(limit), []
        for number, (about, takes) in enumerate(puts):
            box.put(message(number, about))
            assert len(box) <= limit
            if takes:
                taken.append([each.data for each in await box.take(0.0)])
        return taken

    assert asyncio.run(run()) == naive(puts, limit)


async def test_a_page_that_reads_nothing_keeps_its_latest_and_holds_nobody_up() -> None:
    fanout = Fanout(4)
    with fanout.mailbox("slow") as slow, fanout.mailbox("quick") as quick:
        seen = []
        for number in range(10_000):
            fanout.tell_all(message(number))
            fanout.tell_all(message(number, "totals"))
            seen += await quick.take(1.0)
        assert len(seen) == 20_000
        assert slow.dropped > 9_000
        left = await slow.take(1.0)
        assert len(left) == 48
        assert left[-1].data == b"9999"
        assert [each.data for each in left if each.about] == [b"9999"]


async def test_views_get_their_own_and_what_is_for_all() -> None:
    fanout = Fanout(4)
    with fanout.mailbox("a") as first, fanout.mailbox("b") as second, fanout.mailbox("a") as again:
        fanout.tell("a", message(1))
        fanout.tell_all(message(2))
        assert [each.data for each in await first.take(0.0)] == [b"1", b"2"]
        assert [each.data for each in await again.take(0.0)] == [b"1", b"2"]
        assert [each.data for each in await second.take(0.0)] == [b"2"]
    assert len(fanout) == 0


async def test_a_silence_ends_a_wait_and_a_message_ends_it_at_once() -> None:
    box = Mailbox()
    assert await box.take(0.01) == []
    asyncio.get_running_loop().call_later(0.01, box.put, message(7))
    assert [each.data for each in await box.take(60.0)] == [b"7"]


async def test_beyond_the_bound_the_oldest_page_is_closed_and_closing_wakes_everybody() -> None:
    fanout = Fanout(2)
    with fanout.mailbox("a") as oldest, fanout.mailbox("b") as second:
        with fanout.mailbox("c") as third:
            assert (oldest.closed, second.closed, third.closed) == (True, False, False)
            assert await oldest.take(60.0) == []
            waits = asyncio.create_task(second.take(60.0))
            await asyncio.sleep(0)
            fanout.close()
            assert await waits == []
            assert third.closed
            third.put(message(1))
            assert len(third) == 0
        with fanout.mailbox("d") as late:
            assert late.closed


def test_a_message_is_one_event_of_the_stream() -> None:
    assert message(5, "x").encoded() == b"event: row\ndata: 5\n\n"
