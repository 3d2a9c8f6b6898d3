"""The page: one self-contained HTML file about one session. It asks nothing of any network and has no script."""

import importlib.resources
from collections.abc import Iterable
from typing import Final

from models.reason_words import evidence, innocent_cause, sentence
from schemas.risk import Reason
from stream import __version__
from stream.explain import tables, words
from stream.explain.story import Story
from stream.explain.svg import SLICES, text_of, timeline_svg, trail_svg
from stream.explain.trail import Trail, length_px

_FOOTER: Final = (
    "High is risk, 0 to 1. A score is the share of people below it: 0.95 means that 5 % of people come as far, however "
    "often they are looked at. Weights are shares of one channel's evidence. All that stands here is from the "
    "session's risk events and the telemetry that they answer."
)
CSP: Final = "default-src 'none'; style-src 'unsafe-inline'"


def page(story: Story, trail: Trail) -> str:
    """The whole HTML document."""
    last = story.last
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{CSP}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'
        f"<title>Session {text_of(last.session_id)}: "
        f"{words.ACTION[last.decision.action]}</title><style>{_css()}</style></head><body>"
    )
    body = [
        f"<header><h1>Session <code>{text_of(last.session_id)}</code></h1>{_verdict(story)}</header><main>",
        _notes(story),
        f'<div class="grid">{_way(story, trail)}{_over_time(story)}</div>',
        _drove(story),
        tables.channels(story),
        tables.signals(story),
        f'<div class="grid">{tables.coverage(story)}{tables.counters(story)}</div>',
        tables.upstream(story),
        tables.all_reasons(story),
        tables.evaluations(story),
        f'<div class="grid">{tables.versions(story)}{tables.latency(story)}</div></main>',
        f"<footer><p>{_FOOTER} Written by tellwire {__version__}.</p></footer></body></html>\n",
    ]
    return head + "\n".join(part for part in body if part)


def _css() -> str:
    return (importlib.resources.files("stream.explain") / "page.css").read_text(encoding="utf-8")


def _verdict(story: Story) -> str:
    last, action = story.last, story.last.decision.action
    turn = story.turns[-1].event
    said = f"{words.ACTION_MEANINGS.get(action, action)}: {words.rule_words(turn.decision.policy.rule)}"
    when = (
        f" Decided {turn.observed_s:.1f} s into the session, at evaluation {turn.sequence}."
        if action != "allow"
        else ""
    )
    methods = ", ".join(
        f"{m.replace('_', ' ')} ({words.METHODS.get(m, '')})" for m in last.decision.step_up_methods or []
    )
    mode = last.decision.policy.mode
    facts = [
        (
            "risk",
            f"{last.risk_score} of 100, {last.risk_level.replace('_', ' ')}: {words.LEVELS.get(last.risk_level, '')}",
        ),
        ("flow", last.flow.replace("_", " ")),
        ("tenant", last.tenant),
        ("began", words.time_of(story.events[0].effective_at)),
        (
            "observed",
            f"{last.observed_s:.1f} s, {len(story.events)} evaluations{'' if last.is_final else ', no end seen'}",
        ),
        ("policy", f"{last.decision.policy.id} {last.decision.policy.revision[:12]}, {words.MODES.get(mode, mode)}"),
        ("account", last.account_ref or "none"),
        ("device", last.device_ref or "none"),
    ]
    listed = "".join(f"<div><dt>{name}</dt><dd>{text_of(value)}</dd></div>" for name, value in facts)
    asked = f'<p class="small soft">Suitable methods, best first: {text_of(methods)}.</p>' if methods else ""
    return (
        f'<section class="card verdict {action}" aria-label="Decision">'
        f'<div class="action {action}">{words.ACTION[action]}</div>'
        f'<div class="why"><p>{text_of(said[:1].upper() + said[1:])}.{when}</p>{asked}</div>'
        f'<dl class="facts" style="flex-basis:100%">{listed}</dl></section>'
    )


