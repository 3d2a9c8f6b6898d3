"""Every `tellwire` command that a page shows is one that there is, with those options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from stream.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_ENDS = {"|", "||", "&&", ";", ">", "&"}
"""Where a shell's command ends."""
_WORD = {"PARTITION:OFFSET": "2:17", "DIRECTORY": "models"}


def commands(page: Path) -> list[list[str]]:
    text = page.read_text()
    inline = re.findall(r"`(tellwire [^`\n]+)`", text)
    blocks = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    shown = [*inline, *(line for line in blocks if line.startswith("tellwire "))]
    found = []
    for line in shown:
        words = [_WORD.get(word, word) for word in shlex.split(line, comments=True)[1:]]
        ends = (place for place, word in enumerate(words) if word in _ENDS)
        words = words[: next(ends, len(words))]
        both = words[1].split("|") if len(words) > 1 else []  # `dlq list|show`: one and the other
        found += [[words[0], one, *words[2:]] for one in both] if len(both) > 1 else [words]
    return found


def check(arguments: list[str]) -> None:
    """Parse a command without running it; what prose leaves out may be missing. Raises the error of a wrong one."""
    command = typer.main.get_command(app)
    if arguments[0].startswith("-"):
        command.make_context("tellwire", list(arguments), resilient_parsing=True)
        return
    context = command.make_context("tellwire", [arguments[0]], resilient_parsing=True)
    rest = arguments
    while hasattr(command, "commands"):
        assert (rest or [""])[0] in command.commands, f"no such command: {' '.join(arguments)}"
        command, rest = command.commands[rest[0]], rest[1:]
    try:
        command.make_context(arguments[0], list(rest), parent=context)
    except typer.BadParameter as error:
        if type(error).__name__ != "MissingParameter":
            raise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_pages_exist(page: Path) -> None:
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
