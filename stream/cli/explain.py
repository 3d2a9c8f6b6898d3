"""`tellwire explain SESSION`: why one session was judged as it was, for a reviewer: in the terminal, and as a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.config import AsJson, ConfigFile

if TYPE_CHECKING:
    from stream.explain.story import Story


def explain(
    session: Annotated[str, typer.Argument(help="Session to explain.", metavar="SESSION", show_default=False)],
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the page to this file (.html), readable for you alone.", metavar="FILE"),
    ] = None,
    from_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--from-file",
            help="Read JSON lines (.jsonl, .ndjson, also .gz) of risk events and telemetry instead of topics; may be "
            "repeated.",
            metavar="FILE",
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option(help="Look at risk events since then: 90s, 30m, 24h, 7d, or a time in UTC.", metavar="WHEN"),
    ] = "24h",
    every_partition: Annotated[
        bool,
        typer.Option("--every-partition", help="Look in all partitions: the producer places keys in its own way."),
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what was decided about a session and why: way, scores, reasons, signals, what was missing, versions.

    Reads risk events and the telemetry that they answer, from the topics or from files, and shows no more of a person
    than these events hold: references as their keyed hashes, the pointer's way, and what kinds of evidence there were.
    """
    import sys

    from rich.console import Console

    from stream.cli.failures import CommandError
    from stream.cli.files import check_out_file, held_in
    from stream.explain import terminal
    from stream.explain.story import story_of
    from stream.explain.trail import trail_of
    from stream.plain_text import printable

    _check_id(session)
    if out is not None:
        check_out_file(out, (".html", ".htm"))
    story = (
        story_of(held_in(from_file, session), session)
        if from_file
        else _from_topics(session, since, config, every_partition)
    )
    if story is None:
        where = "in these files" if from_file else f"on risk.events since {since}"
        hint = "" if from_file else "; look further back with --since, or in all partitions with --every-partition"
        msg = f"no risk event of session {printable(session)} is {where}{hint}"
        raise CommandError(msg)
    trail = trail_of(story.telemetry)
    if as_json:
        typer.echo(_json(story))
    else:
        console = Console()
        ascii_only = console.options.ascii_only
        for line in terminal.lines(story, trail, console.width, ascii_only=ascii_only):
            console.print(line, highlight=False, soft_wrap=not sys.stdout.isatty())
    if out is not None:
        from stream.explain.page import page

        _write(out, page(story, trail))
        typer.echo(f"{out} holds the page", err=True)


def _from_topics(session: str, since: str, config: Path | None, every_partition: bool) -> "Story | None":
    from stream import kafka_properties, session_log, settings_source
    from stream.cli.when import since_ms
    from stream.explain.story import story_of

    from_ms = since_ms(since)
    kafka = settings_source.load(config).kafka
    kafka_properties.check(kafka)
    properties = kafka_properties.consumer(kafka)
    events = list(session_log.events_since(properties, from_ms, session, everywhere=every_partition))
    return story_of([*events, *session_log.answered(properties, events)], session)


def _check_id(session: str) -> None:
    """Refuse what is no session's id anywhere, before anything is read. Raises UsageError."""
    import msgspec

    from schemas.base import MAX_ID_CHARS, Id
    from stream.cli.failures import UsageError
    from stream.plain_text import printable

    try:
        session.encode()
        msgspec.convert(session, Id)
    except (UnicodeEncodeError, msgspec.ValidationError):
        shown = printable(session[:40]) + ("..." if len(session) > 40 else "")
        msg = f"'{shown}' is no session's id: these have 1 to {MAX_ID_CHARS} characters without control ones"
        raise UsageError(msg) from None


def _write(out: Path, text: str) -> None:
    """Write beside it, then take its name: who looks at the old page sees all of it until then. Raises CommandError."""
    import os

    from stream.cli.failures import CommandError

    beside = out.with_name(f".tellwire-{os.getpid()}.html")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(out)
    except OSError as error:
        beside.unlink(missing_ok=True)
        msg = f"{out} could not be written: {error.strerror}"
        raise CommandError(msg) from None


def _json(story: "Story") -> str:
    """What the terminal shows, for programs; all ASCII."""
    import json

    import msgspec

    from models.reason_words import sentence

    last, deciding = story.last, story.deciding
    plain: Any = msgspec.to_builtins
    found = {
        "session_id": last.session_id,
        "flow": last.flow,
        "tenant": last.tenant,
        "decision": plain(last.decision),
        "risk_score": last.risk_score,
        "risk_level": last.risk_level,
        "evaluations": len(story.events),
        "missing_evaluations": story.missing_sequences,
        "repeats": story.repeats,
        "observed_s": last.observed_s,
        "is_final": last.is_final,
        "timeline": [
            {
                "sequence": e.sequence, "observed_s": e.observed_s, "overall": e.scores.overall,
                "overall_anytime": e.scores.overall_anytime, "action": e.decision.action,
                "rule": e.decision.policy.rule,
            }
            for e in story.events
        ],
        "reasons_at": deciding.sequence,
        "reasons": [{**plain(r), "sentence": sentence(r)} for r in deciding.reasons],
        "signals": {s.name: {**plain(s.value), "first_s": s.first_s} for s in story.signals},
        "scores": plain(last.scores),
        "coverage": last.coverage,
        "missing_signals": last.missing_signals,
        "degraded": story.degraded,
        "versions": plain(last.versions),
        "version_changes": [{"sequence": e.sequence, "changed": names} for e, names in story.versions[1:]],
        "telemetry_events": len(story.telemetry),
    }  # fmt: skip
    return json.dumps(found, indent=2)
