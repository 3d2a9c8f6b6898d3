"""The live view of the demo: one screen of text, from 80 columns by 24 rows up to as large as the terminal is.

It draws what it is given (`Tally`, `Scene`) and nothing else: no clock, no I/O. Truth and decisions are told in words
and marks as well as in colour.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from schemas.risk import ChannelName
from stream.demo import glyphs as g
from stream.demo.tally import FamilyRow, Moment, Quantiles, Tally, families, histogram, quantiles, total

MIN_WIDE = 120
"""Columns from which the table of families stands beside the rest."""
_SUFFIX = "_UNLIKE_PEOPLE"
"""End of the codes of reasons that models give; said of each of them, so the view leaves it out."""
_CHANNELS: tuple[tuple[str, ChannelName | None], ...] = (
    ("overall", None),
    ("bot", "bot"),
    ("anomaly", "anomaly"),
    ("device", "device"),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What runs, and how far it is."""

    source: str
    """Where the sessions come from, e.g. `simulated people and bots`."""
    simulation: bool
    page: str | None = None
    """Address of the live page."""
    broker: str
    store: str
    embedded: bool
    """The broker is the embedded one, which is no instrument for latency."""
    phase: str
    """What happens now, e.g. `starting`, `running`, `draining`."""
    now_s: float
    """Since the traffic began, s: the clock of the tally's rates."""
    traffic_s: float
    """How long the traffic has been on, or was, s."""
    seconds: float | None
    """Length of the traffic, s; None: until stopped."""
    acked: Quantiles | None = None
    """From received to acknowledged, by the worker's metric."""
    learnt: int = 0
    """Vectors that the learner took."""
    snapshots: int = 0
    """Snapshots that the learner published."""


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """The screen; renders itself in the size that the console gives."""

    tally: Tally
    scene: Scene

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        marks = g.ASCII if options.ascii_only else g.UNICODE
        width, height = options.max_width, options.height or console.size.height
        for line in self.lines(width, height, marks):
            line.no_wrap, line.overflow = True, "crop"
            line.truncate(width, overflow="crop" if options.ascii_only else "ellipsis")
            yield line

    def lines(self, width: int, height: int, marks: g.Glyphs) -> list[Text]:
        """All lines of the screen, at most `height`."""
        wide = width >= MIN_WIDE
        roomy = height >= 40
        top = [*self._header(width, marks), *self._rates(width, marks)]
        if wide:
            left = width * 11 // 20
            middle = _beside(
                [*self._decisions(left - 2, marks), *self._scores(left - 2, marks, 3 if roomy else 1)],
                self._families(width - left, marks, rows=height - len(top) - 8),
                left,
            )
        else:
            middle = [*self._decisions(width, marks), *self._scores(width, marks, 2 if roomy else 1)]
        used = len(top) + len(middle) + 1
        return [*top, *middle, *self._latest(width, marks, max(0, height - used)), self._footer(width, marks)]

    def _header(self, width: int, marks: g.Glyphs) -> list[Text]:
        scene = self.scene
        done = f"{_clock(scene.traffic_s)} of {_clock(scene.seconds)}" if scene.seconds else _clock(scene.traffic_s)
        left = Text.assemble((" tellwire demo ", "reverse bold"), "  ", (scene.source, "bold"))
        page = f" page {scene.page} " if scene.page else ""
        parts = f" {scene.broker} {marks.dot} {scene.store}"
        if width >= MIN_WIDE:
            parts += f" {marks.dot} worker {marks.dot} learner"
        learnt = f"{g.number(scene.learnt)}, {scene.snapshots} snapshot{'s' * (scene.snapshots != 1)}"
        return [
            _ends(left, Text(f"{scene.phase}  {done} ", "bold"), width),
            _ends(
                Text.assemble((page, f"bold {g.ACCENT}"), (parts, g.MUTED)), Text(f"learnt {learnt} ", g.MUTED), width
            ),
        ]

    def _rates(self, width: int, marks: g.Glyphs) -> list[Text]:
        tally, now = self.tally, self.scene.now_s
        n = max(8, min(60, width - 73))
        rows = (("in", tally.in_rate, tally.traffic.acked), ("out", tally.out_rate, tally.events))
        latencies = (
            ("received " + marks.arrow + " acknowledged", self.scene.acked),
            ("received " + marks.arrow + " scored", quantiles(tally.scored_ms)),
        )
        found = [
            Text.assemble(
                (f" {name:<4}", "bold"),
                f"{rate.per_s(now):>6.0f}/s ",
                (marks_of(rate.last(now, n), marks), g.ACCENT),
                f" {g.number(n_all):>7}  ",
                (f"{what:<24}", g.MUTED),
                latency_text(values),
            )
            for (name, rate, n_all), (what, values) in zip(rows, latencies, strict=True)
        ]
        dead = tally.dead_letters.total()
        waiting = max(0, tally.lost())
        found.append(
            _ends(
                Text.assemble(
                    (" dead letters ", "bold"),
                    (str(dead), "red bold" if dead else "green"),
                    (f"   on their way {waiting}", g.MUTED),
                    (f"   repeats {tally.repeats}" if tally.repeats else "", g.MUTED),
                ),
                Text("embedded broker: no instrument for latency " if self.scene.embedded else "", g.MUTED),
                width,
            )
        )
        return found

    def _decisions(self, width: int, marks: g.Glyphs) -> list[Text]:
        key = "  ".join(f"{marks.bars[a]} {g.WORDS[a]}" for a in g.STYLES)
        found = [g.heading("DECISIONS by session, against the truth", width, marks, key)]
        for actor, word in (("person", "people"), ("bot", "bots")):
            counts = self.tally.actions(actor)
            row = total(self.tally, actor)
            what = "found" if actor == "bot" else "stepped up"
            share = f"{100 * row.found / row.sessions:5.1f} %" if row.sessions else f"{'no data':>7}"
            end = f" {row.found:>4} {what:<10}{share}"
            found.append(
                Text.assemble(
                    (f" {word:<7}", "bold"),
                    f"{row.sessions:>5}  ",
                    g.bar(counts, max(10, width - 16 - len(end)), marks),
                    end,
                )
            )
        return found

    def _scores(self, width: int, marks: g.Glyphs, height: int) -> list[Text]:
        bins = max(10, (width - 17) // 2)
        found = [g.heading("SCORES so far, sessions by channel", width, marks, "0 low, 1 high risk")]
        legend = " " * 11 + f"people  0{' ' * (bins - 9)}1"
        found.append(Text.assemble((f"{legend}   bots  0{' ' * (bins - 7)}1", g.MUTED)))
        for name, channel in _CHANNELS:
            sides = [self.tally.scores(actor, channel) for actor in ("person", "bot")]
            charts = [g.columns(histogram(side, bins), height, marks, root=True) for side in sides]
            for row in range(height):
                label = f" {name:<10}" if row == height - 1 else " " * 11
                people, bots = (
                    chart[row] if side else _no_data(bins, row, height)
                    for chart, side in zip(charts, sides, strict=True)
                )
                found.append(Text.assemble((label, "bold"), (people, "green"), "   ", (bots, "red")))
        return found

    def _families(self, width: int, marks: g.Glyphs, rows: int) -> list[Text]:
        found = [g.heading("BY FAMILY", width, marks, "found, after")]
        return found + [self._family(row, width, marks) for row in families(self.tally)[: max(0, rows - 1)]]

    def _family(self, row: FamilyRow, width: int, marks: g.Glyphs) -> Text:
        counts = {"allow": row.sessions - row.found, "step_up": row.step_up, "block": row.block}
        after = f"{row.median_found_s:5.1f} s" if row.median_found_s is not None else "       "
        mark = marks.bot if row.actor == "bot" else marks.person
        share = f"{100 * row.found / row.sessions:4.0f} %"
        return Text.assemble(
            (f" {mark} ", "red" if row.actor == "bot" else "green"),
            f"{_words(row.family):<22}{row.sessions:>4} ",
            g.bar(counts, max(6, width - 48), marks),  # type: ignore[arg-type]
            f" {share} {after}",
        )

    def _latest(self, width: int, marks: g.Glyphs, rows: int) -> list[Text]:
        if rows <= 0:
            return []
        found = [g.heading("LATEST decisions and ends of sessions", width, marks, "score, after, why")]
        found += [self._moment(moment, width, marks) for moment in list(self.tally.moments)[: rows - 1]]
        found += [Text("")] * (rows - len(found))
        return found

    def _moment(self, moment: Moment, width: int, marks: g.Glyphs) -> Text:
        truth = self.tally.truth.get(moment.session_id)
        actor = truth.actor if truth else "unknown"
        mark = {"bot": marks.bot, "person": marks.person}.get(actor, "?")
        family = f"{_words(truth.family):<21}" if truth and width >= MIN_WIDE else ""
        action = f"{g.WORDS[moment.action]:<8}"
        return Text.assemble(
            (f" {_clock(moment.at_s)} ", g.MUTED),
            (f"{mark} {actor:<7}", "red" if actor == "bot" else "green"),
            family,
            f"{g.FLOW_WORDS.get(moment.flow, moment.flow):<10}",
            (action, f"{g.STYLES[moment.action]} bold" if moment.action != "allow" else "green"),
            f"{moment.score:.2f} {moment.observed_s:>5.1f}s  ",
            (
                reasons_line(moment, f" {marks.dot} ", evidence=width >= MIN_WIDE),
                g.MUTED if moment.action == "allow" else "",
            ),
        )

    def _footer(self, width: int, marks: g.Glyphs) -> Text:
        note = "simulation: no figure of real traffic" if self.scene.simulation else ""
        return _ends(
            Text(f" {marks.bot} bot  {marks.person} person (the truth)   {note}", g.MUTED),
            Text("Ctrl-C ends ", g.MUTED),
            width,
        )


def marks_of(values: Iterable[float], marks: g.Glyphs) -> str:
    """A sparkline."""
    return g.spark(list(values), marks)


def reasons_line(moment: Moment, between: str, *, evidence: bool) -> str:
    """The reasons in words, weightiest first; with `evidence` what was observed for the first one, too."""
    if not moment.reasons:
        return "no reason against it"
    words = dict.fromkeys(reason.code.removesuffix(_SUFFIX).lower().replace("_", " ") for reason in moment.reasons)
    first = moment.reasons[0].evidence if evidence else ""
    said = first.lower().replace("_", " ") in words
    return between.join(words) + (f"   ({first})" if first and not said else "")


def latency_text(values: Quantiles | None) -> Text:
    """Median and 99th percentile in ms."""
    if values is None:
        return Text("no data", g.MUTED)
    return Text.assemble(("p50 ", g.MUTED), _ms(values.p50_ms), ("  p99 ", g.MUTED), _ms(values.p99_ms))


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _no_data(bins: int, row: int, height: int) -> str:
    return f"{'no data':<{bins}}"[:bins] if row == height - 1 else " " * bins


def _ends(left: Text, right: Text, width: int) -> Text:
    """Two texts at the two ends of a line; the right one goes if there is no room."""
    room = width - left.cell_len - right.cell_len
    return Text.assemble(left, " " * room, right) if room >= 1 else left


def _beside(left: list[Text], right: list[Text], width: int) -> list[Text]:
    """Two blocks of lines side by side, the left one padded to `width`."""
    found = []
    for k in range(max(len(left), len(right))):
        line = left[k].copy() if k < len(left) else Text("")
        line.truncate(width, pad=True)
        found.append(Text.assemble(line, right[k] if k < len(right) else ""))
    return found
