"""The risk-event contract: what tellwire publishes on `risk.events`, one record for each input record.

High is risk everywhere. `score` is now; `score_anytime` is the session's running maximum, calibrated as such, and is
what decisions rest on. Absent evidence is `no_data`, never 0 and never -1. Clients must tolerate new reason codes.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.base import Block, Count, EpochMs, Flow, Id, Name, Ratio, Ref, Score

ChannelName = Literal["bot", "anomaly", "injection", "device", "replay", "ring"]
CHANNELS: tuple[ChannelName, ...] = ("bot", "anomaly", "injection", "device", "replay", "ring")
"""Every channel that a risk event may carry, in the order of its scores."""

RiskLevel = Literal["low", "medium", "high", "very_high"]
Action = Literal["allow", "step_up", "block"]
StepUpMethod = Literal["captcha", "otp", "passkey", "liveness", "document", "manual_review"]
AutomationClass = Literal["human", "scripted", "humanised", "replayed", "agent", "assistive"]
Millis = Annotated[float, Meta(ge=0.0)]


class Source(Block, kw_only=True):
    """The record that this event answers."""

    topic: Annotated[str, Meta(description="Input topic.")]
    topic_id: Annotated[str, Meta(description="Broker's id of the input topic: another one means another log.")]
    partition: Annotated[int, Meta(ge=0, description="Input partition; the event is in the same partition.")]
    offset: Annotated[int, Meta(ge=0, description="Input offset: drop what is not above the last one seen.")]


class Calibration(Block, kw_only=True):
    """What the calibrated score rests on."""

    cell: Annotated[str, Meta(description="Cell in which it was ranked: flow/input/source/evidence, `*` = backed off.")]
    n_people: Annotated[Count, Meta(description="People in that cell.")]
    state: Annotated[
        Literal["prior", "source", "live"],
        Meta(description="Which people it rests on."),
    ]
    basis: Annotated[
        Literal["trusted", "unlabelled"] | None,
        Meta(
            description="Of live people: known to be genuine, or unlabelled sessions among them, less those that other "
            "channels flag."
        ),
    ] = None
    fpr_upper95: Annotated[
        Ratio | None, Meta(description="Upper 95 % bound of the share of people at or above this score.")
    ] = None


class ChannelScore(Block, kw_only=True):
    """One channel's score."""

    state: Annotated[
        Literal["scored", "no_data", "degraded", "not_expected"],
        Meta(description="Whether there is a score, and why not."),
    ]
    score: Annotated[Score | None, Meta(description="Calibrated risk now: 1 - conformal p-value among people.")] = None
    score_anytime: Annotated[
        Score | None, Meta(description="Calibrated risk of the session's running maximum; decisions rest on it.")
    ] = None
    raw: Annotated[float | None, Meta(description="Model's own output now, uncalibrated.")] = None
    raw_max: Annotated[float | None, Meta(description="Model's highest output in the session, uncalibrated.")] = None
    weight: Annotated[Ratio | None, Meta(description="Weight in the overall score of this flow.")] = None
    calibration: Annotated[Calibration | None, Meta(description="What the score rests on.")] = None


class Scores(Block, kw_only=True):
    """A score a channel, and one overall."""

    overall: Annotated[Score, Meta(description="Combined risk now.")]
    overall_anytime: Annotated[Score, Meta(description="Combined risk of the session so far; decisions rest on it.")]
    bot: Annotated[ChannelScore | None, Meta(description="Bot against human, by behaviour.")] = None
    anomaly: Annotated[ChannelScore | None, Meta(description="Unlike the flow's usual sessions.")] = None
    injection: Annotated[ChannelScore | None, Meta(description="Camera feed injected or synthetic.")] = None
    device: Annotated[ChannelScore | None, Meta(description="Device or browser not what it claims.")] = None
    replay: Annotated[ChannelScore | None, Meta(description="Recorded behaviour played again.")] = None
    ring: Annotated[ChannelScore | None, Meta(description="Part of a ring of identities.")] = None


