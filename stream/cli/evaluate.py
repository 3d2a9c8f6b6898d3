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
