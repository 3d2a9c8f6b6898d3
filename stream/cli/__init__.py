"""The command line: which commands there are, and how failures are told to a person.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted. Results go to standard output, progress and
errors to standard error. Heavy modules are imported by the command that needs them, so that help is quick.
"""

import os
import sys
from typing import Annotated, NoReturn

import typer

from stream import __version__
from stream.cli import (
    artefacts,
    config,
    demo,
    dlq,
    doctor,
    erase,
    evaluate,
    explain,
    features,
    gate,
    gateway,
    learner,
    policy,
    redteam,
    score,
    topics,
    train,
    warm_up,
    worker,
)
from stream.cli.failures import exit_code_and_line

app = typer.Typer(
    name="tellwire",
    help="Is a person, on a real device and a real camera, behind this capture session?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"tellwire {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Is a person, on a real device and a real camera, behind this capture session?"""  # noqa: D400 - the question
    del version


app.command("demo")(demo.demo)
app.command("worker")(worker.worker)
app.command("learner")(learner.learner)
app.command("gateway")(gateway.gateway)
app.command("score")(score.score)
app.command("explain")(explain.explain)
app.command("doctor")(doctor.doctor)
app.command("erase")(erase.erase)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("redteam")(redteam.redteam)
app.command("gate")(gate.gate)
app.command("warm-up")(warm_up.warm_up)
app.add_typer(topics.app, name="topics")
app.add_typer(dlq.app, name="dlq")
app.add_typer(artefacts.app, name="artefacts")
app.add_typer(policy.app, name="policy")
app.add_typer(config.app, name="config")
app.add_typer(features.app, name="features")


def main() -> None:
    """Run the command line; turn what went wrong into one line and an exit code."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as ended:
        # The library for command lines makes exit code 1 of it when the reader of our output went away (`| head`).
        if isinstance(ended.__context__, BrokenPipeError):
            _nobody_reads()
        raise
    except BrokenPipeError:
        _nobody_reads()
    except Exception as error:
        code, line = exit_code_and_line(error)
        if line is None:
            raise
        for part in line.splitlines():
            typer.echo(f"tellwire: {part}", err=True)
        if isinstance(error, OSError):
            _drop_output()
        sys.exit(code)


def _nobody_reads() -> NoReturn:
    """End well: that is no failure of ours."""
    _drop_output()
    sys.exit(0)


def _drop_output() -> None:
    """Let what is still buffered go nowhere, or Python would fail to write it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
