"""Which number a session's next record may have: not so far behind that nobody remembers, not absurdly far ahead."""

from typing import Final

from schemas.deadletter import DeadLetterReason
from schemas.envelope import Rejected

MAX_SEQUENCE_JUMP: Final = 65_536
"""Most by which a record's number may pass its session's highest: nine hours at two records a second. A number beyond
it (an overflow, a forgery) would make every later record of the session too old to tell."""


def out_of_reach(highest: int, sequence: int, *, is_behind: bool) -> Rejected | None:
    """Return why a record of this number is refused; None for one that may be new.

    `highest` is the session's highest number so far, -1 for none: a session whose beginning is not known may start
    anywhere. `is_behind`: the number is below what the session remembers.
    """
    if is_behind:
        detail = "far below the session's newest sequence: whether it is a repeat can't be told any more"
        return Rejected(DeadLetterReason.SEQUENCE_TOO_OLD, "$.sequence", detail)
    if sequence - highest > MAX_SEQUENCE_JUMP and highest >= 0:
        detail = "far above the session's newest sequence: it would make what comes after it too old"
        return Rejected(DeadLetterReason.SEQUENCE_TOO_FAR, "$.sequence", detail)
    return None
