"""`tellwire topics diff|apply`: the broker's topics against the table of topics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.config import AsJson, ConfigFile

if TYPE_CHECKING:
    from stream.topics import Difference

app = typer.Typer(help="Topics on the broker against the table of topics.", no_args_is_help=True)


@app.command("diff")
def diff(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what is missing or differs; exit 1 when anything does."""
    from stream import kafka_properties, settings
    from stream import topics as broker_topics

    differences = broker_topics.diff(kafka_properties.common(settings.load(config).kafka))
    _print(differences, "differs", as_json=as_json)
    if differences:
        raise typer.Exit(1)


@app.command("apply")
def apply(
    config: ConfigFile = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of new telemetry, risk and feature topics.")
    ] = None,
    replication_factor: Annotated[
        int, typer.Option(help="Copies of each new partition; -1: the broker's default.")
    ] = -1,
    as_json: AsJson = False,
) -> None:
    """Create what is missing and mend configurations; never changes a partition count."""
    from stream import kafka_properties, settings
    from stream import topics as broker_topics

    properties = kafka_properties.common(settings.load(config).kafka)
    mended = broker_topics.apply(properties, partitions=partitions, replication_factor=replication_factor)
    _print(mended, "was", as_json=as_json)
    left = broker_topics.diff(properties)
    if left:
        if not as_json:
            typer.echo("not mended, needs a drain and a person:", err=True)
            _print(left, "differs", as_json=False)
        raise typer.Exit(1)


def _print(differences: "Sequence[Difference]", word: str, *, as_json: bool) -> None:
    from dataclasses import asdict

    import orjson

    if as_json:
        typer.echo(orjson.dumps([asdict(d) for d in differences], option=orjson.OPT_INDENT_2).decode())
    elif not differences:
        typer.echo("all topics are as they should be")
    else:
        for d in differences:
            typer.echo(f"{d.topic}: {d.what} {word} {d.found}, wanted {d.wanted}")
