"""The reference page of features and signals, rendered from the registry and the signal table."""

import math

from features.fold import STATE_WIDTH
from features.pointer import PAUSE_MS
from features.registry import N_FEATURES, TABLES
from features.signal_rates import EVASIONS, RATES
from features.signal_table import SIGNALS
from features.stroke import GRID_MS, MAX_POINTS, MIN_PATH_PX, MIN_POINTS
from features.table import Feature

_TITLES = {
    "session": "Session: how much was seen, under which circumstances",
    "pointer": "Pointer",
    "keystroke": "Keystroke",
    "focus": "Focus",
    "form": "Form",
    "touch": "Touch",
    "scroll": "Scroll",
    "motion": "Motion",
    "velocity": "Velocity: entity counters",
}


_INTRODUCTION = f"""\
# Features and signals

Generated from `features/registry.py` and `features/signal_table.py`; change those, then run
`python -m features.document > docs/reference/features.md`.

{N_FEATURES} features from a state of {STATE_WIDTH} float32 numbers a session. NaN means *no data*, never 0;
a value lies within its range. The position in the vector is the number in the first column.

- **basis**: `trained` may be an input of a trained model; `rule` only of rules and signals; `context` describes the
  circumstances. `recorder` marks what depends on the recorder's clock, sampling or rounding: it tells recorders apart
  as well as it tells bots, so it is no input of the pointer model.
- **input of** says which models may use it; a trained model may use fewer and names them in its card.
- **Strokes.** Movements run from pause to pause (no displacement for {PAUSE_MS:g} ms) or button to button. They are
  resampled every {GRID_MS:g} ms by linear interpolation and cut into strokes of at most
  {(MAX_POINTS - 1) * GRID_MS:g} ms; a stroke counts from {MIN_POINTS} points and {MIN_PATH_PX:g} px of path.
  The open stroke counts as if it ended now.
- **Order.** Samples fold in the order in which events arrive. An event that comes late ends the open movement and
  counts as reordered; the intervals next to it are left out, all else of it counts. A clock more than 11 days from the
  session's first event is clamped and counted.
- **Merging** adds all sums; the movement open at the border is cut there, and the pause, interval or pair of keys
  across the border is in neither part.
- **Keys.** Rhythm is taken between successive keys that are no modifiers, up to 2 s apart; longer is a break.
"""

_SIGNALS = """\
## Signals

Observations, kept apart from any score. *strong* stands alone, *medium* needs a second, *weak* never counts alone.
A signal under one of its exemptions is shown and does not count. Signals that do not stay are judged anew with each
event. What is missing fires none.

- **known by**: *client* says it of itself; *comparison* of two things said; *behaviour*: a rule on input; *edge*;
  *counters* of entities; *upstream*: a result on `capture.signals` or `capture.telemetry`.
- **accepted from**: kinds of upstream results of which a finding with the signal's name and the value `true` is taken
  for it. The result's `confidence`, where it has one, becomes the signal's: from 0.9 high, from 0.5 medium, else low.
  A result that failed, or that was asked for comparison only, brings nothing.
- *installed* means that something is there; all others, that it is in use.

| signal | severity | about | known by | cue | innocent cause | exempt if | stays | accepted from | source |
|---|---|---|---|---|---|---|---|---|---|
"""

_RATES = """
## How often signals fire for people

Recorded fingerprints, none of which ships; a strong signal may fire for 0.1 % of people, a medium one for 1 %, and one
that fires for more is weak. `chrome_windows_2023`: visitors with Chrome on Windows, believed to be people.
`user_agents_intoli`: traffic of a web site, in which programs are too: a fifth are iPhones whose platform is Linux and
whose connection tells a round trip, which no iPhone's browser does, so its rates judge nobody. `sessions`: people's
sessions of seven instruments, of those that show enough for the rule; it counts where it ever fires in one. Signals
that are not listed have no recordings: their severity is a judgement.

| signal | severity | recording | fires for | of | rate | upper end of 95 % |
|---|---|---|---|---|---|---|
"""


_EVASIONS = """
## Fingerprints that evasion tools draw

Fingerprints drawn from the published networks that such tools use, as they draw them: every attribute by the user agent
alone, so that graphics, cores, memory and screen are of different machines. How often one shows it, by the browser
claimed; how often people do is above, and no recorded people use a Mac. Nothing is learnt from people: the makers'
specifications say which processors, memory and screens go with which graphics; which chips are listed was settled with
an eye on which occur in the networks, and from which Chrome on memory above 8 GiB is told is read off the networks.
Browsers that don't name their graphics (Safari, phones) show nothing here, and discrete cards go with any processor.
What people could add was measured and does not ship: log-odds of the pairs of graphics, cores, memory and screen,
learnt from half of the recorded people, find 15 % of those drawn for Windows at 1 % of the other half alone, and 5 to
7 % more beside `cores_gpu_mismatch` at the same 1 %.

| browser claimed | signal | fires for | of | rate |
|---|---|---|---|---|
"""


def upper_95(fired: int, people: int) -> float:
    """Upper end of the two-sided 95 % interval (Wilson's) of a share."""
    z2 = 1.96**2
    share = fired / people
    middle = share + z2 / (2 * people)
    half = 1.96 * math.sqrt(share * (1 - share) / people + z2 / (4 * people * people))
    return (middle + half) / (1 + z2 / people)


def _number(value: float) -> str:
    return f"{value:g}"


def _uses(feature: Feature) -> str:
    names = [name for name, used in (("pointer model", feature.bot), ("keystroke scorer", feature.keys)) if used]
    names += ["anomaly model"] if feature.anomaly else []
    return ", ".join(names) or "-"


def _row(at: int, feature: Feature) -> str:
    basis = f"{feature.basis}, recorder" if feature.clock else feature.basis
    cells = (
        str(at),
        f"`{feature.name}`",
        feature.unit,
        f"{_number(feature.low)} to {_number(feature.high)}",
        feature.description,
        basis,
        _uses(feature),
        feature.exemption or "",
        feature.source,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def render() -> str:
    """The page as Markdown; docs/reference/features.md is this text."""
    lines = _INTRODUCTION.splitlines()
    at = 0
    for table in TABLES:
        lines += ["", f"## {_TITLES[table.family]}", ""]
        lines += ["| # | feature | unit | range | what | basis | input of | innocent cause | source |"]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for feature in table.features:
            lines.append(_row(at, feature))
            at += 1
    lines.append("")
    lines += _SIGNALS.splitlines()
    for signal in SIGNALS.values():
        exempt = ", ".join(signal.exempt_if).replace("_", " ")
        cells = (
            f"`{signal.name}`",
            signal.severity,
            signal.category,
            f"{signal.method}, installed" if signal.installed else signal.method,
            signal.cue,
            signal.exemption,
            exempt,
            "yes" if signal.stays else "no",
            ", ".join(signal.accepted_from).replace("_", " "),
            signal.source,
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += _RATES.splitlines()
    for recording, by_name in RATES.items():
        for name, (fired, people) in by_name.items():
            share, upper = fired / people, upper_95(fired, people)
            counts = f"{recording} | {fired} | {people} | {share:.2%} | {upper:.2%}"
            lines.append(f"| {name} | {SIGNALS[name].severity} | {counts} |")
    lines += _EVASIONS.splitlines()
    for platform, by_name in EVASIONS.items():
        for name, (fired, drawn) in by_name.items():
            lines.append(f"| {platform} | {name} | {fired} | {drawn} | {fired / drawn:.1%} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(render())
