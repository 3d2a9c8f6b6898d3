"""`tellwire policy check|diff`: what a policy file says and would have decided, before a worker serves it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.config import AsJson, ConfigFile

if TYPE_CHECKING:
    from models.policy import LoadedPolicy
    from models.policy_diff import PolicyDiff

app = typer.Typer(help="Policies: what they say, and what another one would have decided.", no_args_is_help=True)

SHIPPED = "shipped"
OldFile = Annotated[
    str, typer.Argument(help="Policy that serves; `shipped` is the one that ships.", metavar="OLD", show_default=False)
]
NewFile = Annotated[str, typer.Argument(help="Policy that is to serve.", metavar="NEW", show_default=False)]


@app.command("check")
def check(
    policy: Annotated[str, typer.Argument(help="Policy file, or `shipped`.", metavar="FILE", show_default=False)],
) -> None:
    """Check a policy file; print its revision and its rules by flow. Exit 2 with one line where it is wrong."""
    from stream.cli.listing import Listing

    loaded = _load(policy)
    listing = Listing("rule", "action", "holds when")
    for flow in loaded.policy.flows:
        own = [rule for rule in loaded.policy.rules if rule.flows is None or flow in rule.flows]
        for rule in own:
            listing.add(f"[{flow}]", rule.id, rule.action.replace("_", " "), _conditions(rule))
        flow_policy = loaded.policy.flows[flow]
        blocks = f", block from {flow_policy.block_at:g}" if flow_policy.block_at is not None else ", nothing blocks"
        listing.add(f"[{flow}]", "(score)", "", f"step up from {flow_policy.step_up_at:g}{blocks}")
    listing.print()
    typer.echo(f"\npolicy {loaded.policy.id}, mode {loaded.policy.mode}, revision {loaded.revision}")


@app.command("diff")
def diff(
    old: OldFile,
    new: NewFile,
    *,
    from_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--from-file",
            help="Read JSON lines of risk events (with telemetry: also by collector and platform) instead of topics; "
            "may be repeated.",
            metavar="FILE",
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option(help="Decide on sessions that began since then: 90s, 30m, 24h, 7d, or a time.", metavar="WHEN"),
    ] = "24h",
    telemetry: Annotated[
        bool, typer.Option("--telemetry", help="Read telemetry, too: tell collectors and platforms apart.")
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of sessions whose decision may change before the exit code is 1."),
    ] = 0.0,
    examples: Annotated[int, typer.Option(min=0, max=1000, help="Sessions named for each flow and change.")] = 5,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what a new policy says otherwise, and what it would have decided on recent sessions.

    Both policies decide each session again from its risk events: scores,
    signals with exemptions, counters. Exit 0: no more decisions change than
    tolerated; 1: more do, or there was nothing to decide on; 2: a policy is wrong.
    """
    from models import policy_diff
    from stream.cli import policy_report
    from stream.cli.failures import CommandError

    loaded = _load(old), _load(new)
    said = policy_diff.changes(loaded[0].policy, loaded[1].policy)
    found = policy_diff.PolicyDiff(*loaded)
    if not as_json:
        policy_report.print_changes(said, loaded)
    if loaded[0].revision == loaded[1].revision:
        if as_json:
            typer.echo(policy_report.as_json(said, loaded, found, examples))
        return
    if from_file:
        _from_files(found, from_file)
    else:
        _from_topics(found, since, config, with_telemetry=telemetry)
    if as_json:
        typer.echo(policy_report.as_json(said, loaded, found, examples))
    else:
        policy_report.print_decisions(found, examples)
    if not found.sessions:
        where = "in these files" if from_file else f"on risk.events since {since}"
        msg = f"no session's first risk event is {where}: there is nothing to decide on"
        raise CommandError(msg)
    if found.changed > tolerance * found.sessions:
        raise typer.Exit(1)


def _load(name: str) -> "LoadedPolicy":
    from features.signal_table import SIGNALS
    from models.policy import load_policy

    return load_policy(None if name == SHIPPED else Path(name), known_signals=SIGNALS)


def _conditions(rule: Any) -> str:
    """What must hold, in words."""
    found = []
    if rule.any_signal is not None:
        found.append(f"any of {', '.join(rule.any_signal)}")
    if rule.severity is not None:
        least = rule.severity
        but = f" but {', '.join(least.exclude)}" if least.exclude else ""
        found.append(f"{least.count} or more signals of at least {least.at_least} severity{but}")
    if rule.velocity is not None:
        counted = rule.velocity
        found.append(f"{counted.counter} in {counted.window} at least {counted.at_least}")
    if rule.min_overall_anytime is not None:
        found.append(f"overall at least {rule.min_overall_anytime:g}")
    unless = f"; unless {' or '.join(rule.unless)}" if isinstance(rule.unless, list) else ""
    return " and ".join(found) + unless


def _from_files(found: "PolicyDiff", files: list[Path]) -> None:
    from schemas.risk import RiskEvent
    from schemas.telemetry import Telemetry
    from stream.cli.files import held_in

    for record in held_in(files):
        if isinstance(record, RiskEvent):
            found.take(record)
        elif isinstance(record, Telemetry):
            _describe(found, record)


def _from_topics(found: "PolicyDiff", since: str, config: Path | None, *, with_telemetry: bool) -> None:
    from schemas.telemetry import Telemetry
    from stream import kafka_properties, session_log, settings_source
    from stream.cli.progress import bar
    from stream.cli.when import since_ms

    from_ms = since_ms(since)
    kafka = settings_source.load(config).kafka
    kafka_properties.check(kafka)
    properties = kafka_properties.consumer(kafka)
    with bar("deciding on risk events", None) as advance:
        for event in session_log.events_since(properties, from_ms):
            found.take(event)
            advance()
    if with_telemetry:
        with bar("reading telemetry", None) as advance:
            for record in session_log.telemetry_since(properties, from_ms):
                if isinstance(record, Telemetry):
                    _describe(found, record)
                advance()


def _describe(found: "PolicyDiff", record: Any) -> None:
    device = record.device
    platform = "" if device is None else device.ua_platform or device.platform or ""
    if record.sequence == 0 or platform:
        found.describe(record.session_id, f"{record.collector.name} {record.collector.version}", platform)
