"""`tellwire dlq list` and `show` against the embedded broker: what they tell, and what they never say."""

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
from confluent_kafka import KafkaError, Message

from schemas.deadletter import DeadLetterReason as Reason
from stream import dead_letter_log
from stream.dead_letter_index import DeadLetterIndex, Known
from stream.plain_text import escaped, printable
from stream.topics import BrokerError
from tests.stream.core.doubles import record
from tests.stream.dlq_bench import SECRET, Bench, opened_bench


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with opened_bench(capsys, monkeypatch) as made:
        yield made


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


def test_escaping_leaves_plain_text_alone() -> None:
    assert printable("naïve 日本 🙂 a\\b") == "naïve 日本 🙂 a\\b"
    assert escaped(b"\xc3\xa9\x80\r\n") == "é\\x80\\u{d}\\u{a}"


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

    def known(*records: Message) -> Known:
        with DeadLetterIndex() as found:
            for each in records:
                dead_letter_log.add(found, each)
            (only,) = found.records()
            return only

    first, second = [one(0, 1), one(1, 1, note=True)], [one(7, 2), one(8, 2), one(9, 2, note=True)]
    for order in ([*first, *second], [*second, *first], [*second[::-1], *first[::-1]]):
        found = known(*order)
        assert (found.letter.attempts, found.repeats, found.redriven) == (2, 1, True)
    assert not known(*second[:2], *first).redriven


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
