"""The page and the terminal's view: whole, self-contained, safe whatever the records hold, legible in both schemes."""

from __future__ import annotations

import importlib.resources
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from schemas.risk import SignalValue
from schemas.telemetry import Pointer, Touch, Viewport
from stream.explain.page import page
from stream.explain.story import Story, story_of
from stream.explain.svg import SLICES, _spread, timeline_svg, trail_svg
from stream.explain.terminal import canvas, lines
from stream.explain.trail import GAP_S, MAX_POINTS, trail_of
from tests.stream.explain.made import RAW_ACCOUNT, SESSION, WEBDRIVER, risk, session, telemetry

VOID = {"meta", "br", "link", "img", "hr"}


class Checker(HTMLParser):
    """Fails on tags that don't match; keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def made(records: Any = None) -> tuple[Story, str, str]:
    """A story, its page, and its terminal's view."""
    story = story_of(session() if records is None else records, SESSION)
    assert story is not None
    trail = trail_of(story.telemetry)
    return story, page(story, trail), "\n".join(line.plain for line in lines(story, trail, 100))


def test_the_page_is_whole_and_asks_nothing_of_any_network() -> None:
    _, text, _ = made()
    found = Checker(text)
    tags = {tag for tag, _ in found.seen}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    for _, attributes in found.seen:
        assert not {"src", "href", "srcset", "action", "onclick", "onload"} & set(attributes)
    assert not re.search(r"url\(|@import|https?://|javascript:", text)
    policy = next(a["content"] for _, a in found.seen if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert len(text) < 400_000


def test_it_says_what_was_decided_and_why_on_both_sides() -> None:
    _, text, view = made()
    said = " ".join(Checker(text).text)
    for words in (
        "step up", "the overall score reached the flow's threshold for a step-up", "webdriver is true",
        "How the pointer's strokes bend: unlike what people do.", "The rhythm of key presses: like what people do.",
        "6 accounts with this device in 24 hours.", "does not count: privacy mode", "91 people in login/mouse/*/lt7s",
        "k3:8f1d0a6b", "acme", "keys",
    ):  # fmt: skip
        assert words in said, words
    for words in ("step up", "trust", "webdriver_true", "does not count: privacy mode", "91 people", "60 %"):
        assert words in view, words
    order = [said.index(words) for words in ("webdriver is true in", "strokes bend: unlike", "6 accounts with this")]
    assert order == sorted(order), "the heaviest first"


def test_nothing_of_a_person_is_shown_that_risk_events_do_not_hold() -> None:
    _, text, view = made()
    for output in (text, view):
        assert RAW_ACCOUNT not in output
        assert "SECRET" not in output


NASTY = "<script>alert(1)</script>\x1b[2J\u202e\"'&"


def test_text_from_outside_is_text() -> None:
    records = session()
    last: Any = records[-2]
    last.signals = {NASTY: SignalValue(value=NASTY, severity="strong", confidence="high", exempt=NASTY)}
    last.reasons = [msgspec.structs.replace(WEBDRIVER, code=NASTY, evidence=NASTY)]
    last.missing_signals, last.degraded, last.tenant = [NASTY], [NASTY], NASTY
    last.decision.policy.rule = NASTY
    last.versions = msgspec.structs.replace(last.versions, models={NASTY: NASTY}, policy=NASTY)
    _, text, view = made(records)
    found = Checker(text)
    assert "script" not in {tag for tag, _ in found.seen}
    assert not set("\x1b\u202e") & set(text)
    assert not set("\x1b\u202e") & set(view.replace("\n", ""))


def test_what_is_not_there_is_told_not_made_up() -> None:
    _, text, view = made([risk(3, 0.1), risk(5, 0.1, signals={}, velocity={}, reasons=[], latency_ms={})])
    said = " ".join(Checker(text).text)
    for words in (
        "Evaluations 1 to 3, 5 are not among the records read",
        "telemetry itself was not found",
        "None fired",
    ):
        assert words in said
    assert "evaluations 1 to 3, 5 are not there" in view
    silent = telemetry(0)
    silent.pointer = None
    _, text, _ = made([silent, risk(0, 0.1, state_cold=True, degraded=["counters"])])
    said = " ".join(Checker(text).text)
    for words in ("No pointer or touch samples", "session's beginning was lost", "counters was missing while scoring"):
        assert words in said


def test_the_same_records_make_the_same_page() -> None:
    assert made()[1:] == made()[1:]


def test_pictures_are_well_formed_and_say_in_words_what_they_show() -> None:
    story, _, _ = made()
    for picture in (trail_svg(trail_of(story.telemetry), story), timeline_svg(story)):
        root = ET.fromstring(picture)
        title, description = root.find("title"), root.find("desc")
        assert title is not None
        assert description is not None
        assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"
        assert "NaN" not in picture
    assert "allow from 0.0 s on; step up from 4.0 s on" in timeline_svg(story)


def test_a_break_in_time_breaks_the_line_and_presses_are_kept() -> None:
    trail = trail_of([telemetry(0), telemetry(3)])
    assert [len(line.points) for line in trail.lines] == [25, 25]
    assert trail.lines[1].points[0].t_s - trail.lines[0].points[-1].t_s > GAP_S
    assert len(trail.presses) == 1
    assert trail.samples == 50
    assert trail_of([]).lines == []


def test_fingers_are_ways_of_their_own() -> None:
    event = telemetry(0)
    event.pointer = None
    event.touch = Touch(t=[0, 10, 20, 300, 310], x=[1, 2, 3, 90, 91], y=[1, 2, 3, 90, 91], kind=[1, 0, 2, 1, 0])
    trail = trail_of([event])
    assert [(line.kind, len(line.points)) for line in trail.lines] == [("touch", 3), ("touch", 2)]
    assert len(trail.presses) == 2


def test_a_very_long_way_is_thinned_and_its_ends_stay() -> None:
    n = 4_000
    events = []
    for number in range(4):
        event = telemetry(number)
        event.effective_at += 40_000 * number
        event.pointer = Pointer(
            t=[10.0 * k for k in range(n)], x=[float(k % 700) for k in range(n)], y=[float(k % 90) for k in range(n)]
        )
        events.append(event)
    trail = trail_of(events)
    assert sum(len(line.points) for line in trail.lines) <= MAX_POINTS
    assert trail.samples == 4 * n
    assert trail.points[0].x == 0.0
    assert trail.points[-1].x == float((n - 1) % 700)


coordinate = st.floats(-1e6, 1e6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 60_000), coordinate, coordinate), min_size=1, max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_any_way_can_be_drawn(samples: list[tuple[float, float, float]], has_view: bool, ascii_only: bool) -> None:
    ordered = sorted(samples)
    event = telemetry(0)
    event.viewport = Viewport(width_px=800.0, height_px=600.0) if has_view else None
    event.pointer = Pointer(t=[t for t, _, _ in ordered], x=[x for _, x, _ in ordered], y=[y for _, _, y in ordered])
    story = story_of([event, risk(0, 0.1)], SESSION)
    assert story is not None
    trail = trail_of([event])
    root = ET.fromstring(trail_svg(trail, story))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    numbers = [float(n) for p in root.iter("polyline") for pair in p.attrib["points"].split() for n in pair.split(",")]
    assert all(-0.1 <= number <= max(width, height) + 0.1 for number in numbers)
    rows = canvas(trail, 60, 14, ascii_only=ascii_only)
    assert 1 <= len(rows) <= 15
    assert all(len(row) <= 61 for row in rows)


