"""`tellwire doctor`: looks at the whole deployment and says what to mend."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.config import AsJson, ConfigFile

if TYPE_CHECKING:
    from stream.doctor.finding import Finding


class Role(StrEnum):
    """Processes whose access differs."""

    WORKER = "worker"
    LEARNER = "learner"
    GATEWAY = "gateway"


def doctor(
    config: ConfigFile = None,
    role: Annotated[
        Role, typer.Option("--role", help="Process whose access to topics, and whose own settings, are looked at.")
    ] = Role.WORKER,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show also what is as it should be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at broker, topics, traffic, access, groups, store, clocks, models and settings, and say what to do.

    It changes and writes nothing and joins no group. Exit 1 when anything is wrong, so that cron and pipelines can go
    by it; warnings alone are exit 0, unless --strict.
    """
    from stream import settings_source
    from stream.doctor.finding import RANK, Level
    from stream.doctor.run import examine

    found = sorted(examine(settings_source.load(config), role.value), key=lambda finding: RANK[finding.level])
    errors = sum(finding.level is Level.ERROR for finding in found)
    warnings = sum(finding.level is Level.WARNING for finding in found)
    if as_json:
        import msgspec
        import orjson

        typer.echo(orjson.dumps(msgspec.to_builtins(found), option=orjson.OPT_INDENT_2).decode())
    else:
        for finding in found:
            if verbose or finding.level is not Level.OK:
                _print(finding)
        typer.echo(f"{errors} error(s), {warnings} warning(s), {len(found) - errors - warnings} looked at and well")
    if errors or (strict and warnings):
        raise typer.Exit(1)


def _print(finding: "Finding") -> None:
    typer.echo(f"{finding.level.value.upper():<8}{finding.where}: {finding.what}  [{finding.check}]")
    if finding.why:
        typer.echo(f"        why: {finding.why}")
    if finding.do:
        typer.echo(f"        do:  {finding.do}")
