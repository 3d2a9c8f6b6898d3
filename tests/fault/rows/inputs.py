"""Rows about what comes in: bad records, repeats, disorder, and clocks that are wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from features.meta import SEQUENCE_WINDOW
from tests.fault.given import Given, configure, events, good, send, started
from tests.fault.load import simulated
from tests.fault.observe import EVENTS, INPUT
from tests.fault.row import row
from tests.fault.trial import Trial
from tests.schemas.test_bad_inputs import ACCEPTED, GOOD, REFUSED
from tests.support import ledger
from tests.support.pipeline import Pipeline

HOUR_MS, YEAR_MS = 3_600_000, 365 * 86_400_000


def bad_inputs() -> list[Given]:
    """Every bad record of the reference list that a broker takes."""
    found = [Given(value, None, reason.value, path) for value, reason, path in REFUSED.values()]
    # What is larger than a record may be never gets past the broker: a check of its own.
    found = [one for one in found if len(one.value or b"") < 1_000_000]
    for key in (b"", b"s2", b"s1 ", b"\xff\xfe", b"s1" * 32_768):
        found.append(Given(GOOD, key, "key_mismatch", "$.session_id"))
    for headers in ([("x", b"v" * 100_000)], [("x", None)] * 200, [("", b"")], [("dlq_offset", b"1")] * 2):
        found.append(Given(b"{", None, "malformed_json", "$", list(headers)))
    return found


def odd_inputs() -> list[Given]:
    """Every odd but valid record; each gets a session of its own, so that none is another's repeat."""
    found = []
    for number, value in enumerate(ACCEPTED.values()):
        session = f"{number:02d}".encode()  # as long as the one that it replaces: one record is as large as may be
        found.append(Given(value.replace(b'"session_id": "s1"', b'"session_id": "%s"' % session), session))
    odd_ids = ("{}:*", "emoji 🦊 \u200f\u202e", "../../etc/passwd", "__proto__", 'level=error msg="x"', "s" * 128)
    for session_id in odd_ids:
        event = msgspec.json.decode(GOOD) | {"session_id": session_id}
        found.append(Given(msgspec.json.encode(event), session_id.encode()))
    return found


@row(
    number=15,
    fault="every bad and every odd record of the reference list between good ones",
    observables=("I1", "I2", "I3", "I4", "one dead letter each", "alive", "refused by the broker"),
)
def bad_records(trial: Trial) -> None:
    pipeline = trial.pipeline(2)
    worker = started(pipeline)
    telemetry = simulated(15, sessions_per_s=4.0, bot_ratio=0.3)
    bad, odd = bad_inputs(), odd_inputs()
    rounds = trial.count(ci=1, full=5)
    given: list[Given] = []
    for one in [*bad * rounds, *odd]:
        given += [good(next(telemetry)), one, good(next(telemetry))]
    places = send(trial.broker, given)
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        given += (batch := [good(next(telemetry)) for _ in range(20)])
        places += send(trial.broker, batch, compression=codec)
    large = [
        Given(value, None, "too_large", "$") for value in (b" " * (10 * 2**20), b'{"session_id": "' + b"s" * 2**20)
    ]
    refused = send(trial.broker, large)
    trial.outcome.check(
        "refused by the broker", refused == ["MSG_SIZE_TOO_LARGE"] * 2, f"records above 1 MiB: {refused}"
    )
    # An operator may let the topic take more: a part of them is kept, with size and hash of the whole.
    configure(trial.broker, INPUT, max_message_bytes=str(12 * 2**20))
    given += [*large, good(next(telemetry))]
    places += send(trial.broker, given[-3:])
    trial.faulted()
    trial.outcome.runs = len(bad) * rounds + len(large)
    pipeline.wait_committed(worker)
    expected = {place: one for place, one in zip(places, given, strict=True) if one.reason}
    evidence = trial.judge(pipeline, expected_dead_letters=[place for place in expected if isinstance(place, tuple)])
    letters = {ledger.answered_by(letter, INPUT): letter for letter in evidence.dead_letters}
    wrong = [
        f"{place}: {letter and (letter.header('dlq_reason'), letter.header('dlq_path'))} for {one.reason, one.path}"
        for place, one in expected.items()
        if (letter := letters.get(place if isinstance(place, tuple) else None)) is None
        or (letter.header("dlq_reason"), letter.header("dlq_path")) != (one.reason, one.path)
        or (letter.key, letter.value) != (one.key, _kept(one.value))
    ]
    trial.outcome.check(
        "one dead letter each",
        not wrong and len(evidence.dead_letters) == len(expected),
        f"{len(evidence.dead_letters)} for {len(expected)}{wrong[:3]}",
    )
    scored = evidence.report.scored
    trial.outcome.check("alive", worker.get("/livez")[0] == 200 and pipeline.uncommitted() == 0, "lag or no answer")
    trial.outcome.check("alive", scored == len(given) - len(expected), f"{scored} of {len(given) - len(expected)}")
    trial.outcome.note = f"{len(expected)} bad records, {scored} neighbours and odd ones scored"


