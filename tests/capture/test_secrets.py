"""Nothing that is typed leaves the page: secrets are put into every kind of field, and every byte sent is searched."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.support.captured import checked, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

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
OTHER = {
    "time": "17:43:26",
    "month": "1958-07",
    "week": "1971-W38",
    "datetime-local": "1963-11-05T17:43",
    "color": "#a7c39e",
    "range": "735913462",
    "hidden": "Hzq wjk xvv",
    "checkbox": "Czx qkv jjw",
    "radio": "Rqk zvw xxj",
}
"""Inputs that nobody types into, by their type: set by script."""
FILE = "Qvz-Kontoauszug-jxk.pdf"
CLOSED = {"input": "Vkz qqj wxv", "textarea": "Tjx zkq vww"}
"""In a closed shadow root, which only its own component sees."""
DROPPED = "Dzk jqx wvq"
DICTATED = "Lkz vxq jjq"
AROUND = {
    "query": "Uqz-jkv-xxw",
    "hash": "Hkx-vqz-jww",
    "title": "Tzz kqv wxj",
    "label": "Bqj xzk vvw",
    "aria-label": "Aqk zjx wwv",
    "placeholder": "Pjj zqx kwv",
    "class": "Ckk-zqj-vxw",
    "id": "Ikq-xzj-vwv",
    "data": "Wzk xjq vvk",
    "error": "Ezz qjk xwv",
    "console": "Ozq kkx jvw",
    "owner": "Zqvinja Kjxwqs",
    "name-mail": "nzq.kjx@wvqx.test",
    "name-number": "4929817364520187",
    "window.name": "Nqz xkj vvj",
    "history": "Yqj zkx wvv",
}
"""What else a page shows or keeps of a person, by where it stands."""
SECRETS = [
    *(secret for group in (TYPED, PASTED, COMPOSED, SET, OTHER, CLOSED, AROUND) for secret in group.values()),
    *(FILE, DROPPED, DICTATED, "chosen-qzkx"),
]
LEAST = 6
"""Characters of a secret that are looked for, wherever they begin. Digits alone are looked for as a whole."""


def parts(secret: str) -> Iterator[str]:
    """Everything of it that must not appear: itself and each run of LEAST characters, also backwards."""
    for text in (secret, secret[::-1]):
        yield text
        if not text.strip("+").isdigit():
            yield from (text[at : at + LEAST] for at in range(len(text) - LEAST + 1))


def disguises(text: str) -> Iterator[bytes]:
    """How it might be written: plain, percent-, JSON-, base64-, hex-encoded, in UTF-16, as character codes."""
    data = text.encode()
    yield data
    yield quote(text, safe="").encode()
    yield "".join(f"\\u{ord(one):04x}" for one in text).encode()
    for coded in (data, text.encode("utf-16-le"), text.encode("utf-16-be"), data[::-1]):
        yield coded
        yield coded.hex().encode()
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # Three alignments; the characters at the ends depend on what stands around.
            for shift in range(3):
                yield encode(b"\0" * shift + coded)[-(-shift * 8 // 6) : (shift + len(coded)) * 8 // 6]
    yield base64.b32encode(data)[: len(data) * 8 // 5]
    if len(text) >= LEAST:
        for between in (",", ", "):
            yield between.join(str(ord(one)) for one in text).encode()


def digests(text: str) -> Iterator[bytes]:
    """A hash of something short tells it to whoever tries."""
    for name in ("md5", "sha1", "sha256"):
        for data in (text.encode(), text.lower().encode()):
            digest = hashlib.new(name, data, usedforsecurity=False).digest()
            yield digest.hex().encode()
            yield base64.b64encode(digest).rstrip(b"=")


def leaks(sent: list[bytes]) -> list[str]:
    lower = b"\n".join(sent).lower()
    found = []
    for secret in SECRETS:
        shapes = {shape for part in parts(secret) for shape in disguises(part)} | set(digests(secret))
        found += [f"{secret!r} as {shape!r}" for shape in shapes if len(shape) >= 4 and shape.lower() in lower]
    return found


SURROUND = """([around, other, closed]) => {
    const form = document.createElement("form");
    document.title = around.title;
    window.name = around["window.name"];
    history.replaceState({ kept: around.history }, "");
    localStorage.setItem("draft", around.history);
    const add = (tag, given) => Object.assign(document.createElement(tag), given);
    for (const [type, value] of Object.entries(other)) {
        const input = add("input", { type, name: `other-${type}`, max: type === "range" ? "999999999" : "" });
        form.append(input);
        input.value = value;
        for (const told of ["input", "change"]) input.dispatchEvent(new Event(told, { bubbles: true }));
        if (type === "checkbox" || type === "radio") input.click();
    }
    form.append(add("input", { type: "file", name: "other-file" }));
    // Whatever describes a field, and is not its name.
    const described = add("input", { name: "described", id: around.id, className: around.class });
    described.placeholder = around.placeholder;
    described.setAttribute("aria-label", around["aria-label"]);
    described.setAttribute("title", around.title);
    described.dataset.about = around.data;
    const label = add("label", { textContent: around.label });
    label.append(described);
    form.append(label);
    // Names that a careless page makes of what it knows.
    for (const kind of ["mail", "number"]) form.append(add("input", { name: `${kind}-${around[`name-${kind}`]}` }));
    for (const tag of Object.keys(closed)) {
        const host = add("div", { id: `closed-${tag}` });
        host.attachShadow({ mode: "closed" }).append((host.inner = add(tag, {})));
        form.append(host);
    }
    document.body.prepend(form);
    setTimeout(() => { throw new Error(around.error); }, 0);
    console.error(around.console);
}"""


def surround(page: Page) -> None:
    """Put secrets wherever else a page has them, and use what is there."""
    page.evaluate("(hash) => { location.hash = hash; }", AROUND["hash"])
    page.evaluate(SURROUND, [AROUND, OTHER, CLOSED])
    page.set_input_files("[name=other-file]", {"name": FILE, "mimeType": "application/pdf", "buffer": b"%PDF"})
    for tag, secret in CLOSED.items():
        page.evaluate("(tag) => document.querySelector(`#closed-${tag}`).inner.focus()", tag)
        page.keyboard.type(secret)
    for name in ("described", f"mail-{AROUND['name-mail']}", f"number-{AROUND['name-number']}"):
        page.focus(f'[name="{name}"]')
        page.keyboard.type("k")
    page.evaluate(
        """([dropped, dictated]) => {
            const field = document.querySelector("[name=about]");
            const dataTransfer = new DataTransfer();
            dataTransfer.setData("text/plain", dropped);
            field.dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer }));
            field.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, clipboardData: dataTransfer }));
            for (const inputType of ["insertFromDrop", "insertDictationResult", "insertReplacementText"]) {
                const given = { bubbles: true, inputType, data: dictated, dataTransfer };
                field.dispatchEvent(new InputEvent("input", given));
            }
            field.dispatchEvent(new CompositionEvent("compositionend", { bubbles: true, data: dictated }));
        }""",
        [DROPPED, DICTATED],
    )


CAMERA_OF_SOMEBODY = """
    const label = "%s's iPhone Camera";
    Object.defineProperty(MediaStreamTrack.prototype, "label", { get: () => label });
    const own = MediaDevices.prototype.enumerateDevices;
    MediaDevices.prototype.enumerateDevices = async function () {
        return (await own.call(this)).map(({ kind }) => ({ kind, label, deviceId: label, groupId: label }));
    };
