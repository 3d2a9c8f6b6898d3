"""People who type and point by other means: what helps them is told as what it is, and never as a driver's work.

Each case is judged as the pipeline reads it: no field changed without input, no untrusted event, no key without focus.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from schemas.telemetry import FormField, KeyClass, PointerKind, Telemetry
from tests.support.captured import settled

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.capture_site import CaptureSite

Open = Callable[..., "Page"]


def reports(events: list[Telemetry], name: str) -> list[FormField]:
    return [one for event in events if event.form for one in event.form.fields if one.field == name]


def held_against(events: list[Telemetry]) -> list[str]:
    """What of these events a person could be blamed for."""
    found = []
    for event in events:
        for one in event.form.fields if event.form else ():
            if one.changed_without_input:
                found.append(f"{one.field} changed without input")
            if one.input_count > one.key_count:
                found.append(f"{one.field} has input without keys")
        blocks = (event.pointer, event.keys, event.touch)
        found += [f"{type(block).__name__} is untrusted" for block in blocks if block and block.untrusted_count]
        if event.pointer and PointerKind.CLICK in (event.pointer.kind or ()):
            found.append("a click without a press")
        if event.keys and event.keys.unfocused_count:
            found.append("keys without focus")
    return found


def test_a_drivers_work_would_be_held_against_it(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.click("[name=email]")
    page.evaluate("() => { document.querySelector('[name=email]').value = 'x'; }")
    page.focus("[name=phone]")
    page.keyboard.insert_text("353")
    page.focus("[name=about]")
    assert held_against(settled(page, site)) == ["email changed without input", "phone has input without keys"]


def test_the_keyboard_alone(opened: Open, site: CaptureSite) -> None:
    """Tab, space and enter: buttons are pressed where nobody points."""
    page = opened()
    page.focus("[name=fullname]")
    page.keyboard.type("Al")
    page.keyboard.press("Tab")
    page.keyboard.type("b@c.de")
    page.focus("[name=terms]")
    page.keyboard.press("Space")
    page.focus("[name=country]")
    page.keyboard.press("ArrowDown")
    page.focus("#go")
    page.keyboard.press("Enter")
    events = settled(page, site)
    assert held_against(events) == []
    assert not any(event.pointer for event in events), "a click by key points nowhere"
    assert any(event.form and event.form.submitted for event in events)


def test_a_label_that_is_clicked_is_one_click(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.locator("label:has([name=terms])").click(position={"x": 40, "y": 8})
    assert page.is_checked("[name=terms]")
    events = settled(page, site)
    assert held_against(events) == []
    offsets = [one for event in events if event.pointer for one in event.pointer.click_offset_px or []]
    assert len(offsets) == 1


def compose(page: Page, *steps: str) -> None:
    session = page.context.new_cdp_session(page)
    for step in steps[:-1]:
        session.send("Input.imeSetComposition", {"text": step, "selectionStart": len(step), "selectionEnd": len(step)})
    session.send("Input.insertText", {"text": steps[-1]})


@pytest.mark.parametrize("selector", ["[name=about]", "#rich", "[name=shadow]"])
def test_an_input_method(opened: Open, site: CaptureSite, selector: str) -> None:
    """Keys that an input method takes show as 229, its text as a composition: counted, with no key and no input."""
    page = opened()
    page.locator(selector).click()
    session = page.context.new_cdp_session(page)
    key = {"key": "Process", "code": "KeyN", "windowsVirtualKeyCode": 229}
    for _ in range(2):
        session.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **key})
        compose(page, "に", "にほ", "日本")
        session.send("Input.dispatchKeyEvent", {"type": "keyUp", **key})
    events = settled(page, site)
    assert held_against(events) == []
    name = {"[name=about]": "about", "#rich": "letter", "[name=shadow]": "shadow"}[selector]
    assert sum(one.ime_count for one in reports(events, name)) == 2
    assert sum(event.keys.ime_count for event in events if event.keys) == 2
    assert not [down for event in events if event.keys for down in event.keys.down]


def test_the_browsers_own_autofill(opened: Open, site: CaptureSite) -> None:
    """Chromium fills a card by itself, as a person would choose it from the list under the field."""
    page = opened()
    page.evaluate(
        """() => {
            const form = document.createElement("form");
            for (const [name, how] of [["holder", "cc-name"], ["card", "cc-number"], ["until", "cc-exp"]]) {
                form.append(Object.assign(document.createElement("input"), { name, id: name, autocomplete: how }));
            }
            document.body.prepend(form);
        }"""
    )
    page.click("[name=card]")
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("Autofill.enable")
    document = session.send("DOM.getDocument")["root"]["nodeId"]
    node = session.send("DOM.querySelector", {"nodeId": document, "selector": "[name=card]"})["nodeId"]
    field = session.send("DOM.describeNode", {"nodeId": node})["node"]["backendNodeId"]
    card = {"number": "4444333322221111", "name": "Ann Other", "expiryMonth": "12", "expiryYear": "2031", "cvc": "123"}
    session.send("Autofill.trigger", {"fieldId": field, "card": card})
    page.wait_for_function("() => document.querySelector('[name=card]').matches(':autofill')")
    events = settled(page, site)
    assert held_against(events) == []
    for name in ("holder", "card", "until"):
        assert sum(one.autofill_count for one in reports(events, name)) == 1, name
        assert sum(one.key_count for one in reports(events, name)) == 0, name
    assert classes(events) == [], "it presses no key"


MANAGERS: dict[str, str] = {
    "keyless events": """
        field.dispatchEvent(new KeyboardEvent("keydown", { bubbles: true }));
        field.value = "from the vault";
        field.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }));
    """,
    "keyless events, then changes": """
        for (const type of ["keydown", "keyup"]) field.dispatchEvent(new KeyboardEvent(type, { bubbles: true }));
        field.value = "from the vault";
        field.dispatchEvent(new Event("change", { bubbles: true }));
    """,
}


@pytest.mark.parametrize("how", MANAGERS.values(), ids=MANAGERS)
@pytest.mark.parametrize("name", ["password", "fullname"])
def test_password_managers(opened: Open, site: CaptureSite, how: str, name: str) -> None:
    page = opened()
    page.click(f"[name={name}]")
    page.evaluate(
        f"""(name) => {{
            const field = document.querySelector(`[name=${{name}}]`);
            {how}
            field.dispatchEvent(new Event("input", {{ bubbles: true }}));
        }}""",
        name,
    )
    page.focus("[name=site]")
    events = settled(page, site)
    assert held_against(events) == []
    assert sum(one.autofill_count for one in reports(events, name)) == 1


def test_spelling_that_is_put_right(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.click("[name=about]")
    page.keyboard.type("teh ")
    page.evaluate(
        """() => {
            document.execCommand("selectAll");
            document.execCommand("insertText", false, "the ");
        }"""
    )
    found = [one for one in held_against(settled(page, site)) if "changed" in one]
    assert found == []


def test_declared_assistive_technology_is_told_first(opened: Open, site: CaptureSite) -> None:
    page = opened({"behaviour": True}, {"assistiveTechnology": True})
    page.focus("[name=fullname]")
    page.keyboard.type("a")
    first, *rest = settled(page, site)
    assert first.device
    assert first.device.assistive_technology is True
    assert not any(event.device for event in rest)


def classes(events: list[Telemetry]) -> list[int]:
    return [code for event in events if event.keys for code in event.keys.key_class]


HOST = """(mode) => {
    const host = document.createElement("secret-field");
    const inner = document.createElement("input");
    inner.type = "password";
    host.attachShadow({ mode }).append(inner);
    document.body.prepend(host);
    inner.focus();
}"""


@pytest.mark.parametrize("mode", ["open", "closed"])
def test_what_is_typed_where_nobody_can_look_has_no_classes(opened: Open, site: CaptureSite, mode: str) -> None:
    page = opened()
    page.evaluate(HOST, mode)
    page.keyboard.type("aB3$")
    page.keyboard.press("Backspace")
    assert classes(settled(page, site)) == [KeyClass.OTHER] * 4 + [KeyClass.DELETE]


def test_a_password_that_is_shown_stays_a_password(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.focus("[name=password]")
    page.keyboard.type("a")
    page.evaluate("() => { document.querySelector('[name=password]').type = 'text'; }")
    page.keyboard.type("B3")
    assert classes(settled(page, site)) == [KeyClass.OTHER] * 3


def test_rich_text_of_every_kind_has_one_key(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.evaluate(
        """() => {
            const editor = document.createElement("div");
            editor.innerText = "";
            editor.setAttribute("contenteditable", "plaintext-only");
            editor.id = "plainly";
            const nested = document.createElement("div");
            nested.contentEditable = "true";
            nested.dataset.tellwireField = "nested";
            nested.append(document.createElement("p"), document.createElement("b"));
            document.body.prepend(editor, nested);
            window.nested = nested;
        }"""
    )
    page.locator("#plainly").focus()
    page.keyboard.type("ab")
    page.evaluate("() => nested.focus()")
    page.keyboard.type("cd")
    page.keyboard.press("Enter")
    page.keyboard.type("e")
    events = settled(page, site)
    assert held_against(events) == []
    assert sum(one.key_count for one in reports(events, "plainly")) == 2
    assert sum(one.key_count for one in reports(events, "nested")) == 4


def test_everything_at_once_is_still_nobodys_fault(opened: Open, site: CaptureSite) -> None:
    """Paste, then type, undo, redo, drag text: the ways in which people fill a field by turns."""
    page = opened()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("() => navigator.clipboard.writeText('copied')")
    page.click("[name=about]")
    page.keyboard.press("Control+V")
    page.keyboard.type(" and typed")
    for keys in ("Control+Z", "Control+Shift+Z", "Control+A", "Control+X", "Control+V"):
        page.keyboard.press(keys)
    events = settled(page, site)
    assert held_against(events) == []
    found: dict[str, Any] = {"paste": sum(one.paste_count for one in reports(events, "about"))}
    assert found == {"paste": 2}
