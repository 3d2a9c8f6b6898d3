"""`tellwire redteam`: attack the whole pipeline on this machine, and tell what found it, and after how long."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream.redteam.run import Trial


def redteam(
    *,
    sessions: Annotated[int, typer.Option(min=1, max=1_000, help="Sessions of each attack.")] = 3,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Attacks or groups to run; again for more. All by default.", metavar="NAME"),
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, max=32, help="Browsers at work at once.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that attackers draw.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of recorded sessions, for replays; else shared/data.", metavar="DIR"),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option("--recordings", help="Folder in which raw telemetry and results are kept.", metavar="DIR"),
    ] = None,
    join: Annotated[
        list[Path] | None,
        typer.Option(
            "--join", help="Run nothing: one report of recorded runs of one build; again for each.", metavar="DIR"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Documentation folder: writes reference/red-team.md.", metavar="DIR"),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Say which attacks there are, and what is missing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each session as a JSON line, not the report.")] = False,
) -> None:
    """Attack a pipeline that is started here with driven browsers and forged telemetry, and report what was found.

    Nothing but this machine is attacked, and nothing leaves it. Attackers that are not installed are named with the
    command that installs them.
    """
    import time

    from rich.console import Console

    from stream.cli.data import check_out_folder, writing
    from stream.cli.failures import CommandError, UsageError
    from stream.cli.progress import steps
    from stream.demo.children import DemoError
    from stream.redteam import session

    if join:
        _tell(*_joined(join), out, as_json=as_json)
        return
    try:
        chosen = session.choose(only or [])
    except ValueError as error:
        raise UsageError(str(error)) from None
    folder = _data_folder(data)
    tools = session.Tools()
    missing = session.missing(chosen, tools, folder)
    if listing:
        for attack in chosen:
            state = missing.get(attack.name, "ready")
            typer.echo(f"{attack.name:34} {attack.group:12} {attack.side:12} {state}")
        return
    for wanted in filter(None, (recordings, out)):
        check_out_folder(wanted)
    said = Console(stderr=True)
    for name, why in missing.items():
        said.print(f"not run: {name} ({why})", markup=False, highlight=False, soft_wrap=True)
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    plan = session.Plan(
        chosen=chosen, missing=missing, sessions=sessions, at_once=at_once, seed=seed, data=folder,
        recordings=None if recordings is None else (recordings, name),
    )  # fmt: skip
    try:
        with steps("red team") as tell, writing(recordings or Path()):
            page, trials = session.run(plan, tools, tell)
    except DemoError as error:
        raise CommandError(str(error)) from None
    _tell(page, trials, out, as_json=as_json)


def _joined(folders: list[Path]) -> "tuple[str, list[Trial]]":
    """The report of recorded runs. Raises UsageError."""
    from stream.cli.failures import UsageError
    from stream.redteam.joined import joined

    try:
        return joined(folders)
    except OSError as error:
        msg = f"--join: {error.filename}: {error.strerror}"
        raise UsageError(msg) from None
    except ValueError as error:
        msg = f"--join: {error}"
        raise UsageError(msg) from None


def _tell(page: str, trials: "list[Trial]", out: Path | None, *, as_json: bool) -> None:
    """Write the page where that was asked for, and print it or the sessions."""
    from stream.cli.data import writing
    from stream.redteam import session

    if out is not None:
        with writing(out):
            target = out / "reference" / "red-team.md"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(page, encoding="utf-8")
    typer.echo(session.json_lines(trials) if as_json else page)


def _data_folder(given: Path | None) -> Path | None:
    """The folder of recorded sessions; None where none was given and there is none. Raises UsageError."""
    from stream.cli.data import data_folder
    from stream.cli.failures import UsageError

    try:
        return data_folder(given)
    except UsageError:
        if given is not None:
            raise
        return None
