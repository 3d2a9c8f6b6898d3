"""The page's tables: channels, signals with cues and exemptions, coverage, counters, evaluations, versions, latency."""

from collections.abc import Iterable, Sequence
from typing import Final

from features.signal_table import SIGNALS
from models.reason_words import sentence
from schemas.risk import CHANNELS, RiskEvent, Velocity
from stream.explain import words
from stream.explain.story import Story, versions_of
from stream.explain.svg import text_of

MAX_ROWS: Final = 400
"""Rows of the table of evaluations; of more, those where something changed stay."""
WIDE: Final = 5
"""Tables of so many columns keep a width of their own on a phone, and are scrolled there."""
_COUNTED: Final = {"m5": "5 minutes", "h1": "1 hour", "h24": "24 hours"}


def channels(story: Story) -> str:
    """Each channel's score now, its highest so far, what these rest on."""
    rows: list[tuple[str, ...]] = []
    for name in CHANNELS:
        score = getattr(story.last.scores, name)
        if score is None or score.state == "not_expected":
            continue
        cal = score.calibration
        rests = "" if cal is None else words.rests_on(cal)
        if cal is not None and cal.fpr_upper95 is not None:
            rests += f"; at most {100 * cal.fpr_upper95:.3g} % of people reach it (95 % bound)"
        rows.append((
            f"<strong>{name}</strong><br><span class='small soft'>{text_of(words.CHANNEL_MEANINGS[name])}</span>",
            _score(score.score), _score(score.score_anytime), _score(score.raw), _score(score.raw_max),
            _score(score.weight, 2), text_of(words.STATES.get(score.state, score.state)), text_of(rests),
        ))  # fmt: skip
    overall = story.last.scores
    rows.append(("<strong>overall</strong>", _score(overall.overall), _score(overall.overall_anytime), *[""] * 5))
    heads = ("channel", "#now", "#highest", "#raw now", "#raw highest", "#weight", "state", "rests on")
    return _card("Channels", _table("Calibrated scores at the last evaluation, and models' own outputs", heads, rows))


def signals(story: Story) -> str:
    """Signals that fired, with what each looks at and why it may not count."""
    rows, out = [], []
    for number, seen in enumerate(story.signals):
        value, known = seen.value, SIGNALS.get(seen.name)
        counts = value.exempt is None and value.value is not False
        why = (
            "counts" if counts
            else f"does not count: {(value.exempt or 'not so any more').replace('_', ' ')}"
        )  # fmt: skip
        shown = "" if value.value in {True, None} else f"<br><code>{text_of(value.value)}</code>"
        about = ""
        if known is not None:
            excuse = f" May also be: {known.exemption}." if known.exemption else ""
            installed = " It is there to be used; nothing says that it is in use." if known.installed else ""
            about = f"{known.cue}; {words.METHOD_WORDS[known.method]}.{excuse}{installed}"
        rows.append((
            f"<code>{text_of(seen.name)}</code>{shown}", f'<span class="chip {value.severity}">{value.severity}</span>',
            value.confidence, f"{seen.first_s:.1f} s", text_of(about), text_of(why),
        ))  # fmt: skip
        if not counts:
            out.append(number)
    if not rows:
        return _card("Signals", '<p class="soft">None fired.</p>')
    heads = ("signal", "severity", "confidence", "#first seen", "what it looks at", "does it count")
    return _card("Signals", _table("Derived signals that fired in the session", heads, rows, out))


def coverage(story: Story) -> str:
    """How much of the expected evidence was seen, what was missing, what came at all."""
    last = story.last
    missing = ", ".join(last.missing_signals) or "nothing"
    text = (
        f"<p>{100 * last.coverage:.0f} % of the evidence that the flow expects. Missing: "
        f"<strong>{text_of(missing)}</strong>. What is missing never raises a risk.</p>"
    )
    blocks = {name: count for name, count in story.blocks.items() if count}
    if story.telemetry:
        rows = [(text_of(name), str(count)) for name, count in blocks.items()]
        text += _table(f"Of {len(story.telemetry)} telemetry events", ("evidence", "#events"), rows)
    for name, count in sorted(story.degraded.items()):
        text += f'<p class="note">{text_of(name)} was missing in {count} evaluations.</p>'
    return _card("Coverage", text)


def counters(story: Story) -> str:
    """Entity counters of the last evaluation."""
    rows = []
    for name, count in sorted(story.last.velocity.items()):
        entity, _, what = name.partition("_")
        cells = [_counted(count, window) for window in _COUNTED]
        if any(cells):
            rows.append((text_of(f"{what} with this {entity}"), *cells))
    if not rows:
        return _card("Counters", '<p class="soft">None: no account, device or address was named.</p>')
    heads = ("seen", *(f"#{window}" for window in _COUNTED.values()))
    return _card("Counters", _table("Distinct things in sliding windows, this session included", heads, rows))


def _counted(count: Velocity, window: str) -> str:
    value = getattr(count, window)
    return "" if value is None else f"{'about ' if count.approximate else ''}{value}"


