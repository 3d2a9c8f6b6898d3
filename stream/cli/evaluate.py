"""`tellwire evaluate`: what the models can and cannot do, on people, bots and recorders left out of training."""

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.config import AsJson
from stream.cli.data import DataFolder, check_out_folder, data_folder, writing


def evaluate(
    data: DataFolder = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Documentation folder: writes reference/detection.md and its plots.", metavar="DIR"),
    ] = None,
    cards: Annotated[
        Path | None, typer.Option("--cards", help="Folder to write the model cards to.", metavar="DIR")
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            help="Upstream results of known truth, one a line: tells their errors (APCER, BPCER, FMR, FNMR), no more.",
            metavar="FILE",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A sixth of the data, few rounds: shows that evaluation works; not for use.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate with people, bot families and whole sources left out; print, and write the report with its plots."""
    import msgspec

    from models.dataset import DatasetError
    from stream.cli.failures import CommandError
    from stream.cli.progress import steps

    if results is not None:
        _of_results(results, as_json=as_json)
        return
    folder = data_folder(data)
    for wanted in (out, cards):
        if wanted is not None:
            check_out_folder(wanted)

    # They import the compiled kernels, which takes seconds: after what can be wrong before.
    from models import evaluate as evaluation
    from models.evaluate_report import markdown, write_cards, write_report

    try:
        with steps("evaluating") as tell:
            result = evaluation.evaluate(folder, evaluation.EvaluateSettings(quick=quick), tell)
    except DatasetError as error:
        raise CommandError(str(error)) from error
    if out is not None:
        with writing(out):
            write_report(result, out)
    if cards is not None:
        with writing(cards):
            write_cards(result, cards)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(result.summary), indent=2).decode())
    else:
        typer.echo(markdown(result.summary, plots=False))


def _of_results(path: Path, *, as_json: bool) -> None:
    """Tell the errors of upstream results. Raises UsageError, CommandError."""
    import msgspec

    from models.dataset import DatasetError
    from models.evaluate_results import errors_of, read_known, table
    from stream.cli.failures import CommandError, UsageError

    try:
        found = errors_of(read_known(path))
    except OSError as error:
        msg = f"--results: {path} cannot be read: {error.strerror}"
        raise UsageError(msg) from None
    except DatasetError as error:
        raise UsageError(str(error)) from None
    if not found:
        msg = f"{path} holds no result about a capture: kinds such as pad, injection, liveness or face_match_1to1"
        raise CommandError(msg)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        typer.echo("\n".join(table(found)))
