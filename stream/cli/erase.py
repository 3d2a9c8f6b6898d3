"""`tellwire erase`: asks the workers to forget one session."""

import sys
from typing import Annotated

import typer

from stream.cli.config import AsJson, ConfigFile


def erase(
    session_id: Annotated[str, typer.Argument(help="Session to forget.", show_default=False, metavar="SESSION_ID")],
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant of the session; another's is refused.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget the state of one session: puts an erasure into the log, behind the session's records, for its worker.

    What it removes, what runs out by itself, what it can't remove:
    docs/how-to/erase-a-session.md.
    """
    import time

    import orjson

    from stream import erasure, kafka_properties, settings_source
    from stream.cli.failures import CommandError, UsageError, agreed

    loaded = settings_source.load(config)
    kafka_properties.check(loaded.kafka)
    try:
        made = erasure.make(session_id, tenant, time.time_ns() // 1_000_000)
    except erasure.InvalidErasure as error:
        raise UsageError(str(error)) from None
    if not yes:
        if not sys.stdin.isatty():
            msg = "nobody can be asked here: give --yes to erase without a question"
            raise UsageError(msg)
        if not agreed("Forget this session's state? It can't be brought back."):
            msg = "nothing was erased"
            raise CommandError(msg)
    place = erasure.put(kafka_properties.producer(loaded.kafka), made)
    if as_json:
        found = {"event_id": made.event_id, **place._asdict()}
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(
        f"asked for at {place.topic}[{place.partition}] offset {place.offset}; the state is gone once group "
        f"{loaded.kafka.group} has committed beyond it"
    )
