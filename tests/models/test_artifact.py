"""Artefact folders and snapshots: what fits is loaded, whatever was changed is refused with one line."""

import base64
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.registry import NAMES, REGISTRY_HASH
from models import artifact
from models.anomaly import FlatHST
from models.calibration import CalibrationBuilder
from models.cells import Cell
from models.errors import ArtifactError, SnapshotError
from models.flat import FlatModel
from models.snapshots import EMPTY, SnapshotSet, make_snapshot, read_snapshot
from schemas.risk import CHANNELS
from schemas.snapshot import Snapshot
from tests.support.artefacts import FORMS, copy_shipped, flip, reseal


@pytest.fixture
def folder(artifacts_dir: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(artifacts_dir, copy)
    return copy


def edit(folder: Path, **changes: object) -> None:
    reseal(folder, **changes)


def load(folder: Path) -> artifact.Artifacts:
    return artifact.load(folder, NAMES, REGISTRY_HASH)


def test_a_whole_folder_loads(folder: Path) -> None:
    loaded = load(folder)
    assert set(loaded.scorers()) == {"bot_pointer", "bot_keystroke", "anomaly_hst/*"}
    assert len(loaded.calibration) > 0


@pytest.mark.parametrize("name", ["pointer.txt", "anomaly.json", "calibration.json", "keystroke_ranges.json"])
def test_a_changed_or_missing_file_is_refused(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=f"copy/{name}: has .* the manifest says") as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"copy/{name}: cannot be read"):
        load(folder)


def test_another_registry_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="trained for feature registry"):
        artifact.load(folder, NAMES, "0" * 64)


def test_golden_scores_guard_the_model(folder: Path) -> None:
    golden = json.loads((folder / artifact.MANIFEST).read_text())["golden"]
    golden["raw"]["bot_pointer"][0] += 1e-6
    edit(folder, golden=golden)
    with pytest.raises(ArtifactError, match="bot_pointer does not give the golden scores"):
        load(folder)


def test_golden_rows_that_ship_try_every_scorer() -> None:
    golden = artifact.load(artifact.shipped_directory(), NAMES, REGISTRY_HASH).manifest.golden
    for name, scores in golden.raw.items():
        known = {round(score, 3) for score in scores if score is not None}
        assert len(known) >= 8, name


def test_golden_rows_notice_another_range_of_typing(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "other")
    ranges = json.loads((folder / "keystroke_ranges.json").read_text())
    for term in ranges["terms"]:
        changed = [{**one, "weight": 1.01 * one["weight"]} if one is term else one for one in ranges["terms"]]
        data = json.dumps({**ranges, "terms": changed}).encode()
        (folder / "keystroke_ranges.json").write_bytes(data)
        entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        files = {**json.loads((folder / artifact.MANIFEST).read_text())["files"], "keystroke_ranges.json": entry}
        reseal(folder, files=files)
        with pytest.raises(ArtifactError, match="bot_keystroke does not give the golden scores"):
            load(folder)


def test_golden_scores_must_cover_every_scorer(folder: Path) -> None:
    golden = json.loads((folder / artifact.MANIFEST).read_text())["golden"]
    del golden["raw"]["bot_keystroke"]
    edit(folder, golden=golden)
    with pytest.raises(ArtifactError, match="golden scores are for"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "manifest.json"),
        ({"more": 1}, "more"),
        ({"signals": "../../etc/passwd"}, "signals"),
        ({"calibration": "other.json"}, "not listed under files"),
        ({"pointer": {"file": "pointer.txt", "features": ["nothing"]}}, "nothing is not in the registry"),
    ],
)
def test_a_wrong_manifest_is_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ArtifactError, match=message):
        load(folder)


def test_no_manifest_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.sha256: cannot be read.*tellwire artefacts seal"):
        load(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_every_corrupt_form_is_refused_with_one_line(form: str, tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "copy")
    load(folder)
    FORMS[form](folder)
    with pytest.raises(ArtifactError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert "copy" in str(caught.value)


@pytest.mark.parametrize(
    ("form", "kind"), [("a file for a folder", "a regular file"), ("a FIFO for a folder", "a FIFO")]
)
def test_what_is_there_in_place_of_a_folder_is_told(form: str, kind: str, tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "models")
    FORMS[form](folder)
    with pytest.raises(ArtifactError, match=f"models: is {kind}, not a folder"):
        load(folder)


@given(at=st.floats(0.0, 1.0), bit=st.integers(0, 7), name=st.sampled_from([artifact.MANIFEST, artifact.SEAL]))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_bit_of_manifest_or_seal_flips_unseen(folder: Path, at: float, bit: int, name: str) -> None:
    untouched = (folder / name).read_bytes()
    flip(folder / name, at, bit)
    try:
        with pytest.raises(ArtifactError):
            artifact.read(folder)
    finally:
        (folder / name).write_bytes(untouched)
    artifact.read(folder)


def test_what_ships_is_sealed_as_sha256sum_would() -> None:
    """Hashed here by hand: the manifest's own hash, and that of every file that it names, and no file beside them."""
    ships = artifact.shipped_directory()
    manifest = (ships / "manifest.json").read_bytes()
    assert (ships / "manifest.sha256").read_text() == f"{hashlib.sha256(manifest).hexdigest()}  manifest.json\n"
    listed = json.loads(manifest)["files"]
    assert {path.name for path in ships.iterdir()} == {"manifest.json", "manifest.sha256", *listed}
    for name, entry in listed.items():
        data = (ships / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])


def test_sealing_makes_a_trusted_manifest_loadable_again(folder: Path) -> None:
    (folder / artifact.SEAL).unlink()
    assert artifact.seal(folder) == artifact.read(folder).hash
    load(folder)
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifact.seal(folder / "nowhere")


def test_a_folder_may_be_switched_by_a_link_and_is_read_as_one(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(folder)
    assert artifact.read(link).hash == artifact.read(folder).hash


def test_every_file_is_opened_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = os.open

    def spied(path: Any, *more: Any, **named: Any) -> int:
        opened.append(str(path))
        return real(path, *more, **named)

    monkeypatch.setattr(os, "open", spied)
    bundle = artifact.read(folder)
    assert sorted(opened) == sorted([str(folder), artifact.MANIFEST, artifact.SEAL, *bundle.files])
    shutil.rmtree(folder)
    assert artifact.assemble(bundle, NAMES, REGISTRY_HASH).manifest.sources == ["synthetic"]


def test_writing_a_manifest_refuses_a_bad_model(folder: Path) -> None:
    (folder / "pointer.txt").write_bytes((folder / "pointer.txt").read_bytes()[:-2000])
    with pytest.raises(ArtifactError):
        artifact.write_manifest(
            folder,
            NAMES,
            REGISTRY_HASH,
            golden_rows=np.zeros((1, len(NAMES))),
            signals="signal_weights.json",
            pointer=artifact.PointerSpec("pointer.txt", ["pointer_samples"]),
        )


def test_a_condition_on_features_that_there_are_not_is_refused(folder: Path) -> None:
    spec = json.loads((folder / "manifest.json").read_bytes())["pointer"]
    outside = artifact.Outside(["pointer_axis_ratio", "pointer_elsewhere"], 0.9)
    with pytest.raises(ArtifactError, match="pointer_elsewhere is not in the registry"):
        artifact.write_manifest(
            folder,
            NAMES,
            REGISTRY_HASH,
            golden_rows=np.zeros((1, len(NAMES))),
            signals="signal_weights.json",
            pointer=artifact.PointerSpec(spec["file"], spec["features"], outside=[[outside]]),
        )


def snapshot_of(model: FlatHST) -> Snapshot:
    return make_snapshot(
        model, "login", features_hash=REGISTRY_HASH, created_at=1_700_000_000_000, offsets={"0": 7}, n_learnt=600
    )


def table_for(model: FlatHST, level: float = 0.0) -> Snapshot:
    """A calibration made for these trees."""
    builder = CalibrationBuilder()
    for i in range(60):
        builder.add(f"p{i}", Cell("login", "mouse", "web", "lt3s"), [level + i / 99] * len(CHANNELS), None)
    return make_snapshot(
        builder.build("live"),
        "login",
        features_hash=REGISTRY_HASH,
        created_at=0,
        offsets={},
        n_learnt=60,
        trees=model.hash,
    )


def applied(*snapshots: Snapshot, to: SnapshotSet = EMPTY) -> SnapshotSet:
    for snapshot in snapshots:
        to = to.apply(msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot), NAMES, REGISTRY_HASH)
    return to


def test_a_snapshot_travels_and_serves_the_same(hst: FlatHST) -> None:
    found = applied(snapshot_of(hst), table_for(hst))
    rows = np.random.default_rng(1).uniform(size=(20, len(NAMES)))
    assert np.array_equal(found.anomaly["login"].raw(rows), hst.raw(rows))
    assert EMPTY.anomaly == {}
    assert EMPTY.hash is None
    assert found.hash is not None
    assert found.members == {"anomaly_hst/login": hst.hash, "calibration/login": table_for(hst).hash}


def test_the_hash_is_of_the_content_not_of_the_time(hst: FlatHST) -> None:
    later = msgspec.structs.replace(snapshot_of(hst), created_at=1_800_000_000_000)
    assert applied(later, table_for(hst)).hash == applied(snapshot_of(hst), table_for(hst)).hash
    assert table_for(hst, 0.1).hash != table_for(hst).hash


def test_a_calibration_without_its_trees_is_none(hst: FlatHST) -> None:
    table = CalibrationBuilder().build("live")
    with pytest.raises(ValueError, match="names the trees"):
        make_snapshot(table, "login", features_hash=REGISTRY_HASH, created_at=0, offsets={}, n_learnt=0)
    flat = read_snapshot(table_for(hst), NAMES, REGISTRY_HASH).to_flat()
    nameless = msgspec.structs.replace(table_for(hst), definition=flat.definition, hash=flat.hash)
    with pytest.raises(SnapshotError, match="does not name the trees"):
        applied(nameless)


def other_than(model: FlatHST) -> FlatHST:
    """Trees with other content."""
    flat = model.to_flat()
    changed = FlatModel(flat.kind, {**flat.definition, "n_learnt": model.n_learnt + 1}, flat.arrays)
    return FlatHST.from_flat(changed, {name: i for i, name in enumerate(NAMES)})


@given(order=st.lists(st.sampled_from(["old trees", "old table", "new trees", "new table", "new table 2"]), max_size=9))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_calibration_is_ever_served_with_other_trees(hst: FlatHST, order: list[str]) -> None:
    new = other_than(hst)
    snapshots = {
        "old trees": snapshot_of(hst),
        "old table": table_for(hst),
        "new trees": snapshot_of(new),
        "new table": table_for(new),
        "new table 2": table_for(new, 0.2),
    }
    made_for = {one.hash: one.definition["trees"] for one in snapshots.values() if one.kind == "calibration"}
    found = EMPTY
    for name in order:
        found = applied(snapshots[name], to=found)
        assert set(found.anomaly) == set(found.calibration)
        if found.members:
            assert made_for[found.members["calibration/login"]] == found.members["anomaly_hst/login"]
    # Once the two that came last are a pair, they serve.
    found = applied(snapshots["old table"], snapshots["new trees"], snapshots["new table"], to=found)
    assert found.members == {"anomaly_hst/login": new.hash, "calibration/login": snapshots["new table"].hash}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: msgspec.structs.replace(s, hash="0" * 64), "its content has hash"),
        (lambda s: msgspec.structs.replace(s, features_hash="0" * 64), "is for feature registry"),
        (lambda s: msgspec.structs.replace(s, kind="calibration"), "its content has hash"),
        (lambda s: msgspec.structs.replace(s, definition={**s.definition, "window_size": 1}), "its content has hash"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused(hst: FlatHST, change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SnapshotError, match=message) as caught:
        read_snapshot(change(snapshot_of(hst)), NAMES, REGISTRY_HASH)
    assert "\n" not in str(caught.value)


def test_array_sizes_are_checked_before_anything_is_allocated(hst: FlatHST) -> None:
    document = json.loads(msgspec.json.encode(snapshot_of(hst)))
    document["arrays"]["mass"]["shape"] = [2**40, 2**20]
    with pytest.raises(SnapshotError, match="larger than"):
        read_snapshot(msgspec.json.decode(json.dumps(document).encode(), type=Snapshot), NAMES, REGISTRY_HASH)
    document["arrays"]["mass"]["shape"] = [3]
    document["arrays"]["mass"]["data"] = base64.b64encode(b"12345").decode()
    with pytest.raises(SnapshotError, match="has 5 bytes, its shape needs 12"):
        read_snapshot(msgspec.json.decode(json.dumps(document).encode(), type=Snapshot), NAMES, REGISTRY_HASH)


def test_sets_with_the_same_members_have_the_same_hash(hst: FlatHST) -> None:
    assert SnapshotSet({"login": hst}).hash == SnapshotSet({"login": hst}, {}).hash
    assert SnapshotSet({"login": hst}).hash != SnapshotSet({"signup": hst}).hash
