"""Writes, checks and freezes the generated contracts: `python -m schemas.contracts_cli [render|check|freeze VERSION]`.

`render` writes AsyncAPI, JSON Schemas, the reference page and the collector's types; `check` says which committed
files differ from what would be written and which changes a released version forbids; `freeze` keeps the current
contracts as a released version.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from schemas import asyncapi, typescript
from schemas.closed import closed_schema, message_types, tag_of
from schemas.compat import compare_release
from schemas.topics import TOPICS, Compatibility
from schemas.topics_page import render_page

CONTRACTS: Final = Path("schemas/contracts")
RELEASED: Final = CONTRACTS / "released"
PAGE: Final = Path("docs/reference/topics.md")
TYPES: Final = Path("collector/src/contract.ts")
ROOT: Final = Path(__file__).resolve().parent.parent
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+")


def rendered() -> dict[Path, str]:
    """Every generated file by its path from the repository's root."""
    files = {CONTRACTS / "asyncapi.json": asyncapi.render(), PAGE: render_page(), TYPES: typescript.render()}
    for message in message_types():
        schema = closed_schema(message)
        files[CONTRACTS / f"{tag_of(message)}.schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return files


def render(target: Path = ROOT) -> list[Path]:
    """Write all generated files below `target` and take away stale ones; return what changed, relative to `target`."""
    changed = []
    for path, text in rendered().items():
        file = target / path
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            changed.append(path)
    for path in _stale(target):
        (target / path).unlink()
        changed.append(path)
    return changed


def drift(target: Path = ROOT) -> list[str]:
    """One line for each committed file that differs from what `render` would write; [] when all agree."""
    lines = []
    for path, text in rendered().items():
        file = target / path
        if not file.is_file():
            lines.append(f"{path} is missing: run `make contracts`")
        elif file.read_text(encoding="utf-8") != text:
            lines.append(f"{path} differs from the declarations: run `make contracts`")
    lines += [f"{path} is no longer generated: run `make contracts`" for path in _stale(target)]
    return lines


def _stale(target: Path) -> list[Path]:
    wanted = set(rendered())
    found = ((target / CONTRACTS).glob("*.json")) if (target / CONTRACTS).is_dir() else ()
    return sorted(path for file in found if (path := file.relative_to(target)) not in wanted)


def compatibility_rules() -> dict[str, Compatibility]:
    """The rule of each message, by its name: that of the topics that carry it."""
    return {message.__name__: topic.compatibility for topic in TOPICS for message in topic.messages}


def releases(target: Path = ROOT) -> Mapping[str, dict[str, Any]]:
    """The AsyncAPI document of every released version, by version."""
    folders = sorted((target / RELEASED).glob("*/asyncapi.json"))
    return {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in folders}


def incompatible(target: Path = ROOT) -> list[str]:
    """One line for each change that breaks a released version (transitive: all of them are checked)."""
    current, rules = asyncapi.document(), compatibility_rules()
    return [
        f"since {version}: {line}"
        for version, released in releases(target).items()
        for line in compare_release(released, current, rules)
    ]


def freeze(version: str, target: Path = ROOT) -> Path:
    """Keep the current document as that of a released version; raise ValueError for a bad or already kept version."""
    if not _VERSION.fullmatch(version):
        msg = f"{version!r} is no version: write it as 1.2.3"
        raise ValueError(msg)
    file = target / RELEASED / version / "asyncapi.json"
    if file.exists():
        msg = f"{version} is released: what is published does not change"
        raise ValueError(msg)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(asyncapi.render(), encoding="utf-8")
    return file.relative_to(target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 when all is well, 1 when `check` finds something or `freeze` refuses."""
    parser = argparse.ArgumentParser(prog="python -m schemas.contracts_cli", description="Generated contracts.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("render", help="write AsyncAPI, JSON Schemas and the reference page (default)")
    commands.add_parser("check", help="say what differs from the declarations or breaks a released version")
    commands.add_parser("freeze", help="keep the current contracts as a released version").add_argument("version")
    options = parser.parse_args(arguments)
    if options.command == "check":
        lines = [*drift(), *incompatible()]
    elif options.command == "freeze":
        try:
            _out(freeze(options.version))
        except ValueError as error:
            lines = [str(error)]
        else:
            lines = []
    else:
        for path in render():
            _out(path)
        lines = []
    for line in lines:
        sys.stderr.write(f"{line}\n")
    return 1 if lines else 0


def _out(path: Path) -> None:
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    raise SystemExit(main())
