"""The dead-letter contract: the untouched input as value and key, and why it could not be processed, in headers.

Headers and listings hold no identifier; the bytes may, so the topic has its own ACL and a short retention.
"""

from enum import StrEnum


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
    TENANT_MISMATCH = "tenant_mismatch"
    PROCESSING_ERROR = "processing_error"
    CRASHES_PROCESS = "crashes_process"
    OUTPUT_TOO_LARGE = "output_too_large"


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
    APP_VERSION = "dlq_app_version"
    TRUNCATED = "dlq_truncated"
    """Bytes of the whole value, where the value was too large to be kept whole; absent otherwise."""
    SHA256 = "dlq_sha256"
    """Hash of the whole value, hex; with `dlq_truncated` only."""
