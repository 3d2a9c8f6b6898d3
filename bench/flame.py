"""Draws a profile as a flame graph, one SVG for light and for dark pages: what a worker spends its time on.

From stacks as py-spy writes them (`raw`: frames joined by `;`, a space, how often it was seen). Frames of one function
are one, and above the chunk's own function, and above what the loop runs, nothing is shown.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Final

WIDTH, ROW, TOP, MARGIN = 1_000.0, 19.0, 44.0, 8.0
LEAST_SHARE: Final = 0.004
"""Of all samples: narrower frames are not drawn."""
_LETTER = 6.3
"""Width of a letter."""
_ROOTS: Final = ("Pipeline.process ", "Pipeline._run ")
_STARTER: Final = re.compile(r"^(\S*\.)?(run_faust|execute_from_commandline|run_until_complete|run_forever) ")
_KINDS: Final = (
    ("ours", re.compile(r"\((stream|features|models|schemas)/")),
    ("clients", re.compile(r"\((confluent_kafka|redis|faust|mode|uvloop)/")),
    ("rest", re.compile("")),
)
_STYLE: Final = """\
text{font:11px "DejaVu Sans",Verdana,sans-serif;fill:#1f2328}.title{font-weight:bold;font-size:14px}.faint{fill:#59636e}
.paper{fill:#fff}.ours{fill:#9fd8c0}.clients{fill:#b9cdf0}.rest{fill:#ecd2bb}rect{stroke:#fff;stroke-width:.7}
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.faint{fill:#9198a1}.paper{fill:#0d1117}.ours{fill:#1d5f49}
.clients{fill:#2f4a78}.rest{fill:#6b4526}rect{stroke:#0d1117}}"""


@dataclass(slots=True)
class Frame:
    """A function in a place of the stack, and how often it was seen there."""

    name: str
    count: int = 0
    below: dict[str, "Frame"] = field(default_factory=dict)

    def child(self, name: str) -> "Frame":
        """Return the frame that is called from here."""
        return self.below.setdefault(name, Frame(name))


def tree(stacks: Iterable[str]) -> Frame:
    """Put stacks together. Raises `ValueError` for a line that is none."""
    root = Frame("all")
    for line in stacks:
        path, _, count = line.rpartition(" ")
        names = [re.sub(r":\d+\)$", ")", name) for name in path.split(";")]
        at = root
        at.count += int(count)
        for name in _from_the_chunk_on(names):
            at = at.child(name)
            at.count += int(count)
    return root


def _from_the_chunk_on(names: list[str]) -> list[str]:
    for at in range(len(names) - 1, -1, -1):
        if names[at].startswith(_ROOTS):
            return names[at:]
        if _STARTER.match(names[at]):
            return names[at + 1 :]
    return names


def draw(root: Frame, title: str) -> str:
    """Return the graph as SVG, the callers above, the widest first."""
    parts, depth = [], 0
    for frame, at, level in _placed(root, MARGIN, 0):
        depth = max(depth, level)
        width, y = (WIDTH - 2 * MARGIN) * frame.count / root.count, TOP + level * ROW
        told = f"{frame.name}: {frame.count / root.count:.1%}"
        kind = next(kind for kind, found in _KINDS if found.search(frame.name))
        parts.append(f'<g><title>{escape(told)}</title><rect class="{kind}" x="{at:.1f}" y="{y:.0f}" ')
        parts.append(f'width="{width:.1f}" height="{ROW:.0f}" rx="2"/>')
        if label := _label(frame.name, f" {frame.count / root.count:.0%}", width):
            parts.append(f'<text x="{at + 4:.1f}" y="{y + 13:.0f}">{escape(label)}</text>')
        parts.append("</g>\n")
    height = TOP + (depth + 1) * ROW + MARGIN
    legend = "green: this project's; blue: clients of Kafka and Redis, Faust; brown: Python and libraries"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" width="{WIDTH:.0f}">\n'
        f'<style>{_STYLE}</style>\n<rect class="paper" width="100%" height="100%"/>\n'
        f'<text class="title" x="{MARGIN:.0f}" y="18">{escape(title)}</text>\n'
        f'<text class="faint" x="{MARGIN:.0f}" y="35">{root.count:,} samples; {legend}</text>\n{"".join(parts)}</svg>\n'
    )


def _placed(frame: Frame, at: float, level: int) -> Iterator[tuple[Frame, float, int]]:
    """Yield all frames below one that are wide enough, with their left edge and row."""
    whole = max(1, frame.count)
    return _placed_in(frame, at, (WIDTH - 2 * MARGIN) / whole, LEAST_SHARE * whole, level)


def _placed_in(
    frame: Frame, at: float, by_count: float, least: float, level: int
) -> Iterator[tuple[Frame, float, int]]:
    for child in sorted(frame.below.values(), key=lambda one: (-one.count, one.name)):
        if child.count >= least:
            yield child, at, level
            yield from _placed_in(child, at, by_count, least, level + 1)
        at += child.count * by_count


def _label(name: str, share: str, width: float) -> str:
    """Return as much of a frame's name as there is room for."""
    room = int((width - 8) / _LETTER)
    function, _, place = name.partition(" (")
    short = function.rpartition(".")[2]
    where = place.rpartition("/")[2].removesuffix(")")
    for label in (f"{function} · {where}{share}", f"{function}{share}", f"{short}{share}", short):
        if len(label) <= room:
            return label
    return short[: room - 1] + "…" if room >= 4 else ""
