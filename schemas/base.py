"""Field types shared by every contract: bounded identifiers, times and ratios, each with its unit.

Bytes from outside are hostile, so every string and list has a bound. `Meta(description=...)` is what a reader of the
generated JSON Schema and AsyncAPI sees.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Flow = Literal["signup", "login", "recovery", "kyc_capture", "high_risk_action"]
"""The business flow that a capture session belongs to. Policies and thresholds are set by flow."""

FLOWS: tuple[Flow, ...] = ("signup", "login", "recovery", "kyc_capture", "high_risk_action")

MAX_ID_CHARS = 128
MAX_SAMPLES = 4096
"""Samples a column may hold. A 500 ms batch of a 1 000 Hz mouse has 500."""

MAX_EPOCH_MS = 4_102_444_800_000
"""2100-01-01. A time beyond it is microseconds or nonsense, not milliseconds."""

MIN_EPOCH_MS = 946_684_800_000
"""2000-01-01. A time before it is seconds or nonsense, not milliseconds."""

END = r"$(?!\n)"
"""End of text in a pattern. Python's `$` alone also matches before a last newline; published schemas write plain `$`,
which in JSON Schema's regular expressions means the end."""

_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+" + END
"""One or more characters, none of them a control character (Unicode category Cc)."""

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS, pattern=_PRINTABLE)]
"""An opaque identifier: 1 to 128 characters, no control characters."""

Ref = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS, pattern=_PRINTABLE)]
"""A reference to an account, device, address or artefact. Keyed-hashed before it is stored, logged or published."""

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/+-]*" + END)]
"""A short machine name: a provider, a model, a rule, a version."""

Text = Annotated[str, Meta(max_length=256)]
"""A short text reported by a client, such as a user agent's part or a camera label."""

LongText = Annotated[str, Meta(max_length=1024)]
"""A longer text reported by a client, such as a user agent."""

EpochMs = Annotated[int, Meta(ge=MIN_EPOCH_MS, le=MAX_EPOCH_MS)]
"""Milliseconds since 1970-01-01T00:00:00Z."""

OffsetMs = Annotated[float, Meta(ge=-60_000.0, le=600_000.0)]
"""Milliseconds from the event's start (`effective_at`); negative for what began before it."""

Px = Annotated[float, Meta(ge=-1_000_000.0, le=1_000_000.0)]
"""CSS pixels."""

Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]
"""A share between 0 and 1."""

Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}" + END)]
"""ISO 3166-1 alpha-2 country code."""

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""A whole number of things, from 0."""

Score = Annotated[float, Meta(ge=0.0, le=1.0)]
"""Risk between 0 and 1; high is risk."""

OffsetColumn = Annotated[list[OffsetMs], Meta(max_length=MAX_SAMPLES)]
PxColumn = Annotated[list[Px], Meta(max_length=MAX_SAMPLES)]
NumberColumn = Annotated[list[Annotated[float, Meta(ge=-1e9, le=1e9)]], Meta(max_length=MAX_SAMPLES)]
CodeColumn = Annotated[list[Annotated[int, Meta(ge=0, le=255)]], Meta(max_length=MAX_SAMPLES)]
Millis = Annotated[float, Meta(ge=0.0, le=86_400_000.0)]
"""A duration in milliseconds, at most a day."""


class Block(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """Base of the optional blocks of a telemetry event."""


def equal_lengths(**columns: object) -> None:
    """Raise ValueError unless all given columns (None excepted) have one length.

    Called from `__post_init__`: msgspec turns the ValueError into a ValidationError that carries the block's path.
    """
    length = -1
    for column in columns.values():
        if isinstance(column, list):
            if length < 0:
                length = len(column)
            elif len(column) != length:
                found = ", ".join(f"{name}={len(each)}" for name, each in columns.items() if isinstance(each, list))
                msg = f"columns of one block must have the same length, got {found}"
                raise ValueError(msg)