@given(st.lists(st.floats(12.0, 202.0), min_size=1, max_size=7))
def test_labels_do_not_cover_each_other(ys: list[float]) -> None:
    found = _spread([(y, f"c{i}") for i, y in enumerate(ys)], 12.0, 202.0)
    assert {name for _, name in found} == {f"c{i}" for i in range(len(ys))}
    places = [y for y, _ in found]
    assert all(b - a >= 17.0 - 1e-6 for a, b in pairwise(places))
    assert places[-1] <= 202.0 + 1e-6


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_bars_of_the_terminal_fit(width: int) -> None:
    story, _, _ = made()
    for line in lines(story, trail_of(story.telemetry), width):
        if set(line.plain) & set("▁▂▃▄▅▆▇█░▒⠁⣀"):
            assert cell_len(line.plain) <= width
    plain = "".join(line.plain for line in lines(story, trail_of(story.telemetry), width, ascii_only=True))
    assert plain.isascii()


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_have_contrast_in_both_schemes(scheme: str) -> None:
    css = (importlib.resources.files("stream.explain") / "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours: dict[str, str] = {}
    for block in blocks[: 1 if scheme == "light" else 2]:
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for ground in ("ground", "card", "sunk"):
        for text in (
            "ink",
            "soft",
            "allow",
            "step_up",
            "block",
            "bot",
            "anomaly",
            "device",
            "injection",
            "replay",
            "ring",
        ):
            assert contrast(colours[text], colours[ground]) >= 4.5, (scheme, text, ground)
        for number in range(SLICES):
            assert contrast(colours[f"s{number}"], colours[ground]) >= 3.0, (scheme, number, ground)
    for fill in ("allow-fill", "step_up-fill", "block-fill"):
        assert contrast(colours["on-fill"], colours[fill]) >= 4.5, (scheme, fill)
