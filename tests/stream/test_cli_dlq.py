"""`tellwire dlq` against the embedded broker: what it tells, what it sends, what it never says; no worker needed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import typer
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from schemas.deadletter import DeadLetterReason as Reason
from schemas.envelope import Rejected, encode
from schemas.examples import examples_of
from schemas.telemetry import Telemetry
from stream import cli, dead_letter_log, redrive
from stream.cli.dlq_report import escaped, printable
from stream.dead_letter_log import Found
from stream.deadletter import dead_letter
from stream.embedded import EmbeddedBroker
from stream.origin import Origin, read_origin
from stream.records import offset_of
from stream.topics import BrokerError
from stream.transport import partition_of
from stream.transport.headers import headers_of
from tests.stream.core.doubles import record

TOPICS = {"capture.telemetry": 4, "capture.signals": 4, "risk.deadletter": 4}
GOOD = next(example.message for example in examples_of(Telemetry) if isinstance(example.message, Telemetry))
SECRET = "alice@example.com"
TOPIC_ID = "mock-capture.telemetry"


class Bench:
    """A broker with a dead-letter topic, and the command line against it."""

    def __init__(self, bootstrap: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.bootstrap = bootstrap
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self._producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})

    def give_up(
        self,
        offset: int,
        *,
        reason: Reason = Reason.SCHEMA,
        value: bytes | None = b"{",
        key: bytes | None = b"k",
        partition: int = 1,
        origin: Origin | None = None,
        topic: str = "capture.telemetry",
        topic_id: str = TOPIC_ID,
        more: tuple[tuple[str, bytes], ...] = (("traceparent", b"00-ab"),),
    ) -> None:
        """Publish a dead letter as a worker does."""
        letter = dead_letter(
            topic=topic,
            topic_id=topic_id,
            source_partition=partition,
            partition=partition,
            offset=offset,
            append_time_ms=1_700_000_000_000,
            key=key,
            value=value,
            headers=more,
            rejected=Rejected(reason, "$.flow", "not one of the values"),
            origin=origin,
        )
        self.publish(letter.value, letter.key, list(letter.headers or []), partition)

    def publish(
        self, value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes | None]], partition: int
    ) -> None:
        self._producer.produce("risk.deadletter", value, key, partition, headers=headers)  # type: ignore[arg-type]
        assert self._producer.flush(10) == 0

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """Run `tellwire dlq ...`; return what it prints."""
        self._monkeypatch.setattr(sys, "argv", ["tellwire", "dlq", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, out + err
        return out, err

    def told(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code)[0])

    def sent(self, topic: str = "capture.telemetry") -> list[Message]:
        """Read what is in an input topic now."""
        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "none", "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        })  # fmt: skip
        consumer.assign([TopicPartition(topic, number, 0) for number in range(TOPICS[topic])])
        found, ends = [], 0
        while ends < TOPICS[topic]:
            for message in consumer.consume(100, 0.2):
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF
                    ends += 1
        consumer.close()
        return found


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with EmbeddedBroker(TOPICS) as broker:
        monkeypatch.setenv("TELLWIRE_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap)
        monkeypatch.setenv("TELLWIRE_KAFKA__FIXED_TOPIC_ID", "mock")
        monkeypatch.setenv("COLUMNS", "140")
        yield Bench(broker.bootstrap, capsys, monkeypatch)


def test_an_empty_topic_is_said_to_be_empty(bench: Bench) -> None:
    assert bench.run("list")[0] == "0 records in the dead letters, 0 waiting.\n"
    assert bench.told("list")["records"] == 0
    assert "nothing was sent" in bench.run("redrive", "--all", "--yes")[0]


def test_counts_are_of_input_records_and_nothing_of_the_input_is_shown(bench: Bench) -> None:
    bench.give_up(5, value=SECRET.encode(), key=SECRET.encode(), more=(("x", SECRET.encode()),))
    bench.give_up(5, value=SECRET.encode(), key=SECRET.encode(), more=(("x", SECRET.encode()),))  # a repeat
    bench.give_up(6, reason=Reason.EMPTY, value=None)
    bench.give_up(9, reason=Reason.EMPTY, value=None, partition=2)
    bench.give_up(3, topic="capture.signals", topic_id="mock-capture.signals", partition=2)
    bench.publish(b"whatever", None, [("dlq_reason", b"schema")], 0)
    found = bench.told("list")
    assert {name: found[name] for name in ("records", "waiting", "redriven", "repeats", "unreadable")} == {
        "records": 4, "waiting": 4, "redriven": 0, "repeats": 1, "unreadable": 1,
    }  # fmt: skip
    assert found["by_reason"] == {"empty": 2, "schema": 2}
    assert found["by_topic"] == {"capture.telemetry": 3, "capture.signals": 1}
    assert found["by_partition"] == {"capture.telemetry[1]": 2, "capture.telemetry[2]": 1, "capture.signals[2]": 1}
    one = next(each for each in found["latest"] if each["offset"] == 5)
    assert one | {"time": ""} == {
        "id": "1:0", "topic": "capture.telemetry", "partition": 1, "offset": 5, "reason": "schema", "path": "$.flow",
        "detail": "not one of the values", "attempts": 1, "time": "", "size_bytes": len(SECRET), "truncated": False,
        "state": "waiting",
    }  # fmt: skip
    text, err = bench.run("list")
    assert "4 records in the dead letters, 4 waiting." in text
    assert "1 more record there is not from a worker, and not counted" in err
    shown = bench.run("show", "1:0")[0]
    dry = bench.run("redrive", "--all", "--dry-run", code=1)[0]
    for output in (text, shown, dry, json.dumps(found), bench.run("show", "1:0", "--json")[0]):
        assert SECRET not in output
        assert "YWxpY2VA" not in output, "not in base64 either"


@pytest.mark.parametrize(
    ("filters", "records"),
    [
        (["--reason", "empty"], 2),
        (["--reason", "empty", "--reason", "schema"], 3),
        (["--partition", "2"], 1),
        (["--since", "2100-01-01T00:00:00Z"], 0),
        (["--since", "2100-01-01"], 0),
    ],
)
def test_filters(bench: Bench, filters: list[str], records: int) -> None:
    bench.give_up(5)
    bench.give_up(6, reason=Reason.EMPTY, value=None)
    bench.give_up(9, reason=Reason.EMPTY, value=None, partition=2)
    assert bench.told("list", *filters)["records"] == records
    assert len(bench.told("list", *filters, "--limit", "1")["latest"]) == min(1, records)


def test_show_escapes_what_came_from_outside_and_only_when_asked(bench: Bench, tmp_path: Path) -> None:
    nasty = b'{"a": "\x1b[2J\xff\xe2\x80\xae[bold]"}\n'
    bench.give_up(5, value=nasty, key=b"k\x07", more=(("h\x1b", b"\x00v"),))
    out = bench.run("show", "1:0", "--value")[0]
    assert '{"a": "\\u{1b}[2J\\xff\\u{202e}[bold]"}\\u{a}' in out
    assert "key: k\\u{7}" in out
    assert "header h\\u{1b}: \\u{0}v" in out
    assert "may be personal data" in out
    assert not set("\x1b\x00\x07\u202e") & set(out)
    saved = tmp_path / "value"
    told = json.loads(bench.run("show", "1:0", "--json", "--value", "--save", str(saved))[0])
    assert saved.read_bytes() == nasty
    assert told["sensitive"]["key_base64"] == "awc="
    assert "is there already" in bench.run("show", "1:0", "--save", str(saved), code=2)[1]
    assert "no dead letter is at 1:7" in bench.run("show", "1:7", code=1)[1]
    assert "no dead letter is at 3:0" in bench.run("show", "3:0", code=1)[1]
    assert "partition:offset" in bench.run("show", "1.0", code=2)[1]


def test_a_record_goes_back_with_its_own_headers_and_its_first_place(bench: Bench) -> None:
    value, key = encode(GOOD), GOOD.session_id.encode()
    for _ in range(3):
        bench.give_up(5, reason=Reason.PROCESSING_ERROR, value=value, key=key)
    done = bench.told("redrive", "--reason", "processing_error", "--yes")
    assert [(one["id"], one["to"]) for one in done["sent"]] == [("1:0", {"partition": 1, "offset": 0})]
    assert done["repeats"] == 2
    (record,) = bench.sent()
    assert (record.partition(), record.key(), record.value()) == (1, key, value)
    headers = headers_of(record)
    assert headers[0] == ("traceparent", b"00-ab")
    assert not [name for name, _ in headers if name in {"dlq_reason", "dlq_path", "dlq_detail"}]
    origin = read_origin(headers, topic="capture.telemetry", topic_id=TOPIC_ID, partition=1, offset=99)
    assert origin == Origin(1, 5, 1, 1_700_000_000_000)

    # It is noted: the next run has nothing to do, whichever of the three is named.
    assert [one["state"] for one in bench.told("list")["latest"]] == ["redriven"]
    for arguments in (["--all"], ["1:0"], ["1:2", "1:1"]):
        again = bench.told("redrive", *arguments, "--yes")
        assert (again["sent"], [one["why"] for one in again["skipped"]]) == ([], ["sent again before"])
    assert len(bench.sent()) == 1
    assert "no dead letter is at 1:3, only a note" in bench.run("show", "1:3", code=1)[1]
    assert len(bench.told("redrive", "1:2", "--again", "--yes")["sent"]) == 1

    # It fails again: the same record, waiting, with one attempt more.
    bench.give_up(17, reason=Reason.PROCESSING_ERROR, value=value, key=key, origin=origin)
    (one,) = bench.told("list")["latest"]
    assert (one["offset"], one["attempts"], one["state"]) == (5, 2, "waiting")
    assert "partition 1 offset 17" in bench.run("show", one["id"])[0]
    assert len(bench.told("redrive", one["id"], "--yes")["sent"]) == 1
    last = read_origin(
        headers_of(bench.sent()[-1]), topic="capture.telemetry", topic_id=TOPIC_ID, partition=1, offset=99
    )
    assert last is not None
    assert (last.offset, last.attempts) == (5, 2)


def test_what_would_fail_again_is_told_and_only_sent_unchecked(bench: Bench) -> None:
    bench.give_up(5)
    plan = bench.told("redrive", "1:0", "--dry-run", code=1)
    assert plan["refused"] == [{"id": "1:0", "why": "would fail again: malformed_json at $"}]
    assert bench.told("redrive", "1:0", "--yes", code=1)["sent"] == []
    assert bench.sent() == []
    assert len(bench.told("redrive", "1:0", "--unchecked", "--yes")["sent"]) == 1
    assert [message.value() for message in bench.sent()] == [b"{"]


def test_a_mended_value_and_a_key_from_it(bench: Bench, tmp_path: Path) -> None:
    bench.give_up(5, key=b"wrong")
    bench.give_up(6)
    mended = tmp_path / "mended.json"
    mended.write_bytes(encode(GOOD))
    assert "key_mismatch" in bench.run("redrive", "1:0", "--value-file", str(mended), "--yes", code=1)[0]
    done = bench.told("redrive", "1:0", "--value-file", str(mended), "--key-from-value", "--yes")
    (record,) = bench.sent()
    assert (record.key(), record.value()) == (GOOD.session_id.encode(), encode(GOOD))
    assert done["sent"][0]["to"]["partition"] == record.partition() == partition_of(GOOD.session_id.encode(), 4)
    assert "mends one record" in bench.run("redrive", "1:0", "1:1", "--value-file", str(mended), "--yes", code=2)[1]
    assert "mends one record" in bench.run("redrive", "--all", "--value-file", str(mended), "--yes", code=2)[1]
    assert "not found" in bench.run("redrive", "1:1", "--value-file", "nowhere", "--yes", code=2)[1]
    assert "not a regular file" in bench.run("redrive", "1:1", "--value-file", str(tmp_path), "--yes", code=2)[1]


def test_nothing_is_sent_without_a_choice_and_a_word(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.give_up(5, value=encode(GOOD), key=GOOD.session_id.encode())
    assert "nothing was chosen" in bench.run("redrive", "--yes", code=2)[1]
    assert "not both" in bench.run("redrive", "1:0", "--all", "--yes", code=2)[1]
    assert "give --yes" in bench.run("redrive", "--all", code=2)[1]
    assert "give --yes" in bench.run("redrive", "--all", "--json", code=2)[1]
    assert "no such reason" in bench.run("redrive", "--reason", "nonsense", "--yes", code=2)[1]
    assert "--since" in bench.run("redrive", "--since", "yesterday", "--yes", code=2)[1]
    assert "nothing was sent" in bench.run("redrive", "--all", "--dry-run")[0]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert "nothing was sent" in bench.run("redrive", "--all", code=1)[1]
    assert bench.sent() == []
    monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
    assert "1 record sent again" in bench.run("redrive", "--all")[0]
    assert len(bench.sent()) == 1


def test_what_kills_a_worker_goes_back_only_by_name(bench: Bench) -> None:
    bench.give_up(5, reason=Reason.CRASHES_PROCESS, value=encode(GOOD), key=GOOD.session_id.encode())
    assert "only by id" in bench.told("redrive", "--all", "--yes")["skipped"][0]["why"]
    assert len(bench.told("redrive", "--reason", "crashes_process", "--dry-run")["planned"]) == 1
    assert len(bench.told("redrive", "1:0", "--dry-run")["planned"]) == 1


def test_what_can_not_go_back_says_why(bench: Bench) -> None:
    bench.give_up(5, topic_id="another-log")
    bench.give_up(6, value=b"x" * 1_100_000)
    bench.give_up(7, topic="risk.labels")
    whys = [one["why"] for one in bench.told("redrive", "--all", "--yes", code=1)["refused"]]
    assert [why.partition(":")[0] for why in whys] == [
        "capture.telemetry was deleted and made anew since",
        "only a part of its bytes was kept",
        "its input topic is none that a dead letter goes back to, or is not on this broker",
    ]
    gone = bench.told("redrive", "2:7", "--yes", code=1)["refused"]
    assert gone == [{"id": "2:7", "why": "no dead letter is there (any more)"}]


def test_order_limit_and_pace(bench: Bench) -> None:
    value, key = encode(GOOD), GOOD.session_id.encode()
    for offset in range(30):
        bench.give_up(offset, value=value, key=key, partition=1)
    first = bench.told("redrive", "--all", "--limit", "20", "--yes", "--rate", "60")
    assert [one["offset"] for one in first["sent"]] == list(range(20))
    second = bench.told("redrive", "--all", "--yes")
    assert [one["offset"] for one in second["sent"]] == list(range(20, 30))
    places = [
        read_origin(headers_of(m), topic="capture.telemetry", topic_id=TOPIC_ID, partition=1, offset=99)
        for m in bench.sent()
    ]
    assert [place.offset for place in places if place is not None] == list(range(30))
    assert [offset_of(message) for message in bench.sent()] == list(range(30))


def test_escaping_leaves_plain_text_alone() -> None:
    assert printable("naïve 日本 🙂 a\\b") == "naïve 日本 🙂 a\\b"
    assert escaped(b"\xc3\xa9\x80\r\n") == "é\\x80\\u{d}\\u{a}"


def test_a_failure_stops_the_run_and_what_was_sent_is_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    value, key = encode(GOOD), GOOD.session_id.encode()
    large = value[:-1] + b', "later": "' + b"x" * 20_000 + b'"}'
    for offset, content in enumerate((value, large, value)):
        bench.give_up(offset, value=content, key=key)
    monkeypatch.setenv("TELLWIRE_KAFKA__PRODUCER_PROPERTIES", '{"message.max.bytes": "15000"}')
    out = bench.run("redrive", "--all", "--yes", "--rate", "10", code=1)[0]
    assert "1 record sent again" in out
    assert "1 failed: " in out
    assert "Message size too large (1:1)" in out
    assert "1 behind these were not tried" in out
    assert [message.value() for message in bench.sent()] == [value]
    monkeypatch.delenv("TELLWIRE_KAFKA__PRODUCER_PROPERTIES")
    done = bench.told("redrive", "--all", "--yes")
    assert [one["offset"] for one in done["sent"]] == [1, 2]
    assert [one["id"] for one in done["skipped"]] == ["1:0"]


def test_an_interrupt_leaves_a_note_of_what_was_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for offset in range(3):
        bench.give_up(offset, value=encode(GOOD), key=GOOD.session_id.encode())

    def interrupt(seconds: float) -> None:
        if seconds > 0.05:
            raise KeyboardInterrupt

    monkeypatch.setattr("stream.redrive.time.sleep", interrupt)
    out = bench.run("redrive", "--all", "--yes", "--rate", "1", code=130)[0]
    assert "1 record sent again" in out
    monkeypatch.setattr("stream.redrive.time.sleep", lambda _: None)
    assert len(bench.sent()) == 1
    assert [one["state"] for one in bench.told("list")["latest"]].count("redriven") == 1


def test_where_no_broker_is_it_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELLWIRE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr("stream.dead_letter_log.IDLE_S", 1.0)
    for arguments in (["list"], ["show", "0:1"], ["redrive", "--all", "--yes"]):
        monkeypatch.setattr("stream.topics.TIMEOUT_S", 1.0)
        out, err = bench.run(*arguments, code=1)
        assert (out, len(err.splitlines())) == ("", 1)
        assert "127.0.0.1:1" in err


def test_the_order_in_which_partitions_are_read_does_not_matter() -> None:
    """A record that was redriven to another partition has its later dead letters and notes there."""
    said = {"dlq_topic": b"t", "dlq_topic_id": b"i", "dlq_partition": b"0", "dlq_offset": b"5"}

    def one(offset: int, attempts: int, *, note: bool = False) -> Message:
        headers = [*said.items(), ("dlq_attempts", str(attempts).encode())]
        headers += [("dlq_redriven_at", b"9")] if note else []
        return record(None if note else b"{", the_offset=offset, the_headers=headers)

    first, second = [one(0, 1), one(1, 1, note=True)], [one(7, 2), one(8, 2), one(9, 2, note=True)]
    for order in ([*first, *second], [*second, *first]):
        found = Found()
        for each in order:
            found.add(each)
        (known,) = found.records.values()
        assert (known.letter.attempts, known.repeats, known.redriven) == (2, 1, True)
    found = Found()
    for each in (*second[:2], *first):
        found.add(each)
    assert not next(iter(found.records.values())).redriven


def test_what_no_worker_wrote_steers_no_terminal_and_widens_no_table(bench: Bench) -> None:
    nasty = "\x1b[2J\u202e\x9b31m" + "x" * 250
    told = {"topic": nasty, "topic_id": nasty, "partition": "0", "offset": "1", "reason": nasty, "path": "$"}
    bench.publish(b"v", None, [(f"dlq_{name}", text.encode()) for name, text in told.items()], 0)
    for arguments in (["list"], ["show", "0:0"], ["redrive", "--all", "--dry-run"]):
        for form in ([], ["--json"]):
            out = bench.run(*arguments, *form, code=int("--dry-run" in arguments))[0]
            assert not set("\x1b\u202e\x9b") & set(out)
            assert "x" * 200 not in out or "list" not in arguments or form
    assert "not a reason that this version knows" in bench.run("show", "0:0")[0]
    assert "1 byte\n" in bench.run("show", "0:0")[0]
    assert bench.told("list")["latest"][0]["reason"] == nasty


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "this user needs READ on it"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "run `tellwire topics diff`"),
    ],
)
def test_a_topic_that_is_missing_or_closed_is_told_with_what_to_do(code: int, hint: str) -> None:
    topic = SimpleNamespace(error=KafkaError(code), partitions={})
    consumer: Any = SimpleNamespace(list_topics=lambda *_, **__: SimpleNamespace(topics={"risk.deadletter": topic}))
    with pytest.raises(BrokerError, match=f"^broker b:1: risk.deadletter: .*; {hint}$"):
        dead_letter_log._partitions(consumer, {"bootstrap.servers": "b:1"})


def test_a_limit_of_nought_names_none(bench: Bench) -> None:
    bench.give_up(5)
    assert bench.run("list", "--limit", "0")[0].endswith("\n1 record in the dead letters, 1 waiting.\n")


def test_what_was_sent_is_told_also_when_the_rest_can_not_be(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for offset in range(4):
        bench.give_up(offset, value=encode(GOOD), key=GOOD.session_id.encode())
    whole = dead_letter_log.read_whole

    def breaks(properties: dict[str, Any], places: list[tuple[int, int]]) -> Iterator[Message]:
        """Loses the second record to retention, and the broker after the third."""
        for count, message in enumerate(whole(properties, [places[0], *places[2:]])):
            if count == 2:
                raise BrokerError("the broker is gone")
            yield message

    planned = redrive.Redrive.plan

    def plan(*arguments: Any) -> None:
        planned(*arguments)
        monkeypatch.setattr(redrive, "read_whole", breaks)

    monkeypatch.setattr(redrive.Redrive, "plan", plan)
    out, err = bench.run("redrive", "--all", "--yes", "--rate", "10", code=1)
    assert "2 records sent again" in out
    assert "2 more were not tried: run it again" in out
    assert "the broker is gone" in err
    monkeypatch.setattr(redrive.Redrive, "plan", planned)
    monkeypatch.setattr(redrive, "read_whole", whole)
    done = bench.told("redrive", "--all", "--yes", "--rate", "10")
    assert [one["offset"] for one in done["sent"]] == [1, 3]


def test_what_went_away_before_it_could_be_sent_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.give_up(0, value=encode(GOOD), key=GOOD.session_id.encode())
    planned = redrive.Redrive.plan

    def plan(*arguments: Any) -> None:
        planned(*arguments)
        monkeypatch.setattr(redrive, "read_whole", lambda *_: iter(()))

    monkeypatch.setattr(redrive.Redrive, "plan", plan)
    out = bench.run("redrive", "--all", "--yes", code=1)[0]
    assert out.endswith("0 records sent again\n1 not sent: no dead letter is there (any more) (1:0)\n")


def test_ctrl_c_at_the_question_sends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> bool:
        raise typer.Abort

    bench.give_up(5, value=encode(GOOD), key=GOOD.session_id.encode())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", interrupted)
    assert bench.run("redrive", "--all", code=1)[1] == "\ntellwire: nothing was sent\n"
    assert bench.sent() == []


def test_a_full_disk_is_one_line(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.give_up(5)
    command = [sys.executable, "-m", "stream", "dlq", "list"]
    with Path("/dev/full").open("wb") as disk:
        done = subprocess.run(command, stdout=disk, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "the output could not be written: No space left on device" in done.stderr

    saved = tmp_path / "part"
    fdopen = os.fdopen

    def full(number: int, mode: str) -> Any:
        out = fdopen(number, mode)
        return FullFile(out)

    monkeypatch.setattr(os, "fdopen", full)
    assert "could not be written: No space left" in bench.run("show", "1:0", "--save", str(saved), code=1)[1]
    assert not saved.exists()


class FullFile:
    """A file on a full disk."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, _: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