class Policy(Block, kw_only=True):
    """Which rule of which policy decided."""

    id: Annotated[Name, Meta(description="Policy.")]
    revision: Annotated[str, Meta(description="Content hash of the policy file.")]
    rule: Annotated[Name, Meta(description="Rule that decided.")]
    mode: Annotated[Literal["live", "shadow", "preview"], Meta(description="Whether it is enforced.")] = "live"


class Decision(Block, kw_only=True):
    """What to do, and why. A session is stepped up once: a decision latches."""

    action: Annotated[Action, Meta(description="What to do.")]
    policy: Annotated[Policy, Meta(description="Rule that decided.")]
    step_up_methods: Annotated[
        list[StepUpMethod] | None, Meta(description="Methods that suit, best first; with step_up only.")
    ] = None
    latched: Annotated[bool, Meta(description="Taken at an earlier event of the session and kept.")] = False
    changed: Annotated[bool, Meta(description="Differs from the decision of the session's previous event.")] = False


class Reason(Block, kw_only=True):
    """One thing that moved the score, in words a reviewer can check."""

    code: Annotated[str, Meta(description="UPPER_SNAKE code; an open set.")]
    category: Annotated[
        Literal[
            "behaviour", "automation", "device", "network", "velocity", "capture", "anomaly", "identity", "coverage"
        ],
        Meta(description="What it is about."),
    ]
    weight: Annotated[Ratio, Meta(description="Share of the channel's evidence, 0 to 1; reasons are sorted by it.")]
    polarity: Annotated[Literal["risk", "trust"], Meta(description="Raises or lowers the risk.")]
    severity: Annotated[
        Literal["strong", "medium", "weak"] | None, Meta(description="Severity of the signal, where it is one.")
    ] = None
    evidence: Annotated[str, Meta(description="The observation, with its unit.")]
    basis: Annotated[
        Literal["model", "signal", "rule", "counter"], Meta(description="What kind of evidence stands behind it.")
    ]
    channel: Annotated[ChannelName, Meta(description="Channel that it belongs to.")]


class Automation(Block, kw_only=True):
    """What kind of sender the session looks like. It informs: no policy decides by it."""

    kind: Annotated[AutomationClass, Meta(description="Class of sender.")]
    basis: Annotated[
        Literal["model", "rule"],
        Meta(description="What says so: `model`, the calibrated bot score; `rule`, the one named beside."),
    ]
    confidence: Annotated[Literal["low", "medium", "high"], Meta(description="How sure it is.")]
    rule: Annotated[Name, Meta(description="Rule or signal that says so; `bot_score` where the model does.")]


class SignalValue(Block, kw_only=True):
    """One derived signal: an observation, kept apart from any score."""

    value: Annotated[bool | float | str | None, Meta(description="Observed value.")]
    severity: Annotated[Literal["strong", "medium", "weak"], Meta(description="How much it says by itself.")]
    confidence: Annotated[Literal["low", "medium", "high"], Meta(description="How sure the observation is.")]
    exempt: Annotated[str | None, Meta(description="Why it does not count here, if it does not.")] = None


class Velocity(Block, kw_only=True):
    """Distinct things seen with an entity in sliding windows of the broker's append time, this event's included."""

    m5: Annotated[Count | None, Meta(description="5 minutes; null: unknown.")] = None
    h1: Annotated[Count | None, Meta(description="1 hour; null: unknown.")] = None
    h24: Annotated[Count | None, Meta(description="24 hours; null: unknown.")] = None
    approximate: Annotated[bool, Meta(description="Above the exact cap: a sketch's estimate.")] = False


class Movements(Block, kw_only=True):
    """What was known of the session's pointer movements beside those of other sessions when it was scored."""

    compared: Annotated[Count, Meta(description="Movements looked up so far.")]
    near: Annotated[
        list[Annotated[int, Meta(ge=0, le=255)]],
        Meta(
            max_length=10,
            description="Of the latest ten, how near one of another session and account came, in hundredths of what is "
            "usual between people; 20 and below: a copy; 255: nothing near.",
        ),
    ]


