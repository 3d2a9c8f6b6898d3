"""Runs the attacks that were chosen against a world, some at once, and gathers what was made of each session."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from stream.demo.children import Child, python
from stream.demo.page.door import DoorError
from stream.redteam import strokes
from stream.redteam.attacks import Attack
from stream.redteam.display import SIZE, display
from stream.redteam.forgers import SAMPLED, Forgery, Sample, forge
from stream.redteam.sender import address_of, send
from stream.redteam.tools import Tools, environment
from stream.redteam.verdict import Verdict, judge
from stream.redteam.world import Seen, World

LONGEST_S: Final = 100.0
"""Longest visit of an attacker; then it is ended."""
FORGERS: Final = 12
"""Forgers at work at once: they mostly wait."""
_STOP_S: Final = 5.0
CAMERA_NAME: Final = "OBS Virtual Camera.y4m"
_NAMES: Final = ("Robin", "Alex", "Kim", "Sam", "Noa", "Toni", "Mika", "Jona")
_SURNAMES: Final = ("Example", "Sample", "Specimen", "Muster", "Modello", "Tester")


class Trial(msgspec.Struct, kw_only=True):
    """One session of one attack. `note`: why it did not come to its end, or what the gateway refused."""

    attack: str
    number: int
    seed: int
    session_id: str = ""
    is_done: bool = False
    """The attacker did all that it wanted to."""
    note: str = ""
    refused: list[str] = []
    """Codes of what the gateway refused."""
    verdict: Verdict | None = None

    @property
    def is_judged(self) -> bool:
        """Whether it counts: the pipeline or the gateway had something to judge."""
        return self.is_done and (self.verdict is not None or bool(self.refused))


Kept = Callable[[Trial, Attack, Seen], None]
"""Told of each session that has ended, with all that was seen of it, in any thread, one at a time."""


def seed_of(seed: int, attack: str, number: int) -> int:
    """Seed of one session: of the run's, the attack's name and the session's number alone."""
    return int.from_bytes(blake2b(f"{seed}/{attack}/{number}".encode(), digest_size=4).digest())


def entries_of(seed: int) -> dict[str, str]:
    """What an attacker types, by field: made up, another person for each seed, and never sent."""
    rng = np.random.default_rng(seed)
    first, last = str(rng.choice(_NAMES)), str(rng.choice(_SURNAMES))
    word = "".join(str(letter) for letter in rng.choice(list("abcdefghjkmnpqrstuvwxyz23456789-"), 14))
    return {
        "name": f"{first} {last}",
        "email": f"{first}.{last}{rng.integers(1, 99)}@example.org".lower(),
        "phone": f"+1 555 0{rng.integers(100, 999)}",
        "document": f"X{rng.integers(10**6, 10**7)}",
        "password": word,
    }