def _kept(value: bytes | None) -> bytes | None:
    """What a dead letter keeps of a value."""
    return value[:65_536] if value is not None and len(value) > 2**20 else value


@row(
    number=16,
    fault="a producer sends again what was acknowledged, and the whole file is sent once more",
    observables=("I1", "I2", "I3", "I4", "state unchanged", "declared filters"),
)
def repeats(trial: Trial) -> None:
    pipeline = trial.pipeline(4)
    worker = started(pipeline)
    file = [good(event) for event in events(trial.count(ci=1_500, full=20_000), seed=16)]
    # Each tenth record twice in a row, each seventh again after some others.
    retried = list(_with_retries(file))
    send(trial.broker, retried)
    pipeline.wait_committed(worker)
    before, answers = _state(pipeline), pipeline.ends(EVENTS)
    for _ in range(trial.count(ci=1, full=3)):
        send(trial.broker, file)
        trial.faulted()
    pipeline.wait_committed(worker)
    after = _state(pipeline)
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    trial.outcome.check(
        "state unchanged",
        before and not changed and pipeline.ends(EVENTS) == answers,
        f"{len(before)} keys, changed: {changed[:3]}; risk events {answers}, then {pipeline.ends(EVENTS)}",
    )
    report = trial.judge(pipeline).report
    repeated = report.inputs - len(file)
    told = worker.metric("tellwire_filtered_total")
    trial.outcome.check(
        "declared filters",
        report.duplicates == repeated == told and not report.dead_letters,
        f"{report.duplicates} in the log, {told:.0f} counted by the worker, {repeated} sent",
    )


def _with_retries(file: list[Given]) -> Iterator[Given]:
    for at, one in enumerate(file):
        yield one
        if at % 10 == 0:
            yield one
        if at % 7 == 0 and at >= 40:
            yield file[at - 40]


def _state(pipeline: Pipeline) -> dict[bytes, bytes | None]:
    """Return every value in Redis but what says where in the log: watermarks, notes, movements."""
    with pipeline.redis.client() as client:
        keys = [
            key for key in client.scan_iter(count=5_000) if not key.endswith((b":w", b":c")) and b":m1:e" not in key
        ]
        return {key: client.dump(key) for key in keys}


@row(
    number=17,
    fault="records of a session out of order, far too late, with times in the future and in the past",
    observables=("I1", "I2", "I3", "I4", "late ones counted"),
)
def disorder(trial: Trial) -> None:
    pipeline = trial.pipeline(2)
    worker = started(pipeline)
    telemetry = events(trial.count(ci=1_200, full=12_000), seed=17)
    for at, event in enumerate(telemetry):
        if at % 5 == 0:
            event.effective_at += trial.rng.choice([-YEAR_MS, -HOUR_MS, HOUR_MS, 20 * YEAR_MS])
    shuffled = list(telemetry)
    for first in range(0, len(shuffled), 300):
        part = shuffled[first : first + 300]
        trial.rng.shuffle(part)
        shuffled[first : first + 300] = part
    # Sessions that are far ahead before their first numbers come: within the window they count, below it they are late.
    late = []
    for number in range(trial.count(ci=20, full=200)):
        named = [
            msgspec.structs.replace(
                telemetry[number], session_id=f"late-{number}", event_id=f"late-{number}-{at}", sequence=at, end=None
            )
            for at in (SEQUENCE_WINDOW + 9, 10, 9, 0, SEQUENCE_WINDOW + 8)
        ]
        late += [good(event) for event in named[:2]]
        late += [Given(one.value, one.key, "sequence_too_old", "$.sequence") for one in map(good, named[2:4])]
        late.append(good(named[4]))
    places = send(trial.broker, [*(good(event) for event in shuffled), *late])
    trial.faulted()
    trial.outcome.runs = len(telemetry) + len(late)
    pipeline.wait_committed(worker)
    too_late = [place for place, one in zip(places[len(shuffled) :], late, strict=True) if one.reason]
    evidence = trial.judge(pipeline, expected_dead_letters=[place for place in too_late if isinstance(place, tuple)])
    told = worker.metric('tellwire_dead_letters_total{reason="sequence_too_old"}')
    trial.outcome.check(
        "late ones counted",
        told == len(too_late) == evidence.report.reasons["sequence_too_old"],
        f"{told:.0f} counted, {len(too_late)} sent",
    )


