"""Trained models: a folder with a manifest, read once and checked piece by piece before anything of it scores.

The manifest names every file with its size and SHA-256, the feature registry it was trained for, its sources and
figures, and golden rows with the scores they must give. Its own SHA-256 stands beside it, in `manifest.sha256` (as
`sha256sum` writes and checks it). Loading refuses with one clear line on any mismatch. No pickle.
"""

import hashlib
import importlib.resources
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from models import flat
from models.anomaly import FlatHST
from models.bot import PointerModel
from models.calibration import CalibrationTable
from models.device_risk import SignalScorer
from models.errors import ArtifactError
from models.keystroke_range import KeystrokeRange
from models.regular_file import UnreadableFileError, opened_folder, read_regular
from models.scorer import FloatArray, Scorer
from schemas.base import END

MANIFEST: Final = "manifest.json"
SEAL: Final = "manifest.sha256"
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
MAX_FILES: Final = 32
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_BYTES: Final = 96 * 1024 * 1024
"""Of all files of a folder together."""
_SEAL: Final = re.compile(rb"([0-9a-f]{64})  manifest\.json\n")
_MAX_SEAL_BYTES: Final = 1024
GOLDEN_TOLERANCE: Final = 1e-9
"""Golden scores may differ by this much: another platform's exp() is allowed the last bit, nothing else is."""

FileName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}" + END)]
"""A name in the folder itself: no separator, no leading dot."""


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the folder."""

    bytes: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}" + END)]


class Outside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One or two features whose sum reaches a bound."""

    features: Annotated[list[str], Meta(min_length=1, max_length=2)]
    at_least: float


class PointerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The LightGBM model: its file, its features in order, and the least evidence (feature, value) for a score.

    outside: cases in which there is no score; one is there where all of its conditions hold.
    """

    file: FileName
    features: Annotated[list[str], Meta(min_length=1, max_length=1000)]
    evidence: dict[str, float] = {}
    outside: Annotated[list[Annotated[list[Outside], Meta(min_length=1, max_length=8)]], Meta(max_length=8)] = []


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vectors (null = no data) in registry order and the raw score of each scorer on each of them."""

    rows: Annotated[list[list[float | None]], Meta(min_length=1, max_length=256)]
    raw: dict[str, list[float | None]]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`manifest.json`. `anomaly` maps a flow, or `*` for all others, to a file."""

    format: Literal[1]
    features_hash: str
    files: Annotated[dict[FileName, FileEntry], Meta(max_length=MAX_FILES)]
    signals: FileName
    keystroke: FileName | None = None
    pointer: PointerSpec | None = None
    anomaly: dict[str, FileName] = {}
    calibration: FileName | None = None
    sources: list[str]
    versions: dict[str, str]
    seed: int
    metrics: dict[str, float]
    golden: Golden


class Bundle(msgspec.Struct, frozen=True):
    """The bytes of a folder, read once, every one as its manifest says; nothing of them was interpreted yet."""

    name: str
    """The folder's, for messages."""
    manifest: bytes
    files: dict[str, bytes]

    @property
    def hash(self) -> str:
        """SHA-256 of the manifest, hex: it names every file's."""
        return hashlib.sha256(self.manifest).hexdigest()


class Artifacts(NamedTuple):
    """The loaded pieces; None or empty where the folder has none."""

    manifest: Manifest
    pointer: PointerModel | None
    keystroke: KeystrokeRange | None
    signals: SignalScorer
    anomaly: dict[str, FlatHST]
    calibration: CalibrationTable

    def scorers(self) -> dict[str, Scorer]:
        """Every vector scorer by name, as golden scores are keyed."""
        found: dict[str, Scorer] = {}
        if self.pointer is not None:
            found[self.pointer.name] = self.pointer
        if self.keystroke is not None:
            found[self.keystroke.name] = self.keystroke
        for flow, model in self.anomaly.items():
            found[f"anomaly_hst/{flow}"] = model
        return found


def shipped_directory() -> Path:
    """Folder of the artefacts inside the installed package."""
    return Path(str(importlib.resources.files("models") / "artifacts"))


def read(directory: Path | None = None) -> Bundle:
    """Read a folder (None = what ships), each file once, and check all hashes; ArtifactError with one line."""
    directory = shipped_directory() if directory is None else directory
    shown = _name_of(directory)
    try:
        with opened_folder(directory) as folder:
            seal = _read_file(shown, SEAL, _MAX_SEAL_BYTES, folder)
            manifest = _read_file(shown, MANIFEST, MAX_MANIFEST_BYTES, folder)
            _check_seal(shown, seal, manifest)
            entries = _decode(manifest, shown).files
            total = sum(entry.bytes for entry in entries.values())
            if total > MAX_BYTES:
                raise ArtifactError(f"{shown}: has {total} bytes in all, at most {MAX_BYTES} are allowed")
            files = {name: _read_listed(shown, name, entry, folder) for name, entry in entries.items()}
    except UnreadableFileError as error:
        raise ArtifactError(f"{directory}: {error}") from None
    return Bundle(shown, manifest, files)


def load(directory: Path | None, names: Sequence[str], features_hash: str) -> Artifacts:
    """Load a folder (None = what ships) for a feature registry; ArtifactError with one line if anything is off."""
    return assemble(read(directory), names, features_hash)


def assemble(bundle: Bundle, names: Sequence[str], features_hash: str) -> Artifacts:
    """Build the models of a bundle and let them score the golden rows; ArtifactError with one line."""
    manifest = _decode(bundle.manifest, bundle.name)
    if manifest.features_hash != features_hash:
        raise ArtifactError(
            f"{bundle.name}: trained for feature registry {manifest.features_hash[:12]}, this is "
            f"{features_hash[:12]}; train again or install the release that fits"
        )
    try:
        artifacts = _assemble(manifest, bundle.files, names)
        _check_golden(artifacts, len(names))
    except ArtifactError as error:
        raise ArtifactError(f"{bundle.name}: {error}") from None
    return artifacts


def seal(directory: Path) -> str:
    """Write `manifest.sha256` for the manifest as it is, and return that hash. Check the folder before: `load` does."""
    try:
        with opened_folder(directory) as folder:
            found = hashlib.sha256(_read_file(_name_of(directory), MANIFEST, MAX_MANIFEST_BYTES, folder)).hexdigest()
        (directory / SEAL).write_text(f"{found}  {MANIFEST}\n", encoding="ascii")
    except UnreadableFileError as error:
        raise ArtifactError(f"{directory}: {error}") from None
    except OSError as error:
        raise ArtifactError(f"{directory}/{SEAL}: cannot be written: {error.strerror}") from None
    return found


