"""`tellwire erase`: what it refuses before anything is begun, what it puts where, and what it prints."""

from __future__ import annotations

import io
import json
import sys

import pytest
from typer.testing import CliRunner

from schemas.envelope import decode
from schemas.erasure import Erasure
from stream import cli, erasure, topics
from stream.cli import app
from stream.erasure import InvalidErasure, make, put
from stream.topics import BrokerError
from stream.transport.murmur2 import partition_of
from tests.support import ledger
from tests.support.kafka import KafkaBroker

SESSION = "ses_s3cret"
NOW_MS = 1_790_000_000_000


def run(*arguments: str, typed: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, ["erase", *arguments], input=typed)
    return done.exit_code, done.output


def test_each_request_has_an_id_of_its_own_and_is_what_a_worker_takes() -> None:
    one, two = make(SESSION, "shop", NOW_MS), make(SESSION, "shop", NOW_MS)
    assert one.event_id != two.event_id
    assert (one.session_id, one.tenant, one.observed_at) == (SESSION, "shop", NOW_MS)
    assert SESSION not in one.event_id


@pytest.mark.parametrize(
    ("session_id", "tenant", "field"),
    [
        ("", "shop", "session_id"),
        ("x" * 129, "shop", "session_id"),
        ("a\nb", "shop", "session_id"),
        ("\udce4", "shop", "session_id"),
        (SESSION, "", "tenant"),
        (SESSION, "a b", "tenant"),
    ],
)
def test_what_no_worker_would_take_is_refused_without_quoting_it(session_id: str, tenant: str, field: str) -> None:
    with pytest.raises(InvalidErasure, match=f"^{field}: ") as caught:
        make(session_id, tenant, NOW_MS)
    assert "\n" not in str(caught.value)
    assert SESSION not in str(caught.value)


class TestBeforeAnythingIsBegun:
    @pytest.fixture(autouse=True)
    def nothing_is_put(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("it must not come so far")

        monkeypatch.setattr(erasure, "put", refuse)

    def test_the_tenant_must_be_named(self) -> None:
        code, text = run(SESSION)
        assert code == 2
        assert "--tenant" in text

    def test_it_does_not_erase_where_nobody_can_be_asked(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["tellwire", "erase", SESSION, "--tenant", "shop"])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert capsys.readouterr().err == "tellwire: nobody can be asked here: give --yes to erase without a question\n"

    def test_no_and_ctrl_c_are_answers(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("stream.cli.erase.sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("typer.confirm", _refused)
        monkeypatch.setattr(sys, "argv", ["tellwire", "erase", SESSION, "--tenant", "shop"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
        assert capsys.readouterr().err == "\ntellwire: nothing was erased\n"

    def test_wrong_properties_are_wrong_settings(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("TELLWIRE_KAFKA__PRODUCER_PROPERTIES", '{"no.such": "1"}')
        monkeypatch.setattr(sys, "argv", ["tellwire", "erase", SESSION, "--tenant", "shop", "--yes"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert "kafka.producer_properties" in capsys.readouterr().err


def _refused(_: str, **options: bool) -> None:
    import typer

    assert options == {"err": True}
    raise typer.Abort


@pytest.fixture(scope="module")
def bootstrap(kafka_broker: KafkaBroker) -> str:
    topics.apply({"bootstrap.servers": kafka_broker.bootstrap}, replication_factor=1)
    return kafka_broker.bootstrap


class TestOnKafka:
    def test_it_stands_where_its_sessions_records_stand(self, bootstrap: str) -> None:
        properties = {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"}
        partitions = topics.partition_counts(properties, ["capture.telemetry"])["capture.telemetry"]
        for number in range(8):
            made = make(f"{SESSION}-{number}", "shop", NOW_MS)
            place = put(properties, made)
            assert place.partition == partition_of(made.session_id.encode(), partitions)
            found = {(r.partition, r.offset): r for r in ledger.read_topic(bootstrap, "capture.telemetry")}
            record = found[place.partition, place.offset]
            assert decode(record.value, record.key) == made

    def test_it_prints_where_and_nothing_of_whom(self, bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TELLWIRE_KAFKA__BOOTSTRAP_SERVERS", bootstrap)
        code, text = run(SESSION, "--tenant", "shop", "--yes")
        assert code == 0
        assert text.startswith("asked for at capture.telemetry[")
        assert "once group tellwire has committed beyond it" in text
        assert SESSION not in text
        code, text = run(SESSION, "--tenant", "shop", "--yes", "--json")
        assert code == 0
        printed = json.loads(text)
        assert sorted(printed) == ["event_id", "offset", "partition", "topic"]
        assert SESSION not in text


def test_a_broker_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "TIMEOUT_S", 0.5)
    made = Erasure(event_id="e", session_id=SESSION, tenant="shop", observed_at=NOW_MS)
    with pytest.raises(BrokerError, match="is it running") as caught:
        put({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, made, timeout_s=1.0)
    assert SESSION not in str(caught.value)
