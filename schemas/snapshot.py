"""The snapshot contract: what the learner learnt, immutable, by content hash, on the compacted `models.snapshots`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.base import Count, Flow


class ArrayBlob(msgspec.Struct, kw_only=True, gc=False):
    """One flat array, little-endian, C order."""

    dtype: Annotated[Literal["<f8", "<f4", "<i4", "<i2", "<u1"], Meta(description="numpy dtype string.")]
    shape: Annotated[list[Count], Meta(max_length=4, description="Length of each axis.")]
    data: Annotated[bytes, Meta(max_length=4_000_000, description="Elements, base64.")]


class Snapshot(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="models.snapshot.v1"):
    """The state of one online model for one flow. Key: `<kind>/<flow>/<hash>`, newest `<kind>/<flow>/latest`."""

    kind: Annotated[Literal["anomaly_hst", "calibration"], Meta(description="What it is a snapshot of.")]
    flow: Annotated[Flow, Meta(description="Business flow.")]
    hash: Annotated[str, Meta(description="SHA-256 of definition and arrays, hex; the snapshot's identity.")]
    created_at: Annotated[int, Meta(description="When it was made, epoch ms; not part of the hash.")]
    features_hash: Annotated[str, Meta(description="Registry that the arrays refer to.")]
    offsets: Annotated[dict[str, int], Meta(description="First offset of risk.features not yet learnt, by partition.")]
    n_learnt: Annotated[Count, Meta(description="Sessions or vectors learnt.")]
    definition: Annotated[dict[str, float | int | str | list[str]], Meta(description="Parameters of the model.")]
    arrays: Annotated[dict[str, ArrayBlob], Meta(max_length=32, description="Flat arrays by name.")]
