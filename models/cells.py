"""Calibration cells: in whose company a session is ranked, and to which wider company it backs off."""

from bisect import bisect_right
from typing import Final, Literal, NamedTuple

from schemas.risk import CHANNELS

ANY: Final = "*"
Kind = Literal["now", "anytime"]
KINDS: Final[tuple[Kind, ...]] = ("now", "anytime")
"""What is ranked: the score at an amount of evidence, or the running maximum of whole sessions."""
EVIDENCE_EDGES_S: Final = (1.5, 3.0, 7.0, 15.0, 60.0)
"""Upper edges of the amounts of evidence, in seconds of observed session time."""
EVIDENCE: Final = ("lt1.5s", "lt3s", "lt7s", "lt15s", "lt60s", "ge60s")
"""Names of the amounts of evidence."""
MAX_PART_CHARS: Final = 64


class Cell(NamedTuple):
    """Flow x input type x source class x amount of evidence; `*` stands for all."""

    flow: str
    input: str
    source: str
    evidence: str

    @property
    def key(self) -> str:
        """`flow/input/source/evidence`."""
        return f"{self.flow}/{self.input}/{self.source}/{self.evidence}"


def parse_cell(key: str) -> Cell:
    """The cell of `flow/input/source/evidence`; ValueError otherwise."""
    parts = key.split("/")
    if len(parts) != 4 or not all(0 < len(part) <= MAX_PART_CHARS for part in parts):
        msg = f"{key[:80]!r} is not a cell: flow/input/source/evidence"
        raise ValueError(msg)
    return Cell(*parts)


def name_of(channel: str, kind: Kind, cell: Cell) -> str:
    """`<channel> <now|anytime> <cell>`: the name of one ranking."""
    return f"{channel} {kind} {cell.key}"


def parse_name(name: object) -> tuple[str, Kind, Cell]:
    """Channel, kind and cell of such a name; ValueError otherwise."""
    parts = name.split(" ", 2) if isinstance(name, str) else []
    if len(parts) == 3 and parts[0] in CHANNELS:
        for kind in KINDS:
            if parts[1] == kind:
                return parts[0], kind, parse_cell(parts[2])
    msg = f"calibration: {str(name)[:60]!r} is not '<channel> <now|anytime> <cell>'"
    raise ValueError(msg)


def evidence_of(observed_s: float) -> str:
    """Name of the amount of evidence after `observed_s` seconds (NaN counts as none)."""
    if not observed_s >= 0.0:
        return EVIDENCE[0]
    return EVIDENCE[bisect_right(EVIDENCE_EDGES_S, observed_s)]


def input_of(pointer_type: str | None, *, has_pointer: bool, has_keys: bool) -> str:
    """Input type of a session: `mouse`, `touch`, ..., `keys`, `mouse+keys`, or `none`.

    `pointer_type` counts only where the session has pointer samples.
    """
    pointer = (pointer_type or "unknown") if has_pointer else ""
    if pointer and has_keys:
        return f"{pointer}+keys"
    return pointer or ("keys" if has_keys else "none")


def source_of(name: str | None, sampling_interval_ms: float = 0.0) -> str:
    """Source class: which collector recorded the session, and whether it thinned the samples (`name@20ms`)."""
    clean = (name or "unknown").replace("/", "_")[: MAX_PART_CHARS - 12]
    return f"{clean}@{sampling_interval_ms:g}ms" if sampling_interval_ms > 0.0 else clean


def chain(cell: Cell, channel: str) -> tuple[Cell, ...]:
    """`cell` and its parents, nearest first.

    A behaviour channel never backs off over its input type: ranking a typist among mouse users means nothing. What a
    device looks like depends neither on input nor on time, so its cells hold only flow and source.
    """
    flow, kind, source, evidence = cell
    if channel in ("device", "injection", "ring"):
        return _unique(
            Cell(flow, ANY, source, ANY),
            Cell(flow, ANY, ANY, ANY),
            Cell(ANY, ANY, source, ANY),
            Cell(ANY, ANY, ANY, ANY),
        )
    return _unique(
        cell,
        Cell(ANY, kind, source, evidence),
        Cell(flow, kind, ANY, evidence),
        Cell(ANY, kind, ANY, evidence),
        Cell(flow, kind, ANY, ANY),
        Cell(ANY, kind, ANY, ANY),
    )


def _unique(*cells: Cell) -> tuple[Cell, ...]:
    return tuple(dict.fromkeys(cells))
