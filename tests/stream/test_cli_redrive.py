"""`tellwire dlq redrive` against the embedded broker: what it sends, what it does not, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from confluent_kafka import Message

from schemas.deadletter import DeadLetterReason as Reason
from schemas.envelope import encode
from stream import dead_letter_log, redrive
from stream.origin import Origin, read_origin
from stream.records import offset_of
from stream.topics import BrokerError
from stream.transport import partition_of
from stream.transport.headers import headers_of
from tests.stream.dlq_bench import GOOD, TOPIC_ID, Bench, opened_bench


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with opened_bench(capsys, monkeypatch) as made:
        yield made


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


def test_a_limit_counts_what_can_be_sent(bench: Bench) -> None:
    value, key = encode(GOOD), GOOD.session_id.encode()
    for offset in range(6):
        # Every other one would fail again.
        bench.give_up(offset, value=value if offset % 2 else b"{", key=key, partition=1)
    first = bench.told("redrive", "--all", "--limit", "2", "--yes", code=1)
    assert [one["offset"] for one in first["sent"]] == [1, 3]
    assert [one["id"] for one in first["refused"]] == ["1:0", "1:2"]


def test_what_retention_took_between_two_looks_is_told_in_its_place(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, key = encode(GOOD), GOOD.session_id.encode()
    for offset in range(5):
        bench.give_up(offset, value=value, key=key, partition=1)
    whole = dead_letter_log.read_whole
    monkeypatch.setattr(redrive, "READ_AT_ONCE", 2)
    monkeypatch.setattr(redrive, "read_whole", lambda p, places: whole(p, [at for at in places if at[1] not in {0, 3}]))
    told = bench.told("redrive", "--all", "--dry-run", code=1)
    assert [one["id"] for one in told["planned"]] == ["1:1", "1:2", "1:4"]
    assert [one["id"] for one in told["refused"]] == ["1:0", "1:3"]


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
    assert "1 behind these was not tried" in out
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
    assert "1 not sent: no dead letter is there (any more) (1:1)" in out
    assert "1 more was not tried: run it again" in out
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
