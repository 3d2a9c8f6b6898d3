"""The audit of a run: each event answered once, by its own answer, and with the same result as by everybody else.

Identity, order and number are the ledger's matter, which imports nothing of the project. What was computed is compared
here between contestants and repetitions: the standard workload is the same for all, so what rests on a session's own
events alone must be, too. What rests on entity counters may differ: they are read when they are due.
"""

from array import array
from collections.abc import Iterable

import msgspec

from bench.workload import event_number, number_in
from tests.support import ledger
from tests.support.ledger import Record


class Failed(Exception):  # noqa: N818 - a contestant's, told with its log
    """A run can't be counted: a contestant ended, stood still, or did its job wrong."""


class _Channel(msgspec.Struct):
    score: float | None = None
    score_anytime: float | None = None
    raw: float | None = None
    raw_max: float | None = None


class _Scores(msgspec.Struct):
    bot: _Channel | None = None


class _Told(msgspec.Struct):
    """What of a risk event rests on its session's own events alone."""

    event_id: str
    session_id: str
    sequence: int
    observed_s: float
    coverage: float
    missing_signals: list[str]
    scores: _Scores


_told = msgspec.json.Decoder(_Told).decode


class Audit:
    """Judges runs of one workload, whoever made them; remembers what events came to."""

    def __init__(self) -> None:
        self._known: dict[int, dict[int, int]] = {}
        """By number of live sessions: a number for what each event came to, by its number in the workload."""
        self.compared = 0
        """Events so far whose results were compared with those of another run."""

    def judge(
        self,
        inputs: Iterable[Record],
        events: Iterable[Record],
        dead_letters: Iterable[Record],
        *,
        topic: str,
        topic_id: str,
        expected: int,
        sessions: int,
    ) -> None:
        """Raise `Failed` for a missing, doubled or differing event; iterables are in offset order of each partition."""
        found = list(events)
        report = ledger.check(inputs, found, dead_letters, input_topic=topic, input_topic_id=topic_id)
        if not report.ok or report.scored != expected or report.replayed_repeats or report.late_repeats:
            raise Failed(f"it did its job wrong, {expected} events were sent: {report}")
        known = self._known.setdefault(sessions, {})
        differing = 0
        for record in found:
            told = _told(record.value or b"")
            number, result = event_number(told.event_id.encode()), _number_of(told)
            differing += known.setdefault(number, result) != result
        if differing:
            raise Failed(f"{differing} of {expected} risk events differ from those of an earlier run")
        self.compared += expected


def _number_of(told: _Told) -> int:
    bot = told.scores.bot
    scored = None if bot is None else (bot.score, bot.score_anytime, bot.raw, bot.raw_max)
    return hash((told.session_id, told.sequence, told.observed_s, told.coverage, *told.missing_signals, scored))


def judge_echo(inputs: Iterable[Record], outputs: Iterable[Record], expected: int) -> None:
    """Raise `Failed` unless each record was published once, as it came and where it was."""
    sent, came = (
        [(record.partition, record.offset, record.key, record.value) for record in found] for found in (inputs, outputs)
    )
    if sent != came or len(came) != expected:
        raise Failed(f"it published {len(came)} of {expected} events, or others")


def judge_numbers(events: Iterable[Record], expected: int) -> None:
    """Raise `Failed` for a missing or doubled event, by the events' numbers alone: for more than memory holds.

    Nothing is kept of an event but that it was answered.
    """
    answers = array("B", bytes(expected))
    others = doubled = 0
    for record in events:
        number = number_in(record.value)
        if not 0 <= number < expected:
            others += 1
        elif answers[number]:
            doubled += 1
        else:
            answers[number] = 1
    missing = answers.count(0)
    if missing or doubled or others:
        raise Failed(f"of {expected} events {missing} are missing, {doubled} doubled, {others} are no answers to one")
