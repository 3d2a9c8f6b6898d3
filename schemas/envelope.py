"""The door of every record: bytes of a topic to a checked struct or to one `Rejected`, and structs back to bytes.

Bytes from outside are hostile. Size, encoding and nesting are bounded before anything is parsed, and whatever is wrong
becomes a `Rejected` with a dead-letter reason, the path of the field at fault and one line that never quotes the input.
Unknown fields are ignored (published schemas are closed, reading is tolerant). Of duplicate keys the last one counts.
"""

import re
from collections.abc import Callable, Iterable
from functools import reduce
from itertools import accumulate
from operator import or_
from typing import Final, Generic, NoReturn, TypeVar

import msgspec

from schemas.cloudevents import cloud_event_headers, trace_context
from schemas.deadletter import DeadLetterReason
from schemas.erasure import Erasure
from schemas.label import Label
from schemas.risk import RiskEvent
from schemas.served import ServedFeatures
from schemas.signals import Signal
from schemas.snapshot import Snapshot
from schemas.telemetry import Telemetry
from schemas.topics import MAX_RECORD_BYTES, MAX_TELEMETRY_BYTES

__all__ = [
    "MAX_DEPTH",
    "UNKNOWN_FIELD",
    "RecordDecoder",
    "Rejected",
    "cloud_event_headers",
    "decode",
    "decode_label",
    "decode_risk_event",
    "decode_served",
    "decode_signal",
    "decode_snapshot",
    "encode",
    "trace_context",
]

MAX_DEPTH: Final = 64
"""Deepest nesting of arrays and objects in a record. The contracts themselves need 5 levels."""

MAX_LABEL_BYTES: Final = 65_536

MessageT = TypeVar("MessageT", bound=msgspec.Struct)


class Rejected(Exception):  # noqa: N818 - nothing has failed but the record
    """A record that cannot be processed, and why.

    `reason` is a stable code, `path` the JSONPath of the field at fault (`$` for the whole record), `detail` one line
    for a person. None of them ever contains a value from the input, so they may be logged and put into headers.
    """

    __slots__ = ("detail", "path", "reason")

    def __init__(self, reason: DeadLetterReason, path: str, detail: str) -> None:
        super().__init__(reason, path, detail)
        self.reason = reason
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason} at {self.path}: {self.detail}"

    def to_keep(self) -> "Rejected":
        """Return the same without traceback and context: they hold frames, and with these all that was in work."""
        return Rejected(self.reason, self.path, self.detail)


class RecordDecoder(Generic[MessageT]):
    """Decodes the records of one topic into the message types that it carries, resolved once at construction.

    `max_bytes` bounds the value; with `keyed_by_session` the record's key, when there is one, must be the UTF-8 of the
    message's `session_id`. Safe to share between threads.
    """

    __slots__ = ("_decode", "_keyed_by_session", "_max_bytes", "_types")

    def __init__(self, types: Iterable[type[MessageT]], *, max_bytes: int, keyed_by_session: bool = True) -> None:
        members = tuple(types)
        self._decode: Callable[[bytes], MessageT] = msgspec.json.Decoder(reduce(or_, members)).decode
        self._types = " or ".join(str(member.__struct_config__.tag) for member in members)
        self._max_bytes = max_bytes
        self._keyed_by_session = keyed_by_session

    def decode(self, value: bytes | None, key: bytes | None) -> MessageT:
        """Return the message in `value`; raise `Rejected` for anything else. Never raises another exception."""
        if not value:
            raise Rejected(DeadLetterReason.EMPTY, "$", "the record has no value: send one JSON object")
        if len(value) > self._max_bytes:
            raise Rejected(
                DeadLetterReason.TOO_LARGE,
                "$",
                f"the record has {len(value)} bytes, the limit is {self._max_bytes}: send smaller batches",
            )
        if not value.isascii():
            _check_utf8(value)
        # Nesting cannot exceed the number of opening brackets. `replace` counts by memchr: several times faster than
        # `count`, and this bound is then all that a usual record pays for.
        if len(value) - len(value.replace(b"[", b"", MAX_DEPTH + 1).replace(b"{", b"", MAX_DEPTH + 1)) > MAX_DEPTH:
            _check_depth(value)
        try:
            message = self._decode(value)
        # `from None`: the library's message may quote the input, and tracebacks end in logs.
        except msgspec.ValidationError as error:
            raise self._not_valid(error) from None
        except msgspec.DecodeError as error:
            raise _malformed(value, error) from None
        except UnicodeDecodeError:
            raise Rejected(DeadLetterReason.NOT_UTF8, "$", "the record is not UTF-8") from None
        except RecursionError:
            _too_deep()
        if key is not None and self._keyed_by_session and key != message.session_id.encode():  # type: ignore[attr-defined]
            raise Rejected(
                DeadLetterReason.KEY_MISMATCH,
                "$.session_id",
                "the record's key is not its session_id: use session_id as the key, in UTF-8",
            )
        return message

    def _not_valid(self, error: msgspec.ValidationError) -> Rejected:
        message, at, rest = str(error).rpartition(" - at `")
        path = rest.removesuffix("`") if at else "$"
        if not at:
            message = rest
        missing = _MISSING.fullmatch(message)
        if missing:
            path = f"{path}.{missing[1]}"
        if path == "$.type":
            return Rejected(DeadLetterReason.UNKNOWN_TYPE, path, f"this topic takes `type` {self._types}")
        if missing:
            return Rejected(DeadLetterReason.SCHEMA, path, "required field is missing")
        # A ValueError as cause is a struct's own rule (`__post_init__`), and its words are ours.
        if isinstance(error.__cause__, ValueError):
            return Rejected(DeadLetterReason.SCHEMA, path, message)
        for known, words in _VALIDATION_WORDS:
            found = known.fullmatch(message)
            if found:
                return Rejected(DeadLetterReason.SCHEMA, path, found.expand(words).replace("`", ""))
        return Rejected(DeadLetterReason.SCHEMA, path, "does not match the published schema")