def write_manifest(
    directory: Path,
    names: Sequence[str],
    features_hash: str,
    *,
    golden_rows: FloatArray,
    signals: str,
    keystroke: str | None = None,
    pointer: PointerSpec | None = None,
    anomaly: Mapping[str, str] | None = None,
    calibration: str | None = None,
    sources: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
    seed: int = 0,
    metrics: Mapping[str, float] | None = None,
) -> Manifest:
    """Hash the named files of `directory`, score the golden rows (n, N_FEATURES), write `manifest.json` and its seal.

    The files must be there already; what is written is then loaded once, so a bad artefact fails here.
    """
    wanted = [signals, keystroke, pointer.file if pointer else None, calibration, *(anomaly or {}).values()]
    data: dict[str, bytes] = {}
    for name in sorted({name for name in wanted if name is not None}):
        try:
            data[name] = (directory / name).read_bytes()
        except OSError as error:
            raise ArtifactError(f"{_name_of(directory)}/{name}: cannot be read: {error.strerror}") from None
    manifest = Manifest(
        format=1,
        features_hash=features_hash,
        files={name: FileEntry(len(d), hashlib.sha256(d).hexdigest()) for name, d in data.items()},
        signals=signals,
        keystroke=keystroke,
        pointer=pointer,
        anomaly=dict(anomaly or {}),
        calibration=calibration,
        sources=list(sources),
        versions=dict(versions or {}),
        seed=seed,
        metrics=dict(metrics or {}),
        golden=Golden([], {}),
    )
    scorers = _assemble(manifest, data, names).scorers()
    golden = Golden(
        rows=[[_null(v) for v in row] for row in golden_rows.tolist()],
        raw={name: [_null(v) for v in scorer.raw(golden_rows).tolist()] for name, scorer in scorers.items()},
    )
    manifest = msgspec.structs.replace(manifest, golden=golden)
    (directory / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    seal(directory)
    load(directory, names, features_hash)
    return manifest


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _decode(manifest: bytes, folder: str) -> Manifest:
    try:
        return msgspec.json.decode(manifest, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{folder}/{MANIFEST}: {error}") from None


def _check_seal(folder: str, seal_text: bytes, manifest: bytes) -> None:
    found = _SEAL.fullmatch(seal_text)
    if found is None:
        raise ArtifactError(f"{folder}/{SEAL}: is not one line '<SHA-256>  {MANIFEST}'")
    known, own = found[1].decode(), hashlib.sha256(manifest).hexdigest()
    if known != own:
        raise ArtifactError(f"{folder}/{MANIFEST}: has hash {own[:12]}, {SEAL} says {known[:12]}")


def _name_of(directory: Path) -> str:
    """Return a folder's own name, for messages: also of the one that a path without a name (`.`, `..`) leads to."""
    whole = Path(os.path.abspath(directory))  # noqa: PTH100 - `absolute` keeps the dots, `resolve` follows links
    return whole.name or str(whole)


def _read_file(directory: str, name: str, max_bytes: int, folder: int) -> bytes:
    try:
        return read_regular(name, max_bytes, folder=folder)
    except UnreadableFileError as error:
        hint = ""
        if name == SEAL:
            hint = "; `tellwire artefacts seal` writes it for a folder that you trust"
        raise ArtifactError(f"{directory}/{name}: {error}{hint}") from None


def _read_listed(directory: str, name: str, entry: FileEntry, folder: int) -> bytes:
    data = _read_file(directory, name, entry.bytes, folder)
    found = hashlib.sha256(data).hexdigest()
    if len(data) != entry.bytes or found != entry.sha256:
        raise ArtifactError(
            f"{directory}/{name}: has {len(data)} bytes and hash {found[:12]}, the manifest says {entry.bytes} "
            f"and {entry.sha256[:12]}"
        )
    return data


def _assemble(manifest: Manifest, data: Mapping[str, bytes], names: Sequence[str]) -> Artifacts:
    index = {name: i for i, name in enumerate(names)}

    def content(name: str) -> bytes:
        if name not in data:
            raise ArtifactError(f"{MANIFEST}: {name} is used but not listed under files")
        return data[name]

    pointer: PointerModel | None = None
    if manifest.pointer is not None:
        spec = manifest.pointer
        led_by = [name for case in spec.outside for one in case for name in one.features]
        unknown = [name for name in [*spec.features, *spec.evidence, *led_by] if name not in index]
        if unknown:
            raise ArtifactError(f"{MANIFEST}: pointer feature {unknown[0]} is not in the registry")
        columns = np.array([index[name] for name in spec.features], dtype=np.int64)
        evidence = {index[name]: least for name, least in spec.evidence.items()}
        try:
            pointer = PointerModel(
                content(spec.file), spec.features, columns, evidence, indexes_of(spec.outside, index)
            )
        except ArtifactError as error:
            raise ArtifactError(f"{spec.file}: {error}") from None
    keystroke = None if manifest.keystroke is None else KeystrokeRange.decode(content(manifest.keystroke), index)
    try:
        anomaly = {
            flow: FlatHST.from_flat(flat.decode(content(name)), index) for flow, name in manifest.anomaly.items()
        }
        calibration = CalibrationTable({}, "prior", 1)
        if manifest.calibration is not None:
            calibration = CalibrationTable.from_flat(flat.decode(content(manifest.calibration)))
    except ArtifactError:
        raise
    except ValueError as error:
        raise ArtifactError(f"{MANIFEST}: {error}") from None
    signals = SignalScorer.decode(content(manifest.signals))
    return Artifacts(manifest, pointer, keystroke, signals, anomaly, calibration)


def indexes_of(cases: Sequence[Sequence[Outside]], index: Mapping[str, int]) -> list[tuple[int, int, int, float]]:
    """Number of the case, index of the one feature, of the other (-1: none), bound of their sum, of each condition."""
    found = []
    for number, case in enumerate(cases):
        for one in case:
            first, *other = (index[name] for name in one.features)
            found.append((number, first, other[0] if other else -1, one.at_least))
    return found


def _check_golden(artifacts: Artifacts, n_features: int) -> None:
    golden = artifacts.manifest.golden
    scorers = artifacts.scorers()
    if set(golden.raw) != set(scorers):
        raise ArtifactError(f"{MANIFEST}: golden scores are for {sorted(golden.raw)}, scorers are {sorted(scorers)}")
    if any(len(row) != n_features for row in golden.rows):
        raise ArtifactError(f"{MANIFEST}: a golden row has not {n_features} features")
    rows = np.array([[np.nan if v is None else v for v in row] for row in golden.rows], dtype=np.float64)
    rows = rows.reshape(len(golden.rows), n_features)
    for name, scorer in scorers.items():
        wanted = np.array([np.nan if v is None else v for v in golden.raw[name]], dtype=np.float64)
        found = scorer.raw(rows)
        if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=0, atol=GOLDEN_TOLERANCE, equal_nan=True):
            raise ArtifactError(f"{MANIFEST}: {name} does not give the golden scores; the model is not the one trained")
    if artifacts.pointer is not None and len(rows):
        artifacts.pointer.check(rows)
