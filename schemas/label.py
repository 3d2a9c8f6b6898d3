"""The label contract: what a session turned out to be, days later, on `risk.labels`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.base import EpochMs, Id, Name, Ref


class Label(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="risk.label.v1"):
    """One statement about one session. A source's later statement supersedes its earlier ones. Key: `session_id`."""

    label_id: Annotated[Id, Meta(description="Idempotency key.")]
    session_id: Annotated[Id, Meta(description="Capture session.")]
    tenant: Annotated[Name, Meta(description="Customer or product.")]
    label: Annotated[
        Literal[
            "genuine", "bot", "injection", "impersonation", "synthetic_identity", "takeover", "fraud_other", "unknown"
        ],
        Meta(description="What it turned out to be."),
    ]
    source: Annotated[
        Literal["MANUAL_REVIEW", "AUTOMATED_RULE", "CHARGEBACK", "VENDOR", "USER_APPEAL", "STEP_UP"],
        Meta(description="Where the knowledge comes from."),
    ]
    effective_at: Annotated[EpochMs, Meta(description="When the labelled behaviour took place, epoch ms.")]
    labelled_at: Annotated[EpochMs, Meta(description="When it became known, epoch ms.")]
    confidence: Annotated[Literal["low", "medium", "high"] | None, Meta(description="How sure the source is.")] = None
    analyst_ref: Annotated[Ref | None, Meta(description="Keyed hash of who labelled it.")] = None
    retracts: Annotated[Id | None, Meta(description="`label_id` that this one takes back.")] = None
