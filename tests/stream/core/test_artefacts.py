"""Which models and policy serve: good ones are swapped in whole, wrong ones leave what serves, told once each."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from features.registry import N_FEATURES
from features.signal_table import SIGNALS
from models import artifact
from models.engine import Engine
from models.errors import ArtifactError, PolicyError
from models.policy import load_policy
from models.trial import edge_rows
from stream import artefacts
from stream.artefacts import Artefacts
from stream.metrics import Metrics
from stream.settings import ArtefactSettings
from tests.support.artefacts import (
    FORMS,
    MODEL,
    POLICY,
    POLICY_FORMS,
    another,
    copy_shipped,
    flip,
    install_sabotage,
    sabotage,
    stricter,
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files come to rest at once, where a test does not say otherwise."""
    monkeypatch.setattr(artefacts, "SETTLE_S", 0.0)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another good folder."""
    return another(tmp_path_factory.mktemp("good") / "v2", 1)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return copy_shipped(tmp_path / "models")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


Make = Callable[..., Artefacts]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Artefacts] = []

    def make_one(models: Path | None = None, policy: Path | None = None, **more: float) -> Artefacts:
        settings = ArtefactSettings(directory=models, policy_file=policy, **{"poll_s": 0.2, **more})
        made.append(Artefacts(settings, Metrics()))
        return made[-1]

    yield make_one
    for one in made:
        one.stop()


def put(source: Path, to: Path) -> None:
    """Let the folder `to` be a copy of `source`, as a rename of whole folders does."""
    clear(to)
    shutil.copytree(source, to)


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()


def look(found: Artefacts, *, insist: bool = False) -> None:
    """One look at every place, as the thread does."""
    for place in found._watched:
        found._look(place, insist=insist)


def count(found: Artefacts, what: str, outcome: str) -> float:
    labels = {"what": what, "outcome": outcome}
    return found._metrics.registry.get_sample_value("tellwire_artefact_swaps_total", labels) or 0.0


def is_refused(found: Artefacts, what: str) -> float | None:
    return found._metrics.registry.get_sample_value("tellwire_artefact_refused", {"what": what})


def raw(engine: Engine) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    golden = np.array(engine.artifacts.manifest.golden.rows[:8], dtype=np.float64).reshape(8, N_FEATURES)
    rows = np.vstack([golden, edge_rows()])
    return engine.raw(rows, ["login"] * len(rows), [{}] * len(rows))


def test_nothing_is_watched_and_nothing_tried_where_what_ships_serves(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.trial.Trial.run", lambda *_: pytest.fail("a trial was held"))
    found = make()
    before = threading.active_count()
    found.start()
    assert threading.active_count() == before
    assert found.current.versions == Engine.load().versions


def test_kernels_are_there_before_the_time_of_a_trial_begins(
    make: Make, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a first start they are compiled, which can take longer than a trial may."""
    done: list[str] = []

    def load() -> Engine:
        done.append("kernels")
        return Engine.build(artifact.read(None), load_policy(None, known_signals=SIGNALS))

    monkeypatch.setattr(Engine, "load", load)
    monkeypatch.setattr("stream.trial.Trial.run", lambda *_: done.append("trial"))
    make(models)
    assert done == ["kernels", "trial"]
    make()
    assert done == ["kernels", "trial"]


