"""`tellwire dlq list|show|redrive`: what could not be processed, why, and sending it again once the cause is mended.

Nothing of an input's bytes, key or own headers is printed, unless somebody asks for one record's by name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.config import AsJson, ConfigFile

if TYPE_CHECKING:
    from stream.redrive import Mend, Outcome, Redrive

app = typer.Typer(help="Dead letters: what could not be processed, and sending it again.", no_args_is_help=True)

Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="Only this reason; may be repeated.", metavar="CODE")
]
Partitions = Annotated[
    list[int] | None,
    typer.Option("--partition", min=0, help="Only this partition of the input; may be repeated."),
]
Since = Annotated[
    str | None,
    typer.Option(help="Only what was given up since then: 90s, 30m, 24h, 7d, or a time in UTC.", metavar="WHEN"),
]
DeadLetterId = Annotated[
    str, typer.Argument(help="The dead letter, as `tellwire dlq list` names it: partition:offset.", metavar="ID")
]


@app.command("list")
def list_dead_letters(
    reason: Reasons = None,
    partition: Partitions = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=0, max=10_000, help="How many of the latest are named.")] = 20,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Count input records that could not be processed, and name the latest; shows nothing of the input itself.

    A record counts once, however often it failed. `waiting`: not sent again yet, or failed again since.
    """
    from stream import dead_letter_log
    from stream.cli import dlq_report
    from stream.cli.when import since_ms
    from stream.dead_letter_index import Filter

    chosen, from_ms = Filter(_reasons(reason), partition or ()), since_ms(since) if since else None
    with dead_letter_log.read(_consumer(config), from_ms) as found:
        if as_json:
            _print_json(dlq_report.listed(found, chosen, limit))
        else:
            dlq_report.print_list(found, chosen, limit)


