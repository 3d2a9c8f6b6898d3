"""The fenced code blocks of README and docs: where each stands, its language and its code, so that tests execute them.

Imports nothing of ours. Which test executes which blocks is declared in `tests/contract/test_code_blocks.py`, where a
block that nobody executes or checks fails.
"""

from __future__ import annotations

import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: str
    """The page's path, from the repository's root."""
    line: int
    """The line of its opening fence, from 1."""
    language: str
    """What follows the fence, lower case; empty where nothing does."""
    code: str

    @property
    def place(self) -> str:
        """`page:line`, as an editor opens it."""
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Paths of README.md and of every page below docs/ and collector/."""
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "collector" / "README.md"]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def blocks_of(text: str, page: str) -> Iterator[Block]:
    """Yield the blocks of a page in order. A fence that is never closed raises ValueError."""
    opened: tuple[int, str, str] | None = None
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        found = _FENCE.match(line)
        if opened is None:
            if found is not None:
                opened, body = (number, found["fence"], found["info"].strip().lower()), []
        elif found is not None and not found["info"].strip() and found["fence"].startswith(opened[1]):
            yield Block(page, opened[0], opened[2], textwrap.dedent("".join(f"{one}\n" for one in body)))
            opened = None
        else:
            body.append(line)
    if opened is not None:
        raise ValueError(f"{page}:{opened[0]}: this block is never closed")


def all_blocks() -> list[Block]:
    """Every block of every page."""
    return [block for page in pages() for block in blocks_of((ROOT / page).read_text(encoding="utf-8"), page)]


def blocks(page: str, language: str) -> list[str]:
    """The code of a page's blocks in one language, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [block.code for block in blocks_of(text, page) if block.language == language]


def commands(script: str) -> list[str]:
    """The commands of a shell block, each with its continuation lines; comments and empty lines left out."""
    found: list[str] = []
    waiting = ""
    for line in script.splitlines():
        if not waiting and (not line.strip() or line.lstrip().startswith("#")):
            continue
        waiting += line + "\n"
        if not line.endswith("\\") and _is_whole(waiting):
            found.append(waiting.rstrip("\n"))
            waiting = ""
    if waiting:
        raise ValueError(f"this command is never finished: {waiting}")
    return found


def _is_whole(script: str) -> bool:
    done = subprocess.run(["bash", "-n", "-c", script], capture_output=True, check=False)
    return done.returncode == 0 and not done.stderr
