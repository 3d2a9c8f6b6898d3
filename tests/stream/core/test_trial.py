"""The trial of models and policies: in another process, bounded, told apart by how it ended."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from features.registry import N_FEATURES
from models import artifact
from models.engine import Engine
from models.errors import ArtifactError, PolicyError
from models.policy import read_policy
from models.scorer import FloatArray
from models.trial import edge_rows, try_out
from stream.trial import Candidate, NotTriedError, Trial, TrialLimits, one_line
from tests.support.artefacts import (
    FORMS,
    MODEL,
    another,
    copy_shipped,
    install_sabotage,
    manifest_of,
    many_trees,
    sabotage,
    slow_policy,
)

LIMITS = TrialLimits(60.0, 2_048)


def candidate(folder: Path | None = None, policy: Path | None = None) -> Candidate:
    return Candidate(artifact.read(folder), *read_policy(policy))


def refusal(found: Candidate, limits: TrialLimits = LIMITS) -> str:
    with pytest.raises(ArtifactError) as caught:
        Trial(limits).run(found)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_ships_passes_and_so_does_another_good_model(tmp_path: Path) -> None:
    Trial(LIMITS).run(candidate())
    Trial(LIMITS).run(candidate(another(tmp_path / "v2")))


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("NaN leaf", "v2: bot_pointer.txt: tree 0: leaf_value nan"),
        ("swapped feature order throughout", "does not give the golden scores"),
        ("calibration: NaN", "a value is not finite"),
    ],
)
def test_what_the_models_check_refuses_is_told_in_its_words(form: str, why: str, tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "v2")
    FORMS[form](folder)
    assert why in refusal(candidate(folder))


@pytest.mark.parametrize(
    ("how", "limits", "why"),
    [
        ("crash", LIMITS, "crashed the process that tried it (SIGSEGV)"),
        ("hang", TrialLimits(4.0, 2_048), "not over in 4 s (artefacts.trial_timeout_s)"),
        ("sleep", TrialLimits(4.0, 2_048), "not over in 4 s (artefacts.trial_timeout_s)"),
        ("memory", TrialLimits(60.0, 1_024), "needed more than 1024 MiB (artefacts.trial_memory_mib)"),
        ("exit", LIMITS, "ended the process that tried it (exit code 7)"),
    ],
)
def test_whatever_happens_happens_elsewhere(
    how: str, limits: TrialLimits, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in install_sabotage(tmp_path / "site").items():
        monkeypatch.setenv(name, value)
    folder = copy_shipped(tmp_path / "v2")
    sabotage(folder, how)
    began = time.monotonic()
    assert why in refusal(candidate(folder), limits)
    assert time.monotonic() - began < limits.seconds + 5


def test_a_model_that_is_too_much_to_read_in_time_is_refused(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "v2")
    many_trees(folder, 20)
    assert (folder / MODEL).stat().st_size > 10_000_000
    assert "not over in 1 s" in refusal(candidate(folder), TrialLimits(1.0, 2_048))


def test_a_policy_that_would_take_the_parser_hours_is_refused_at_once(tmp_path: Path) -> None:
    slow_policy(tmp_path / "policy.toml")
    with pytest.raises(PolicyError, match="line 1 has a name of more than 32 parts"):
        Trial(LIMITS).run(candidate(policy=tmp_path / "policy.toml"))


def test_a_wrong_policy_is_told_apart_from_wrong_models(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("id = 1")
    with pytest.raises(PolicyError, match=r"policy policy\.toml: "):
        Trial(LIMITS).run(candidate(policy=tmp_path / "policy.toml"))


def test_a_cancelled_trial_ends_at_once_and_says_nothing_of_the_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in install_sabotage(tmp_path / "site").items():
        monkeypatch.setenv(name, value)
    folder = copy_shipped(tmp_path / "v2")
    sabotage(folder, "sleep")
    trial = Trial(LIMITS)
    threading.Timer(1.0, trial.cancel).start()
    began = time.monotonic()
    with pytest.raises(NotTriedError):
        trial.run(candidate(folder))
    assert time.monotonic() - began < 10
    with pytest.raises(NotTriedError):
        trial.run(candidate())


def test_without_a_process_there_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(NotTriedError, match="No such file"):
        Trial(LIMITS).run(candidate())


def test_the_process_is_polite_alone_and_knows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from inside: a module that is loaded in the trial's process writes down what it finds there."""
    seen = tmp_path / "seen"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, atexit\n"
        "if 'stream.trial_process' in sys.orig_argv:\n"
        "    real = os.nice\n"
        "    def nice(by):\n"
        "        found = real(by)\n"
        f"        open({str(seen)!r}, 'w').write(repr((found, os.getsid(0) == os.getpid(), sorted(os.environ))))\n"
        "        return found\n"
        "    os.nice = nice\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TELLWIRE_KEYS__REF_KEY", "a secret of this process")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    Trial(LIMITS).run(candidate())
    text = seen.read_text()
    assert text.startswith(f"({min(19, os.nice(0) + 10)}, True, ")
    assert "PYTHONPATH" in text
    assert "TELLWIRE" not in text
    assert "AWS" not in text


class _Off:
    """A scorer that breaks one promise on vectors without a certain feature."""

    name = "off"
    hash = "0"

    def __init__(self, value: float) -> None:
        self.value = value
        self.columns = np.arange(3)

    def raw(self, rows: FloatArray) -> FloatArray:
        enough = ~np.isnan(rows[:, :3]).all(axis=1)
        return np.where(enough, np.where(rows[:, 0] > 1e300, self.value, 0.5), np.nan)

    def explain(self, x: FloatArray) -> list[object]:
        return []


@pytest.mark.parametrize("value", [np.inf, -0.1, 1.0001])
def test_a_score_that_is_none_is_found_at_the_edge(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.load()
    try_out(engine)
    monkeypatch.setattr(type(engine.artifacts), "scorers", lambda _: {"off": _Off(value)})
    with pytest.raises(ArtifactError, match=r"scorer off: raw is outside 0\.\.1"):
        try_out(engine)


def test_edge_rows_hold_every_extreme_and_no_infinity() -> None:
    rows = edge_rows()
    assert rows.shape[1] == N_FEATURES
    assert np.isnan(rows[0]).all()
    assert not np.isinf(rows).any()
    assert {np.finfo(float).max, -np.finfo(float).max, 5e-324} <= set(rows[~np.isnan(rows)].tolist())


def test_one_line_is_one_printable_line() -> None:
    assert one_line("a\nb\x1b[31mc\u2028d\x00") == "a b [31mc d"
    assert len(one_line("x" * 10_000)) == 300


def test_the_shipped_manifest_says_nothing_that_a_saboteur_acts_on(tmp_path: Path) -> None:
    """The saboteur is armed only by what a test writes: a pass above is a pass of the real thing."""
    assert not [s for s in manifest_of(copy_shipped(tmp_path / "v1"))["sources"] if s.startswith("test:")]
