"""What of the attackers is on this machine: browsers, environments, packages and their versions; and what is missing.

Nothing is installed from here: what is missing is named with the command that installs it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Final

from models.attack_generators import GENERATORS
from stream.chromium import installed
from stream.redteam.attacks import Attack
from stream.redteam.forgers import SAMPLED

FOLDER: Final = Path(__file__).resolve().parents[2] / "redteam"
"""The attackers, beside the packages in a checkout; an installed tellwire has none."""
INSTALL: Final = "make redteam-tools"
_VERSION_S: Final = 30.0


class Tools:
    """Finds what attacks need. `folder`: where the attackers are."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.python = folder / ".venv" / "bin" / "python"
        self.node = shutil.which("node")
        self.chromium = installed()
        self.chromedriver = shutil.which("chromedriver")
        self.display = shutil.which("Xvfb")
        self.window_manager = shutil.which("openbox")

    def missing(self, attack: Attack, *, has_recordings: bool) -> str | None:  # noqa: PLR0911 - a reason a line
        """Why an attack cannot be run here, and what to do about it; None: it can."""
        if attack.runner == "forged":
            return self._no_python() if attack.name in SAMPLED else None
        if self.chromium is None:
            return "no Chromium: apt-get install chromium, or name one in CHROMIUM"
        if "recorded_person" in attack.generators and not has_recordings:
            return "no recorded sessions: give --data DIR, a folder with sessions.parquet"
        if attack.runner == "demo":
            found = importlib.util.find_spec("playwright") is not None
            return None if found else "no Playwright beside tellwire: make setup-dev"
        if attack.runner == "node":
            if self.node is None:
                return "no Node.js: apt-get install nodejs npm"
            absent = [name for name in self._npm(attack) if not self._package(name).is_file()]
            return f"no {', '.join(absent)} in {self.folder.name}/node_modules: {INSTALL}" if absent else None
        if attack.tool in {"selenium", "undetected_chromedriver"} and self.chromedriver is None:
            return "no chromedriver: apt-get install chromium-driver"
        if attack.hand.startswith("humancursor") and self.display is None:
            return "no display for pyautogui, which HumanCursor imports: apt-get install xvfb"
        if attack.tool == "os_input" and self.window_manager is None:
            return "no window manager, so no window has the keys: apt-get install openbox"
        return self._no_python()

    def notes(self) -> list[str]:
        """What is missing without stopping an attack, and what that changes."""
        if self.display is None:
            return ["no Xvfb (apt-get install xvfb): attackers who would show a window run headless and are told by it"]
        if self.window_manager is None:
            return ["no openbox (apt-get install openbox): windows have no focus, which tells some attackers"]
        return []

    def versions(self, attack: Attack) -> dict[str, str]:
        """Version of each package and browser that an attack rests on, by name."""
        found: dict[str, str] = {}
        for name in attack.generators:
            kind, _, package = GENERATORS[name].package.partition(":")
            if kind == "pypi":
                own = self._ours if attack.runner == "demo" else self._python_packages
                found[package] = own.get(package, "?")
            elif kind == "npm":
                found[package] = self._npm_version(package)
        if attack.drives:
            found["chromium"] = self.chromium_version
        return found

    @cached_property
    def chromium_version(self) -> str:
        """Version of the browser; `?` where it does not tell."""
        if self.chromium is None:
            return "?"
        try:
            said = subprocess.run(  # noqa: S603 - the browser that will be started anyway
                [self.chromium, "--version"], capture_output=True, text=True, check=False, timeout=_VERSION_S
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            return "?"
        return next((word for word in said.split() if word[:1].isdigit()), "?")

    @cached_property
    def _python_packages(self) -> dict[str, str]:
        folders = [str(path) for path in self.folder.glob(".venv/lib/python*/site-packages")]
        return _names(importlib.metadata.distributions(path=folders)) if folders else {}

    @cached_property
    def _ours(self) -> dict[str, str]:
        return _names(importlib.metadata.distributions())

    def _no_python(self) -> str | None:
        ready = self.python.is_file() and "selenium" in self._python_packages
        return None if ready else f"no environment of the attackers in {self.folder.name}/.venv: {INSTALL}"

    def _npm(self, attack: Attack) -> Iterable[str]:
        for name in attack.generators:
            kind, _, package = GENERATORS[name].package.partition(":")
            if kind == "npm":
                yield package

    def _package(self, name: str) -> Path:
        return self.folder / "node_modules" / name / "package.json"

    def _npm_version(self, name: str) -> str:
        try:
            return str(json.loads(self._package(name).read_text(encoding="utf-8"))["version"])
        except (OSError, ValueError, KeyError):
            return "?"


def _names(found: Iterable[importlib.metadata.Distribution]) -> dict[str, str]:
    return {str(each.metadata["Name"]).lower(): each.version for each in found if each.metadata["Name"]}


def environment(display: str | None) -> dict[str, str]:
    """Environment of an attacker: a person's time zone and language, a display where there is one, nothing of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TELLWIRE_", "PYTHON"))}
    kept |= {"TZ": "Europe/Berlin", "LANG": "en_US.UTF-8", "PYTHONPATH": str(FOLDER.parent)}
    if display is not None:
        # Nobody needs a key to that display, and python-xlib fails where there is no file of keys at all.
        kept |= {"DISPLAY": display, "XAUTHORITY": os.devnull}
    return kept