def _notes(story: Story) -> str:
    """What a reader must know before believing the rest."""
    last = story.last
    said = []
    if last.decision.policy.mode != "live":
        said.append(f"The policy is in mode {last.decision.policy.mode}: this decision is not enforced.")
    if last.state_cold:
        said.append("The session's beginning was lost: its scores rest on what was seen since.")
    if (gaps := story.missing_sequences) or story.left_out:
        beyond = f"{story.left_out} later evaluations are left out. " if story.left_out else ""
        said.append(beyond + (f"Evaluations {words.ranges(gaps)} are not among the records read." if gaps else ""))
    if not story.telemetry:
        said.append("The telemetry itself was not found (any more): there is no way of the pointer to show.")
    for name, count in sorted(story.degraded.items()):
        said.append(f"{name} was missing while scoring in {count} of {len(story.events)} evaluations.")
    return "".join(f'<p class="note">{text_of(line)}</p>' for line in said)


def _way(story: Story, trail: Trail) -> str:
    if not trail.lines:
        told = "No pointer or touch samples were seen." if story.telemetry else "Not found."
        return f'<section class="card"><h2>The pointer\'s way</h2><p class="soft">{told}</p></section>'
    ramp = "".join(f'<b class="s{number}"></b>' for number in range(SLICES))
    flags = "<span>▽ numbered: the decision changed</span>" if len(story.turns) > 1 else ""
    return (
        f'<section class="card"><h2>The pointer\'s way</h2>{trail_svg(trail, story)}<div class="key">'
        f'<span>from first <span class="ramp">{ramp}</span> to last</span><span>▲ begin ■ end ◯ press</span>'
        f"{flags}<span>{trail.samples} samples, {length_px(trail):.0f} px of way</span></div></section>"
    )


def _over_time(story: Story) -> str:
    turns = "".join(
        f"<li><strong>{number}. {words.ACTION[turn.action]}</strong> at {turn.event.observed_s:.1f} s, overall "
        f"{turn.event.scores.overall_anytime:.3f}: {text_of(words.rule_words(turn.event.decision.policy.rule))}</li>"
        for number, turn in enumerate(story.turns[1:], start=1)
    )
    listed = f'<ol class="turns">{turns}</ol>' if turns else '<p class="small soft">The decision never changed.</p>'
    return (
        f'<section class="card"><h2>Scores and decisions</h2>{timeline_svg(story)}'
        '<p class="small soft">Any-time scores: the highest so far, ranked among people with as much evidence. '
        f"Decisions rest on them.</p>{listed}</section>"
    )


def _drove(story: Story) -> str:
    event = story.deciding
    risk = [r for r in event.reasons if r.polarity == "risk"]
    trust = [r for r in event.reasons if r.polarity == "trust"]
    what = "What drove the decision" if event.decision.action != "allow" else "What was seen"
    none = "" if event.reasons else (
        '<p class="soft">No reason is given: reasons of models are written from a medium risk on, and at the end of a '
        "session.</p>"
    )  # fmt: skip
    return (
        f'<section class="card"><h2>{what}</h2><p class="small soft">At evaluation {event.sequence}, '
        f"{event.observed_s:.1f} s into the session, the heaviest first.</p>{none}"
        f'<div class="grid"><div><h3>Speaks for risk</h3>{_reasons(risk, "risk")}</div>'
        f"<div><h3>Speaks for a person</h3>{_reasons(trust, 'trust')}</div></div></section>"
    )


def _reasons(reasons: Iterable[Reason], side: str) -> str:
    items = []
    for reason in sorted(reasons, key=lambda r: (-r.weight, r.code)):
        seen, excuse = evidence(reason), innocent_cause(reason.code)
        more = f"{text_of(seen)}<br>" if seen else ""
        more += f"May also be: {text_of(excuse)}.<br>" if excuse else ""
        severity = f'<span class="chip {reason.severity}">{reason.severity}</span>' if reason.severity else ""
        items.append(
            f"<li><strong>{text_of(sentence(reason))}</strong>"
            f'<div class="meter" aria-hidden="true"><i><b style="width:{100 * reason.weight:.0f}%"></b></i>'
            f'<span>{reason.weight:.2f}</span></div><div class="small soft">{more}</div>'
            f'{severity}<span class="chip">{reason.channel} channel</span><span class="chip">'
            f"{text_of(words.BASIS.get(reason.basis, reason.basis))}</span> <code>{text_of(reason.code)}</code>"
            f'<span class="sr"> weight {reason.weight:.2f}</span></li>'
        )
    return f'<ul class="reasons {side}">{"".join(items)}</ul>' if items else '<p class="soft">Nothing.</p>'
