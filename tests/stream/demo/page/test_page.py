"""The page in a real Chromium: consent, own scores, bots, keyboard, loss and return, no script, narrow screens.

The browser is driven, so it is a bot, and the page says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream.demo.page import bots
from stream.demo.page.board import Side, Totals
from tests.stream.demo.page.conftest import Opened
from tests.stream.demo.page.stand_in import StandIn
from tests.stream.demo.test_tally import risk, truth
from tests.support import UnavailableError, node, require
from tests.support.process import Deadline

if TYPE_CHECKING:
    from playwright.sync_api import Page

AUDIT = Path(__file__).with_name("audit.js").read_text()
# What the W3C's guidelines ask for up to AA, and axe's own good practice; what it can't judge by itself is not counted.
AXE = """async () => {
    const { violations } = await axe.run(document, { preload: false, resultTypes: ["violations"] });
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target}`));
}"""
Load = Callable[..., Opened]
SIDE = Side(10, 7, 2, 1)
TOTALS = Totals(
    people=SIDE,
    bots=SIDE,
    is_simulation=True,
    is_embedded=True,
    events=12_345,
    rate_per_s=99.0,
    scored_p50_ms=1.0,
    scored_p99_ms=2.0,
    acked_p50_ms=3.0,
    acked_p99_ms=4.0,
    lost=0,
    phase="running",
)
SECRETS = {
    "name": "Zebulon Quartermain",
    "email": "zebulon@quartermain.example",
    "phone": "+49 30 5550199",
    "document": "Q7788991X",
    "password": "hunter2-Tr0ub4dor",
}


def wait_text(page: Page, selector: str, text: str) -> None:
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector).textContent.includes(text)", arg=[selector, text]
    )


@pytest.fixture
def axe() -> Callable[[Page], list[str]]:
    """Check a page with axe-core, which the page's policy does not let in by itself; returns what is wrong."""
    try:
        script = node.axe()
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))

    def check(page: Page) -> list[str]:
        if not page.evaluate("() => 'axe' in window"):
            page.evaluate(f"() => {{ {script} }}")
        return [str(line) for line in page.evaluate(AXE)]

    return check


def cut(pipeline: StandIn) -> None:
    """End every open stream, as a lost connection would."""
    for box in pipeline.page._page.fanout._boxes:
        box.close()


def show_crowd(pipeline: StandIn) -> None:
    """Let a person and a bot of the crowd pass."""
    board = pipeline.page._page.board
    for at, (actor, action) in enumerate([("person", "allow"), ("bot", "block"), ("person", "step_up")]):
        told = truth(f"{actor}{at}", actor, "mouse")
        event = risk(f"{actor}{at}", 4, action, 2.5, final=True)  # type: ignore[arg-type]
        board.take(event, event.observed_at, event.observed_at, 1e6 + 10.0 * at, told)


def use(page: Page, *fields: str) -> None:
    """Move, and fill in these fields; one of them where none is named."""
    page.mouse.move(40, 300)
    page.mouse.move(300, 500, steps=8)
    for name in fields or ("name",):
        page.click(f"#{name}")
        page.keyboard.type(SECRETS[name])


def use_until_decided(page: Page) -> None:
    """Use the page until its session is blocked: from the second event on, and a quick machine makes one of much."""
    deadline = Deadline(60, pause_s=0)
    while deadline.waits():
        use(page)
        page.wait_for_timeout(600)
        if page.text_content("#action-word") == "Block":
            return
    raise AssertionError("the session was not decided")


def test_nothing_is_sent_before_consent_and_nothing_typed_after_it(opened: Load, pipeline: StandIn) -> None:
    before = pipeline.opened
    page = opened().page
    use(page, *SECRETS)
    page.wait_for_timeout(1_200)
    assert pipeline.bodies_after(before) == []
    assert page.text_content("#action-word") == "Waiting"
    page.click("#agree-all")
    use(page, *SECRETS)
    wait_text(page, "#n-events-words", "made")
    page.wait_for_timeout(1_200)
    sent = b"".join(pipeline.bodies_after(before))
    assert sent
    for secret in SECRETS.values():
        assert secret.encode() not in sent
    # Taken back: what is typed now is neither collected nor sent.
    for name in ("behaviour", "device", "camera"):
        page.uncheck(f"#consent-{name}")
    page.wait_for_timeout(800)
    after = len(pipeline.bodies_after(before))
    use(page)
    page.wait_for_timeout(1_200)
    assert len(pipeline.bodies_after(before)) == after


def test_ones_own_session_is_seen_to_its_end(opened: Load, pipeline: StandIn) -> None:
    page = opened().page
    assert page.is_visible("#you-driven")
    page.click("#agree-all")
    use_until_decided(page)
    assert page.text_content("#gauge-number") == "99"
    wait_text(page, "#said", "Decision: Block, because: Stand in rule: unlike people")
    assert page.text_content("#reasons b") == "Stand in rule: unlike people"
    assert "Raises the risk" in (page.text_content("#reasons") or "")
    assert page.locator("#channels li").count() == 1
    wait_text(page, "#unscored", "Anomaly: no data yet. Injection, Device, Replay, Ring: no model of it yet.")
    assert page.text_content("#ms-published") == "3.0 ms"
    page.wait_for_function("() => /\\d ms$/.test(document.querySelector('#ms-browser').textContent)")
    page.click("#submit")
    page.wait_for_function("() => document.documentElement.dataset.sent === 'true'")
    wait_text(page, "#action-about", "Final.")
    wait_text(page, "#said", "Final decision: Block")
    assert pipeline.sent[-1]["end"] == {"reason": "completed"}
    assert page.input_value("#password") == ""
    assert page.evaluate("() => document.activeElement.id") == "ended-words"
    ref = page.text_content("#you-ref")
    page.click("#again")
    page.wait_for_function("(ref) => document.querySelector('#you-ref')?.textContent.startsWith('#') && "
                           "document.querySelector('#you-ref').textContent !== ref", arg=ref)  # fmt: skip


def test_the_camera_opens_on_a_click_only_and_no_picture_is_kept(opened: Load, pipeline: StandIn) -> None:
    page = opened().page
    page.click("#agree-all")
    assert page.evaluate("() => document.querySelector('#video').srcObject") is None
    page.click("#camera-open")
    page.wait_for_function("() => document.querySelector('#video').videoWidth > 0")
    page.wait_for_timeout(1_200)
    page.click("#camera-take")
    wait_text(page, "#camera-words", "no image was kept")
    assert page.evaluate("() => document.querySelector('#video').srcObject") is None
    page.wait_for_timeout(800)
    assert any(event.get("capture") for event in pipeline.sent)


def test_without_a_camera_the_step_is_left_out_kindly(opened: Load) -> None:
    page = opened(permissions=[]).page
    page.evaluate(
        "() => MediaDevices.prototype.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'))"
    )
    page.click("#camera-open")
    wait_text(page, "#camera-words", "There is no camera here. That is fine")
    assert page.is_enabled("#camera-open")


def test_a_bot_is_unleashed_and_its_verdict_seen(opened: Load) -> None:
    page = opened().page
    page.select_option("#bot-kind", "http_forged")
    wait_text(page, "#bot-about", "No browser at all")
    page.click("#unleash")
    wait_text(page, "#runs", "forged requests")
    page.wait_for_function("() => /done/.test(document.querySelector('.run .state').textContent)", timeout=60_000)
    assert page.text_content(".run .tag") == "bot"
    assert page.text_content(".run .word") in ("Allow", "Block")


def test_who_wants_one_bot_too_many_is_told_so(opened: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened()
    page = found.page
    monkeypatch.setattr(bots, "AT_ONCE", 0)
    page.click("#unleash")
    wait_text(page, "#bot-words", "Not now: 0 bots are on their way: wait until one has ended.")
    assert page.locator(".run").count() == 0
    assert page.is_enabled("#unleash")
    # The browser's own line about the refusal, and no other.
    assert [line for line in found.noted if "429" not in line] == []
    found.noted.clear()
    monkeypatch.undo()
    page.select_option("#bot-kind", "http_forged")
    page.click("#unleash")
    wait_text(page, "#runs", "forged requests")
    assert page.text_content("#bot-words") == ""


def test_a_driven_browser_fills_in_the_same_form(opened: Load, pipeline: StandIn) -> None:
    page = opened().page
    page.select_option("#bot-kind", "driven")
    page.click("#unleash")
    page.wait_for_function(
        "() => /^(done|failed)/.test(document.querySelector('.run .state')?.textContent)", timeout=90_000
    )
    told = page.text_content(".run .state") or ""
    assert told.startswith("done"), told
    assert page.text_content(".run .word") == "Block"
    fields = {one["field"] for event in pipeline.sent for one in event.get("form", {}).get("fields", [])}
    assert set(SECRETS) <= fields
    assert b"correct-horse" not in b"".join(pipeline.bodies)


def test_all_of_it_works_by_keyboard(opened: Load) -> None:
    page = opened().page
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e);"
            " return [e.id || e.className, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2]; }"
        )
        seen.append(focused[0])
        if focused[0]:
            assert focused[1], f"the focus on {focused[0]} is not seen"
        if focused[0] == "pause":
            break
    order = """skip theme consent-behaviour consent-device consent-camera agree-all name email phone document password
        camera-open submit bot-kind unleash scroll pause"""
    assert seen == order.split()
    page.keyboard.press("Enter")
    assert page.get_attribute("#pause", "aria-pressed") == "true"


def test_the_theme_follows_the_system_until_it_is_chosen_and_the_choice_stays(opened: Load) -> None:
    page = opened(color_scheme="dark").page
    ground = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    assert page.text_content("#theme") == "Light"
    page.click("#theme")
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light
    page.click("#theme")
    assert page.evaluate(ground) == dark


def test_it_comes_back_after_the_stream_was_lost(opened: Load, pipeline: StandIn) -> None:
    found = opened()
    page = found.page
    page.click("#agree-all")
    use(page)
    wait_text(page, "#link-words", "live")
    page.context.set_offline(offline=True)
    pipeline.page._call(lambda: cut(pipeline))
    page.wait_for_function("() => document.querySelector('#link').dataset.state === 'off'")
    page.context.set_offline(offline=False)
    wait_text(page, "#link-words", "live")
    use_until_decided(page)
    # What a lost connection writes to the console is the browser's.
    found.noted[:] = [line for line in found.noted if "net::ERR" not in line and "Failed to fetch" not in line]


def test_a_page_whose_demo_began_anew_says_so(opened: Load, pipeline: StandIn) -> None:
    page = opened().page
    wait_text(page, "#link-words", "live")
    pipeline.page._call(pipeline.page._page.board._views.clear)
    pipeline.page._call(lambda: cut(pipeline))
    wait_text(page, "#banner", "The demo was started anew")


def test_without_a_gateway_it_says_what_to_do(opened: Load, pipeline: StandIn) -> None:
    pipeline.closed_for = time.monotonic() + 3.0
    try:
        found = opened(ready=False)
        wait_text(found.page, "#banner", "No session")
        assert "Load the page again" in (found.page.text_content("#banner") or "")
        found.noted.clear()  # the browser's own line about the 503
    finally:
        pipeline.closed_for = 0.0


def test_hidden_tabs_give_their_connection_back(opened: Load, pipeline: StandIn) -> None:
    page = opened().page
    wait_text(page, "#link-words", "live")
    before = len(pipeline.page._page.fanout)
    page.goto("about:blank")
    deadline = time.monotonic() + 20
    # The server learns of it when it writes: there is a word each second.
    while len(pipeline.page._page.fanout) >= before and time.monotonic() < deadline:
        pipeline.page._call(lambda: pipeline.page._page.board.tell_totals(TOTALS))
        page.wait_for_timeout(100)
    assert len(pipeline.page._page.fanout) < before


def test_who_goes_away_and_comes_back_has_a_live_page(opened: Load) -> None:
    page = opened().page
    wait_text(page, "#link-words", "live")
    page.goto("about:blank")
    page.go_back()
    page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")
    wait_text(page, "#link-words", "live")
    page.click("#agree-all")
    use_until_decided(page)


def test_without_scripts_nothing_is_collected_or_sent(opened: Load, pipeline: StandIn) -> None:
    sessions = pipeline.opened
    found = opened(ready=False, java_script_enabled=False)
    assert "needs JavaScript" in found.page.inner_text("noscript")
    found.page.fill("#password", SECRETS["password"])
    found.page.press("#password", "Enter")
    assert found.page.is_disabled("#submit")
    assert found.page.url == f"{pipeline.page.url}/"
    assert (pipeline.bodies_after(sessions), pipeline.opened) == ([], sessions)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_has_names_and_contrast(
    opened: Load, pipeline: StandIn, scheme: str, axe: Callable[[Page], list[str]]
) -> None:
    page = opened(color_scheme=scheme, reduced_motion="reduce").page
    pipeline.page._call(lambda: pipeline.page._page.board.tell_totals(TOTALS))
    assert page.evaluate(AUDIT) == []
    assert axe(page) == []
    page.click("#agree-all")
    use_until_decided(page)
    page.click("#unleash")
    wait_text(page, "#crowd-numbers", "12 345 risk events")
    pipeline.page._call(lambda: show_crowd(pipeline))
    page.wait_for_function("() => document.querySelectorAll('#rows tr').length >= 2")
    assert page.evaluate(AUDIT) == []
    assert axe(page) == []
    # A check that never fails is none.
    page.evaluate("() => document.querySelector('#crowd-numbers').style.color = 'gray'")
    page.evaluate("() => document.querySelector('label[for=name]').remove()")
    found = page.evaluate(AUDIT)
    assert len([line for line in found if line.startswith("contrast")]) == 1
    assert [line for line in found if line.startswith("no label")] == ["no label: input#name."]
    # For axe a placeholder is a name, too.
    page.evaluate("() => document.querySelector('#name').removeAttribute('placeholder')")
    assert {line.partition(":")[0] for line in axe(page)} == {"color-contrast", "label"}


@pytest.mark.parametrize("width", [320, 390, 820, 1100, 1440, 1920])
def test_nothing_is_cut_off_at_any_width(opened: Load, width: int) -> None:
    page = opened(viewport={"width": width, "height": 844}).page
    page.click("#agree-all")
    use_until_decided(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    if width <= 820:
        assert page.is_visible("#glance")
        assert page.text_content("#glance-word") == "Block"