UNKNOWN_FIELD: Final = "has a field that the published schema does not know"
"""Said of it by a decoder of closed types; those of the topics are open."""

_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")

_VALIDATION_WORDS: Final = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        # The words of the library that cannot quote the input. What is not listed is not repeated.
        (r"Expected (`[^`]+`), got (`\w+`)", r"expected \1, got \2"),
        (r"Expected (`\w+` of length [<>=]+ \d+)", r"expected \1"),
        (r"Expected (`\w+` [<>=]+ [-+.e\d]+)", r"expected \1"),
        (r"Expected (`\w+`)", r"expected \1"),
        (r"Expected `str` matching regex .*", "the text has characters or a form that are not allowed here"),
        (r"Object contains unknown field .*", UNKNOWN_FIELD),
        (r"Invalid enum value .*", "not one of the values that the published schema lists"),
        (r"(?:Integer value|Number) out of range", "the number is out of range"),
        (r"Invalid base64 encoded string", "not base64"),
    )
)

_MALFORMED_WORDS: Final = re.compile(r"Input data was truncated|JSON is malformed: [a-z0-9 -]+(?: \(byte \d+\))?")


def _malformed(value: bytes, error: msgspec.DecodeError) -> Rejected:
    if value.startswith(b"\xef\xbb\xbf"):
        detail = "the record begins with a byte order mark: send UTF-8 without one"
    elif _MALFORMED_WORDS.fullmatch(str(error)):
        detail = str(error)
    else:
        detail = "the record is not one JSON value"
    return Rejected(DeadLetterReason.MALFORMED_JSON, "$", detail)


def _check_utf8(value: bytes) -> None:
    """The parser checks only the text that it keeps; a record with broken text in an ignored field is broken too."""
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise Rejected(
            DeadLetterReason.NOT_UTF8,
            "$",
            f"the record is not UTF-8 (byte {error.start}): JSON is UTF-8 without exception",
        ) from None


def _check_depth(value: bytes) -> None:
    """Raise `Rejected` when brackets nest deeper than `MAX_DEPTH`; linear in the size, no recursion.

    Strings are cut out first, so that only the brackets of the structure count: one up, one down, and their running sum
    is the depth. Brackets that don't match make no JSON, which is the parser's to say.
    """
    outside = value.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    steps = b"".join(outside).translate(_STEPS, _NO_BRACKETS)
    if max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH:
        _too_deep()


def _too_deep() -> NoReturn:
    raise Rejected(DeadLetterReason.TOO_DEEP, "$", f"arrays and objects nest deeper than {MAX_DEPTH} levels") from None


_STEPS: Final = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")
"""+1 for an opening bracket, -1 for a closing one, as signed bytes."""
_NO_BRACKETS: Final = bytes(code for code in range(256) if code not in b"[]{}")

_TELEMETRY: Final = RecordDecoder[Telemetry | Signal | Erasure](
    (Telemetry, Signal, Erasure), max_bytes=MAX_TELEMETRY_BYTES
)
_SIGNAL: Final = RecordDecoder[Signal]((Signal,), max_bytes=MAX_TELEMETRY_BYTES)
_LABEL: Final = RecordDecoder[Label]((Label,), max_bytes=MAX_LABEL_BYTES)
_RISK: Final = RecordDecoder[RiskEvent]((RiskEvent,), max_bytes=MAX_RECORD_BYTES)
_SERVED: Final = RecordDecoder[ServedFeatures]((ServedFeatures,), max_bytes=MAX_RECORD_BYTES)
_SNAPSHOT: Final = RecordDecoder[Snapshot]((Snapshot,), max_bytes=8 * MAX_RECORD_BYTES, keyed_by_session=False)

decode: Final = _TELEMETRY.decode
"""A record of `capture.telemetry`: `decode(value, key) -> Telemetry | Signal | Erasure`; raises `Rejected`."""
decode_signal: Final = _SIGNAL.decode
"""A record of the door `capture.signals`: `decode_signal(value, key) -> Signal`; raises `Rejected`."""
decode_label: Final = _LABEL.decode
"""A record of `risk.labels`."""
decode_risk_event: Final = _RISK.decode
"""A record of `risk.events`."""
decode_served: Final = _SERVED.decode
"""A record of `risk.features`."""
decode_snapshot: Final = _SNAPSHOT.decode
"""A record of `models.snapshots`; its key is not checked. A tombstone (no value) is `Rejected` as empty."""

encode: Final = msgspec.json.Encoder().encode
"""Any message to its JSON bytes, without fields that have their default.

Numbers keep full float64 precision (shortest text that reads back as the same number): what an event records must give
the same score again, exactly. NaN and infinities become null, so only nullable fields may hold them.
"""
