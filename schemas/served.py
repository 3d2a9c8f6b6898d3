"""The served-features contract: the vector that was scored, on `risk.features`, for learning, training and replay."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.base import Count, Flow, Id, Ratio, Ref


class ServedFeatures(
    msgspec.Struct, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="risk.features.v1"
):
    """One scored feature vector. Key: `session_id`; partition: the source's. A sample: see `sampling_ratio`."""

    evaluation_id: Annotated[str, Meta(description="Evaluation that used the vector.")]
    session_id: Annotated[Id, Meta(description="Capture session.")]
    flow: Annotated[Flow, Meta(description="Business flow.")]
    cell: Annotated[list[str], Meta(description="Calibration cell: flow, input type, source class, evidence.")]
    features_hash: Annotated[str, Meta(description="Hash of the registry that orders `features`.")]
    features: Annotated[list[float | None], Meta(description="Values in registry order; null: no data.")]
    raw: Annotated[dict[str, float], Meta(description="Raw model outputs now, by channel.")]
    raw_max: Annotated[dict[str, float], Meta(description="Highest raw outputs in the session, by channel.")]
    overall: Annotated[float, Meta(description="Combined calibrated risk now.")]
    flagged_by: Annotated[
        list[str],
        Meta(
            description="Channels whose own score passes the independent-evidence bar, and `velocity` where a counter "
            "reaches a rule's limit; for cohort choice."
        ),
    ]
    cohort: Annotated[
        Literal["trusted", "control", "unlabelled"], Meta(description="Why the session may be learnt from.")
    ]
    sequence: Annotated[Count, Meta(description="Number of the evaluation in its session, from 1.")]
    is_final: Annotated[bool, Meta(description="The session's end was received.")]
    ingested_at: Annotated[int, Meta(description="Broker's append time of the input, epoch ms.")]
    observed_s: Annotated[float, Meta(description="Session time covered so far, s.")]
    sampling_ratio: Annotated[Ratio, Meta(description="Share of sessions that were logged when this one was.")]
    scorers: Annotated[
        str | None, Meta(description="Hash of the scorers of the bot channel: only scores of the same ones compare.")
    ] = None
    account_ref: Annotated[Ref | None, Meta(description="Account, keyed hash: for influence caps.")] = None
    device_ref: Annotated[Ref | None, Meta(description="Device, keyed hash: for influence caps.")] = None
    address_ref: Annotated[Ref | None, Meta(description="Network address, keyed hash: for influence caps.")] = None
    source_ref: Annotated[
        str | None, Meta(description="Keyed hash of account, device or address, for influence caps.")
    ] = None
