"""`tellwire dlq` on real Kafka, with a real worker behind it: told without a word of the input, sent again once."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from schemas.envelope import encode
from schemas.telemetry import Telemetry
from tests.fault.load import simulated
from tests.support import ledger
from tests.support.pipeline import Pipeline, Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECRET = "alice@example.com"


def dlq(pipeline: Pipeline, *arguments: str, code: int = 0, stdin: str | None = None) -> str:
    """Run `tellwire dlq` as a person would; return what it prints on standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "stream", "dlq", *arguments],
        env=os.environ | {"TELLWIRE_KAFKA__BOOTSTRAP_SERVERS": pipeline.broker.bootstrap, "COLUMNS": "160"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout or code, done.stderr
    return done.stdout if code != 2 else done.stderr


def told(pipeline: Pipeline, *arguments: str, code: int = 0) -> Any:
    return json.loads(dlq(pipeline, *arguments, "--json", code=code))


def events(count: int) -> list[Telemetry]:
    source = simulated(5, sessions_per_s=2.0, bot_ratio=0.3, start_ms=1_790_000_000_000)
    return [next(source) for _ in range(count)]


def letters(pipeline: Pipeline) -> list[ledger.Record]:
    return list(ledger.read_topic(pipeline.broker.bootstrap, "risk.deadletter"))


def repeat_letter(pipeline: Pipeline, letter: ledger.Record) -> None:
    """Publish the same dead letter again, as a worker does that died before its state was written."""
    producer = Producer({"bootstrap.servers": pipeline.broker.bootstrap})
    producer.produce(
        "risk.deadletter", letter.value, letter.key, letter.partition, headers=list(letter.headers)
    )  # fmt: skip
    assert producer.flush(10) == 0


@dataclass
class Scene:
    """Forty records, two of them spoilt on their way, and one without a value; a worker that has seen all."""

    pipeline: Pipeline
    worker: Process
    sent: list[Telemetry]
    cut: bytes
    """The spoilt bytes of record 20; record 25 came under another key."""
    mangled: dict[str, Any]
    misplaced: dict[str, Any]
    empty: dict[str, Any]


def scene(pipeline: Pipeline) -> Scene:
    sent = events(40)
    good = [(event.session_id.encode(), encode(event)) for event in sent]
    cut = good[20][1][:-1] + f', "note": "{SECRET}\x1b[31m'.encode()
    bad: list[tuple[bytes | None, bytes | None]] = [
        (good[20][0], cut), (SECRET.encode(), good[25][1]), (b"gone", None)
    ]  # fmt: skip
    worker = pipeline.start("worker")
    worker.wait_ready()
    pipeline.produce([*good[:20], *good[21:25], *good[26:], *bad])
    pipeline.wait_answered(worker, 41)
    by_reason = {one["reason"]: one for one in told(pipeline, "list")["latest"]}
    named = [by_reason[name] for name in ("malformed_json", "key_mismatch", "empty")]
    return Scene(pipeline, worker, sent, cut, *named)


def test_dead_letters_are_told_without_the_input_and_sent_again_once(pipeline: Pipeline, tmp_path: Path) -> None:
    found = scene(pipeline)
    check_counts_and_places(found)
    check_bytes_only_when_asked_for(found, tmp_path / "saved.json")
    mended = tmp_path / "mended.json"
    mended.write_bytes(encode(found.sent[20]))
    mend = ("redrive", found.mangled["id"], "--value-file", str(mended))
    check_nothing_is_sent_unasked(found, mend)
    check_mended_is_scored_once_under_its_first_id(found, mend)
    check_a_second_run_has_nothing_to_do(found, mend)
    check_what_fails_again_counts_its_attempts(found)
    assert found.worker.stop() == 0
    report = pipeline.audit()
    assert report.ok, str(report)
    assert (report.scored, report.dead_letters, report.duplicates) == (40, 5, 1)
    assert (report.redriven, report.redrive_notes, report.dead_letter_repeats) == (5, 5, 1)


def check_counts_and_places(found: Scene) -> None:
    pipeline = found.pipeline
    text, counted = dlq(pipeline, "list"), told(pipeline, "list")
    assert "3 records in the dead letters, 3 waiting." in text
    assert counted["by_reason"] == {"empty": 1, "key_mismatch": 1, "malformed_json": 1}
    assert (counted["records"], counted["waiting"], counted["repeats"]) == (3, 3, 0)
    mangled, empty = found.mangled, found.empty
    assert (mangled["path"], mangled["size_bytes"], mangled["attempts"]) == ("$", len(found.cut), 1)
    outputs = [text, json.dumps(counted), dlq(pipeline, "show", mangled["id"])]
    outputs.append(dlq(pipeline, "redrive", "--all", "--dry-run", code=1))
    for output in outputs:
        assert SECRET not in output
        assert not any(event.session_id in output or event.event_id in output for event in found.sent)
    assert told(pipeline, "list", "--reason", "schema")["records"] == 0
    assert told(pipeline, "list", "--reason", "empty", "--partition", str(empty["partition"]))["records"] == 1
    assert told(pipeline, "list", "--since", "1h", "--limit", "1")["records"] == 3
    assert told(pipeline, "list", "--since", "2100-01-01", "--limit", "1")["records"] == 0


def check_bytes_only_when_asked_for(found: Scene, saved: Path) -> None:
    pipeline, mangled = found.pipeline, found.mangled
    shown = dlq(pipeline, "show", mangled["id"], "--value")
    assert SECRET in shown
    assert "personal data" in shown
    assert "\x1b" not in shown
    assert "\\u{1b}[31m" in shown
    dlq(pipeline, "show", mangled["id"], "--save", str(saved))
    assert saved.read_bytes() == found.cut
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert "is there already" in dlq(pipeline, "show", mangled["id"], "--save", str(saved), code=2)
    assert dlq(pipeline, "show", "0:9999", code=1) == ""


def check_nothing_is_sent_unasked(found: Scene, mend: tuple[str, ...]) -> None:
    pipeline = found.pipeline
    ends = pipeline.ends("capture.telemetry")
    plan = told(pipeline, "redrive", "--all", "--dry-run", code=1)
    assert plan["planned"] == plan["sent"] == []
    assert {one["why"] for one in plan["refused"]} == {
        "would fail again: malformed_json at $",
        "would fail again: key_mismatch at $.session_id",
        "would fail again: empty at $",
    }
    assert len(told(pipeline, *mend, "--dry-run")["planned"]) == 1
    assert "give --yes" in dlq(pipeline, *mend, code=2, stdin="")
    assert "nothing was chosen" in dlq(pipeline, "redrive", "--yes", code=2)
    assert pipeline.ends("capture.telemetry") == ends


def check_mended_is_scored_once_under_its_first_id(found: Scene, mend: tuple[str, ...]) -> None:
    """The same dead letter twice in the topic is one record."""
    pipeline, mangled, misplaced = found.pipeline, found.mangled, found.misplaced
    repeat_letter(pipeline, next(one for one in letters(pipeline) if one.value == found.cut))
    assert told(pipeline, "list")["repeats"] == 1
    done = told(pipeline, *mend, "--yes")
    assert (len(done["sent"]), done["repeats"]) == (1, 1)
    moved = told(pipeline, "redrive", misplaced["id"], "--key-from-value", "--yes")["sent"][0]
    pipeline.wait_committed(found.worker)
    first = {f"{one['partition']}:{one['offset']}": one for one in (mangled, misplaced)}
    answered = {event.evaluation_id.partition(":")[2]: event for event in pipeline.risk_events() if event.redriven}
    assert set(answered) == set(first)
    assert {event.event_id for event in answered.values()} == {found.sent[20].event_id, found.sent[25].event_id}
    again = answered[f"{misplaced['partition']}:{misplaced['offset']}"]
    assert (again.source.partition, again.source.offset) == (moved["to"]["partition"], moved["to"]["offset"])


def check_a_second_run_has_nothing_to_do(found: Scene, mend: tuple[str, ...]) -> None:
    """With force it is sent again, and a declared repeat."""
    pipeline, worker = found.pipeline, found.worker
    skipped = told(pipeline, *mend, "--yes")
    assert (skipped["sent"], [one["why"] for one in skipped["skipped"]]) == ([], ["sent again before"])
    state = {one["reason"]: one["state"] for one in told(pipeline, "list")["latest"]}
    assert state == {"malformed_json": "redriven", "key_mismatch": "redriven", "empty": "waiting"}
    assert len(told(pipeline, *mend, "--yes", "--again")["sent"]) == 1
    worker.wait(lambda: worker.metric("tellwire_filtered_total") == 1, 30, "filtering the repeat")


def check_what_fails_again_counts_its_attempts(found: Scene) -> None:
    pipeline, worker, empty = found.pipeline, found.worker, found.empty
    for attempts in (2, 3):
        before = sum(pipeline.ends("risk.deadletter").values())
        assert len(told(pipeline, "redrive", empty["id"], "--unchecked", "--yes")["sent"]) == 1
        # The note, and the record itself once more.
        enough = before + 2
        worker.wait(lambda enough=enough: sum(pipeline.ends("risk.deadletter").values()) == enough, 30, "giving it up")
        (one,) = told(pipeline, "list", "--reason", "empty")["latest"]
        place = (one["partition"], one["offset"], one["attempts"], one["state"])
        assert place == (empty["partition"], empty["offset"], attempts, "waiting")


def test_a_signal_of_the_door_goes_back_to_the_door(pipeline: Pipeline, tmp_path: Path) -> None:
    signal = {
        "type": "capture.signal.v1", "event_id": "g1", "session_id": "s1", "tenant": "acme", "flow": "login",
        "effective_at": 1_790_000_000_000, "observed_at": 1_790_000_000_100, "kind": "pad", "provider": "acme",
        "outcome": "timeout",
    }  # fmt: skip
    worker = pipeline.start("worker")
    worker.wait_ready()
    pipeline.produce([(b"s1", msgspec.json.encode(signal | {"flow": "nonsense"}))], "capture.signals")
    worker.wait(lambda: pipeline.answers() == 1, 60, "giving it up")
    (one,) = told(pipeline, "list")["latest"]
    assert (one["topic"], one["reason"]) == ("capture.signals", "schema")
    mended = tmp_path / "mended.json"
    mended.write_bytes(msgspec.json.encode(signal))
    assert "sent again" in dlq(pipeline, "redrive", one["id"], "--value-file", str(mended), "--yes")
    worker.wait(lambda: len(pipeline.risk_events()) == 1, 60, "scoring it")
    assert worker.stop() == 0
    (event,) = pipeline.risk_events()
    # It is a record of its own in the telemetry topic: no place there was its first.
    assert (event.event_id, event.redriven) == ("g1", False)
    assert event.evaluation_id.endswith(f":{event.source.partition}:{event.source.offset}")
    (record,) = ledger.read_topic(pipeline.broker.bootstrap, "capture.telemetry")
    assert not [name for name, _ in record.headers if name.startswith("dlq_")]
