"""How dead letters are told: as tables for people and as JSON for programs, with everything from outside escaped."""

import base64
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import typer
from confluent_kafka import Message

from schemas.meanings import REASONS
from stream.cli.listing import Listing
from stream.dead_letter_index import DeadLetter, DeadLetterIndex, Filter, Group, Known
from stream.origin import without_origin
from stream.plain_text import escaped, printable
from stream.records import place
from stream.redrive import Outcome
from stream.transport.headers import headers_of

SHOWN_BYTES: Final = 16_384
"""Most of a value that a terminal gets; `--save` and `--json` give all of it."""
NAMED: Final = 10
"""Ids that are named for each kind of failure."""
NAME_CHARS: Final = 40
"""Most of a reason or topic that a table shows; `show` has all of it."""
SENSITIVE: Final = "What follows came from outside and may be personal data: keep it out of tickets and chats."

Json = dict[str, Any]


def listed(found: DeadLetterIndex, chosen: Filter, limit: int) -> Json:
    """Return the counts and the latest dead letters as JSON."""
    records, waiting = _totals(found, chosen)
    groups: tuple[Group, ...] = ("reason", "topic", "place")
    by_reason, by_topic, by_place = ({one.name: one.records for one in found.counts(by, chosen)} for by in groups)
    return {
        "records": records,
        "waiting": waiting,
        "redriven": records - waiting,
        "repeats": found.repeats(chosen),
        "unreadable": found.unreadable_total,
        "by_reason": by_reason,
        "by_topic": by_topic,
        "by_partition": by_place,
        "latest": [
            _entry(one.letter) | {"state": _state(one)} for one in found.records(chosen, "latest", limit) if limit
        ],
    }


def print_list(found: DeadLetterIndex, chosen: Filter, limit: int) -> None:
    """Print the counts and the latest dead letters as tables."""
    records, waiting = _totals(found, chosen)
    if records:
        _print_counts(found, chosen)
    if records and limit:
        typer.echo()
        table = Listing("id", "offset", "bytes", "tries", "given up", "state", "reason and path")
        for one in sorted(found.records(chosen, "latest", limit), key=lambda one: _input(one.letter)):
            letter = one.letter
            table.add(
                _short(_input(letter)),
                letter.id,
                str(letter.source[3]),
                str(letter.size_bytes),
                str(letter.attempts),
                _time(letter.time_ms),
                _state(one),
                f"{_short(letter.reason)} at {printable(letter.path)}",
            )
        table.print()
        typer.echo()
    named = f"; the latest {limit} are named" if records > limit > 0 else ""
    typer.echo(f"{_records(records)} in the dead letters, {waiting} waiting{named}.")
    if found.unreadable_total:
        count = found.unreadable_total
        which = "record there is" if count == 1 else "records there are"
        typer.echo(f"{count} more {which} not from a worker, and not counted.", err=True)


def _totals(found: DeadLetterIndex, chosen: Filter) -> tuple[int, int]:
    """Return how many records are meant, and how many of them wait."""
    counts = found.counts("topic", chosen)
    return sum(one.records for one in counts), sum(one.waiting for one in counts)


def _print_counts(found: DeadLetterIndex, chosen: Filter) -> None:
    counts = Listing("what", "records", "waiting", "meaning")
    groups: tuple[tuple[str, Group], ...] = (("by reason", "reason"), ("by topic", "topic"), ("by partition", "place"))
    for heading, by in groups:
        for name, records, waiting in found.counts(by, chosen):
            meaning = REASONS.get(name, "") if by == "reason" else ""  # type: ignore[call-overload]
            counts.add(f"[{heading}]", _short(name), str(records), str(waiting), meaning.replace("`", ""))
    counts.print()


def shown(letter: DeadLetter, record: Message, *, value: bool) -> Json:
    """Return one dead letter as JSON; with `value` also the bytes that came from outside."""
    own = without_origin(headers_of(record))
    key, content = record.key(), record.value()
    found = _entry(letter) | {
        "app_version": letter.app_version,
        "topic_id": letter.source[1],
        "appended": _time(letter.source_time_ms),
        "failed_again_at": None if letter.failed_at is None else f"{letter.failed_at[0]}:{letter.failed_at[1]}",
        "key_bytes": None if key is None else len(key),
        "own_headers": len(own),
    }
    if value:
        found["sensitive"] = {
            "key_base64": _base64(key),
            "value_base64": _base64(content),
            "own_headers": [{"name": name, "base64": _base64(each)} for name, each in own],
        }
    return found