class Versions(Block, kw_only=True):
    """What produced the event: enough to reproduce it exactly."""

    pipeline: Annotated[str, Meta(description="Version of tellwire.")]
    features: Annotated[str, Meta(description="Hash of the feature registry.")]
    models: Annotated[dict[str, str], Meta(description="Content hash of each model used, by name.")]
    calibration: Annotated[str, Meta(description="Content hash of the calibration.")]
    policy: Annotated[str, Meta(description="Content hash of the policy.")]
    snapshot: Annotated[str | None, Meta(description="Content hash of the online models' snapshot.")] = None
    ref_key: Annotated[str | None, Meta(description="Version of the key that hashed the references.")] = None


class RiskEvent(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="risk.event.v1"):
    """The risk of a capture session after one more input record. Key: `session_id`; partition: the source's."""

    evaluation_id: Annotated[
        str,
        Meta(
            description="`<source topic id>:<partition>:<offset>`; the same however often it is published. "
            "Of a redriven record: the place that it first had."
        ),
    ]
    event_id: Annotated[Id, Meta(description="Id of the input event.")]
    session_id: Annotated[Id, Meta(description="Capture session.")]
    tenant: Annotated[Name, Meta(description="Customer or product.")]
    flow: Annotated[Flow, Meta(description="Business flow.")]
    source: Annotated[Source, Meta(description="Record that this event answers.")]
    sequence: Annotated[Count, Meta(description="Number of this evaluation in its session, from 1.")]
    evaluation_status: Annotated[
        Literal["new", "superseding"],
        Meta(description="Whether the session has earlier evaluations, which this one replaces."),
    ]
    is_final: Annotated[bool, Meta(description="The session's end was received: no later event is expected.")]
    replayed: Annotated[
        bool, Meta(description="May have been published before, with the same id; the first one wins.")
    ] = False
    redriven: Annotated[
        bool,
        Meta(description="The input was a dead letter, sent again: the id names its first place, `source` this one."),
    ] = False
    effective_at: Annotated[EpochMs, Meta(description="Event time of the input, epoch ms.")]
    observed_at: Annotated[EpochMs, Meta(description="When the input was observed, epoch ms.")]
    ingested_at: Annotated[int, Meta(description="Broker's append time of the input, epoch ms.")]
    scored_at: Annotated[int, Meta(description="When it was scored, epoch ms.")]
    observed_s: Annotated[float, Meta(description="Session time covered by telemetry so far, s.")]
    scores: Annotated[Scores, Meta(description="A score a channel, and one overall.")]
    risk_score: Annotated[
        int, Meta(ge=0, le=100, description="overall_anytime in hundredths, for rule writers; high is risk.")
    ]
    risk_level: Annotated[RiskLevel, Meta(description="Level by the policy's bands.")]
    decision: Annotated[Decision, Meta(description="What to do.")]
    reasons: Annotated[list[Reason], Meta(description="What moved the scores, sorted by weight.")]
    signals: Annotated[dict[str, SignalValue], Meta(description="Derived signals that fired, by name.")]
    coverage: Annotated[Ratio, Meta(description="Share of the flow's expected evidence that was seen.")]
    missing_signals: Annotated[list[str], Meta(description="Expected evidence that was not seen.")]
    degraded: Annotated[list[str], Meta(description="Dependencies that were missing while scoring.")]
    velocity: Annotated[dict[str, Velocity], Meta(description="Entity counters used, by `<entity>_<what>`.")]
    versions: Annotated[Versions, Meta(description="What produced the event.")]
    latency_ms: Annotated[
        dict[str, Millis],
        Meta(description="Time by stage, ms: decode, read, features, models, decide, and total since received."),
    ]
    movements: Annotated[
        Movements | None, Meta(description="Movements beside those of other sessions; absent before any was compared.")
    ] = None
    account_ref: Annotated[Ref | None, Meta(description="Account, keyed hash.")] = None
    device_ref: Annotated[Ref | None, Meta(description="Device, keyed hash.")] = None
    state_cold: Annotated[
        bool, Meta(description="The session's beginning was lost: scores rest on what was seen since.")
    ] = False
    automation: Annotated[Automation | None, Meta(description="Kind of sender so far; absent while nothing tells.")] = (
        None
    )