"""
KEPT = """() => JSON.stringify([{ ...sessionStorage }, document.cookie, Object.keys(localStorage)])"""


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
def test_nothing_typed_leaves_the_page(
    context: BrowserContext, opened: Callable[..., Page], site: CaptureSite, *, device: bool
) -> None:
    context.add_init_script(CAMERA_OF_SOMEBODY % AROUND["owner"])
    consent = {"behaviour": True, "device": device, "camera": device, "motion": device}
    page = opened(consent, {"deviceRef": "device-7"}, account=AROUND["query"])
    page.context.grant_permissions(["clipboard-read", "clipboard-write", "camera"])
    requests: list[str] = []
    page.context.on("request", lambda request: requests.append(request.url))
    surround(page)
    use(page)
    if device:
        page.evaluate(
            """async () => {
                const video = document.querySelector("#video");
                video.srcObject = await collector.openCamera({ video: true });
                collector.watchCamera(video);
                await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
            }"""
        )
    assert page.input_value("[name=number]") == "73592468"
    assert "秘密言葉" in page.input_value("[name=about]")
    page.evaluate("() => collector.flush()")
    page.wait_for_function("() => !collector.stats().queued")
    noted = page.evaluate("() => noted")
    assert (noted["collector"], noted["violations"]) == ([], [])
    events = checked(site.events())
    # Nor is it kept: sessions' numbers are.
    kept = page.evaluate(KEPT)
    assert leaks([kept.encode()]) == []
    (session, following), *others = json.loads(json.loads(kept)[0]["tellwire"])
    assert (session, others) == ("s_test", [])
    assert following >= len(events)
    page.evaluate("() => collector.end('completed')")
    page.goto("about:blank")
    wait_for(lambda: any("end" in event for event in site.events()))
    # There was something to leak: the fields were seen in use, and their keys.
    seen = {field.field for event in events if event.form for field in event.form.fields}
    assert {"fullname", "email", "password", "phone", "number", "code", "about", "letter", "shadow"} <= seen
    assert {"described", "mail-*", "number-*"} <= seen
    assert sum(len(event.keys.down) for event in events if event.keys) > 120
    if device:
        labels = [event.capture.camera_label for event in events if event.capture and event.capture.camera_label]
        assert labels == ["iPhone Camera"]
    assert leaks(site.everything()) == []
    own = [url for url in requests if not url.startswith(site.url) and url != "about:blank"]
    assert own == []


def test_a_leak_would_be_found() -> None:
    secret = TYPED["[name=password]"]
    for text in (secret, secret[2:8], secret[::-1]):
        for shape in disguises(text):
            assert leaks([b'{"a":"x', shape, b'"}']), shape
    for shape in digests(secret):
        assert leaks([b'{"a":"x' + shape + b'"}']), shape
    for shift, tail in itertools.product(range(4), ("", "a", "bc")):
        hidden = base64.b64encode(b"q" * shift + secret.encode() + tail.encode())
        assert leaks([b'{"a":"' + hidden + b'"}'])
    assert leaks([b'{"sequence": 1, "effective_at": 1790000012500, "x": [512.5, 519.25]}']) == []