@row(
    number=18,
    fault="clients' clocks wrong by an hour, by a year, and backwards; producers' clocks two hours ahead",
    observables=("I1", "I2", "I3", "I4", "windows", "refused by the broker"),
)
def wrong_clocks(trial: Trial) -> None:
    pipeline = trial.pipeline(2)
    worker = started(pipeline)
    telemetry = events(trial.count(ci=800, full=8_000), seed=18)
    skews = (0, HOUR_MS, -HOUR_MS, YEAR_MS, -YEAR_MS)
    by_session: dict[str, int] = {}
    for at, event in enumerate(telemetry):
        skew = by_session.setdefault(event.session_id, skews[len(by_session) % len(skews)])
        # One more in ten: the clock jumps back in the middle of its session.
        event.effective_at += skew - (2 * HOUR_MS if at % 10 == 0 else 0)
    # One device, a session a skew, sent within seconds: windows of the broker's time hold them all.
    device = [
        msgspec.structs.replace(
            telemetry[0], session_id=f"skew-{number}", event_id=f"skew-{number}", sequence=0, device_ref="the-device",
            effective_at=telemetry[0].effective_at + skew, end=None, account_ref=None,
        )
        for number, skew in enumerate(skews)
    ]  # fmt: skip
    send(trial.broker, [good(event) for event in telemetry])
    # To one partition each in turn: what another partition sees a moment later is no matter of clocks.
    for event in device:
        send(trial.broker, [good(event)])
        pipeline.wait_committed(worker)
    trial.faulted()
    trial.outcome.runs = len(telemetry)
    evidence = trial.judge(pipeline)
    counts = {
        event.session_id: event.velocity["device_sessions"].h1
        for event in evidence.decoded
        if event.session_id.startswith("skew-") and "device_sessions" in event.velocity
    }
    wanted = {f"skew-{number}": number + 1 for number in range(len(skews))}
    trial.outcome.check("windows", counts == wanted, f"sessions of one device in an hour: {counts}")
    _future_records(trial)


def _future_records(trial: Trial) -> None:
    """What a broker does with a producer's clock: refuses it where it keeps it, replaces it on the topics of ours."""
    name = trial.broker.create_topic(partitions=1)
    configure(trial.broker, name, message_timestamp_type="CreateTime")
    at_ms = int(time.time() * 1000) + 2 * HOUR_MS
    refused: Counter[str] = Counter()
    producer = Producer({"bootstrap.servers": trial.broker.bootstrap})

    def delivered(error: KafkaError | None, _: Message) -> None:
        refused[error.name() if error is not None else "taken"] += 1

    for topic in (name, INPUT):
        # Unreadable ones, so that they have an outcome all the same; one a batch, so that each has its own answer.
        for _ in range(5):
            producer.produce(topic, b"{", timestamp=at_ms, on_delivery=delivered)
            assert producer.flush(30) == 0
    records = [one for one in ledger.read_topic(trial.broker.bootstrap, INPUT) if one.value == b"{"]
    stamped = [one for one in records if abs(one.time_ms - at_ms + 2 * HOUR_MS) < 60_000]
    trial.outcome.check(
        "refused by the broker",
        refused["INVALID_TIMESTAMP"] + refused["INVALID_RECORD"] == 5 and len(stamped) == len(records) == 5,
        f"create time and append time: {dict(refused)}; {len(stamped)} of 5 stamped anew",
    )
