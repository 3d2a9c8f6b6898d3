"""`tellwire artefacts check|seal`: try models and a policy as a worker would, before they are put where one serves."""

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.config import ConfigFile

app = typer.Typer(help="Models and policies, before they serve.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder of models and manifest.", metavar="DIR", show_default=False)]


@app.command("check")
def check(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of models and manifest; without it, what the settings name.", metavar="DIR"),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="Policy file; without it, what the settings name.", metavar="FILE")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Check hashes and structure, and hold the trial that a worker holds; exit 1 or 2 with one line when it fails."""
    import hashlib

    from models import artifact
    from models.policy import read_policy
    from stream import settings_source
    from stream.cli.failures import CommandError
    from stream.trial import Candidate, NotTriedError, Trial, TrialLimits

    found = settings_source.load(config).artefacts
    candidate = Candidate(
        artifact.read(folder if folder is not None else found.directory),
        *read_policy(policy if policy is not None else found.policy_file),
    )
    try:
        Trial(TrialLimits(found.trial_timeout_s, found.trial_memory_mib)).run(candidate)
    except NotTriedError as error:
        raise CommandError(str(error)) from None
    typer.echo(f"models  {candidate.bundle.hash}  {candidate.bundle.name}: would serve")
    typer.echo(f"policy  {hashlib.sha256(candidate.policy).hexdigest()}  {candidate.policy_name}: would serve")


@app.command("seal")
def seal(folder: Folder) -> None:
    """Write manifest.sha256 for a manifest that you trust; `tellwire train` does so by itself."""
    from models import artifact

    typer.echo(f"{artifact.seal(folder)}  {folder / artifact.MANIFEST}")
