"""The session in a terminal: decision, scores over time, the pointer's way in dots, reasons, signals, what was missing.

Draws what it is given in a given width. Decisions and sides are told in words and marks as well as in colour.
"""

from collections.abc import Iterable
from typing import Final

from rich.text import Text

from models.reason_words import evidence, sentence
from schemas.risk import CHANNELS, Reason
from stream.demo import glyphs as g
from stream.explain import words
from stream.explain.story import Story
from stream.explain.trail import Trail
from stream.plain_text import printable

_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille character by row and column."""
TRAIL_ROWS: Final = 14
REASONS: Final = 8


def lines(story: Story, trail: Trail, width: int, *, ascii_only: bool = False) -> list[Text]:
    """All lines of the view, none wider than `width` where its words allow it."""
    marks = g.ASCII if ascii_only else g.UNICODE
    found = [
        *_head(story),
        *_time(story, width, marks),
        *_way(trail, width, marks, ascii_only=ascii_only),
        *_reasons(story, width, marks),
        *_signals(story, width, marks),
        *_rest(story, width, marks),
    ]
    for line in found:
        # Names come from the wire: none of them may steer the terminal.
        line.plain = printable(line.plain)
    return found


def _head(story: Story) -> list[Text]:
    last, turn = story.last, story.turns[-1].event
    action = last.decision.action
    decided = "" if action == "allow" else f" at {turn.observed_s:.1f} s, evaluation {turn.sequence}"
    found = [
        Text.assemble(
            (f" {words.ACTION[action]} ", f"{g.STYLES[action]} reverse bold"),
            f"  risk {last.risk_score} of 100, {last.risk_level.replace('_', ' ')}   ",
            (f"session {last.session_id}", "bold"),
        ),
        Text(f" {words.rule_words(turn.decision.policy.rule)}{decided}"),
        Text(
            f" {last.flow.replace('_', ' ')}, tenant {last.tenant}, {words.time_of(story.events[0].effective_at)}, "
            f"{last.observed_s:.1f} s in {len(story.events)} evaluations",
            g.MUTED,
        ),
    ]
    if story.missing_sequences:
        found.append(Text(f" evaluations {words.ranges(story.missing_sequences)} are not there", "bold"))
    if last.state_cold:
        found.append(Text(" the session's beginning was lost: scores rest on what was seen since", "bold"))
    if last.decision.policy.mode != "live":
        found.append(Text(f" mode {last.decision.policy.mode}: not enforced", "bold"))
    return found


def _time(story: Story, width: int, marks: g.Glyphs) -> list[Text]:
    n = max(10, width - 28)
    end_s = max(story.events[-1].observed_s, 0.5)
    found = [Text(), g.heading("SCORES, any-time", width, marks, f"0 to {end_s:.1f} s")]
    at = [min(n - 1, int(n * event.observed_s / end_s)) for event in story.events]
    rows: list[tuple[str, list[float | None]]] = [("overall", [e.scores.overall_anytime for e in story.events])]
    rows += [(name, [_anytime(e.scores, name) for e in story.events]) for name in story.channels]
    for name, values in rows:
        cells: list[float] = [0.0] * n
        latest = 0.0
        for k in range(n):
            for place, value in zip(at, values, strict=True):
                if place == k and value is not None:
                    latest = value
            cells[k] = latest
        last = next((value for value in reversed(values) if value is not None), None)
        scaled = g.spark([*cells, 1.0], marks)[:-1]
        found.append(
            Text.assemble(
                (f" {name:<10}", "bold" if name == "overall" else ""), (scaled, g.ACCENT),
                f" {last:.3f}" if last is not None else " no data",
            )
        )  # fmt: skip
    strip = Text(" decision  ")
    action = story.turns[0].action
    for k in range(n):
        for place, event in zip(at, story.events, strict=True):
            if place == k:
                action = event.decision.action
        strip.append(marks.bars[action], g.STYLES[action])
    found.append(strip)
    for number, turn in enumerate(story.turns[1:], start=1):
        found.append(
            Text.assemble(
                f"   {number}. ", (words.ACTION[turn.action], f"{g.STYLES[turn.action]} bold"),
                f" at {turn.event.observed_s:.1f} s: {words.rule_words(turn.event.decision.policy.rule)}",
            )
        )  # fmt: skip
    return found


def _anytime(scores: object, name: str) -> float | None:
    score = getattr(scores, name)
    return None if score is None else score.score_anytime


def _way(trail: Trail, width: int, marks: g.Glyphs, *, ascii_only: bool) -> list[Text]:
    if not trail.lines:
        return []
    note = f"{trail.samples} samples, {len(trail.presses)} presses"
    found = [Text(), g.heading("THE POINTER'S WAY", width, marks, note)]
    return found + [Text(f" {row}", g.ACCENT) for row in canvas(trail, width - 2, TRAIL_ROWS, ascii_only=ascii_only)]


def canvas(trail: Trail, columns: int, rows: int, *, ascii_only: bool = False) -> list[str]:
    """The way as rows of Braille dots (or of `*`), as wide as its shape needs; empty rows at both ends are left out."""
    left, top, right, bottom = trail.box
    across, down = (columns, rows) if ascii_only else (2 * columns, 4 * rows)
    # A character is about twice as high as it is wide, and a dot of four rows by two columns is square.
    stretch = 2.0 if ascii_only else 1.0
    scale = min((across - 1) / (stretch * (right - left)), (down - 1) / (bottom - top))
    cells: dict[tuple[int, int], int] = {}

    def mark(x: float, y: float) -> None:
        column, row = int((x - left) * scale * stretch), int((y - top) * scale)
        place = (row, column) if ascii_only else (row // 4, column // 2)
        cells[place] = cells.get(place, 0) | (1 if ascii_only else _DOTS[row % 4][column % 2])

    for line in trail.lines:
        for a, b in zip(line.points, line.points[1:] or line.points, strict=False):
            steps = 1 + int(max(abs(b.x - a.x) * stretch, abs(b.y - a.y)) * scale)
            for k in range(steps + 1):
                mark(a.x + (b.x - a.x) * k / steps, a.y + (b.y - a.y) * k / steps)
    highest, lowest = min(row for row, _ in cells), max(row for row, _ in cells)
    widest = max(column for _, column in cells)
    blank = " "
    return [
        "".join(
            blank if (row, column) not in cells else "*" if ascii_only else chr(0x2800 + cells[row, column])
            for column in range(widest + 1)
        ).rstrip()
        for row in range(highest, lowest + 1)
    ]


def _reasons(story: Story, width: int, marks: g.Glyphs) -> list[Text]:
    event = story.deciding
    found = [Text(), g.heading("REASONS, heaviest first", width, marks, f"evaluation {event.sequence}")]
    if not event.reasons:
        return [
            *found,
            Text(" none: reasons of models are written from a medium risk on, and at a session's end", g.MUTED),
        ]
    for reason in sorted(event.reasons, key=lambda r: (-r.weight, r.code))[:REASONS]:
        found += _reason(reason)
    return found


def _reason(reason: Reason) -> Iterable[Text]:
    is_risk = reason.polarity == "risk"
    yield Text.assemble(
        (" risk  " if is_risk else " trust ", "red bold" if is_risk else "green bold"),
        f"{reason.weight:.2f}  ",
        sentence(reason),
    )
    seen = evidence(reason)
    severity = f"{reason.severity}, " if reason.severity else ""
    yield Text(f"             {seen + '; ' if seen else ''}{severity}{reason.channel} channel, {reason.code}", g.MUTED)


def _signals(story: Story, width: int, marks: g.Glyphs) -> list[Text]:
    if not story.signals:
        return []
    found = [Text(), g.heading("SIGNALS", width, marks)]
    for seen in story.signals:
        value = seen.value
        counts = value.exempt is None and value.value is not False
        why = "" if counts else f"  does not count: {(value.exempt or 'not so any more').replace('_', ' ')}"
        found.append(
            Text.assemble(
                f" {value.severity:<7}", (seen.name, "bold" if counts else g.MUTED),
                (f"  {words.cue_of(seen.name)}", g.MUTED), why,
            )
        )  # fmt: skip
    return found


def _rest(story: Story, width: int, marks: g.Glyphs) -> list[Text]:
    last = story.last
    missing = ", ".join(last.missing_signals) or "nothing"
    found = [Text(), g.heading("WHAT IT RESTS ON", width, marks)]
    found.append(Text(f" coverage {100 * last.coverage:.0f} %, missing: {missing}"))
    for name in CHANNELS:
        score = getattr(last.scores, name)
        if score is not None and score.calibration is not None:
            found.append(Text(f" {name} is ranked among {words.rests_on(score.calibration)}", g.MUTED))
        elif score is not None and score.state != "not_expected":
            found.append(Text(f" {name}: {words.STATES.get(score.state, score.state)}", g.MUTED))
    found += [Text(f" {name} was missing in {n} evaluations", "bold") for name, n in sorted(story.degraded.items())]
    versions = last.versions
    found.append(
        Text(
            f" policy {versions.policy[:12]}, features {versions.features[:12]}, tellwire {versions.pipeline}", g.MUTED
        )
    )
    if len(story.versions) > 1:
        event, changed = story.versions[-1]
        found.append(Text(f" from evaluation {event.sequence} on other versions: {', '.join(changed)}", "bold"))
    total = story.latency_ms().get("total")
    if total is not None:
        found.append(Text(f" received to scored: median {total[0]:.1f} ms, longest {total[1]:.1f} ms", g.MUTED))
    return found
