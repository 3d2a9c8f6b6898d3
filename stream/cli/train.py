"""`tellwire train`: makes the artefacts that ship, byte for byte, from the sources that may be shipped."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.config import AsJson
from stream.cli.data import DataFolder, check_out_folder, data_folder, writing

if TYPE_CHECKING:
    from models.train import TrainReport


def train(
    data: DataFolder = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the artefacts to.", metavar="DIR")] = Path(
        "artifacts"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Fail unless the result equals the shipped artefacts byte for byte.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A sixth of the data, few rounds: shows that training works; not for use.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train the models, calibrate them on people that they never saw, and write artefacts with their manifest."""
    import msgspec

    from models.dataset import DatasetError
    from stream.cli.failures import CommandError
    from stream.cli.progress import steps

    if check and quick:
        msg = "a quick run makes other artefacts than the shipped ones"
        raise typer.BadParameter(msg, param_hint="--check")
    folder = data_folder(data)
    check_out_folder(out)

    # They import the compiled kernels, which takes seconds: after what can be wrong before.
    from models import train as training
    from models.artifact import shipped_directory

    settings = training.TrainSettings()
    try:
        with writing(out), steps("training") as tell:
            report = training.train(folder, out, training.quick(settings) if quick else settings, tell)
    except DatasetError as error:
        raise CommandError(str(error)) from error
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        _show(report)
    if check:
        shipped = training.hashes(shipped_directory())
        differing = sorted(name for name in shipped | report.files if shipped.get(name) != report.files.get(name))
        if differing:
            versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
            msg = f"differs from what ships: {', '.join(differing)} (trained with {versions})"
            raise CommandError(msg)
        typer.echo("equal to what ships, byte for byte", err=as_json)


def _show(report: "TrainReport") -> None:
    typer.echo(f"sources   {_listed(report.sources)} windows")
    typer.echo(f"people    {_listed(report.people)}")
    typer.echo(f"bots      {_listed(report.families)} windows")
    typer.echo(
        f"beside    {report.transformed} windows through other instruments, {report.generated} generated counterparts"
    )
    typer.echo(f"seed      {report.seed}; " + ", ".join(f"{k} {v}" for k, v in report.versions.items()))
    typer.echo(f"features  {report.features_hash}")
    for name, digest in report.files.items():
        typer.echo(f"{digest}  {report.directory}/{name}")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
