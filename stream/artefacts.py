"""Which models and policy serve: loads them at start, watches their files, swaps in what passes, keeps what serves.

Both are untrusted input. New content goes through hashes, a trial in another process (`stream.trial`), and golden rows
here; then the engine is replaced as a whole, between two batches. Whatever is wrong leaves the old engine serving: one
log line and one count for a content, not one a poll. Models and policy are taken each on its own: a wrong policy does
not keep good models out.
"""

import hashlib
import itertools
import logging
import os
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from features.signals import SIGNALS
from models import artifact
from models.engine import Engine
from models.errors import ArtifactError, PolicyError
from models.policy import parse_policy, read_policy
from stream import kernel_cache
from stream.metrics import Metrics
from stream.settings import ArtefactSettings
from stream.trial import Candidate, NotTriedError, Trial, TrialLimits, one_line

log = logging.getLogger(__name__)

SETTLE_S: Final = 0.5
"""Files that change are looked at again after this time, s: who copies a folder is not done at its first file."""
MAX_ENTRIES: Final = 256
"""Files of a folder that are watched; a folder of ours has a handful."""

What = Literal["models", "policy"]
Signature = tuple[object, ...]


@dataclass(slots=True)
class _Watched:
    """One place that somebody may change."""

    what: What
    path: Path
    looked_at: Signature = ()
    """The place as it was when its content was last dealt with."""
    refused: str = ""
    """Content that was refused and told of."""


