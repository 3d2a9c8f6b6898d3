"""Small trained artefacts, made once a run: LightGBM on synthetic vectors, half-space trees, a calibration."""

import shutil
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from features.registry import HIGH, INDEX, LOW, N_FEATURES, NAMES, REGISTRY_HASH, select
from models import artifact
from models.anomaly import FlatHST
from models.anomaly_learn import AnomalyLearner
from models.bot import PointerModel
from models.calibration import DECLARED_PRIORS, CalibrationBuilder
from models.cells import ANY, EVIDENCE, Cell
from models.engine import Engine
from schemas.risk import CHANNELS

Floats = NDArray[np.float64]
POINTER_COLUMNS = select(lambda feature: feature.bot)
POINTER_NAMES = [NAMES[i] for i in POINTER_COLUMNS]
N_PEOPLE = 90


def vectors(n: int, *, bot: bool, seed: int) -> Floats:
    """Synthetic mouse sessions (n, N_FEATURES): bots lie a little higher everywhere; 5 % of values are missing."""
    rng = np.random.default_rng(seed)
    rows = np.clip(rng.normal(size=(n, N_FEATURES)) * 0.3 + (0.65 if bot else 0.4), LOW, HIGH)
    rows[rng.random(rows.shape) < 0.05] = np.nan
    rows[:, [i for i, name in enumerate(NAMES) if name.startswith("keystroke_")]] = np.nan
    rows[:, INDEX["keystroke_keys"]] = 0.0
    rows[:, INDEX["pointer_samples"]] = rng.integers(50, 500, n)
    rows[:, INDEX["session_observed_s"]] = rng.uniform(0.5, 90.0, n)
    rows[:, INDEX["session_device_seen"]] = 1.0
    return rows


@pytest.fixture(scope="session")
def training() -> tuple[Floats, NDArray[np.int64]]:
    """Vectors and labels: 600 people, 600 bots."""
    rows = np.vstack([vectors(600, bot=False, seed=1), vectors(600, bot=True, seed=2)])
    return rows, np.repeat([0, 1], 600)


@pytest.fixture(scope="session")
def booster(training: tuple[Floats, NDArray[np.int64]]) -> lightgbm.Booster:
    """A small real LightGBM model on the pointer features."""
    rows, labels = training
    parameters = {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1, "seed": 1}
    data = lightgbm.Dataset(rows[:, POINTER_COLUMNS], labels, feature_name=POINTER_NAMES)
    return lightgbm.train(parameters, data, 25)


@pytest.fixture(scope="session")
def model_text(booster: lightgbm.Booster) -> bytes:
    """Its text form."""
    return booster.model_to_string().encode()


@pytest.fixture(scope="session")
def pointer(model_text: bytes) -> PointerModel:
    """The pointer scorer on it."""
    return PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, {INDEX["pointer_samples"]: 10.0})


@pytest.fixture(scope="session")
def hst() -> FlatHST:
    """Half-space trees that learnt 600 people."""
    columns = select(lambda feature: feature.anomaly and feature.family == "pointer")
    people = vectors(600, bot=False, seed=3)
    low, high = np.nanquantile(people[:, columns], 0.01, axis=0), np.nanquantile(people[:, columns], 0.99, axis=0)
    names = [NAMES[i] for i in columns]
    learner = AnomalyLearner(names, columns, low, high + 1e-3, n_trees=8, height=6, window_size=200)
    learner.learn(people)
    return learner.export()


@pytest.fixture(scope="session")
def artifacts_dir(
    tmp_path_factory: pytest.TempPathFactory, model_text: bytes, pointer: PointerModel, hst: FlatHST
) -> Path:
    """A complete artefact folder with a manifest."""
    directory = tmp_path_factory.mktemp("artifacts")
    for name in ("keystroke_ranges.json", "signal_weights.json"):
        shutil.copy(artifact.shipped_directory() / name, directory)
    (directory / "pointer.txt").write_bytes(model_text)
    (directory / "anomaly.json").write_bytes(hst.to_flat().encode())
    people = vectors(N_PEOPLE, bot=False, seed=4)
    raw = np.full((N_PEOPLE, len(CHANNELS)), np.nan)
    raw[:, CHANNELS.index("bot")] = pointer.raw(people)
    raw[:, CHANNELS.index("anomaly")] = hst.raw(people)
    builder = CalibrationBuilder()
    for i in range(N_PEOPLE):
        for k, evidence in enumerate(EVIDENCE):
            builder.add(f"person{i}", Cell(ANY, "mouse", "lab", evidence), raw[i], raw[i] if k == 0 else None)
    table = builder.build("prior", declared=DECLARED_PRIORS)
    (directory / "calibration.json").write_bytes(table.to_flat().encode())
    artifact.write_manifest(
        directory,
        NAMES,
        REGISTRY_HASH,
        golden_rows=vectors(6, bot=True, seed=5),
        signals="signal_weights.json",
        keystroke="keystroke_ranges.json",
        pointer=artifact.PointerSpec("pointer.txt", POINTER_NAMES, {"pointer_samples": 10.0}),
        anomaly={"*": "anomaly.json"},
        calibration="calibration.json",
        sources=["synthetic"],
        seed=1,
    )
    return directory


@pytest.fixture(scope="session")
def engine(artifacts_dir: Path) -> Engine:
    """An engine on that folder and the default policy."""
    return Engine.load(artifacts_dir)
