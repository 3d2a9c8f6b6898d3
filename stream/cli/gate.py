"""`tellwire gate --against PREVIOUS`: whether the present artefacts are worse than the previous ones, and in what."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.config import AsJson

if TYPE_CHECKING:
    from models.gate_measure import Golden, Measurement
    from stream.gate.previous import Previous


def gate(
    *,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Previous artefacts: a folder, a commit of this repository (such as v0.1.0 or HEAD~1), or a "
            "measurement that `--out` wrote.",
            metavar="PREVIOUS",
        ),
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Present artefacts; without it, those that ship.", metavar="DIR")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Present policy; without it, the one that ships.", metavar="FILE")
    ] = None,
    previous_policy: Annotated[
        Path | None,
        typer.Option(help="Previous policy; without it, the commit's, else the present one.", metavar="FILE"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Folder with sessions.parquet: recorded sessions join the golden ones.", metavar="DIR"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated golden sessions.")] = 1,
    people: Annotated[int, typer.Option(min=20, max=100_000, help="Simulated people.")] = 240,
    bots: Annotated[int, typer.Option(min=2, max=10_000, help="Simulated bots of each family.")] = 20,
    tolerance: Annotated[
        list[str] | None,
        typer.Option("--tolerance", help="Another tolerance than the table's; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    cost: Annotated[bool, typer.Option("--cost/--no-cost", help="Measure CPU time and memory, too.")] = True,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the present measurement to this file (.json).", metavar="FILE")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare present artefacts with previous ones on golden sessions; exit 1 and say what is worse.

    Both score the same sessions, simulated from a seed (and recorded ones, with
    --data). Compared are bots found at fixed false positives by family, people
    stepped up or blocked by source, decisions and reasons that flip, CPU time
    and memory, each against its tolerance. Simulated figures are for comparing only.
    """
    import tempfile

    from models.gate import compare
    from stream.cli import gate_report
    from stream.cli.data import data_folder
    from stream.cli.failures import CommandError, UsageError
    from stream.cli.files import check_out_file
    from stream.cli.progress import steps
    from stream.gate.cost import CostError
    from stream.gate.previous import PreviousError, find

    if against is None and out is None:
        msg = "give --against PREVIOUS to compare, or --out FILE to write a measurement"
        raise UsageError(msg)
    allowed = _tolerances(tolerance or [])
    if out is not None:
        check_out_file(out, (".json",))
    if data is not None:
        data_folder(data)
    with tempfile.TemporaryDirectory(prefix="tellwire-gate-") as scratch, steps("gate") as tell:
        try:
            previous = None if against is None else find(against, Path(scratch))
        except PreviousError as error:
            raise UsageError(str(error)) from None
        tell("golden sessions")
        sessions = _sessions(seed, people, bots, data)
        try:
            both = _measure(sessions, previous, (artifacts, policy, previous_policy), with_cost=cost, tell=tell)
        except CostError as error:
            raise CommandError(str(error)) from None
    present, was = both
    if out is not None:
        _write(out, present)
    if was is None or previous is None:
        typer.echo(f"{out} holds the measurement of {len(sessions)} golden sessions", err=True)
        return
    verdict = compare(was, present, allowed)
    if as_json:
        typer.echo(gate_report.as_json(verdict, was, present, previous.words))
    else:
        gate_report.print_verdict(verdict, was, present, previous.words)
    if not verdict.passed:
        raise typer.Exit(1)


def _tolerances(given: list[str]) -> dict[str, float]:
    from models.gate import DEFAULTS
    from stream.cli.failures import UsageError

    found = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = float("nan")
        if name not in DEFAULTS or not found[name] >= 0.0:
            msg = f"--tolerance {text}: give NAME=VALUE with a number of at least 0 and one of {', '.join(DEFAULTS)}"
            raise UsageError(msg)
    return found


def _sessions(seed: int, people: int, bots: int, data: Path | None) -> "list[Golden]":
    from models.dataset import DatasetError
    from models.gate_measure import recorded
    from stream.cli.failures import CommandError
    from stream.gate.golden import simulated

    found = simulated(seed, people, bots)
    if data is not None:
        try:
            found += recorded(data, seed)
        except DatasetError as error:
            raise CommandError(str(error)) from None
    return found


def _measure(
    sessions: "list[Golden]",
    previous: "Previous | None",
    places: tuple[Path | None, Path | None, Path | None],
    *,
    with_cost: bool,
    tell: Any,
) -> "tuple[Measurement, Measurement | None]":
    """Measure the present artefacts and, where they are at hand, the previous ones. Raises what loading raises."""
    from features.registry import REGISTRY_HASH
    from features.signal_table import SIGNALS
    from models import artifact
    from models.gate_measure import Measurement, digest, measure
    from models.policy import parse_policy, read_policy
    from stream import kernel_cache
    from stream.gate import cost as costs

    folder, policy, previous_policy = places
    kernel_cache.prepare()
    sides: list[tuple[Path | None, tuple[str, bytes]]] = [(folder, read_policy(policy))]
    if previous is not None and previous.folder is not None:
        chosen = previous_policy or previous.policy
        sides.append((previous.folder, read_policy(chosen) if chosen is not None else sides[0][1]))
    engines: list[Any] = []
    bundles: list[Any] = []
    for where, (name, text) in sides:
        bundle = artifact.read(where)
        engines.append(_engine(bundle, parse_policy(text, name, known_signals=SIGNALS), is_previous=bool(bundles)))
        bundles.append(bundle)
    tell("CPU time and memory")
    spent: list[float | None] = [None] * len(sides)
    memory: list[float | None] = [None] * len(sides)
    if with_cost:
        spent = [*costs.us_per_event(engines)]
        memory = [costs.memory_mib(where, text, name) for where, (name, text) in sides]
    found: list[Measurement] = []
    of_sessions = digest(sessions)
    for k, engine in enumerate(engines):
        tell(f"{len(sessions)} golden sessions, {'previous' if k else 'present'} artefacts")
        found.append(
            Measurement(
                format=1, artefacts=bundles[k].hash, policy=str(engine.versions["policy"]), features=REGISTRY_HASH,
                sessions=of_sessions, outcomes=measure(engine, sessions), us_per_event=spent[k],
                memory_mib=memory[k], machine=costs.machine(),
            )
        )  # fmt: skip
    measured = previous.measured if previous is not None else None
    return found[0], measured if measured is not None else found[1] if len(found) > 1 else None


def _engine(bundle: Any, policy: Any, *, is_previous: bool) -> Any:
    """Build an engine; previous artefacts of another feature registry need the code that they belong to."""
    from models.engine import Engine
    from models.errors import ArtifactError
    from stream.cli.failures import CommandError

    try:
        return Engine.build(bundle, policy)
    except ArtifactError as error:
        if not is_previous or "feature registry" not in str(error):
            raise
        msg = (
            f"the previous artefacts need the code of their own release ({str(error).partition(';')[0]}): run "
            "`tellwire gate --out FILE.json` there, and give that file to --against"
        )
        raise CommandError(msg) from None


def _write(out: Path, measurement: "Measurement") -> None:
    import msgspec

    from stream.cli.failures import CommandError

    try:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(measurement), indent=1) + b"\n")
    except OSError as error:
        msg = f"{out} could not be written: {error.strerror}"
        raise CommandError(msg) from None