def upstream(story: Story) -> str:
    """Results of other models for the session: who judged what, and how; no finding, no reference."""
    rows = []
    for one in story.upstream:
        scale = "" if one.score_min is None or one.score_max is None else f" of {one.score_min:g} to {one.score_max:g}"
        direction = (one.direction or "").replace("_", " ")
        score = "" if one.score is None else f"{one.score:g}{scale}, {direction}"
        rows.append((
            text_of(one.kind.replace("_", " ")), text_of(f"{one.provider} {one.model_version or ''}"),
            text_of(one.outcome.replace("_", " ")), text_of(score), text_of(one.verdict or ""),
        ))  # fmt: skip
    if not rows:
        return ""
    heads = ("judged", "provider", "outcome", "score", "verdict")
    return _card("Upstream results", _table("Results of other models and vendors", heads, rows))


def all_reasons(story: Story) -> str:
    """Every reason of the session."""
    rows = [
        (
            text_of(sentence(one.heaviest)), one.heaviest.polarity, one.heaviest.channel,
            f"{one.heaviest.weight:.2f}", str(one.evaluations), f"{one.first_s:.1f} to {one.last_s:.1f} s",
            f"<code>{text_of(one.heaviest.code)}</code>",
        )
        for one in story.reasons
    ]  # fmt: skip
    if not rows:
        return ""
    heads = ("reason", "speaks for", "channel", "#heaviest", "#evaluations", "#between", "code")
    table = _table("Every reason that was given, the heaviest first", heads, rows)
    return _card("", f"<details><summary>All {len(rows)} reasons of the session</summary>{table}</details>")


def evaluations(story: Story) -> str:
    """Every evaluation; of very many, where something changed."""
    events = story.events
    if len(events) > MAX_ROWS:
        every = -(-len(events) // (MAX_ROWS // 2))
        events = [e for i, e in enumerate(events) if i % every == 0 or e.decision.changed or e.is_final]
    rows = [
        (
            str(e.sequence), f"{e.observed_s:.1f} s", f"{e.scores.overall:.3f}", f"{e.scores.overall_anytime:.3f}",
            e.risk_level.replace("_", " "),
            words.ACTION[e.decision.action] + (", changed" if e.decision.changed else ""),
            text_of(e.decision.policy.rule), f"{100 * e.coverage:.0f} %", text_of(", ".join(_marks(e))),
        )
        for e in events
    ]  # fmt: skip
    heads = ("#evaluation", "#at", "#now", "#highest", "level", "decision", "rule", "#coverage", "marks")
    told = f"{len(rows)} of {len(story.events)} evaluations" if len(rows) < len(story.events) else "Every evaluation"
    table = _table(told, heads, rows)
    return _card("", f"<details><summary>All {len(story.events)} evaluations</summary>{table}</details>")


def _marks(event: RiskEvent) -> list[str]:
    names = ("is_final", "replayed", "redriven", "state_cold")
    found = [name.removeprefix("is_").replace("_", " ") for name in names if getattr(event, name)]
    return found + [f"{name} missing" for name in event.degraded]


def versions(story: Story) -> str:
    """What produced the evaluations, and where it changed."""
    from_last = story.versions[-1][0]
    rows = [(text_of(name), f"<code>{text_of(_short(value))}</code>") for name, value in versions_of(from_last).items()]
    text = _table("What produced the last evaluation: hashes, shortened", ("what", "version"), rows)
    for event, changed in story.versions[1:]:
        text += f'<p class="note">From evaluation {event.sequence} on: {text_of(", ".join(changed))} changed.</p>'
    return _card("Versions", text)


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 16 else text[:12]


def latency(story: Story) -> str:
    """How long the evaluations took."""
    rows = [(text_of(name), f"{median:.2f}", f"{most:.2f}") for name, (median, most) in story.latency_ms().items()]
    waits = sorted(max(0, e.scored_at - e.ingested_at) for e in story.events)
    rows.append(("appended to scored, by two clocks", f"{waits[len(waits) // 2]}", f"{waits[-1]}"))
    heads = ("stage", "#median", "#longest")
    return _card("Latency", _table(f"Milliseconds over {len(story.events)} evaluations", heads, rows))


def _score(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _card(title: str, body: str) -> str:
    head = f"<h2>{title}</h2>" if title else ""
    return f'<section class="card">{head}{body}</section>'


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], out: Sequence[int] = ()) -> str:
    """A table of cells that are HTML; heads that begin with `#` are of numbers. `out`: rows that are shown paler."""
    of_numbers = [head.startswith("#") for head in heads]
    top = "".join(
        f'<th scope="col"{" class=n" * number}>{head.lstrip("#")}</th>'
        for head, number in zip(heads, of_numbers, strict=True)
    )
    wide = ' class="wide"' * (len(heads) >= WIDE)
    body = []
    for i, row in enumerate(rows):
        cells = [
            f'<th scope="row"{" class=n" * of_numbers[0]}>{row[0]}</th>',
            *(f"<td{' class=n' * number}>{cell}</td>" for cell, number in zip(row[1:], of_numbers[1:], strict=True)),
        ]
        body.append(f"<tr{' class=out' * (i in out)}>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text_of(caption)}"><table{wide}>'
        f"<caption>{text_of(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )
