"""The demo's orchestration with stand-ins for worker and learner: from start to summary, and when a part dies."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from stream.demo import children, open_page, parts
from stream.demo.children import Child, DemoError, python, stop_all
from stream.demo.parts import Choice, Endpoints, environment
from stream.demo.run import Demo, Started
from stream.embedded import EmbeddedStore
from tests.support.process import Deadline, children_of, is_running

FAKE = Path(__file__).with_name("fake_worker.py")


@pytest.fixture(autouse=True)
def own_temp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Logs that a failed demo leaves go with the test's folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "command_line", lambda role: python(str(FAKE), role))


@pytest.mark.usefixtures("stand_ins")
def test_it_runs_to_its_summary_and_loses_nothing(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    before = children_of(os.getpid())
    code = Demo(Choice(seconds=4.0, rate=8.0, as_json=True, seed=5), Console(file=io.StringIO())).run()
    lines = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert code == 0
    started, *events, summary = lines
    assert started["type"] == "demo.started"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", started["broker"])
    assert started["redis"].startswith("unix://")
    assert started["worker_metrics"] != started["learner_metrics"]
    assert summary["broker"] == f"embedded broker {started['broker']}"
    assert {line["type"] for line in events} == {"demo.event"}
    assert {line["actor"] for line in events} <= {"person", "bot"}
    assert summary["type"] == "demo.summary"
    assert summary["simulation"] is True
    assert summary["lost"] == 0
    assert summary["records_sent"] == summary["records_acked"] == summary["risk_events"] > 50
    assert sum(row["sessions"] for row in summary["families"]) == summary["sessions"] > 10
    assert summary["received_to_acked"]["p50_ms"] == pytest.approx(1.0)
    assert summary["received_to_scored"]["p50_ms"] == pytest.approx(1.5)
    assert children_of(os.getpid()) == before


@pytest.mark.usefixtures("stand_ins")
def test_a_part_that_dies_ends_it_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children_of(os.getpid())
    monkeypatch.setenv("DIE_AFTER", "20")
    with pytest.raises(DemoError) as caught:
        Demo(Choice(seconds=30.0, rate=8.0), Console(file=io.StringIO())).run()
    said = str(caught.value).splitlines()
    assert said[0].startswith("the worker ended by itself (exit code 3); its log is ")
    log = Path(said[0].rpartition(" ")[2])
    assert log.read_text().strip().endswith("something went wrong in the stand-in")
    assert said[-1].strip() == "something went wrong in the stand-in"
    assert children_of(os.getpid()) == before


def test_a_part_that_cannot_start_ends_it_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    before = children_of(os.getpid())
    monkeypatch.setattr(parts, "command_line", lambda _: python("-c", "import sys; sys.exit('no such model')"))
    with pytest.raises(DemoError, match=r"the worker ended by itself \(exit code 1\)[\s\S]*no such model"):
        Demo(Choice(seconds=30.0), Console(file=io.StringIO())).run()
    assert children_of(os.getpid()) == before


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], Started]:
    """Start a demo in a process of its own; return it when all runs, and where everything is."""
    script = tmp_path / "demo.py"
    script.write_text(
        "import sys\n"
        "from rich.console import Console\n"
        "from stream.demo import parts\n"
        "from stream.demo.children import python\n"
        "from stream.demo.run import Demo\n"
        f"parts.command_line = lambda role: python({str(FAKE)!r}, role)\n"
        "sys.exit(Demo(parts.Choice(seconds=60.0, rate=8.0, as_json=True), Console()).run())\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    where = msgspec.json.decode(process.stdout.readline(), type=Started)
    process.stdout.readline()  # the first event: all runs
    return process, where


def test_an_interrupt_sends_nothing_more_drains_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process, _ = started(tmp_path)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    summary = json.loads(out.splitlines()[-1])
    assert summary["type"] == "demo.summary"
    assert summary["lost"] == 0
    assert summary["risk_events"] > 0


def test_asked_to_end_again_and_again_it_takes_all_its_parts_with_it_in_time(tmp_path: Path) -> None:
    process, where = started(tmp_path)
    ports = [int(address.rsplit(":", 1)[1].partition("/")[0]) for address in (where.broker, where.worker_metrics)]
    for port in ports:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    began = time.monotonic()
    for _ in range(20):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert time.monotonic() - began < 20
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_killed_demo_takes_its_children_with_it(tmp_path: Path) -> None:
    child = (
        "import signal, sys; from stream.demo.children import child\n"
        "sys.modules['stream.cli'] = type('M', (), {'main': staticmethod(signal.pause)}); child()"
    )
    parent = (
        "import sys, time; from pathlib import Path; from stream.demo.children import Child, python\n"
        f"c = Child('x', python('-c', {child!r}), log=Path({str(tmp_path / 'x.log')!r}))\n"
        "print(c.pid, flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    time.sleep(0.5)
    assert is_running(pid)
    process.kill()
    process.communicate()
    deadline = Deadline(10)
    while deadline.waits():
        if not is_running(pid):
            return
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the child outlived the demo")


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    child = Child("stubborn", python("-c", stubborn), log=tmp_path / "log", read_output=True)
    assert next(child.lines()) == b"up\n"
    begin = time.monotonic()
    stop_all([child], wait_s=0.5)
    assert time.monotonic() - begin < 5
    assert child.exit_code == -signal.SIGKILL


def test_the_surroundings_settings_stay_out_of_an_embedded_demo() -> None:
    base = {
        "PATH": "/bin",
        "TELLWIRE_KAFKA__SASL_USERNAME": "me",
        "TELLWIRE_REDIS__URL": "redis://prod",
        "TELLWIRE_CONFIG": "/x",
    }
    found = Endpoints(
        bootstrap="127.0.0.1:1", redis_url="unix:///s", embedded_broker=True, embedded_store=True, properties={}
    )
    inside = environment(found, base)
    assert inside["PATH"] == "/bin"
    assert inside["TELLWIRE_REDIS__URL"] == "unix:///s"
    assert inside["TELLWIRE_KAFKA__FIXED_TOPIC_ID"]
    assert "TELLWIRE_KAFKA__SASL_USERNAME" not in inside
    assert "TELLWIRE_CONFIG" not in inside
    real = environment(dataclasses.replace(found, embedded_broker=False), base)
    assert real["TELLWIRE_KAFKA__SASL_USERNAME"] == "me"
    assert real["TELLWIRE_REDIS__URL"] == "unix:///s"
    assert real["TELLWIRE_KAFKA__GROUP"] != "tellwire"
    assert "TELLWIRE_KAFKA__FIXED_TOPIC_ID" not in real


def test_the_worker_accepts_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from stream import settings_source

    found = Endpoints(
        bootstrap="127.0.0.1:1", redis_url="unix:///s?db=0", embedded_broker=True, embedded_store=True, properties={}
    )
    for name in [name for name in os.environ if name.startswith("TELLWIRE_")]:
        monkeypatch.delenv(name)
    for name, value in environment(found, {}).items():
        monkeypatch.setenv(name, value)
    loaded = settings_source.load()
    assert loaded.kafka.bootstrap_servers == "127.0.0.1:1"
    assert loaded.kafka.consumer_properties["fetch.wait.max.ms"] == "5"
    assert loaded.keys.ref_key is not None
    assert len(loaded.keys.ref_key.get_secret_value()) >= 16


def test_a_store_that_was_given_is_reached_before_anything_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "EmbeddedBroker", lambda *_: pytest.fail("the broker was started"))
    monkeypatch.setattr(parts, "_reach", lambda *_: pytest.fail("topics were made"))
    for broker in (None, "127.0.0.1:1"):
        with pytest.raises(DemoError, match=r"^--redis: .*127\.0\.0\.1:1") as caught:
            Demo(Choice(redis="redis://:hidden@127.0.0.1:1/0", broker=broker), Console(file=io.StringIO())).run()
        assert "hidden" not in str(caught.value)
        assert "TELLWIRE" not in str(caught.value)


def test_a_store_that_answers_is_used_and_its_url_is_kept_to_itself() -> None:
    with EmbeddedStore() as store, contextlib.ExitStack() as stack:
        found = parts.endpoints(Choice(redis=store.url), stack)
        assert found.redis_url == store.url
        assert found.store_address is None
        assert found.broker_words == f"embedded broker {found.bootstrap}"


@pytest.mark.usefixtures("stand_ins")
def test_it_says_where_everything_is(capfd: pytest.CaptureFixture[str]) -> None:
    Demo(Choice(seconds=1.0, rate=8.0), Console(file=io.StringIO(), width=100)).run()
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("embedded broker 127.0.0.1:")]
    assert len(told) == 1
    assert re.search(
        r", embedded Valkey unix://\S+, worker http://127\S+/metrics, learner http://127\S+/metrics$", told[0]
    )


def test_without_a_temporary_folder_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(DemoError, match=r"^no temporary folder can be made \(No such file or directory\): .*TMPDIR"):
        Demo(Choice(), Console(file=io.StringIO())).run()


@pytest.mark.usefixtures("stand_ins")
def test_without_what_the_page_needs_it_goes_on_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(open_page, "missing", lambda: "starlette")
    assert Demo(Choice(seconds=1.0, as_json=True, page=True), Console(file=io.StringIO())).run() == 0
    out, err = capfd.readouterr()
    assert json.loads(out.splitlines()[0])["page"] is None
    told = [line for line in err.splitlines() if line.startswith("no page")]
    assert told == ["no page: it needs starlette, which is not installed; install tellwire[gateway] to see it"]


def test_what_the_page_needs_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_page.missing() is None
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else real(name))
    assert open_page.missing() == "uvicorn"


def test_the_page_shows_what_went_through_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway is real, the worker a stand-in: a scripted client's session comes back on the page's stream."""
    real = children.command_line
    monkeypatch.setattr(
        parts, "command_line", lambda role: real(role) if role == "gateway" else python(str(FAKE), role)
    )
    demo = Demo(Choice(seconds=60.0, rate=4.0, as_json=True, page=True), Console(file=io.StringIO()))
    seen: list[object] = []

    def visit() -> None:
        try:
            seen.append(_visit(demo))
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            seen.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=visit, daemon=True).start()
    assert demo.run() == 130
    (shown,) = seen
    assert isinstance(shown, dict), shown
    assert shown["who"] == "bot"
    assert shown["events"] > 0
    assert 0 <= shown["published_ms"] <= shown["back_ms"]


def _visit(demo: Demo) -> dict[str, object]:
    """Open the page's session, unleash a bot, and return how the page shows it."""
    deadline = Deadline(60)
    while demo.phase != "running":
        assert deadline.waits(), "the demo does not start"
    assert demo.page is not None
    url = demo.page.url

    def ask(path: str, body: object) -> dict[str, str]:
        headers = {"Origin": url, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))

    view = ask("/api/session", {})["view"]
    ref = ask("/api/bot", {"view": view, "kind": "http_forged"})["ref"]
    with urllib.request.urlopen(f"{url}/api/live?view={view}", timeout=30) as stream:
        for line in stream:
            told = json.loads(line[6:]) if line.startswith(b"data: {") else {}
            if told.get("ref") == ref and told["events"]:
                return dict(told)
    raise AssertionError("the stream has ended")
