"""`tellwire topics diff|apply`: the broker's topics against the table of topics."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.config import AsJson, ConfigFile

if TYPE_CHECKING:
    from stream.topics import Difference


app = typer.Typer(help="Topics on the broker against the table of topics.", no_args_is_help=True)


@app.command("diff")
def diff(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what is missing or differs; exit 1 when anything does."""
    from stream import kafka_properties, settings_source
    from stream import topics as broker_topics

    differences = broker_topics.diff(kafka_properties.common(settings_source.load(config).kafka))
    _print(differences, "differs", as_json=as_json)
    if differences:
        raise typer.Exit(1)


@app.command("apply")
def apply(
    config: ConfigFile = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Partitions of new telemetry, risk and feature topics.")
    ] = None,
    replication_factor: Annotated[
        int, typer.Option(min=-1, max=10_000, help="Copies of each new partition; -1: the broker's default.")
    ] = -1,
    as_json: AsJson = False,
) -> None:
    """Create what is missing and mend configurations; never changes a partition count."""
    from schemas.topics import TELEMETRY_TOPIC
    from stream import kafka_properties, settings_source
    from stream import topics as broker_topics

    if replication_factor == 0:
        msg = "a partition has at least one copy; -1: the broker's default"
        raise typer.BadParameter(msg, param_hint="--replication-factor")
    properties = kafka_properties.common(settings_source.load(config).kafka)
    mended = broker_topics.apply(properties, partitions=partitions, replication_factor=replication_factor)
    if partitions is not None and not any(d.what == "topic" and d.topic == TELEMETRY_TOPIC for d in mended):
        typer.echo(
            f"{TELEMETRY_TOPIC} is there already and its partition count holds: --partitions was ignored", err=True
        )
    left = broker_topics.diff(properties)
    if as_json:
        _print_json({"mended": [asdict(d) for d in mended], "left": [asdict(d) for d in left]})
    else:
        _print(mended, "was", as_json=False)
        if left:
            typer.echo("not mended, needs a drain and a person:", err=True)
            _print(left, "differs", as_json=False)
    if left:
        raise typer.Exit(1)


def _print_json(value: object) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _print(differences: "Sequence[Difference]", word: str, *, as_json: bool) -> None:
    if as_json:
        _print_json([asdict(d) for d in differences])
    elif not differences:
        typer.echo("all topics are as they should be")
    else:
        for d in differences:
            typer.echo(f"{d.topic}: {d.what} {word} {d.found}, wanted {d.wanted}")
