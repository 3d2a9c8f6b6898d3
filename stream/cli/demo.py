"""`tellwire demo`: the whole pipeline on this machine, with traffic, seen live."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1.0, help="Length of the traffic, s; by default about 60, so that all is over in two minutes."
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=500.0, help="New sessions a second.")] = 10.0,
    bot_ratio: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of bots among them.")] = 0.35,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Serve a page on 127.0.0.1, to see your own session scored.")
    ] = True,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Port of the page on 127.0.0.1; by default 8471, or any free one."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulation: the same seed, the same sessions.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Stay up until Ctrl-C.")] = False,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Use this Kafka broker (host:port); other workers there score the traffic, too."
        ),
    ] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="Use this Redis or Valkey instead of the embedded one.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, metavar="DIR", help="Play the recorded sessions of a folder instead."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print addresses, events and summary as JSON lines.")] = False,
) -> None:
    """Run the whole pipeline here, send it simulated people and bots, and watch what it makes of them.

    Starts an embedded broker and store, a worker, the learner, a gateway with a page to try it on yourself, and a
    traffic generator, all on this machine. In a terminal it stays up with the page; otherwise, and with --no-page or
    --seconds, it stops by itself.
    """
    from rich.console import Console

    class Pipe(Console):
        """A console that tells of a reader who went away as everything else does."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    from stream.cli.data import data_folder
    from stream.cli.failures import CommandError
    from stream.demo.children import DemoError
    from stream.demo.parts import Choice
    from stream.demo.run import Demo

    if data is not None:
        data_folder(data)
    if redis is not None:
        _check_url(redis)
    choice = Choice(
        seconds=seconds,
        rate=rate,
        seed=seed,
        bot_ratio=bot_ratio,
        keep=keep,
        broker=broker,
        redis=redis,
        data=data,
        as_json=as_json,
        page=page,
        port=port,
    )
    try:
        code = Demo(choice, Pipe()).run()
    except DemoError as error:
        raise CommandError(str(error)) from None
    raise typer.Exit(code)


def _check_url(redis: str) -> None:
    """Refuse what is no URL of a store, before anything is started. Raises UsageError."""
    from stream.cli.failures import UsageError
    from stream.state import ConnectionOptions, StoreError

    try:
        ConnectionOptions(url=redis).arguments()
    except StoreError as error:
        msg = f"--redis: {error}"
        raise UsageError(msg) from None
