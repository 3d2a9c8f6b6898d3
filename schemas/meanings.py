"""What each value of every closed set on the wire means: enumerations, dead-letter reasons, headers.

Schemas carry these as `x-meanings` and the reference page prints them. A set is found by its values, so that one that
appears in several messages is explained once.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from schemas.deadletter import DeadLetterHeader, DeadLetterReason

_SETS: Final[tuple[Mapping[str, str], ...]] = (
    {
        "signup": "a new account or application",
        "login": "authentication to an existing account",
        "recovery": "regaining access: lost password, device or factor",
        "kyc_capture": "document and face capture for identity verification",
        "high_risk_action": "a payment, a change of credentials, or another action that is checked by itself",
    },
    {
        "mouse": "mouse",
        "touchpad": "touchpad; browsers report it as a mouse, so only where it is known",
        "pen": "stylus",
        "touch": "finger",
        "unknown": "not known",
    },
    {
        "residential": "home access network",
        "mobile": "cellular network",
        "business": "company network",
        "education": "school or university network",
        "hosting": "data centre",
        "unknown": "not known",
    },
    {
        "none": "no declared agent",
        "signed": "declared, and its signature verified",
        "unsigned": "declared without a signature",
        "spoofed": "declared with a signature or an origin that does not hold",
    },
    {
        "human": "the bot score is as low as people's",
        "scripted": "a driver, or input too even for a hand",
        "humanised": "the bot score is high, and no fact says how it is made",
        "replayed": "recorded behaviour played again",
        "agent": "an AI agent: declared, or by clicks that jump and whole values in bursts",
        "assistive": "declared assistive technology and nothing that speaks against it",
    },
    {
        "model": "the calibrated bot score",
        "rule": "a named rule on facts",
    },
    {
        "completed": "the flow was finished",
        "abandoned": "the person left",
        "timeout": "nothing happened for too long",
        "error": "the flow failed",
    },
    {
        "document": "document read and checked",
        "document_tamper": "document altered, printed or shown on a screen",
        "face_match_1to1": "face against the document's or the account's own face",
        "face_match_1ton": "face against all known faces",
        "liveness": "a living person in front of the camera",
        "pad": "presentation attack detection (ISO/IEC 30107): mask, print, screen",
        "deepfake": "synthetic or swapped face",
        "injection": "feed that does not come from the camera",
        "capture_quality": "fitness of the image or video",
        "device_attestation": "attestation by the platform or hardware",
        "device_reputation": "what is known of the device",
        "ip_reputation": "what is known of the address",
        "email_reputation": "what is known of the e-mail address",
        "phone_reputation": "what is known of the telephone number",
        "identity_data": "identity data against registers",
        "watchlist": "sanctions and watch lists",
        "bot": "another party's bot detection",
        "other": "anything else",
    },
    {
        "scored": "there is a score",
        "no_decision": "answered without a score",
        "quality_fail": "the evidence was too poor to judge",
        "timeout": "no answer in time",
        "refused": "the provider declined to judge",
        "error": "the call failed",
    },
    {
        "high_is_risk": "the upper end of the scale is risk",
        "high_is_genuine": "the upper end of the scale is genuine",
    },
    {"pass": "accepted by the provider", "fail": "rejected by the provider", "review": "undecided by the provider"},
    {
        "genuine": "the person they claim to be, by themselves",
        "bot": "software in place of a person",
        "injection": "camera feed injected",
        "impersonation": "another living person",
        "synthetic_identity": "a person who does not exist",
        "takeover": "somebody else's account",
        "fraud_other": "fraud of another kind",
        "unknown": "looked at, and still not known",
    },
    {
        "MANUAL_REVIEW": "a reviewer",
        "AUTOMATED_RULE": "a rule of another system",
        "CHARGEBACK": "a payment taken back",
        "VENDOR": "a vendor's feedback",
        "USER_APPEAL": "the person complained, and it was settled",
        "STEP_UP": "the result of a step-up",
    },
    {"low": "hint", "medium": "likely", "high": "all but certain"},
    {
        "low": "nothing remarkable",
        "medium": "worth a look",
        "high": "worth a step-up",
        "very_high": "beyond what people do, as far as is known",
    },
    {
        "bot": "software moves the pointer or the keys",
        "anomaly": "unlike the flow's usual sessions",
        "injection": "camera feed injected or synthetic",
        "device": "device or browser is not what it claims",
        "replay": "recorded behaviour played again",
        "ring": "part of a ring of identities",
    },
    {"allow": "go on", "step_up": "ask for more proof", "block": "stop"},
    {
        "captcha": "interactive puzzle",
        "otp": "one-time code to a known channel",
        "passkey": "passkey or security key",
        "liveness": "active liveness check",
        "document": "document capture",
        "manual_review": "a person looks at it",
    },
    {
        "prior": "people that ship with the product; no live ones yet",
        "source": "people of this source of telemetry",
        "live": "live people of this deployment",
    },
    {
        "scored": "there is a score",
        "no_data": "expected in the flow, but there is no evidence yet",
        "degraded": "a dependency was missing while scoring",
        "not_expected": "the flow does not use this channel",
    },
    {
        "live": "enforced",
        "shadow": "computed beside the live one, never enforced",
        "preview": "a draft, never enforced",
    },
    {
        "behaviour": "how pointer, keys, touch and focus were used",
        "automation": "traces of automation tools",
        "device": "attributes of device and browser",
        "network": "address and connection",
        "velocity": "how many things an account, device or address was seen with",
        "capture": "camera and media",
        "anomaly": "unlike other sessions",
        "identity": "who it claims to be",
        "coverage": "evidence that is missing",
    },
    {"risk": "raises the risk", "trust": "lowers the risk"},
    {"strong": "says much by itself", "medium": "says something by itself", "weak": "counts with others only"},
    {
        "model": "a trained model's contribution",
        "signal": "a derived signal",
        "rule": "a rule of the policy",
        "counter": "an entity counter",
    },
    {
        "new": "first evaluation of the session",
        "superseding": "replaces the session's earlier evaluations",
    },
    {
        "trusted": "vouched for by a result that does not look at behaviour",
        "control": "the same, asked of a random share, whatever the score",
        "unlabelled": "neither",
    },
    {
        "trusted": "only people known to be genuine",
        "unlabelled": "unlabelled sessions among them, which rank like them where there are enough to compare",
    },
    {"anomaly_hst": "half-space trees of the anomaly channel", "calibration": "people's scores by cell"},
    {
        "<f8": "64-bit float",
        "<f4": "32-bit float",
        "<i4": "32-bit signed integer",
        "<i2": "16-bit signed integer",
        "<u1": "8-bit unsigned integer",
    },
)

_BY_VALUES: Final = {frozenset(meanings): meanings for meanings in _SETS}

REASONS: Final[Mapping[DeadLetterReason, str]] = {
    DeadLetterReason.EMPTY: "No value, or an empty one. Input topics know no tombstones.",
    DeadLetterReason.TOO_LARGE: "Larger than the topic's record limit.",
    DeadLetterReason.NOT_UTF8: "Some byte is not UTF-8: another encoding, compressed or binary data.",
    DeadLetterReason.MALFORMED_JSON: "Not one JSON value: cut off, something after it, a byte order mark, NaN.",
    DeadLetterReason.TOO_DEEP: "Arrays and objects nest too deep, in known or unknown fields.",
    DeadLetterReason.UNKNOWN_TYPE: "`type` is missing, or is no message or version that the topic takes.",
    DeadLetterReason.SCHEMA: "A field is missing, has the wrong type or is out of bounds, or columns differ in length.",
    DeadLetterReason.KEY_MISMATCH: "The record has a key, and it is not the UTF-8 of `session_id`.",
    DeadLetterReason.TENANT_MISMATCH: "The session's state belongs to another `tenant`.",
    DeadLetterReason.SEQUENCE_TOO_OLD: "`sequence` is too far behind the session's highest to tell a repeat.",
    DeadLetterReason.SEQUENCE_TOO_FAR: "`sequence` is so far above the session's highest that it can't be its number.",
    DeadLetterReason.PROCESSING_ERROR: "Processing this record failed, by itself and repeatedly.",
    DeadLetterReason.CRASHES_PROCESS: "Processing this record ended the process, repeatedly.",
    DeadLetterReason.OUTPUT_TOO_LARGE: "The risk event would be larger than its topic allows.",
}

HEADERS: Final[Mapping[str, str]] = {
    "content-type": "`application/json`.",
    "ce_specversion": "`1.0`.",
    "ce_id": "The event's id. With `ce_source` it is unique; the same pair again is the same event again.",
    "ce_source": "`/tellwire/<topic>`.",
    "ce_type": "The message type with its version, as `type` in the value.",
    "ce_time": "When it was made, RFC 3339, UTC, milliseconds.",
    "ce_subject": "What it is about: the session id (or, for a snapshot, its key).",
    "traceparent": "W3C trace context of the input record, handed on unchanged; absent when there was no valid one.",
    "tracestate": "W3C trace state, with a valid `traceparent` only.",
    DeadLetterHeader.REASON: "Reason code, see below.",
    DeadLetterHeader.PATH: "JSONPath of the field at fault, `$` for the whole record.",
    DeadLetterHeader.DETAIL: "One line for a person. Never a value from the input.",
    DeadLetterHeader.TOPIC: "Input topic.",
    DeadLetterHeader.TOPIC_ID: "Broker's id of the input topic.",
    DeadLetterHeader.PARTITION: "Input partition, decimal; of a redriven record the first one.",
    DeadLetterHeader.OFFSET: "Input offset, decimal; of a redriven record the first one.",
    DeadLetterHeader.TIME: "Append time of the input, epoch ms, decimal.",
    DeadLetterHeader.ATTEMPTS: "How often it was tried, decimal.",
    DeadLetterHeader.APP_VERSION: "Version of tellwire that gave it up.",
    DeadLetterHeader.TRUNCATED: "Size of the whole value, bytes, where it was too large to be kept whole; else absent.",
    DeadLetterHeader.SHA256: "SHA-256 of the whole value, hex; with `dlq_truncated` only.",
    DeadLetterHeader.REDRIVEN_PARTITION: "Partition in which a redriven record failed again, decimal; else absent.",
    DeadLetterHeader.REDRIVEN_OFFSET: "Offset at which it failed again, decimal; else absent.",
    DeadLetterHeader.REDRIVEN_AT: "Marks a note: when the record was sent again, epoch ms, decimal; else absent.",
}


def meanings_of(values: Iterable[str]) -> Mapping[str, str] | None:
    """The meanings of a closed set of values, in the order to show them; None for a set that is not explained here."""
    return _BY_VALUES.get(frozenset(values))