class Run:
    """One run. `bar`: any-time score at which a channel finds; `data`: folder of recorded sessions, if there is one."""

    def __init__(self, world: World, tools: Tools, *, seed: int, bar: float, data: Path | None, kept: Kept) -> None:
        self._world, self._tools, self._seed, self._bar = world, tools, seed, bar
        self._data = data
        self._kept = kept
        self._keeping = threading.Lock()
        self._material: dict[str, strokes.Material | None] = {}
        self._samples: list[Sample] = []
        self.trials: list[Trial] = []

    def attack(self, chosen: Sequence[Attack], sessions: int, at_once: int, told: Callable[[Trial], None]) -> None:
        """Run `sessions` sessions of each attack, `at_once` browsers at a time; `told` of each that has ended."""
        self._prepare(chosen, sessions)
        with (
            concurrent.futures.ThreadPoolExecutor(at_once) as browsers,
            concurrent.futures.ThreadPoolExecutor(FORGERS) as forgers,
        ):
            # Round by round: what is ended early has seen all attacks.
            waiting = [
                (browsers if attack.drives else forgers).submit(self._one, attack, number)
                for number in range(sessions)
                for attack in chosen
            ]
            try:
                for ended in concurrent.futures.as_completed(waiting):
                    self.trials.append(ended.result())
                    told(self.trials[-1])
            except BaseException:
                for each in waiting:
                    each.cancel()
                raise
        order = {attack.name: place for place, attack in enumerate(chosen)}
        self.trials.sort(key=lambda trial: (order[trial.attack], trial.number))

    def _prepare(self, chosen: Sequence[Attack], sessions: int) -> None:
        generators = {name for attack in chosen for name in attack.generators}
        if "recorded_person" in generators and self._data is not None:
            self._material["recorded_person"] = strokes.recorded(self._data, self._seed)
        if "simulated_person" in generators:
            self._material["simulated_person"] = strokes.simulated(self._seed)
        if any(attack.camera == "file" for attack in chosen):
            film(self._world.folder / CAMERA_NAME)
        if any(attack.name in SAMPLED for attack in chosen):
            self._samples = sampled(self._tools, 2 * sessions, self._seed)

    def _one(self, attack: Attack, number: int) -> Trial:
        # A forger that copies itself, and a replay, are the same in every session; all others differ.
        trial = Trial(attack=attack.name, number=number, seed=seed_of(self._seed, attack.name, number))
        try:
            if attack.drives:
                self._drive(attack, trial)
            else:
                self._forge(attack, trial)
        except (DoorError, OSError, KeyError, ValueError) as error:
            trial.note = f"{type(error).__name__}: {error}"
        if trial.session_id:
            seen = self._world.witness.settled(trial.session_id) if trial.is_done or trial.note else Seen()
            trial.verdict = judge(seen.events, self._bar)
            trial.refused += [f"dead letter {reason}" for reason in seen.buried]
            if trial.is_done and not trial.refused and trial.verdict is None:
                trial.note = "it went through the form, and no telemetry came of it"
            with self._keeping:
                self._kept(trial, attack, seen)
        return trial

    def _forge(self, attack: Attack, trial: Trial) -> None:
        sample = other = None
        if self._samples:
            sample = self._samples[(2 * trial.number) % len(self._samples)]
            other = self._samples[(2 * trial.number + 1) % len(self._samples)]

        def make(session_id: str, start_ms: int) -> Forgery:
            named = attack.name in SAMPLED
            return forge(
                attack.name, session_id, start_ms, trial.seed, sample if named else None, other if named else None
            )

        def opened(session_id: str) -> None:
            trial.session_id = session_id

        _, trial.refused = send(make, self._world.door, self._world.origin, opened, address_of(trial.seed))
        trial.is_done = True

    def _drive(self, attack: Attack, trial: Trial) -> None:
        def opened(session_id: str) -> None:
            trial.session_id = session_id

        url = self._world.invite(attack.words, attack.flow, opened)
        command, told = self._told(attack, trial, url)
        if attack.tool == "os_input":
            # Where things are on the page it learns in a session that is not judged.
            told["probe"] = self._world.invite("a look at the page", attack.flow, lambda _: None)
        log = self._world.folder / f"{attack.name}-{trial.number}.log"
        # Pyautogui wants one even to be imported.
        shown = not attack.headless or attack.hand.startswith("humancursor")
        with display(self._tools.display if shown else None, self._tools.window_manager) as screen:
            told["headless"] = told.get("headless") or screen is None
            first_input = json.dumps(told).encode() + b"\n"
            child = Child(attack.name, command, log=log, env=environment(screen), first_input=first_input)
            try:
                status = child.wait(LONGEST_S)
            finally:
                child.ask_to_stop()
                child.wait(_STOP_S)
        trial.is_done = status == 0
        trial.note = "" if trial.session_id else "it opened no session"
        if status:
            trial.note = _last_line(log) or f"ended with status {status}"

    def _told(self, attack: Attack, trial: Trial, url: str) -> tuple[list[str], dict[str, Any]]:
        if attack.runner == "demo":
            return python("-m", "stream.demo.page.driven"), {"url": url, "browser": self._tools.chromium}
        told: dict[str, Any] = {
            "url": url,
            "browser": self._tools.chromium,
            "driver": self._tools.chromedriver,
            "tool": attack.tool,
            "hand": attack.hand,
            "seed": trial.seed,
            "headless": attack.headless,
            "entries": entries_of(trial.seed),
            "camera": attack.camera,
            "screen": SIZE,
            "camera_file": str(self._world.folder / CAMERA_NAME),
        }
        if attack.hand == "replay":
            found = self._material[next(name for name in attack.generators if name in self._material)]
            if found is None:
                msg = "the recorded sessions have no person with enough strokes and keys"
                raise ValueError(msg)
            told |= {"strokes": found.strokes, "keys": found.keys}
            told |= {"noise_px": attack.noise_px, "stretch": attack.stretch}
            # The same person's same form, whose copy differs by noise alone.
            told["entries"] = entries_of(self._seed)
        if attack.runner == "node":
            return [self._tools.node or "node", str(self._tools.folder / "attack.mjs")], told
        return [str(self._tools.python), "-m", "redteam.attack"], told


def film(path: Path, frames: int = 8) -> None:
    """Write a short film (YUV4MPEG2, 640 by 480 px, noise that moves) that Chromium plays as if it were a camera."""
    rng = np.random.default_rng(1)
    light = rng.integers(60, 200, (480, 640), dtype=np.uint8)
    colour = np.full((2, 240, 320), 128, dtype=np.uint8).tobytes()
    with path.open("wb") as out:
        out.write(b"YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420jpeg\n")
        for number in range(frames):
            out.write(b"FRAME\n" + np.roll(light, 5 * number, axis=1).tobytes() + colour)


def sampled(tools: Tools, count: int, seed: int) -> list[Sample]:
    """Sample fingerprints in the attackers' environment. Raises ValueError where that fails."""
    done = subprocess.run(  # noqa: S603 - the attackers' own interpreter
        [str(tools.python), "-m", "redteam.fingerprints", str(count), str(seed)],
        env=environment(None),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        msg = f"no fingerprints could be sampled: {(done.stderr.strip().splitlines() or ['no word'])[-1]}"
        raise ValueError(msg)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def command_line() -> str:
    """The command that was given, for the report."""
    return " ".join(["tellwire", *sys.argv[1:]])
