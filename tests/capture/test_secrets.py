"""Nothing that is typed leaves the page: secrets are put into every kind of field, and every byte sent is searched."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.support.captured import settled, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.capture_site import CaptureSite

TYPED = {
    "[name=fullname]": "Zqv Wörtlich-Kjx",
    "[name=email]": "zq.vault@kjx-wq.test",
    "[name=password]": "Kj#9wQ!zXv",
    "[name=phone]": "+353871947265",
    "[name=search]": "qzjx wvkk",
    "[name=site]": "https://wqzj.test/kx",
    "[name=number]": "735924681",
    "[name=code]": "604913758",
    "[name=about]": "Wqx zjv kkq.",
    "#rich": "Jxq vwz kqj",
    "[name=shadow]": "vvq xzj wkq",
    "[name=hidden-from-it]": "4471908362",
}
PASTED = {"[name=fullname]": "Pqz jvx wkk", "[name=about]": "Pvx qjz kkw", "#rich": "Pkw zzq xvj"}
COMPOSED = {"[name=about]": "秘密言葉", "#rich": "機密文書"}
SET = {"[name=email]": "script-qzx@wvk.test", "[name=password]": "Sw!qz#kjv", "[name=born]": "1987-03-29"}
SECRETS = [*TYPED.values(), *PASTED.values(), *COMPOSED.values(), *SET.values(), "chosen-qzkx"]
LEAST = 6
"""Characters of a secret that are looked for, wherever they begin. Digits alone are looked for as a whole."""


def parts(secret: str) -> Iterator[str]:
    """Everything of it that must not appear: itself and each run of LEAST characters, also backwards."""
    for text in (secret, secret[::-1]):
        yield text
        if not text.strip("+").isdigit():
            yield from (text[at : at + LEAST] for at in range(len(text) - LEAST + 1))


def disguises(text: str) -> Iterator[bytes]:
    """How it might be written: as it is, percent-, JSON-, base64-, hex-encoded, as character codes."""
    data = text.encode()
    yield data
    yield text.lower().encode()
    yield quote(text, safe="").encode()
    yield quote(text, safe="").lower().encode()
    yield "".join(f"\\u{ord(one):04x}" for one in text).encode()
    yield data.hex().encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        # Three alignments; the characters at the ends depend on what stands around.
        for shift in range(3):
            yield encode(b"\0" * shift + data)[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]
    yield ",".join(str(ord(one)) for one in text).encode()


def leaks(sent: list[bytes]) -> list[str]:
    whole = b"\n".join(sent)
    lower = whole.lower()
    return [
        f"{secret!r} as {shape!r}"
        for secret in SECRETS
        for part in parts(secret)
        for shape in disguises(part)
        if len(shape) >= 4 and (shape in whole or shape.lower() in lower)
    ]


def use(page: Page) -> None:
    """Put every secret into its field in the way of its list."""
    for selector, secret in TYPED.items():
        page.locator(selector).click()
        page.keyboard.type(secret)
        page.keyboard.press("Backspace")
    for selector, secret in PASTED.items():
        page.evaluate("(text) => navigator.clipboard.writeText(text)", secret)
        page.locator(selector).click()
        page.keyboard.press("Control+V")
    session = page.context.new_cdp_session(page)
    for selector, secret in COMPOSED.items():
        page.locator(selector).click()
        for count in range(1, len(secret)):
            session.send(
                "Input.imeSetComposition", {"text": secret[:count], "selectionStart": 0, "selectionEnd": count}
            )
        session.send("Input.insertText", {"text": secret})
    for selector, secret in SET.items():
        page.evaluate(
            """([selector, text]) => {
                const field = document.querySelector(selector);
                field.focus();
                field.value = text;
                for (const type of ["input", "change"]) field.dispatchEvent(new Event(type, { bubbles: true }));
            }""",
            [selector, secret],
        )
    page.evaluate(
        """() => {
            const country = document.querySelector("[name=country]");
            country.append(new Option("chosen-qzkx", "chosen-qzkx"));
        }"""
    )
    page.select_option("[name=country]", "chosen-qzkx")
    page.locator("[name=fullname]").select_text()
    page.keyboard.press("Control+C")
    page.locator("#go").click()


@pytest.mark.parametrize("device", [False, True], ids=["behaviour", "everything"])
def test_nothing_typed_leaves_the_page(opened: Callable[..., Page], site: CaptureSite, *, device: bool) -> None:
    page = opened({"behaviour": True, "device": device, "camera": device, "motion": device})
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    requests: list[str] = []
    page.context.on("request", lambda request: requests.append(request.url))
    use(page)
    assert page.input_value("[name=number]") == "73592468"
    assert "秘密言葉" in page.input_value("[name=about]")
    events = settled(page, site)
    page.evaluate("() => collector.end('completed')")
    page.goto("about:blank")
    wait_for(lambda: any("end" in event for event in site.events()))
    # There was something to leak: the fields were seen in use, and their keys.
    seen = {field.field for event in events if event.form for field in event.form.fields}
    assert {"fullname", "email", "password", "phone", "number", "code", "about", "letter", "shadow"} <= seen
    assert sum(len(event.keys.down) for event in events if event.keys) > 100
    assert leaks(site.everything()) == []
    own = [url for url in requests if not url.startswith(site.url) and url != "about:blank"]
    assert own == []


def test_a_leak_would_be_found() -> None:
    secret = TYPED["[name=password]"]
    for text in (secret, secret[2:8], secret[::-1]):
        for shape in disguises(text):
            assert leaks([b'{"a":"x', shape, b'"}']), shape
    for shift, tail in itertools.product(range(4), ("", "a", "bc")):
        hidden = base64.b64encode(b"q" * shift + secret.encode() + tail.encode())
        assert leaks([b'{"a":"' + hidden + b'"}'])
    assert leaks([b'{"sequence": 1, "effective_at": 1790000012500, "x": [512.5, 519.25]}']) == []