def test_good_models_are_swapped_in_whole(
    make: Make, models: Path, good: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = make(models)
    old = found.current
    look(found)
    assert found.current is old
    put(good, models)
    look(found)
    assert found.current is not old
    assert found.current.versions["models"] != old.versions["models"]
    assert found.current.versions["policy"] == old.versions["policy"]
    assert not np.array_equal(raw(found.current), raw(old), equal_nan=True)
    assert np.array_equal(raw(found.current), raw(Engine.load(good)), equal_nan=True)
    assert (count(found, "models", "swapped"), count(found, "models", "refused")) == (1, 0)
    hashes = {"models": artifact.read(good).hash[:12]}
    samples = [s.labels for m in found._metrics.registry.collect() for s in m.samples if "artefact_info" in s.name]
    assert [labels["models"] for labels in samples] == [hashes["models"]]
    assert [r.getMessage() for r in caplog.records if "swapped" in r.getMessage()] == ["swapped in: new models"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_corrupt_form_leaves_what_serves_and_is_told_once(
    make: Make, models: Path, good: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = make(models)
    old, scores = found.current, raw(found.current)
    for number, form in enumerate(FORMS, start=1):
        put(artifact.shipped_directory(), models)
        look(found)
        assert is_refused(found, "models") == 0
        FORMS[form](models)
        caplog.clear()
        for _ in range(3):
            look(found)
        assert found.current is old, form
        assert np.array_equal(raw(old), scores, equal_nan=True), form
        assert count(found, "models", "refused") == number, form
        assert is_refused(found, "models") == 1, form
        lines = [r.getMessage() for r in caplog.records]
        assert len(lines) == 1, (form, lines)
        assert lines[0].startswith("refused: new models; what served goes on serving: "), form
    put(good, models)
    look(found)
    assert found.current.versions["models"] == Engine.load(good).versions["models"]
    assert is_refused(found, "models") == 0


def test_a_policy_is_swapped_in_and_every_wrong_one_is_not(
    make: Make, policy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = make(policy=policy)
    old = found.current
    for number, form in enumerate(POLICY_FORMS, start=1):
        clear(policy)
        policy.write_text(POLICY)
        look(found)
        POLICY_FORMS[form](policy)
        caplog.clear()
        for _ in range(3):
            look(found)
        assert found.current is old, form
        assert count(found, "policy", "refused") == number, form
        assert len(caplog.records) == 1, form
        assert "refused: new policy" in caplog.text, form
    clear(policy)
    stricter(policy)
    look(found)
    assert found.current is not old
    assert found.current.policy.id == "stricter"
    assert found.current.versions["models"] == old.versions["models"]
    assert found.current.artifacts is old.artifacts
    assert (count(found, "policy", "swapped"), is_refused(found, "policy")) == (1, 0)


def test_a_wrong_policy_does_not_keep_good_models_out(make: Make, models: Path, policy: Path, good: Path) -> None:
    found = make(models, policy)
    policy.write_text("wrong")
    put(good, models)
    look(found)
    assert found.current.versions["models"] == Engine.load(good).versions["models"]
    assert found.current.policy.id == "default"
    stricter(policy)
    look(found)
    assert found.current.policy.id == "stricter"
    assert found.current.versions["models"] == Engine.load(good).versions["models"]


def test_content_counts_not_its_date(make: Make, models: Path, good: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = make(models)
    old = found.current
    for path in models.iterdir():
        os.utime(path)
    look(found)
    assert (found.current, caplog.records) == (old, [])
    flip(models / MODEL)
    look(found)
    os.utime(models / MODEL)
    look(found)
    assert count(found, "models", "refused") == 1
    # Mended where it lies: the manifest has not changed, and nothing is to be swapped.
    flip(models / MODEL)
    look(found)
    assert (found.current, is_refused(found, "models")) == (old, 0)
    assert "the files hold what serves" in caplog.text
    put(good, models)
    look(found)
    assert count(found, "models", "swapped") == 1


def test_files_that_have_not_changed_are_not_read(
    make: Make, models: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = make(models, policy)
    look(found)
    flip(models / MODEL)
    look(found)
    monkeypatch.setattr(artifact, "read", lambda *_: pytest.fail("models were read"))
    monkeypatch.setattr(artefacts, "read_policy", lambda *_: pytest.fail("the policy was read"))
    for _ in range(3):
        look(found)


def test_who_asks_is_answered_again(make: Make, models: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = make(models)
    look(found, insist=True)
    assert [r.getMessage() for r in caplog.records] == ["models: the files hold what serves"]
    flip(models / MODEL)
    look(found)
    look(found, insist=True)
    assert count(found, "models", "refused") == 2


def test_a_link_switches_whole_folders(make: Make, models: Path, good: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(models)
    found = make(link)
    (tmp_path / "next").symlink_to(good)
    (tmp_path / "next").rename(link)
    look(found)
    assert found.current.versions["models"] == Engine.load(good).versions["models"]


@pytest.mark.parametrize("how", ["crash", "exit"])
def test_a_loader_that_ends_its_process_ends_the_trial_only(
    how: str, make: Make, models: Path, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in install_sabotage(tmp_path / "site").items():
        monkeypatch.setenv(name, value)
    found = make(models)
    old = found.current
    sabotage(models, how)
    look(found)
    assert (found.current, count(found, "models", "refused")) == (old, 1)
    put(good, models)
    look(found)
    assert found.current is not old


def test_where_no_trial_can_be_held_it_is_tried_again(
    make: Make, models: Path, good: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = make(models)
    old = found.current
    put(good, models)
    with monkeypatch.context() as nowhere:
        nowhere.setattr("sys.executable", "/nowhere/python")
        look(found)
        look(found)
    assert (found.current, count(found, "models", "not_tried"), count(found, "models", "refused")) == (old, 2, 0)
    assert len(caplog.records) == 1
    look(found)
    assert found.current is not old


def test_whatever_breaks_in_here_leaves_what_serves(
    make: Make, models: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = make(models)
    old = found.current
    broken = monkeypatch.context()
    with broken as here:
        here.setattr(Engine, "build", classmethod(lambda *_: 1 // 0))
        found.start()
        put(good, models)
        until(lambda: count(found, "models", "refused") == 1)
    assert found.current is old
    found.look_now()
    until(lambda: found.current is not old)


def test_the_thread_waits_for_a_copy_to_end(
    make: Make, models: Path, good: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(artefacts, "SETTLE_S", 0.3)
    found = make(models)
    old = found.current
    found.start()
    for path in sorted(good.iterdir()):
        # In place, file by file, each in two halves: the folder is torn for a second and a half.
        data = path.read_bytes()
        (models / path.name).write_bytes(data[: len(data) // 2])
        time.sleep(0.1)
        (models / path.name).write_bytes(data)
        time.sleep(0.1)
    until(lambda: found.current is not old)
    assert found.current.versions["models"] == Engine.load(good).versions["models"]
    assert count(found, "models", "refused") == 0, caplog.text


def test_stopping_ends_a_trial_that_hangs(
    make: Make, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in install_sabotage(tmp_path / "site").items():
        monkeypatch.setenv(name, value)
    found = make(models)
    found.start()
    sabotage(models, "sleep")
    until(lambda: found._trial._running is not None)
    began = time.monotonic()
    found.stop()
    assert time.monotonic() - began < 3
    assert not found._thread.is_alive()


@pytest.mark.parametrize("form", ["truncated", "NaN leaf", "FIFO", "missing seal"])
def test_at_the_start_there_is_nothing_to_keep(form: str, models: Path, make: Make) -> None:
    FORMS[form](models)
    with pytest.raises(ArtifactError) as caught:
        make(models)
    assert "\n" not in str(caught.value)


def test_at_the_start_a_wrong_policy_and_a_loader_that_crashes_are_one_line(
    models: Path, policy: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy.write_text("wrong")
    with pytest.raises(PolicyError, match=r"policy policy\.toml: not TOML"):
        make(models, policy)
    for name, value in install_sabotage(tmp_path / "site").items():
        monkeypatch.setenv(name, value)
    sabotage(models, "crash")
    with pytest.raises(ArtifactError, match="crashed the process that tried it"):
        make(models)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
