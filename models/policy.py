"""The policy file: weights, thresholds, rules, step-up methods and fail policy by flow, strictly validated.

A wrong file gives one line: where in the file, what it is, and what is allowed. The content hash is the revision.
"""

import hashlib
import importlib.resources
import math
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from features.signal_table import SIGNALS
from models.errors import PolicyError
from models.regular_file import UnreadableFileError, read_regular
from schemas.base import FLOWS, Flow, Name
from schemas.risk import Action, ChannelName, StepUpMethod

Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Threshold = Annotated[float, Meta(gt=0.0, le=1.0)]
Block = Literal["pointer", "touch", "scroll", "keys", "motion", "form", "focus", "device", "capture", "network"]
MAX_POLICY_BYTES: Final = 256 * 1024
ACTION_RANK: Final = {"allow": 0, "step_up": 1, "block": 2}
_MOST_PARTS: Final = 32
_PART: Final = r"[^\s.=\[\]{},#]"
_DEEP_NAME: Final = re.compile(rf"(?<!{_PART})(?:{_PART}++[ \t]*+\.[ \t]*+){{{_MOST_PARTS}}}")
"""A dotted name of so many parts: the reader of TOML takes time that grows with their cube."""


class Bands(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lower edges of the risk levels on overall_anytime; below `medium` it is low."""

    medium: Threshold
    high: Threshold
    very_high: Threshold


class FlowPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds in one flow. Without `block_at` nothing blocks there: no score; no rule and no `on_degraded` may."""

    weights: dict[ChannelName, Threshold]
    step_up_at: Threshold
    step_up_methods: Annotated[list[StepUpMethod], Meta(min_length=1, max_length=6)]
    on_degraded: Action
    expected_evidence: Annotated[list[Block], Meta(min_length=1, max_length=10)]
    block_at: Threshold | None = None


class SeverityCondition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"exclude": "except"}):
    """At least `count` fired signals, none excused, of that severity or above; those in `except` don't count."""

    at_least: Literal["strong", "medium", "weak"]
    count: Annotated[int, Meta(ge=1, le=50)]
    exclude: list[Name] = []


