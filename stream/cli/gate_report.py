"""How the gate's verdict is told: figures then and now, flips by name, and at the end what is worse than tolerated."""

from collections import Counter
from typing import Any, Final

import typer

from models.gate import Figure, Verdict
from models.gate_measure import Measurement
from stream.cli.listing import Listing

FLIPS_SHOWN: Final = 12
GROUPED: Final = ("found, ", "stepped up or blocked", "people stepped up or blocked")


def print_verdict(verdict: Verdict, previous: Measurement, present: Measurement, words: str) -> None:
    """Print the verdict; the reasons of a failure stand first and last."""
    typer.echo(f"previous  {previous.artefacts[:12]}  policy {previous.policy[:12]}  {words}")
    typer.echo(f"present   {present.artefacts[:12]}  policy {present.policy[:12]}")
    bots = sum(one.is_bot for one in present.outcomes)
    typer.echo(f"{len(present.outcomes) - bots} golden sessions of people, {bots} of bots\n")
    listing = Listing("group", "sessions", "previous", "present", "worse by")
    quiet: Counter[str] = Counter()
    for figure in verdict.figures:
        if figure.passed and figure.previous == figure.present and figure.check.startswith(GROUPED):
            quiet[figure.check] += 1
            continue
        said = "" if figure.passed else "  FAILED"
        count = str(figure.sessions) if figure.sessions else ""
        cells = (_value(figure, figure.previous), _value(figure, figure.present), f"{_worse(figure)}{said}")
        listing.add(f"[{figure.check}]", figure.group, count, *cells)
    listing.print()
    if quiet:
        typer.echo(f"\n{quiet.total()} more figures are the same as before")
    for flip in verdict.flips[:FLIPS_SHOWN]:
        typer.echo(f"flip  {flip.name}: {flip.previous} -> {flip.present} ({flip.why})")
    if len(verdict.flips) > FLIPS_SHOWN:
        typer.echo(f"and {len(verdict.flips) - FLIPS_SHOWN} more flips; --json names them all")
    for line in verdict.not_compared:
        typer.echo(f"not compared: {line}", err=True)
    typer.echo("")
    for line in reasons(verdict):
        typer.echo(line)
    if verdict.passed:
        typer.echo("passed: nothing is worse than its tolerance")


def reasons(verdict: Verdict) -> list[str]:
    """One line for each figure that fails."""
    return [
        f"failed: {f.check}, {f.group}: {_value(f, f.previous)} -> {_value(f, f.present)}, worse by {_worse(f)}"
        for f in verdict.failed
    ]


def _value(figure: Figure, value: float) -> str:
    if figure.check in {"latency", "memory"}:
        return f"{value:.1f} {figure.group}"
    return f"{value:.0f}" if figure.check == "people blocked" else f"{value:.1%}"


def _worse(figure: Figure) -> str:
    if figure.check in {"latency", "memory"}:
        return f"x {figure.worse:.2f}"
    return f"{figure.worse:+.0f}" if figure.check == "people blocked" else f"{figure.worse:+.1%}"


def as_json(verdict: Verdict, previous: Measurement, present: Measurement, words: str) -> str:
    """Return all of it for programs; all ASCII."""
    import json

    def side(measured: Measurement) -> dict[str, Any]:
        return {
            "artefacts": measured.artefacts, "policy": measured.policy, "features": measured.features,
            "us_per_event": measured.us_per_event, "memory_mib": measured.memory_mib, "machine": measured.machine,
        }  # fmt: skip

    told = {
        "passed": verdict.passed,
        "reasons": reasons(verdict),
        "previous": {"what": words, **side(previous)},
        "present": side(present),
        "golden_sessions": len(present.outcomes),
        "figures": [figure._asdict() for figure in verdict.figures],
        "flips": [flip._asdict() for flip in verdict.flips],
        "not_compared": verdict.not_compared,
    }
    return json.dumps(told, indent=2)