@app.command("show")
def show(
    dead_letter: DeadLetterId,
    value: Annotated[
        bool, typer.Option("--value", help="Show key, own headers and value too, escaped. They may be personal data.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the value's bytes to this new file, readable for you alone.", metavar="FILE"),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show why one record could not be processed; its bytes only when asked for."""
    from stream import dead_letter_log
    from stream.cli import dlq_report
    from stream.cli.failures import CommandError
    from stream.deadletter import DEADLETTER_TOPIC

    place = _place(dead_letter)
    properties = _consumer(config)
    record = dead_letter_log.fetch(properties, *place)
    letter = dead_letter_log.letter_of(record) if record is not None else None
    if record is None or letter is None:
        note = ", only a note of a redrive or what no worker wrote" if record is not None else " (any more)"
        msg = f"{DEADLETTER_TOPIC}: no dead letter is at {dead_letter}{note}; see `tellwire dlq list`"
        raise CommandError(msg)
    if save is not None:
        _save(save, record.value(), letter.truncated)
    if as_json:
        _print_json(dlq_report.shown(letter, record, value=value))
    else:
        dlq_report.print_letter(letter, record, value=value)
    if save is not None:
        typer.echo(f"{save} holds the value: {len(record.value() or b'')} bytes, which may be personal data", err=True)


@app.command("redrive")
def redrive(  # noqa: PLR0917 - typer calls it by name
    dead_letters: Annotated[
        list[str] | None, typer.Argument(help="Dead letters, as `tellwire dlq list` names them.", metavar="ID")
    ] = None,
    reason: Reasons = None,
    partition: Partitions = None,
    since: Since = None,
    every: Annotated[bool, typer.Option("--all", help="Every waiting dead letter.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Send at most so many, oldest first.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send without asking.")] = False,
    rate: Annotated[float, typer.Option(min=0.1, max=100_000, help="Records sent a second, at most.")] = 100.0,
    value_file: Annotated[
        Path | None, typer.Option(help="Send this mended record instead; with one ID only.", metavar="FILE")
    ] = None,
    key_from_value: Annotated[
        bool, typer.Option("--key-from-value", help="Take the key from the value's session_id.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was sent again before.")] = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Also what this version would refuse again, as far as it can tell.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, each to its own topic and partition, under the id that it first had.

    Asks before it sends. Each record is sent once, however often it is in the
    dead-letter topic, and a note of it is left there. Nothing is counted twice:
    what was scored all the same is filtered as a repeat.
    """
    from stream import dead_letter_log
    from stream.cli import dlq_report
    from stream.cli.when import since_ms
    from stream.redrive import Choice, Mend, Outcome, choose

    ids = list(dict.fromkeys(_place(text) for text in dead_letters or ()))
    _check_choice(ids, filtered=bool(reason or partition or since or every), value_file=value_file)
    choice = Choice(ids, _reasons(reason), partition or (), again)
    from_ms = since_ms(since) if since else None
    mend = Mend(_mended(value_file), key_from_value, checked=not unchecked)
    if as_json and not (yes or dry_run):
        raise _usage("--json asks nothing: give --yes to send, or --dry-run")
    properties = _consumer(config)
    run = _redrive(config, properties, mend)
    outcome = Outcome()
    with dead_letter_log.read(properties, from_ms, ids) as found:
        run.plan(choose(found, choice, outcome), outcome, limit)
    if not as_json:
        dlq_report.print_plan(outcome)
    sending, told = bool(outcome.planned) and not dry_run, len(outcome.refused)
    if sending and not yes:
        _confirm(len(outcome.planned))
    try:
        if sending:
            _send(run, outcome, rate)
    finally:
        # Also where it is interrupted, or the broker goes away: what was sent by then is told.
        if as_json:
            _print_json(dlq_report.redriven(outcome, dry_run=dry_run))
        elif sending:
            dlq_report.print_sent(outcome, told)
        else:
            typer.echo("dry run: nothing was sent" if dry_run else "nothing was sent")
    if outcome.refused or outcome.failed or outcome.unnoted:
        raise typer.Exit(1)


def _send(run: "Redrive", outcome: "Outcome", rate: float) -> None:
    import time

    from stream.cli.progress import bar

    with bar("sending", len(outcome.planned)) as advance:
        run.send(
            outcome.planned, outcome, records_per_s=rate, now_ms=lambda: time.time_ns() // 1_000_000, advance=advance
        )


def _redrive(config: Path | None, properties: dict[str, Any], mend: "Mend") -> "Redrive":
    from stream import kafka_properties, settings_source, topics
    from stream.redrive import DECODERS, Redrive

    kafka = settings_source.load(config).kafka
    common = kafka_properties.common(kafka)
    counts = topics.partition_counts(common, list(DECODERS))
    fixed = kafka.fixed_topic_id
    ids = {name: f"{fixed}-{name}" for name in counts} if fixed else topics.topic_ids(common, list(counts))
    return Redrive(
        consumer_properties=properties,
        producer_properties=kafka_properties.producer(kafka),
        topic_ids=ids,
        partition_counts=counts,
        mend=mend,
    )


def _consumer(config: Path | None) -> dict[str, Any]:
    """Return the properties to read with. Raises SettingsError."""
    from stream import kafka_properties, settings_source

    kafka = settings_source.load(config).kafka
    kafka_properties.check(kafka)
    return kafka_properties.consumer(kafka)


def _check_choice(ids: Sequence[tuple[int, int]], *, filtered: bool, value_file: Path | None) -> None:
    if ids and filtered:
        raise _usage("give IDs, or filters (--reason, --partition, --since, --all), not both")
    if not ids and not filtered:
        raise _usage("nothing was chosen: give IDs, a filter (--reason, --partition, --since), or --all")
    if value_file is not None and len(ids) != 1:
        raise _usage("--value-file mends one record: give just its ID")


def _confirm(count: int) -> None:
    import sys

    from stream.cli.failures import CommandError, agreed

    if not sys.stdin.isatty():
        raise _usage("nothing was sent: give --yes to send without being asked, or --dry-run")
    if not agreed(f"Send {count} record{'s' if count != 1 else ''} again?"):
        msg = "nothing was sent"
        raise CommandError(msg)


def _mended(file: Path | None) -> bytes | None:
    from schemas.topics import MAX_RECORD_BYTES

    if file is None:
        return None
    try:
        if not file.is_file():
            raise _usage(f"{file}: {'not a regular file' if file.exists() else 'not found'}")
        if file.stat().st_size > MAX_RECORD_BYTES:
            raise _usage(f"{file} is larger than a record may be ({MAX_RECORD_BYTES} bytes)")
        return file.read_bytes()
    except OSError as error:
        raise _usage(f"{file}: {error.strerror}") from None


def _save(file: Path, value: bytes | None, truncated: bool) -> None:
    import os

    from stream.cli.failures import CommandError

    if value is None:
        raise _usage("the record has no value (a tombstone): there is nothing to save")
    if truncated:
        typer.echo("only the beginning of the value was kept; that is what is saved", err=True)
    try:
        out = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        raise _usage(f"{file} is there already: give another name") from None
    except OSError as error:
        raise _usage(f"{file}: {error.strerror}") from None
    try:
        with out:
            out.write(value)
    except OSError as error:
        # A part of a record must not be taken for the whole.
        file.unlink(missing_ok=True)
        msg = f"{file} could not be written: {error.strerror}"
        raise CommandError(msg) from None


def _place(text: str) -> tuple[int, int]:
    from stream.origin import MAX_OFFSET, MAX_PARTITION, number

    partition, colon, offset = text.partition(":")
    found = number(partition.encode(), MAX_PARTITION), number(offset.encode(), MAX_OFFSET)
    if not colon or found[0] is None or found[1] is None:
        msg = "an ID is partition:offset in risk.deadletter, such as 0:17; `tellwire dlq list` names them"
        raise typer.BadParameter(msg, param_hint="ID")
    return found[0], found[1]


def _reasons(given: Sequence[str] | None) -> Sequence[str]:
    from schemas.deadletter import DeadLetterReason

    unknown = sorted(set(given or ()) - set(DeadLetterReason))
    if unknown:
        msg = f"no such reason: {', '.join(unknown)}; there are {', '.join(DeadLetterReason)}"
        raise typer.BadParameter(msg, param_hint="--reason")
    return given or ()


def _usage(line: str) -> Exception:
    from stream.cli.failures import UsageError

    return UsageError(line)


def _print_json(value: object) -> None:
    import json

    # All ASCII: what came from outside may hold characters that steer a terminal, and not all of them are below U+0020.
    typer.echo(json.dumps(value, indent=2))
