"""`tellwire explain` on files and against the embedded broker: what it finds, prints and writes, and how it fails."""

from __future__ import annotations

import gzip
import json
import stat
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from schemas.risk import RiskEvent
from stream.embedded import EmbeddedBroker
from stream.transport.murmur2 import partition_of
from tests.stream.explain.made import RAW_ACCOUNT, SESSION, lines, risk, session
from tests.support.command_line import CommandLine


@pytest.fixture
def explain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine("explain", capsys, monkeypatch, columns=100)


def other(event: RiskEvent) -> RiskEvent:
    return msgspec.structs.replace(event, session_id="another")


def test_files_may_be_mixed_compressed_and_partly_broken(explain: CommandLine, tmp_path: Path) -> None:
    records = session()
    first, second = tmp_path / "a.jsonl", tmp_path / "b.ndjson.gz"
    first.write_bytes(lines(records[::2]) + b"{broken\n\n" + lines([other(risk(0, 0.9))]))
    label = b'{"type": "risk.label.v1", "session_id": "%s"}\n' % SESSION.encode()
    second.write_bytes(gzip.compress(lines(records[1::2]) + label))
    page = tmp_path / "page.html"
    out, err = explain(SESSION, "--from-file", str(first), "--from-file", str(second), "--out", str(page))
    assert " step up   risk 96 of 100, high" in out
    assert "1 lines are no record of ours" in err
    assert f"{page} holds the page" in err
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert RAW_ACCOUNT not in out + page.read_text(encoding="utf-8")
    told = json.loads(explain(SESSION, "--from-file", str(first), "--from-file", str(second), "--json")[0])
    assert told["decision"]["action"] == "step_up"
    assert [one["sequence"] for one in told["timeline"]] == list(range(1, 13))
    assert told["reasons"][0]["sentence"].startswith("navigator.webdriver is true")
    assert told["telemetry_events"] == 12


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nobody", "--from-file", "{folder}/a.jsonl"], 1, "no risk event of session nobody is in these files"),
        (["x", "--from-file", "{folder}/missing.jsonl"], 1, "missing.jsonl: No such file"),
        (["x", "--from-file", "{folder}/a.txt"], 2, "name ends in .jsonl"),
        (["x", "--from-file", "{folder}/a.jsonl", "--out", "{folder}/a.txt"], 2, "must end in .html"),
        (["x", "--from-file", "{folder}/a.jsonl", "--out", "{folder}/no/a.html"], 2, "there is no folder"),
        (["x", "--from-file", "{folder}/a.jsonl", "--out", "{folder}/" + "l" * 300 + ".html"], 2, "File name too long"),
        (["x", "--from-file", "{folder}/a.jsonl", "--out", "{folder}/d.html"], 2, "it is no regular file"),
        (["x", "--since", "yesterday"], 2, "give 90s, 30m, 24h, 7d"),
        (["", "--from-file", "{folder}/a.jsonl"], 2, "'' is no session's id"),
        (["l" * 129, "--from-file", "{folder}/a.jsonl"], 2, "...' is no session's id"),
        (["\x1b[31m", "--from-file", "{folder}/a.jsonl"], 2, "u{1b}[31m' is no session's id"),
        (["\udcff"], 2, "u{dcff}' is no session's id"),
        (["\u202eabc", "--from-file", "{folder}/a.jsonl"], 1, "session \\u{202e}abc is in"),
    ],
)
def test_what_cannot_be_is_one_line(
    explain: CommandLine, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(session()))
    (tmp_path / "d.html").mkdir()
    out, err = explain(*(argument.format(folder=tmp_path) for argument in arguments), code=code)
    assert out == ""
    assert words in " ".join(err.split())


def test_topics_are_read_where_the_session_is(explain: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    partitions = 4
    with EmbeddedBroker({"capture.telemetry": partitions, "risk.events": partitions}) as broker:
        monkeypatch.setenv("TELLWIRE_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap)
        monkeypatch.setenv("TELLWIRE_KAFKA__FIXED_TOPIC_ID", "mock")
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        mine, key = partition_of(SESSION.encode(), partitions), SESSION.encode()
        offset = 0
        for record in session():
            if isinstance(record, RiskEvent):
                continue
            for session_id, value in ((b"another", b"{}"), (key, msgspec.json.encode(record))):
                producer.produce("capture.telemetry", value, session_id, mine)
                offset += 1
            assert producer.flush(10) == 0
        for record in session():
            if isinstance(record, RiskEvent):
                record.source.partition, record.source.offset = mine, 2 * (record.sequence - 1) + 1
                for repeat in (False, True):
                    record.replayed = repeat
                    producer.produce("risk.events", msgspec.json.encode(record), key, mine)
                producer.produce("risk.events", msgspec.json.encode(other(record)), b"another", mine)
        assert producer.flush(10) == 0
        told = json.loads(explain(SESSION, "--json")[0])
        assert (told["evaluations"], told["repeats"], told["telemetry_events"]) == (12, 12, 12)
        assert "no risk event of session nobody is on risk.events since 24h" in explain("nobody", code=1)[1]
        # Who places keys in another way finds the session in another partition.
        odd = [record for record in session() if isinstance(record, RiskEvent)][-1]
        odd.session_id, odd.source.offset = "odd", 10_000
        producer.produce("risk.events", msgspec.json.encode(odd), b"odd", (partition_of(b"odd", partitions) + 1) % 4)
        assert producer.flush(10) == 0
        explain("odd", code=1)
        assert "step up" in explain("odd", "--every-partition")[0]
        explain(SESSION, "--since", "2100-01-01", code=1)
