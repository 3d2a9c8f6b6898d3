"""A page is used by a driven pointer, keyboard and wheel, and every event holds to the telemetry contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from schemas.telemetry import FocusKind, FormField, KeyClass, PointerKind, Telemetry
from tests.support.captured import settled, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.capture_site import CaptureSite

Open = Callable[..., "Page"]


def fields(events: list[Telemetry]) -> dict[str, list[FormField]]:
    found: dict[str, list[FormField]] = {}
    for event in events:
        for one in event.form.fields if event.form else ():
            found.setdefault(one.field, []).append(one)
    return found


def classes(events: list[Telemetry]) -> list[int]:
    return [code for event in events if event.keys for code in event.keys.key_class]


def test_pointer_path_presses_and_clicks(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.mouse.move(50, 60)
    page.mouse.move(350, 260, steps=15)
    button = page.locator("#plain").bounding_box()
    assert button
    page.mouse.move(button["x"] + 3, button["y"] + 4, steps=5)
    page.mouse.down()
    page.mouse.up()
    events = settled(page, site)
    blocks = [event.pointer for event in events if event.pointer]
    points = [(x, y) for block in blocks for x, y in zip(block.x, block.y, strict=True)]
    assert points[0] == (50, 60)
    assert (350, 260) in points
    assert len(points) >= 22
    kinds = [kind for block in blocks for kind in block.kind or [0] * len(block.t)]
    assert kinds.count(PointerKind.DOWN) == kinds.count(PointerKind.UP) == 1
    assert PointerKind.CLICK not in kinds
    buttons = [code for block in blocks for code in block.button or [0] * len(block.t)]
    assert buttons.count(1) == 2
    offsets = [offset for block in blocks for offset in block.click_offset_px or []]
    expected = ((button["width"] / 2 - 3) ** 2 + (button["height"] / 2 - 4) ** 2) ** 0.5
    assert offsets == [pytest.approx(expected, abs=1.0)]
    assert {block.pointer_type for block in blocks} == {"mouse"}
    assert {block.untrusted_count for block in blocks} == {0}
    assert all(block.coalesced_count is not None for block in blocks)
    assert all(event.viewport and event.viewport.width_px == 1000 for event in events if event.pointer)
    assert {event.collector.name for event in events} == {"tellwire-web"}
    assert {event.nonce for event in events} == {"n_test"}


def test_event_times_are_the_clients(opened: Open, site: CaptureSite) -> None:
    page = opened()
    before = page.evaluate("() => Date.now()")
    page.mouse.move(10, 10)
    page.mouse.move(60, 60, steps=3)
    after = page.evaluate("() => Date.now()")
    for event in settled(page, site):
        assert event.pointer
        for offset in event.pointer.t:
            assert before - 20 <= event.effective_at + offset <= after + 20
    for request in site.received:
        sent = request.sent()
        assert all(0 <= sent["sent_at"] - event["effective_at"] < 20_000 for event in sent["events"])


def test_a_drag_is_told_from_a_move(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.mouse.move(300, 50)
    page.mouse.down()
    page.mouse.move(360, 90, steps=4)
    page.mouse.up()
    blocks = [event.pointer for event in settled(page, site) if event.pointer]
    kinds = [kind for block in blocks for kind in block.kind or [0] * len(block.t)]
    assert kinds.count(PointerKind.DRAG) == 4


def test_keys_by_class_and_time(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.click("[name=fullname]")
    page.keyboard.type("Ab 9.", delay=30)
    page.keyboard.press("Backspace")
    page.keyboard.press("Tab")
    page.keyboard.press("F1")
    events = settled(page, site)
    expected = [
        KeyClass.LETTER,
        KeyClass.LETTER,
        KeyClass.SPACE,
        KeyClass.DIGIT,
        KeyClass.PUNCTUATION,
        KeyClass.DELETE,
        KeyClass.NAVIGATION,
        KeyClass.OTHER,
    ]
    assert classes(events) == expected
    holds = [
        up - down
        for event in events
        if event.keys
        for down, up in zip(event.keys.down, event.keys.up, strict=True)
        if up is not None
    ]
    assert len(holds) == len(expected)
    assert all(0 <= hold < 5000 for hold in holds)
    name = fields(events)["fullname"]
    assert sum(one.key_count for one in name) == 6
    assert sum(one.input_count for one in name) == 6
    assert sum(one.correction_count for one in name) == 1
    assert [one.hesitation_ms for one in name if one.hesitation_ms is not None]
    assert sum(one.focus_ms for one in name) > 100


def test_in_a_sensitive_field_even_the_class_is_hidden(opened: Open, site: CaptureSite) -> None:
    page = opened()
    for name in ("password", "code"):
        page.focus(f"[name={name}]")
        page.keyboard.type("aB3$ 1")
        page.keyboard.press("Backspace")
    assert classes(settled(page, site)) == [9, 9, 9, 9, 9, 9, 5] * 2


def test_a_held_key_is_one_press_and_its_repeats_explain_the_input(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.focus("[name=fullname]")
    for _ in range(6):
        page.keyboard.down("a")
    page.keyboard.up("a")
    events = settled(page, site)
    assert classes(events) == [KeyClass.LETTER]
    name = fields(events)["fullname"]
    assert sum(one.key_count for one in name) == sum(one.input_count for one in name) == 6
    assert page.input_value("[name=fullname]") == "aaaaaa"


def test_overlapping_keys_stay_in_the_order_of_their_presses(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.focus("[name=fullname]")
    page.keyboard.down("a")
    page.evaluate("() => collector.flush()")
    page.keyboard.down("b")
    page.keyboard.up("b")
    page.keyboard.up("a")
    events = settled(page, site)
    rows = [
        (event.effective_at + down, up is not None)
        for event in events
        if event.keys
        for down, up in zip(event.keys.down, event.keys.up, strict=True)
    ]
    assert len(rows) == 2
    assert all(released for _, released in rows)


def test_scrolling_and_wheel(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.mouse.move(500, 400)
    page.mouse.wheel(0, 300)
    page.wait_for_function("() => scrollY === 300")
    page.evaluate("() => new Promise(requestAnimationFrame)")
    events = settled(page, site)
    scrolls = [event.scroll for event in events if event.scroll]
    assert scrolls[-1].y[-1] == 300
    kinds = [kind for event in events if event.pointer for kind in event.pointer.kind or []]
    assert PointerKind.WHEEL in kinds


def test_focus_of_fields_and_page(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.focus("[name=email]")
    page.focus("[name=about]")
    page.locator("[name=about]").blur()
    page.evaluate("() => dispatchEvent(new FocusEvent('blur'))")
    kinds = [kind for event in settled(page, site) if event.focus for kind in event.focus.kind]
    assert [kind for kind in kinds if kind in {4, 5}] == [4, 5, 4, 5]
    assert FocusKind.BLUR in kinds


def test_choices_made_by_pointing_are_no_unexplained_input(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.check("[name=terms]")
    page.focus("[name=country]")
    page.keyboard.press("ArrowDown")
    page.fill("[name=born]", "1990-01-02")
    found = fields(settled(page, site))
    assert "country" in found
    for reports in found.values():
        for one in reports:
            assert one.input_count == 0
            assert not one.changed_without_input


def test_a_value_set_by_script_shows(opened: Open, site: CaptureSite) -> None:
    """What Selenium's and other drivers' scripts do: focus, set the value, tell the page."""
    page = opened()
    for name in ("email", "fullname"):
        page.click(f"[name={name}]")
        page.evaluate(
            """(name) => {
                const field = document.querySelector(`[name=${name}]`);
                field.value = "set@by.script";
                field.dispatchEvent(new Event("input", { bubbles: true }));
            }""",
            name,
        )
    page.click("[name=site]")
    found = fields(settled(page, site))
    assert any(one.changed_without_input for one in found["email"])
    assert any(one.changed_without_input for one in found["fullname"])
    assert not any(one.changed_without_input for one in found["site"])


def test_a_value_set_without_any_event_shows_where_emptiness_can_be_seen(opened: Open, site: CaptureSite) -> None:
    page = opened()
    for name in ("email", "fullname", "site"):
        page.focus(f"[name={name}]")
        page.evaluate("(name) => { document.querySelector(`[name=${name}]`).value = 'https://silent'; }", name)
    page.focus("[name=about]")
    found = fields(settled(page, site))
    assert [name for name in found if any(one.changed_without_input for one in found[name])] == ["email", "fullname"]


def test_a_pages_own_answer_to_a_key_or_press_elsewhere_is_explained(opened: Open, site: CaptureSite) -> None:
    page = opened()
    fill = """(name) => {
        const field = document.querySelector(`[name=${name}]`);
        field.value = "1990";
        field.dispatchEvent(new Event("input", { bubbles: true }));
    }"""
    page.click("[name=site]")
    page.keyboard.type("D02")
    page.evaluate(fill, "search")
    page.click("#plain")
    page.evaluate(fill, "about")
    found = fields(settled(page, site))
    assert not [one for reports in found.values() for one in reports if one.changed_without_input]


def test_pasting_filling_and_composing_are_told_apart(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("() => navigator.clipboard.writeText('copied')")
    page.focus("[name=fullname]")
    page.keyboard.press("Control+V")
    page.focus("[name=about]")
    session = page.context.new_cdp_session(page)
    session.send("Input.imeSetComposition", {"text": "に", "selectionStart": 1, "selectionEnd": 1})
    session.send("Input.insertText", {"text": "日本"})
    page.focus("[name=phone]")
    page.keyboard.insert_text("353")
    found = fields(settled(page, site))
    assert page.input_value("[name=fullname]") == "copied"
    assert sum(one.paste_count for one in found["fullname"]) == 1
    assert sum(one.input_count for one in found["fullname"]) == 0
    assert sum(one.ime_count for one in found["about"]) == 1
    assert sum(one.key_count for one in found["about"]) == 0
    # Text without any key, paste, fill or composition: a driver's.
    assert sum(one.input_count for one in found["phone"]) == 1
    assert sum(one.key_count for one in found["phone"]) == 0


def test_a_submission_is_seen_once(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.fill("[name=email]", "a@example.org")
    page.click("#go")
    forms = [event.form for event in settled(page, site) if event.form and event.form.submitted]
    assert len(forms) == 1
    assert forms[0].submit_ms
    page.evaluate("() => collector.reportSubmit()")
    assert len([event for event in settled(page, site) if event.form and event.form.submitted]) == 2


def test_ignored_elements_leave_no_trace(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.locator("#pad").hover()
    settled(page, site)
    site.reset()
    page.locator("#pad").click()
    page.focus("[name=hidden-from-it]")
    page.keyboard.type("1234")
    page.evaluate("() => collector.flush()")
    wait_for(lambda: page.evaluate("() => collector.stats().queued === 0"))
    assert site.received == []


def test_fields_in_shadow_roots_and_rich_text_have_their_keys(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.locator("[name=shadow]").click()
    page.keyboard.type("ab")
    page.locator("#rich").click()
    page.keyboard.type("cd")
    found = fields(settled(page, site))
    assert sum(one.key_count for one in found["shadow"]) == 2
    assert sum(one.key_count for one in found["letter"]) == 2


def test_scripted_events_show_as_untrusted(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.evaluate(
        """() => {
            const at = { bubbles: true, clientX: 300, clientY: 200, pointerType: "mouse" };
            document.body.dispatchEvent(new PointerEvent("pointermove", at));
            for (const type of ["mousedown", "mouseup", "click"]) document.body.dispatchEvent(new MouseEvent(type, at));
            const field = document.querySelector("[name=fullname]");
            field.dispatchEvent(new KeyboardEvent("keydown", { key: "a", code: "KeyA", bubbles: true }));
            field.dispatchEvent(new KeyboardEvent("keyup", { key: "a", code: "KeyA", bubbles: true }));
        }"""
    )
    events = settled(page, site)
    assert sum(event.pointer.untrusted_count for event in events if event.pointer) == 3
    assert sum(event.keys.untrusted_count for event in events if event.keys) == 2


def test_a_pages_own_clicks_and_a_password_managers_keys_are_not_held_against_anyone(
    opened: Open, site: CaptureSite
) -> None:
    page = opened()
    page.evaluate(
        """() => {
            document.querySelector("#plain").click();
            const field = document.querySelector("[name=password]");
            field.focus();
            field.dispatchEvent(new KeyboardEvent("keydown", { bubbles: true }));
            field.value = "from the vault";
            field.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }));
            field.dispatchEvent(new Event("input", { bubbles: true }));
        }"""
    )
    events = settled(page, site)
    assert sum(event.pointer.untrusted_count for event in events if event.pointer) == 0
    assert sum(event.keys.untrusted_count for event in events if event.keys) == 0
    reports = fields(events)["password"]
    assert sum(one.autofill_count for one in reports) == 1
    assert not any(one.changed_without_input for one in reports)


def test_a_fast_pointer_is_kept_whole_in_bounded_events(opened: Open, site: CaptureSite) -> None:
    """Coalesced samples of one event, as a 1 kHz mouse gives them; more than an event holds makes another event."""
    page = opened()
    page.evaluate(
        """() => {
            for (let frame = 0; frame < 120; frame++) {
                const now = performance.now();
                const sample = (at) => {
                    const one = new PointerEvent("pointermove", { clientX: frame, clientY: at, pointerType: "mouse" });
                    Object.defineProperty(one, "timeStamp", { value: now - 9000 + frame * 16 + at });
                    return one;
                };
                const all = Array.from({ length: 16 }, (_, at) => sample(at));
                const event = new PointerEvent("pointermove", {
                    bubbles: true, clientX: frame, clientY: 15, pointerType: "mouse", coalescedEvents: all,
                });
                Object.defineProperty(event, "timeStamp", { value: now - 9000 + frame * 16 + 15 });
                document.body.dispatchEvent(event);
            }
        }"""
    )
    blocks = [event.pointer for event in settled(page, site) if event.pointer]
    assert sum(len(block.t) for block in blocks) == 120 * 16
    assert sum(block.coalesced_count or 0 for block in blocks) == 120 * 16
    assert max(len(block.t) for block in blocks) <= 800
    assert max(len(request.body) for request in site.received) < 64 * 1024
