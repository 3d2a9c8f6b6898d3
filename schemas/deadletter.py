"""The dead-letter contract: the untouched input as value and key, and why it could not be processed, in headers.

Headers and listings hold no identifier; the bytes may, so the topic has its own ACL and a short retention.
"""

from enum import StrEnum
from typing import Final


class DeadLetterReason(StrEnum):
    """Why an input record could not be processed. Codes are stable; new ones may be added."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    MALFORMED_JSON = "malformed_json"
    TOO_DEEP = "too_deep"
    UNKNOWN_TYPE = "unknown_type"
    SCHEMA = "schema"
    KEY_MISMATCH = "key_mismatch"
    SEQUENCE_TOO_OLD = "sequence_too_old"
    SEQUENCE_TOO_FAR = "sequence_too_far"
    TENANT_MISMATCH = "tenant_mismatch"
    PROCESSING_ERROR = "processing_error"
    CRASHES_PROCESS = "crashes_process"
    OUTPUT_TOO_LARGE = "output_too_large"


OF_ONE_SESSION: Final = frozenset({
    DeadLetterReason.SEQUENCE_TOO_OLD,
    DeadLetterReason.SEQUENCE_TOO_FAR,
    DeadLetterReason.TENANT_MISMATCH,
})  # fmt: skip
"""Reasons that lie in one session's own history, not in the format of the input: any client can cause them."""


class DeadLetterHeader(StrEnum):
    """Names of the headers of a dead letter; all values are UTF-8 text."""

    REASON = "dlq_reason"
    """A DeadLetterReason."""
    PATH = "dlq_path"
    """JSONPath of the field at fault, `$` for the whole."""
    DETAIL = "dlq_detail"
    """One line for a person: what was wrong and what to do. Never a value from the input."""
    TOPIC = "dlq_topic"
    TOPIC_ID = "dlq_topic_id"
    PARTITION = "dlq_partition"
    OFFSET = "dlq_offset"
    TIME = "dlq_time"
    """Append time of the input, epoch ms."""
    ATTEMPTS = "dlq_attempts"
    """How often the record was tried, this time included."""
    APP_VERSION = "dlq_app_version"
    TRUNCATED = "dlq_truncated"
    """Bytes of the whole value, where the value was too large to be kept whole; absent otherwise."""
    SHA256 = "dlq_sha256"
    """Hash of the whole value, hex; with `dlq_truncated` only."""
    REDRIVEN_PARTITION = "dlq_redriven_partition"
    """Where a redriven record was in the input topic when it failed again, or (on a note) where it was sent to; absent
    otherwise. The other headers name its first place."""
    REDRIVEN_OFFSET = "dlq_redriven_offset"
    REDRIVEN_AT = "dlq_redriven_at"
    """Epoch ms; on a note only: the dead letter of that first place was sent again. A note has no value."""