def print_letter(letter: DeadLetter, record: Message, *, value: bool) -> None:
    """Print one dead letter; with `value` also the bytes that came from outside, escaped."""
    table = Listing("name", "value")
    meaning = REASONS.get(letter.reason, "not a reason that this version knows")  # type: ignore[call-overload]
    table.add("[why]", "reason", f"{printable(letter.reason)}: {meaning}".replace("`", ""))
    for name, text in (("path", letter.path), ("detail", letter.detail), ("version", letter.app_version)):
        table.add("[why]", name, printable(text))
    table.add("[why]", "tries", str(letter.attempts))
    table.add("[why]", "given up", _time(letter.time_ms))
    table.add("[input]", "place", f"{printable(_input(letter))} offset {letter.source[3]}")
    table.add("[input]", "topic id", printable(letter.source[1]))
    table.add("[input]", "appended", _time(letter.source_time_ms))
    if letter.failed_at is not None:
        table.add("[input]", "again at", f"partition {letter.failed_at[0]} offset {letter.failed_at[1]}, redriven")
    own = without_origin(headers_of(record))
    key, content = record.key(), record.value()
    kept = f", of which {len(content or b'')} were kept" if letter.truncated else ""
    table.add("[bytes]", "key", _size(key))
    table.add("[bytes]", "value", f"{_bytes(letter.size_bytes)}{kept}" if content is not None else _size(None))
    table.add("[bytes]", "own headers", str(len(own)))
    table.print()
    if not value:
        typer.echo("\nKey, value and own headers are not shown: they may be personal data. See --value and --save.")
        return
    typer.echo(f"\n{SENSITIVE}\n")
    for name, each in own:
        typer.echo(f"header {printable(name)}: {escaped(each)}")
    typer.echo(f"key: {'none' if key is None else escaped(key)}")
    typer.echo(f"value: {'none' if content is None else escaped(content[:SHOWN_BYTES])}")
    if content is not None and len(content) > SHOWN_BYTES:
        typer.echo(f"... and {len(content) - SHOWN_BYTES} bytes more; --save FILE keeps them all")


def print_plan(outcome: Outcome) -> None:
    """Print what would be sent, and what would not and why."""
    typer.echo(f"{_records(len(outcome.planned))} can be sent again")
    for letter in outcome.planned[:NAMED]:
        typer.echo(f"  {letter.id}  {_line(letter)}")
    if len(outcome.planned) > NAMED:
        typer.echo(f"  ... and {len(outcome.planned) - NAMED} more")
    if outcome.repeats_total:
        typer.echo(f"{outcome.repeats_total} further dead letters are repeats of chosen ones: each record is sent once")
    _print_whys("skipped", outcome.skipped)
    _print_whys("not sent", outcome.refused)


def print_sent(outcome: Outcome, told: int) -> None:
    """Print what was sent, and what was not and why; so many of the refused ones were told with the plan."""
    typer.echo(f"{_records(len(outcome.sent))} sent again")
    for letter, partition, offset in outcome.sent[:NAMED]:
        typer.echo(f"  {letter.id}  {_line(letter)} -> partition {partition} offset {offset}")
    if len(outcome.sent) > NAMED:
        typer.echo(f"  ... and {len(outcome.sent) - NAMED} more")
    _print_whys("failed", outcome.failed)
    refused = outcome.refused[told:]
    _print_whys("not sent", refused)
    left = len(outcome.planned) - len(outcome.sent) - len(outcome.failed) - len(refused)
    if left > 0:
        verb = "was" if left == 1 else "were"
        why = f"behind these {verb} not tried: mend the cause and" if outcome.failed else f"more {verb} not tried:"
        typer.echo(f"{left} {why} run it again")
    _print_whys("without a note", [(each, "a later run would send it again") for each in outcome.unnoted])


def redriven(outcome: Outcome, *, dry_run: bool) -> Json:
    """Return what became of each chosen dead letter as JSON."""
    return {
        "dry_run": dry_run,
        "planned": [_entry(letter) for letter in outcome.planned],
        "sent": [_entry(one) | {"to": {"partition": p, "offset": o}} for one, p, o in outcome.sent],
        "repeats": outcome.repeats_total,
        "unnoted": outcome.unnoted,
        **{
            name: [{"id": each, "why": why} for each, why in which]
            for name, which in (
                ("skipped", outcome.skipped),
                ("refused", outcome.refused),
                ("failed", outcome.failed),
            )
        },
    }


def _print_whys(what: str, which: Sequence[tuple[str, str]]) -> None:
    for why, count in _counted(why for _, why in which):
        ids = [each for each, said in which if said == why]
        more = f" and {count - NAMED} more" if count > NAMED else ""
        typer.echo(f"{count} {what}: {printable(why)} ({', '.join(ids[:NAMED])}{more})")


def _entry(letter: DeadLetter) -> Json:
    return {
        "id": letter.id,
        "topic": letter.source[0],
        "partition": letter.source[2],
        "offset": letter.source[3],
        "reason": letter.reason,
        "path": letter.path,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "time": _time(letter.time_ms),
        "size_bytes": letter.size_bytes,
        "truncated": letter.truncated,
    }


def _counted(names: Any) -> list[tuple[str, int]]:
    """Count, most first, equal counts by name."""
    return sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))


def _state(known: Known) -> str:
    return "redriven" if known.redriven else "waiting"


def _input(letter: DeadLetter) -> str:
    return place(letter.source[0], letter.source[2])


def _line(letter: DeadLetter) -> str:
    where = f"{_short(_input(letter))} offset {letter.source[3]}"
    return f"{where}: {_short(letter.reason)} at {printable(letter.path)}"


def _short(text: str) -> str:
    """Return a name for a table: what is no worker's may be long and must not widen the column for all."""
    shown = printable(text)
    return shown if len(shown) <= NAME_CHARS else f"{shown[: NAME_CHARS - 3]}..."


def _records(count: int) -> str:
    return f"{count} record{'s' if count != 1 else ''}"


def _size(content: bytes | None) -> str:
    return "none" if content is None else _bytes(len(content))


def _bytes(count: int) -> str:
    return f"{count} byte{'s' if count != 1 else ''}"


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _time(epoch_ms: int | None) -> str:
    if epoch_ms is None or not 0 <= epoch_ms < 253_402_300_800_000:
        return "unknown"
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
