"""`tellwire score`: scores recorded sessions or telemetry records offline, as the pipeline would."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.config import AsJson

if TYPE_CHECKING:
    from models.offline import OfflineScorer, ScoredCut


def score(  # noqa: PLR0917 - typer calls it by name
    path: Annotated[
        Path,
        typer.Argument(
            help="Telemetry records (.jsonl, .ndjson, also .gz), or a folder with sessions.parquet.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Where to write: a name ending in .parquet or .csv.")],
    at: Annotated[
        str, typer.Option("--at", help="Cuts of observed time in seconds, and `end`, separated by commas.")
    ] = "1,2,5,10,end",
    stream: Annotated[
        bool,
        typer.Option(
            "--stream/--stateless",
            help="Learn and calibrate from finished sessions in arrival order and look for copies of their movements, "
            "or score each session alone.",
        ),
    ] = False,
    flow: Annotated[str, typer.Option(help="Flow of recorded sessions, which name none.")] = "signup",
    artifacts: Annotated[
        Path | None, typer.Option(help="Folder of trained artefacts instead of the shipped ones.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy file instead of the default one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score sessions offline: one row a session and cut, with every score, its raw value, decision and coverage.

    Reads event columns, pointer type, viewport, and `source` as calibration key; never a label, family, user or note.
    Telemetry is all there is: no entity counters, no results of other models, so nobody is known to be genuine.
    """
    import orjson

    from models.dataset import DatasetError, count_recordings
    from models.offline_table import open_table
    from schemas.base import FLOWS
    from stream.cli.failures import CommandError
    from stream.cli.progress import bar

    if flow not in FLOWS:
        msg = f"no such flow: {flow}; there are {', '.join(FLOWS)}"
        raise typer.BadParameter(msg, param_hint="--flow")
    records = _checked(path, out)

    # Both import the compiled kernels, which takes seconds: after what can be wrong before.
    from models.engine import Engine
    from models.offline import OfflineScorer, parse_cuts
    from stream import kernel_cache

    try:
        cuts = parse_cuts(at)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from None
    try:
        total = None if records else count_recordings(path)
        kernel_cache.prepare()
        scorer = OfflineScorer(Engine.load(artifacts, policy=policy), cuts, stream=stream)
        with open_table(out) as table, bar("scoring sessions", total) as advance:
            summary = _Summary()
            for rows in _rows(scorer, path, flow, records=records):
                table.write(rows)
                summary.add(rows)
                advance()
            if not scorer.events_total:
                msg = f"{path}: there is no telemetry in it; {out} was not written"
                raise CommandError(msg)
    except DatasetError as error:
        raise CommandError(str(error)) from error
    found = {
        "out": str(out),
        "mode": "stream" if stream else "stateless",
        "sessions": scorer.sessions_total,
        "events": scorer.events_total,
        "repeats": scorer.repeats_total,
        "after_end": scorer.after_end_total,
        "closed_early": scorer.closed_early_total,
        "rows": summary.rows_total,
        "decisions_at_last_cut": summary.decisions,
    }
    if as_json:
        sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    decided = ", ".join(f"{count} {action}" for action, count in sorted(summary.decisions.items()))
    typer.echo(f"{found['sessions']} sessions, {found['events']} events, {found['rows']} rows in {out}; {decided}")
    if scorer.repeats_total:
        typer.echo(f"{scorer.repeats_total} events were repeats and left out")
    if scorer.after_end_total:
        typer.echo(f"{scorer.after_end_total} events came after their session's end and were left out")
    if scorer.closed_early_total:
        typer.echo(f"{scorer.closed_early_total} sessions without an end were closed early to bound memory")


def _checked(path: Path, out: Path) -> bool:
    """Whether there are records to read, not recorded sessions. Raises UsageError before anything is begun."""
    from models.dataset import DatasetError, check_recordings, is_records, parquet_of
    from models.offline_table import check_table
    from stream.cli.failures import UsageError

    try:
        records = is_records(path)
        check_table(out)
        if not records:
            check_recordings(path)
        source = path if records else parquet_of(path)
        same = out.exists() and out.samefile(source)
    except DatasetError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        msg = f"{out}: {error.strerror}"
        raise UsageError(msg) from None
    if same:
        msg = f"{out} is what is to be scored: give another name to --out"
        raise UsageError(msg)
    return records


class _Summary:
    """Counts rows, and decisions at the last cut."""

    def __init__(self) -> None:
        self.rows_total = 0
        self.decisions: dict[str, int] = {}

    def add(self, rows: "list[ScoredCut]") -> None:
        """Count the rows of one session."""
        self.rows_total += len(rows)
        last = rows[-1].assessment
        action = last.decision.action if last is not None else "allow"
        self.decisions[action] = self.decisions.get(action, 0) + 1


def _rows(scorer: "OfflineScorer", path: Path, flow: str, *, records: bool) -> "Iterator[list[ScoredCut]]":
    from models.dataset import read_recordings, read_records

    if records:
        return scorer.records(read_records(path))
    return scorer.recordings(read_recordings(path), flow)  # type: ignore[arg-type]
