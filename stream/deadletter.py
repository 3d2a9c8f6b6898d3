"""Dead letters: the untouched input and why it could not be processed, and the limit that stops the line."""

from collections import deque
from collections.abc import Sequence
from hashlib import sha256

from schemas.deadletter import DeadLetterHeader as Header
from schemas.envelope import Rejected
from schemas.topics import MAX_RECORD_BYTES
from stream import __version__
from stream.origin import MAX_ATTEMPTS, Origin, without_origin
from stream.transport import OutRecord

DEADLETTER_TOPIC = "risk.deadletter"
TRUNCATED_BYTES = 65_536
_VERSION = __version__.encode()


def dead_letter(
    *,
    topic: str,
    topic_id: str,
    source_partition: int,
    partition: int | None,
    offset: int,
    append_time_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]],
    rejected: Rejected,
    origin: Origin | None = None,
) -> OutRecord:
    """Return the record for the dead-letter topic: bytes as they came, reason in headers.

    `partition` is the source's where the topics are partitioned alike, None (by key) otherwise. The input's own headers
    are kept in front of ours, so that a redrive gives the record back as it was. With `origin` the record was redriven:
    the dead letter names its first place, counts one attempt more, and says where it failed this time.
    """
    here = (source_partition, offset)
    attempts = 1
    if origin is not None:
        source_partition, offset = origin.partition, origin.offset
        attempts = min(origin.attempts + 1, MAX_ATTEMPTS)
        append_time_ms = append_time_ms if origin.time_ms is None else origin.time_ms
    ours: list[tuple[str, bytes]] = [
        (Header.REASON, rejected.reason.encode()),
        (Header.PATH, rejected.path.encode()),
        (Header.DETAIL, rejected.detail.encode()),
        (Header.TOPIC, topic.encode()),
        (Header.TOPIC_ID, topic_id.encode()),
        (Header.PARTITION, str(source_partition).encode()),
        (Header.OFFSET, str(offset).encode()),
        (Header.TIME, str(append_time_ms).encode()),
        (Header.ATTEMPTS, str(attempts).encode()),
        (Header.APP_VERSION, _VERSION),
    ]
    if value is not None and len(value) > MAX_RECORD_BYTES:
        # Where an input topic takes more than the table says: a part and a hash, rather than a line that stands still.
        ours.append((Header.TRUNCATED, str(len(value)).encode()))
        ours.append((Header.SHA256, sha256(value).hexdigest().encode()))
        value = value[:TRUNCATED_BYTES]
    if origin is not None:
        ours.append((Header.REDRIVEN_PARTITION, str(here[0]).encode()))
        ours.append((Header.REDRIVEN_OFFSET, str(here[1]).encode()))
    kept = without_origin(headers)
    return OutRecord(topic=DEADLETTER_TOPIC, partition=partition, key=key, value=value, headers=kept + ours)


class DeadLetterLimit:
    """Stops a partition rather than dead-letter all of its traffic.

    Counts the last `window` records; when more than `ratio` of a full window are dead letters, the input as a whole is
    at fault (a wrong format, a wrong topic), and a person must look.
    """

    def __init__(self, ratio: float, window: int) -> None:
        self._ratio = ratio
        self._recent: deque[bool] = deque(maxlen=window)
        self._bad = 0

    def observe(self, *, bad: bool) -> None:
        """Count one record."""
        if len(self._recent) == self._recent.maxlen:
            self._bad -= self._recent[0]
        self._recent.append(bad)
        self._bad += bad

    def observe_good(self, count: int) -> None:
        """Count so many records that are no dead letters."""
        if self._bad:
            for _ in range(count):
                self.observe(bad=False)
        else:
            self._recent.extend([False] * min(count, self._recent.maxlen or 0))

    @property
    def exceeded(self) -> bool:
        """Whether a full window holds too many dead letters."""
        return len(self._recent) == self._recent.maxlen and self._bad > self._ratio * len(self._recent)