class VelocityCondition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entity counter at or above a number, e.g. `device_accounts` in `h24`."""

    counter: Literal[
        "account_sessions",
        "account_devices",
        "account_ips",
        "account_countries",
        "device_sessions",
        "device_accounts",
        "device_ips",
        "device_countries",
        "template_accounts",
        "template_ips",
        "ip_sessions",
        "ip_accounts",
        "ip_devices",
        "ip_countries",
    ]
    window: Literal["m5", "h1", "h24"]
    at_least: Annotated[int, Meta(ge=1, le=1_000_000_000)]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An action when every condition given holds; in all flows unless `flows` names some.

    `unless` is the rule's own exemption: where one of these signals fired and counts, the rule does not hold.
    """

    id: Name
    action: Literal["step_up", "block"]
    flows: Annotated[list[Flow], Meta(min_length=1)] | None = None
    any_signal: Annotated[list[Name], Meta(min_length=1, max_length=64)] | None = None
    severity: SeverityCondition | None = None
    velocity: VelocityCondition | None = None
    min_overall_anytime: Threshold | None = None
    # Unset, it is no part of what is hashed: a file without it keeps its revision.
    unless: Annotated[list[Name], Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    step_up_methods: Annotated[list[StepUpMethod], Meta(min_length=1, max_length=6)] | UnsetType = UNSET
    """What suits this rule, best first; unset: what suits the flow."""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole policy file."""

    id: Name
    mode: Literal["live", "shadow"]
    bands: Bands
    corroborate_at: Threshold
    critical_dependencies: list[Name]
    flows: dict[Flow, FlowPolicy]
    rules: Annotated[list[Rule], Meta(max_length=200)] = []


class LoadedPolicy(msgspec.Struct, frozen=True):
    """A validated policy and the SHA-256 of what it says (comments and layout apart), hex."""

    policy: Policy
    revision: str


def load_policy(path: Path | None = None, *, known_signals: Collection[str] | None = None) -> LoadedPolicy:
    """Read and validate a policy file; None = the one that ships. PolicyError with one line if it is wrong."""
    name, data = read_policy(path)
    return parse_policy(data, name, known_signals=known_signals)


def read_policy(path: Path | None = None) -> tuple[str, bytes]:
    """Name and bytes of a policy file, not checked yet; None = the one that ships. PolicyError with one line.

    The path may be a symbolic link (so do orchestrators project files) to a regular file.
    """
    if path is None:
        path = Path(str(importlib.resources.files("models") / "policies" / "default.toml"))
    try:
        return path.name, read_regular(path, MAX_POLICY_BYTES, follow=True)
    except UnreadableFileError as error:
        raise PolicyError(f"policy {path}: {error}") from None


def parse_policy(data: bytes, name: str, *, known_signals: Collection[str] | None = None) -> LoadedPolicy:
    """Validate the bytes of a policy file called `name`; with `known_signals`, other signal names are refused."""
    if len(data) > MAX_POLICY_BYTES:
        raise PolicyError(f"policy {name}: has {len(data)} bytes, at most {MAX_POLICY_BYTES} are allowed")
    try:
        text = data.decode()
        _check_names(text, name)
        policy = msgspec.convert(tomllib.loads(text), type=Policy)
    except PolicyError:
        raise
    except msgspec.ValidationError as error:
        raise PolicyError(f"policy {name}: {error}") from None
    except (ValueError, RecursionError) as error:
        # Beside its own error and that of bytes that are no UTF-8, the reader of TOML raises a plain ValueError for
        # numbers of thousands of digits.
        raise PolicyError(f"policy {name}: not TOML: {error}") from None
    _check_bands(policy, name)
    for flow in FLOWS:
        if flow not in policy.flows:
            raise PolicyError(f"policy {name}: `$.flows` lacks {flow}; all of {', '.join(FLOWS)} are needed")
        _check_flow(flow, policy.flows[flow], name)
    _check_rules(policy, name, known_signals)
    revision = hashlib.sha256(msgspec.json.encode(policy, order="sorted")).hexdigest()
    return LoadedPolicy(policy, revision)


def _check_names(text: str, name: str) -> None:
    deep = _DEEP_NAME.search(text)
    if deep is not None:
        line = text.count("\n", 0, deep.start()) + 1
        raise PolicyError(f"policy {name}: line {line} has a name of more than {_MOST_PARTS} parts")


def _check_bands(policy: Policy, name: str) -> None:
    bands = policy.bands
    if not bands.medium < bands.high < bands.very_high:
        raise PolicyError(
            f"policy {name}: `$.bands` are {bands.medium}, {bands.high}, {bands.very_high}; they must increase"
        )


def _check_flow(flow: str, rules: FlowPolicy, name: str) -> None:
    where = f"policy {name}: `$.flows.{flow}"
    total = math.fsum(rules.weights.values())
    if abs(total - 1.0) > 1e-9:
        raise PolicyError(f"{where}.weights` sum to {total:g}; they must sum to 1")
    if rules.block_at is not None and rules.block_at < rules.step_up_at:
        raise PolicyError(f"{where}.block_at` is {rules.block_at}; it must be at least step_up_at, {rules.step_up_at}")
    if rules.on_degraded == "block" and rules.block_at is None:
        raise PolicyError(
            f"{where}.on_degraded` is block, and the flow has no block_at: nothing blocks there; use step_up, or "
            "give it block_at (at 1.0 only rules and on_degraded block)"
        )
    if flow == "recovery" and rules.on_degraded == "allow":
        raise PolicyError(f"{where}.on_degraded` is allow; account recovery never fails open: step_up or block")
    for field, values in (("step_up_methods", rules.step_up_methods), ("expected_evidence", rules.expected_evidence)):
        if len(set(values)) != len(values):
            raise PolicyError(f"{where}.{field}` repeats a value; each may appear once")


def _check_rules(policy: Policy, name: str, known_signals: Collection[str] | None) -> None:
    ids: set[str] = set()
    for number, rule in enumerate(policy.rules):
        where = f"policy {name}: `$.rules[{number}]` ({rule.id})"
        if rule.id in ids or rule.id in RESERVED_RULES:
            raise PolicyError(f"{where} has an id that is taken; ids are unique and not {', '.join(RESERVED_RULES)}")
        ids.add(rule.id)
        if rule.any_signal is None and rule.severity is None and rule.velocity is None:
            raise PolicyError(f"{where} has no condition; any_signal, severity or velocity is needed")
        if rule.action == "block" and rule.any_signal is None and rule.severity is None:
            raise PolicyError(f"{where} blocks without a fact; any_signal or severity is needed")
        never = [flow for flow in rule.flows or FLOWS if policy.flows[flow].block_at is None]
        if rule.action == "block" and never:
            raise PolicyError(
                f"{where} blocks in {never[0]}, which has no block_at: nothing blocks there; name other flows, or give "
                "it block_at (at 1.0 only rules block)"
            )
        behaviour = [name for name in rule.any_signal or [] if name in BEHAVIOUR_SIGNALS]
        if rule.action == "block" and behaviour and rule.severity is None:
            raise PolicyError(
                f"{where} blocks on {behaviour[0]}, which is behaviour, and behaviour alone never blocks; add severity"
            )
        excused = rule.unless if isinstance(rule.unless, list) else []
        if rule.any_signal is not None and set(rule.any_signal) <= set(excused):
            raise PolicyError(
                f"{where} can never hold: each signal of any_signal is in unless, too; take it out of one of the two"
            )
        named = [*(rule.any_signal or []), *(rule.severity.exclude if rule.severity else []), *excused]
        if isinstance(rule.step_up_methods, list) and rule.action != "step_up":
            raise PolicyError(f"{where} has step_up_methods, but its action is {rule.action}; they go with step_up")
        unknown = [s for s in named if known_signals is not None and s not in known_signals]
        if unknown:
            raise PolicyError(f"{where} names the signal {unknown[0]}, which does not exist")


BEHAVIOUR_SIGNALS: Final = frozenset(name for name, signal in SIGNALS.items() if signal.category == "behaviour")
"""What was read off the input: with it alone nothing is blocked."""
RESERVED_RULES: Final = ("none", "score_step_up", "score_block", "degraded", "latched")
"""Names under which decisions without a rule of the file are reported."""
