"""The signal contract: one result of an upstream model or vendor for a capture session.

Signals travel on `capture.telemetry` as the second member of its union, or enter through the door `capture.signals`,
from which they are validated and forwarded. What fusion, vendor comparison and an identity graph need is part of the
contract from the start: cost, latency, routing arm and propensity, and keyed references to what was seen.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.base import END, Block, Count, Country, EpochMs, Flow, Id, Name, Ratio, Ref

SignalKind = Literal[
    "document",
    "document_tamper",
    "face_match_1to1",
    "face_match_1ton",
    "liveness",
    "pad",
    "deepfake",
    "injection",
    "capture_quality",
    "device_attestation",
    "device_reputation",
    "ip_reputation",
    "email_reputation",
    "phone_reputation",
    "identity_data",
    "watchlist",
    "bot",
    "other",
]

Outcome = Literal["scored", "no_decision", "quality_fail", "timeout", "refused", "error"]


class Finding(Block, kw_only=True):
    """One named observation that the provider gives beside its score."""

    name: Annotated[Name, Meta(description="Provider's name of the observation.")]
    value: Annotated[
        Annotated[float, Meta(ge=-1e15, le=1e15)] | bool | Annotated[str, Meta(max_length=128)] | None,
        Meta(description="Its value, as the provider gives it."),
    ] = None


class Routing(Block, kw_only=True):
    """How this provider came to be asked: what off-policy comparison of vendors needs."""

    arm: Annotated[Name, Meta(description="Routing arm or experiment branch.")]
    propensity: Annotated[
        Annotated[float, Meta(gt=0.0, le=1.0)] | None, Meta(description="Probability with which this arm was chosen.")
    ] = None
    policy_revision: Annotated[Name | None, Meta(description="Revision of the routing policy.")] = None
    shadow: Annotated[bool, Meta(description="Asked for comparison only; never decides.")] = False


class SignalRefs(Block, kw_only=True):
    """Keyed references to what was seen, for reuse and rings. Raw values are hashed on arrival."""

    document_ref: Annotated[Ref | None, Meta(description="Document number.")] = None
    document_image_ref: Annotated[Ref | None, Meta(description="Perceptual hash of the document's image.")] = None
    face_cluster_ref: Annotated[Ref | None, Meta(description="Cluster of faces that this one belongs to.")] = None
    capture_ref: Annotated[Ref | None, Meta(description="Hash of the captured image or video.")] = None
    phone_ref: Annotated[Ref | None, Meta(description="Telephone number.")] = None
    email_ref: Annotated[Ref | None, Meta(description="E-mail address.")] = None
    ref_key_version: Annotated[
        Name | None, Meta(description="Key that hashed the references; absent: they are raw and hashed on arrival.")
    ] = None


class Signal(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="capture.signal.v1"):
    """One result of an upstream model or vendor. Key: `session_id`.

    `outcome` scored needs `score` and `direction`; `score_min`, where both are there, is below `score_max`.
    """

    event_id: Annotated[Id, Meta(description="Idempotency key: one result has one id, however often it is sent.")]
    session_id: Annotated[Id, Meta(description="Capture session; also the record's key.")]
    tenant: Annotated[Name, Meta(description="Customer or product that the session belongs to.")]
    flow: Annotated[Flow, Meta(description="Business flow.")]
    effective_at: Annotated[EpochMs, Meta(description="Event time: when the evidence was captured, epoch ms.")]
    observed_at: Annotated[EpochMs, Meta(description="When the result was received, epoch ms.")]
    kind: Annotated[SignalKind, Meta(description="What was judged.")]
    provider: Annotated[Name, Meta(description="Vendor or in-house model that judged.")]
    model_version: Annotated[Name | None, Meta(description="Version of the provider's model.")] = None
    outcome: Annotated[Outcome, Meta(description="Whether there is a score, and why not.")]
    score: Annotated[
        Annotated[float, Meta(ge=-1e9, le=1e9)] | None, Meta(description="Provider's score, in its own scale.")
    ] = None
    score_min: Annotated[
        Annotated[float, Meta(ge=-1e9, le=1e9)] | None, Meta(description="Lower end of the provider's scale.")
    ] = None
    score_max: Annotated[
        Annotated[float, Meta(ge=-1e9, le=1e9)] | None, Meta(description="Upper end of the provider's scale.")
    ] = None
    direction: Annotated[
        Literal["high_is_risk", "high_is_genuine"] | None, Meta(description="Which end of the scale is risk.")
    ] = None
    threshold: Annotated[
        Annotated[float, Meta(ge=-1e9, le=1e9)] | None, Meta(description="Provider's own threshold, in its scale.")
    ] = None
    verdict: Annotated[Literal["pass", "fail", "review"] | None, Meta(description="Provider's own verdict.")] = None
    confidence: Annotated[Ratio | None, Meta(description="Provider's confidence, 0 to 1.")] = None
    quality: Annotated[Ratio | None, Meta(description="Quality of the evidence, 0 to 1; high is good.")] = None
    findings: Annotated[
        Annotated[list[Finding], Meta(max_length=32)] | None, Meta(description="Named observations.")
    ] = None
    country: Annotated[Country | None, Meta(description="Country of the document or the person.")] = None
    region: Annotated[Name | None, Meta(description="Region in which it was processed.")] = None
    document_type: Annotated[Name | None, Meta(description="Kind of document, e.g. passport.")] = None
    attempt: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None, Meta(description="Number of this attempt at the step, from 1.")
    ] = None
    latency_ms: Annotated[
        Annotated[float, Meta(ge=0, le=86_400_000)] | None, Meta(description="Time that the provider took, ms.")
    ] = None
    cost_micros: Annotated[Count | None, Meta(description="Price of the call, millionths of `currency`.")] = None
    currency: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Z]{3}" + END)] | None, Meta(description="ISO 4217 code of the price.")
    ] = None
    routing: Annotated[Routing | None, Meta(description="How this provider came to be asked.")] = None
    refs: Annotated[SignalRefs | None, Meta(description="Keyed references to what was seen.")] = None
    account_ref: Annotated[Ref | None, Meta(description="Account, or its keyed hash.")] = None
    device_ref: Annotated[Ref | None, Meta(description="Device, or its keyed hash.")] = None
    ref_key_version: Annotated[
        Name | None, Meta(description="Key that hashed account and device; absent: they are raw and hashed on arrival.")
    ] = None

    def __post_init__(self) -> None:
        if self.outcome == "scored" and (self.score is None or self.direction is None):
            msg = "outcome 'scored' needs `score` and `direction`"
            raise ValueError(msg)
        if self.score_min is not None and self.score_max is not None and self.score_min >= self.score_max:
            msg = "`score_min` must be below `score_max`"
            raise ValueError(msg)