class Artefacts:
    """The engine that serves, and who watches over it. `current` is replaced, never changed."""

    def __init__(self, settings: ArtefactSettings, metrics: Metrics) -> None:
        """Read, try and load. Raises ArtifactError or PolicyError with one line: at start there is nothing to keep.

        What ships with the package is loaded without a trial: whoever could change it could change the code.
        """
        kernel_cache.prepare()  # before anything is compiled
        self._settings = settings
        self._metrics = metrics
        self._trial = Trial(TrialLimits(settings.trial_timeout_s, settings.trial_memory_mib))
        self._stopping = threading.Event()
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="artefacts", daemon=True)
        self._watched: list[_Watched] = []
        if settings.directory is not None:
            self._watched.append(_Watched("models", settings.directory, _signature(settings.directory)))
        if settings.policy_file is not None:
            self._watched.append(_Watched("policy", settings.policy_file, _signature(settings.policy_file)))
        self._serving = self._read()
        if self._watched:
            # Where the cache of kernels is cold they are compiled here: that minute is not the candidate's.
            Engine.load()
            try:
                self._trial.run(self._serving)
            except NotTriedError as error:
                raise ArtifactError(str(error)) from None
        self.current: Engine = _build(self._serving)
        for what in ("models", "policy"):
            self._tell_serving(what)

    def start(self) -> None:
        """Begin to watch, where there is anything that may change."""
        if self._watched:
            self._thread.start()

    def stop(self) -> None:
        """Stop watching; a trial that is under way is killed."""
        self._stopping.set()
        self._asked.set()
        self._trial.cancel()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def look_now(self) -> None:
        """Look at once, and try again also what was refused before. For signal handlers: never waits."""
        self._asked.set()

    def _follow(self) -> None:
        while True:
            insist = self._asked.wait(self._settings.poll_s)
            self._asked.clear()
            if self._stopping.is_set():
                return
            for place in self._watched:
                try:
                    self._look(place, insist=insist)
                except Exception as error:  # noqa: BLE001 - the thread must outlive whatever a file holds
                    self._refuse(place, f"{type(error).__name__}: {error}", repr(error), insist=insist)

    def _look(self, place: _Watched, *, insist: bool) -> None:
        """Deal with a place that has changed since it was last dealt with, once it has come to rest."""
        signature = _signature(place.path)
        if signature == place.looked_at and not insist:
            return
        if self._stopping.wait(SETTLE_S) or _signature(place.path) != signature:
            if insist:
                self._asked.set()
            return  # at the next look
        place.looked_at = signature
        self._take(place, insist=insist)

    def _take(self, place: _Watched, *, insist: bool) -> None:
        """Swap in the content of a place, or tell why not."""
        began = time.monotonic()
        serving = self._serving
        try:
            candidate = self._read_place(place)
        except (ArtifactError, PolicyError) as error:
            self._refuse(place, str(error), str(error), insist=insist)
            return
        content = _hash_of(candidate, place.what)
        if content == _hash_of(serving, place.what):
            self._back_to_what_serves(place, insist=insist)
            return
        if content == place.refused and not insist:
            return
        try:
            self._trial.run(candidate)
            policy = parse_policy(candidate.policy, candidate.policy_name, known_signals=SIGNALS)
            if place.what == "policy":
                # The models, with all that they write to while scoring, belong to the scoring thread: not called here.
                engine = self.current.with_policy(policy)
            else:
                engine = Engine.build(candidate.bundle, policy)
        except (ArtifactError, PolicyError) as error:
            self._refuse(place, content, str(error), insist=insist)
            return
        except NotTriedError as error:
            self._not_tried(place, error)
            return
        self._serving, self.current = candidate, engine
        place.refused = ""
        self._metrics.artefact_swaps.labels(place.what, "swapped").inc()
        self._tell_serving(place.what)
        seconds = round(time.monotonic() - began, 3)
        told = {"what": place.what, "from": _hash_of(serving, place.what)[:12], "to": content[:12], "seconds": seconds}
        log.info("swapped in: new %s", place.what, extra=told)

    def _read(self) -> Candidate:
        return Candidate(artifact.read(self._settings.directory), *read_policy(self._settings.policy_file))

    def _read_place(self, place: _Watched) -> Candidate:
        """What serves, with the content of this place instead."""
        serving = self._serving
        if place.what == "models":
            return Candidate(artifact.read(place.path), serving.policy_name, serving.policy)
        return Candidate(serving.bundle, *read_policy(place.path))

    def _back_to_what_serves(self, place: _Watched, *, insist: bool) -> None:
        if place.refused or insist:
            log.info("%s: the files hold what serves", place.what)
        place.refused = ""
        self._metrics.artefact_refused.labels(place.what).set(0)

    def _refuse(self, place: _Watched, content: str, why: str, *, insist: bool) -> None:
        if place.refused == content and not insist:
            return
        place.refused = content
        self._metrics.artefact_swaps.labels(place.what, "refused").inc()
        self._metrics.artefact_refused.labels(place.what).set(1)
        told = {"what": place.what, "serving": _hash_of(self._serving, place.what)[:12]}
        log.error("refused: new %s; what served goes on serving: %s", place.what, one_line(why), extra=told)

    def _not_tried(self, place: _Watched, error: NotTriedError) -> None:
        """Nothing is known of the content: it is tried again at the next look."""
        place.looked_at = ()
        if self._stopping.is_set():
            return
        self._metrics.artefact_swaps.labels(place.what, "not_tried").inc()
        if place.refused != str(error):
            place.refused = str(error)
            log.warning("not tried yet: new %s; what served goes on serving: %s", place.what, error)

    def _tell_serving(self, what: What) -> None:
        metrics = self._metrics
        metrics.artefact_refused.labels(what).set(0)
        metrics.artefact_loaded.labels(what).set_to_current_time()
        hashes = {one: _hash_of(self._serving, one)[:12] for one in ("models", "policy")}
        metrics.artefact_info.clear()
        metrics.artefact_info.labels(**hashes).set(1)


def _build(candidate: Candidate) -> Engine:
    return Engine.build(candidate.bundle, parse_policy(candidate.policy, candidate.policy_name, known_signals=SIGNALS))


def _hash_of(candidate: Candidate, what: What) -> str:
    return candidate.bundle.hash if what == "models" else hashlib.sha256(candidate.policy).hexdigest()


def _signature(path: Path) -> Signature:
    """What changes when the file, or a file of the folder, is written, replaced or switched; reads no content."""
    try:
        found = path.stat()
        parts = [_stamp("", found)]
        if stat.S_ISDIR(found.st_mode):
            with os.scandir(path) as entries:
                files = sorted(itertools.islice(entries, MAX_ENTRIES), key=lambda entry: entry.name)
                parts += [_stamp(file.name, file.stat(follow_symlinks=False)) for file in files]
    except OSError as error:
        return ("unreadable", error.errno)
    return tuple(parts)


def _stamp(name: str, found: os.stat_result) -> Signature:
    # The change time can't be set: a file written anew with its old size and time is seen too.
    return name, found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns
