"""Every `tellwire` command that a runbook or the monitoring page shows is one that there is, with those options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from stream.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs" / "runbooks").glob("*.md")), ROOT / "docs" / "how-to" / "monitor.md"]
_WORD = {"PARTITION:OFFSET": "2:17", "DIRECTORY": "models"}


def commands(page: Path) -> list[list[str]]:
    text = page.read_text()
    inline = re.findall(r"`(tellwire [^`\n]+)`", text)
    blocks = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    shown = [*inline, *(line for line in blocks if line.startswith("tellwire "))]
    return [[_WORD.get(word, word) for word in shlex.split(line, comments=True)[1:]] for line in shown]


def check(arguments: list[str]) -> None:
    """Parse a command without running it. Raises the usage error of a wrong one."""
    command = typer.main.get_command(app)
    context = command.make_context("tellwire", [arguments[0]], resilient_parsing=True)
    rest = arguments
    while hasattr(command, "commands"):
        assert (rest or [""])[0] in command.commands, f"no such command: {' '.join(arguments)}"
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(arguments[0], list(rest), parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_runbooks_exist(page: Path) -> None:
    found = commands(page)
    for arguments in found:
        if arguments[0] != "service":  # the dashboards are named so
            check(arguments)


def test_there_are_commands_to_check() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 20


@pytest.mark.parametrize("wrong", ["doktor", "dlq lst", "doctor --jsn"])
def test_one_that_does_not_is_found(wrong: str) -> None:
    with pytest.raises((AssertionError, Exception), match=r"(?i)no such"):
        check(wrong.split())
