"""How a policy's diff is told: what it says otherwise, and decisions then and now, by flow and by group."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import typer

from models.policy import ACTION_RANK, LoadedPolicy
from models.policy_diff import GROUPS, By, Change, PolicyDiff
from stream.cli.listing import Listing
from stream.plain_text import printable

WORDS: Final = {"allow": "allow", "step_up": "step up", "block": "block"}
GROUPS_SHOWN: Final = 8
"""Groups of one kind that are shown in a terminal, the largest first; `--json` has all."""


def print_changes(said: Sequence[Change], loaded: tuple[LoadedPolicy, LoadedPolicy]) -> None:
    """Print what the new policy says otherwise."""
    old, new = loaded
    typer.echo(f"policy {old.policy.id} {old.revision[:12]} -> {new.policy.id} {new.revision[:12]}")
    if not said:
        typer.echo("both say the same: no decision changes")
        return
    listing = Listing("what", "old", "new")
    for change in said:
        listing.add("[what it says]", change.where, change.old or "(not there)", change.new or "(not there)")
    listing.print()
    typer.echo()


def print_decisions(found: PolicyDiff, examples: int) -> None:
    """Print decisions by flow, then by group, then sessions by name."""
    if found.sessions:
        _print_table(found, "flow", most=None)
        for by in GROUPS[1:]:
            groups = found.flips(by)
            if len(groups) > 1 and found.changed:
                _print_table(found, by, most=GROUPS_SHOWN)
        named = found.examples(examples)
        if named:
            listing = Listing("session", "change", "overall", "rules")
            for one in named:
                change = f"{WORDS[one.old]} -> {WORDS[one.new]}"
                rules = f"{one.old_rule} -> {one.new_rule}"
                listing.add(f"[{one.flow}]", printable(one.session_id), change, f"{one.overall:.3f}", printable(rules))
            listing.print()
            typer.echo()
    share = f" ({found.changed / found.sessions:.2%})" if found.sessions else ""
    earlier, later = found.moved
    typer.echo(
        f"{found.sessions} sessions, {found.events} evaluations: the decision of {found.changed}{share} changes; of "
        f"those decided alike {earlier} earlier, {later} later, {found.other_rule} by another rule"
    )
    for line in caveats(found):
        typer.echo(line, err=True)


def _print_table(found: PolicyDiff, by: By, most: int | None) -> None:
    groups = found.flips(by)
    chosen = sorted(groups, key=lambda name: (-groups[name].total(), name))[:most]
    listing = Listing(by, "sessions", "step up", "block", "what changes")
    for name in [name for name in groups if name in set(chosen)]:
        counts = groups[name]
        listing.add(
            f"[sessions by {by}]",
            printable(name),
            str(counts.total()),
            _then_now(counts, "step_up"),
            _then_now(counts, "block"),
            "; ".join(_changes(counts)) or "nothing",
        )
    listing.print()
    left = len(groups) - len(chosen)
    typer.echo(f"and {left} more\n" if left else "")


def _then_now(counts: Counter[Any], action: str) -> str:
    """Share of sessions that end so, under the old and the new policy."""
    total = counts.total()
    then = sum(n for (old, _), n in counts.items() if old == action)
    now = sum(n for (_, new), n in counts.items() if new == action)
    return f"{then / total:.1%} -> {now / total:.1%}" if then != now else f"{now / total:.1%}"


def _changes(counts: Counter[Any]) -> list[str]:
    total = counts.total()
    return [
        f"{n} {WORDS[old]} -> {WORDS[new]} ({n / total:.1%})"
        for (old, new), n in sorted(counts.items(), key=lambda each: (ACTION_RANK[each[0][0]], ACTION_RANK[each[0][1]]))
        if old != new
    ]


def caveats(found: PolicyDiff) -> list[str]:
    """What the figures can't know, a line each."""
    lines = []
    if found.not_as_stored:
        named = ", ".join(printable(session) for session in list(found.not_as_stored)[:3])
        lines.append(
            f"{len(found.not_as_stored)} sessions were decided otherwise by the old policy when they happened, such as "
            f"{named}: some of their events are missing, or another release decided"
        )
    if found.events and found.by_old < found.events:
        share = 1 - found.by_old / found.events
        lines.append(f"{share:.0%} of the evaluations were decided by another policy than OLD when they happened")
    for channel, n in sorted(found.unknown.items()):
        lines.append(
            f"channel {channel} is weighed by NEW and was not scored in {n} evaluations: it counts as no evidence "
            "there, so NEW may act on more"
        )
    if found.beheaded:
        lines.append(f"{len(found.beheaded)} sessions began before: they are left out")
    if found.gaps:
        lines.append(f"{found.gaps} gaps in the numbers of evaluations: what was decided in them is not known")
    if found.repeats:
        lines.append(f"{found.repeats} events were there twice or out of order and are left out")
    if found.beyond:
        lines.append(f"{found.beyond} events are of more sessions than are told apart: shorten --since")
    return lines


def as_json(said: Sequence[Change], loaded: tuple[LoadedPolicy, LoadedPolicy], found: PolicyDiff, examples: int) -> str:
    """Return all of it for programs; all ASCII."""
    import json

    earlier, later = found.moved
    told = {
        "old": {"id": loaded[0].policy.id, "revision": loaded[0].revision},
        "new": {"id": loaded[1].policy.id, "revision": loaded[1].revision},
        "says": [change._asdict() for change in said],
        "sessions": found.sessions,
        "evaluations": found.events,
        "changed": found.changed,
        "earlier": earlier,
        "later": later,
        "other_rule": found.other_rule,
        "decisions": {
            by: {
                name: [{"old": old, "new": new, "sessions": n} for (old, new), n in sorted(counts.items())]
                for name, counts in found.flips(by).items()
            }
            for by in GROUPS
        },
        "examples": [one._asdict() for one in found.examples(examples)],
        "not_as_stored": list(found.not_as_stored),
        "caveats": caveats(found),
    }
    return json.dumps(told, indent=2)
