"""Artefact folders and policies for tests: good copies, other good ones, and every corrupt form that must be refused.

A form damages a good folder in place. Some leave its hashes as they were; the resealed ones are what a broken training
run or a hostile hand would leave, with every hash right, so that only what the models say of themselves is wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from features.registry import NAMES, REGISTRY_HASH
from models import artifact

MODEL = "bot_pointer.txt"
TREES = "anomaly.json"
CALIBRATION = "calibration.json"

Form = Callable[[Path], object]


def copy_shipped(to: Path) -> Path:
    """A good folder: what ships, copied."""
    shutil.copytree(artifact.shipped_directory(), to)
    return to


def another(to: Path, number: int = 1) -> Path:
    """A good folder with another pointer model: its first tree says a little more, golden rows and hashes fit."""
    copy_shipped(to)
    manifest = manifest_of(to)
    _edit_model(
        to,
        lambda text: _first_line(
            text, b"leaf_value", lambda values: [repr(float(v) + 0.1 * number).encode() for v in values]
        ),
    )
    spec = manifest["pointer"]
    artifact.write_manifest(
        to,
        NAMES,
        REGISTRY_HASH,
        golden_rows=np.array([[np.nan if v is None else v for v in row] for row in manifest["golden"]["rows"]]),
        signals=manifest["signals"],
        keystroke=manifest["keystroke"],
        pointer=artifact.PointerSpec(
            spec["file"],
            spec["features"],
            spec["evidence"],
            [[artifact.Outside(**one) for one in case] for case in spec["outside"]],
        ),
        anomaly=manifest["anomaly"],
        calibration=manifest["calibration"],
        sources=manifest["sources"],
        versions=manifest["versions"],
        seed=manifest["seed"],
    )
    return to


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest as a document."""
    found: dict[str, Any] = json.loads((folder / artifact.MANIFEST).read_text())
    return found


def reseal(folder: Path, **changes: object) -> None:
    """Write the manifest anew, with these changes, and the hashes of the files as they are: every hash is right."""
    manifest = {**manifest_of(folder), **changes}
    for name in manifest["files"]:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps(manifest).encode()
    (folder / artifact.MANIFEST).write_bytes(text)
    (folder / artifact.SEAL).write_text(f"{hashlib.sha256(text).hexdigest()}  {artifact.MANIFEST}\n")


def flip(path: Path, at: float = 0.5, bit: int = 0) -> None:
    """Flip one bit of the byte at this share of the file."""
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1 << bit
    path.write_bytes(bytes(data))


def _edit_model(folder: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the text of the pointer model, keep its own table of tree sizes right, and reseal."""
    text = change((folder / MODEL).read_bytes())
    start, end = text.index(b"\nTree=0\n") + 1, text.index(b"end of trees\n")
    trees = [b"Tree=" + part for part in text[start:end].split(b"Tree=")[1:]]
    sizes = b"tree_sizes=" + b" ".join(str(len(tree)).encode() for tree in trees)
    head = b"\n".join(sizes if line.startswith(b"tree_sizes=") else line for line in text[:start].split(b"\n"))
    (folder / MODEL).write_bytes(head + text[start:])
    reseal(folder)


def _first_line(text: bytes, key: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    at = text.index(b"\n" + key + b"=") + 2 + len(key)
    end = text.index(b"\n", at)
    return text[:at] + b" ".join(change(text[at:end].split(b" "))) + text[end:]


def _half_the_trees(text: bytes) -> bytes:
    start, end = text.index(b"\nTree=0\n") + 1, text.index(b"end of trees\n")
    trees = text[start:end].split(b"Tree=")[1:]
    return text[:start] + b"".join(b"Tree=" + tree for tree in trees[: len(trees) // 2]) + text[end:]


def many_trees(folder: Path, times: int) -> None:
    """The same trees `times` times, their values so much smaller: much to read, and nothing wrong with its form."""

    def repeat(text: bytes) -> bytes:
        start, end = text.index(b"\nTree=0\n") + 1, text.index(b"end of trees\n")
        trees = text[start:end].split(b"Tree=")[1:] * times
        body = b"".join(b"Tree=%d%s" % (i, tree[tree.index(b"\n") :]) for i, tree in enumerate(trees))
        return text[:start] + body + text[end:]

    _edit_model(folder, repeat)


def _replaced(name: str, make: Callable[[Path], object]) -> Form:
    def form(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return form


def _linked(name: str) -> Form:
    def form(folder: Path) -> None:
        elsewhere = folder.parent / f"{folder.name}-elsewhere-{name}"
        (folder / name).rename(elsewhere)
        (folder / name).symlink_to(elsewhere)

    return form


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _swap_names(names: list[Any]) -> list[Any]:
    return [names[1], names[0], *names[2:]]


def _swapped_in_both(folder: Path) -> None:
    """Two features change places in the manifest and in the model's own text alike: only the golden rows can tell."""
    spec = manifest_of(folder)["pointer"]
    _edit_model(folder, lambda text: _first_line(text, b"feature_names", _swap_names))
    reseal(folder, pointer={**spec, "features": _swap_names(spec["features"])})


def _flat(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))
    reseal(folder)


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


def _as_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def _as_fifo(folder: Path) -> None:
    shutil.rmtree(folder)
    os.mkfifo(folder)


def _golden(folder: Path) -> None:
    golden = manifest_of(folder)["golden"]
    golden["raw"]["bot_pointer"][0] += 1e-6
    reseal(folder, golden=golden)


def _escape(folder: Path) -> None:
    (folder.parent / "outside.json").write_bytes((folder / CALIBRATION).read_bytes())
    files = manifest_of(folder)["files"]
    files["../outside.json"] = files.pop(CALIBRATION)
    reseal(folder, files=files, calibration="../outside.json")


def _claim_huge(folder: Path) -> None:
    files = {f"f{i}.bin": {"bytes": 60 * 2**20, "sha256": "0" * 64} for i in range(4)}
    _sealed_as(folder, json.dumps({**manifest_of(folder), "files": files}).encode())


def _sealed_as(folder: Path, manifest: bytes) -> None:
    (folder / artifact.MANIFEST).write_bytes(manifest)
    (folder / artifact.SEAL).write_text(f"{hashlib.sha256(manifest).hexdigest()}  {artifact.MANIFEST}\n")


def _nan_array(name: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        import base64

        from models.flat import content_hash

        arrays = {}
        for key, blob in document["arrays"].items():
            array = np.frombuffer(base64.b64decode(blob["data"]), dtype=blob["dtype"]).reshape(blob["shape"]).copy()
            if key == name:
                array.reshape(-1)[0] = np.nan
                blob["data"] = base64.b64encode(array.tobytes()).decode()
            arrays[key] = array
        document["hash"] = content_hash(document["kind"], document["definition"], arrays)

    return change


def _deep_trees(folder: Path) -> None:
    (folder / TREES).write_bytes(b'{"arrays":' * 100_000)
    reseal(folder)


FORMS: dict[str, Form] = {
    "truncated": lambda f: (f / MODEL).write_bytes((f / MODEL).read_bytes()[:-10_000]),
    "empty file": lambda f: (f / MODEL).write_bytes(b""),
    "bit flip in the model": lambda f: flip(f / MODEL),
    "bit flip in the trees": lambda f: flip(f / TREES),
    "bit flip in the manifest": lambda f: flip(f / artifact.MANIFEST),
    "bit flip in the seal": lambda f: flip(f / artifact.SEAL, 0.1),
    "swapped feature order in the manifest": lambda f: reseal(
        f, pointer={**manifest_of(f)["pointer"], "features": _swap_names(manifest_of(f)["pointer"]["features"])}
    ),
    "swapped feature order throughout": _swapped_in_both,
    "NaN leaf": lambda f: _edit_model(
        f, lambda text: _first_line(text, b"leaf_value", lambda values: [b"nan", *values[1:]])
    ),
    "infinite leaf": lambda f: _edit_model(
        f, lambda text: _first_line(text, b"leaf_value", lambda values: [b"inf", *values[1:]])
    ),
    "NaN threshold": lambda f: _edit_model(
        f, lambda text: _first_line(text, b"threshold", lambda values: [b"nan", *values[1:]])
    ),
    "cycle": lambda f: _edit_model(
        f, lambda text: _first_line(text, b"left_child", lambda values: [b"0", *values[1:]])
    ),
    "leaf out of range": lambda f: _edit_model(
        f, lambda text: _first_line(text, b"left_child", lambda values: [b"-9999", *values[1:]])
    ),
    "feature out of range": lambda f: _edit_model(
        f, lambda text: _first_line(text, b"split_feature", lambda values: [b"63", *values[1:]])
    ),
    "half the trees": lambda f: _edit_model(f, _half_the_trees),
    "wrong version of the manifest": lambda f: reseal(f, format=2),
    "wrong version of the model": lambda f: _edit_model(f, lambda text: text.replace(b"version=v4", b"version=v3")),
    "another feature registry": lambda f: reseal(f, features_hash="0" * 64),
    "other golden scores": _golden,
    "no golden rows": lambda f: reseal(f, golden={**manifest_of(f)["golden"], "rows": []}),
    "missing model": lambda f: (f / MODEL).unlink(),
    "missing manifest": lambda f: (f / artifact.MANIFEST).unlink(),
    "missing seal": lambda f: (f / artifact.SEAL).unlink(),
    "missing folder": _gone,
    "a file for a folder": _as_file,
    "a FIFO for a folder": _as_fifo,
    "symlink": _linked(MODEL),
    "symlink to the manifest": _linked(artifact.MANIFEST),
    "dangling symlink": _replaced(MODEL, lambda path: path.symlink_to("nowhere")),
    "FIFO": _replaced(MODEL, os.mkfifo),
    "FIFO for the manifest": _replaced(artifact.MANIFEST, os.mkfifo),
    "socket": _replaced(MODEL, _socket),
    "folder": _replaced(MODEL, Path.mkdir),
    "huge model": lambda f: _sparse(f / MODEL, 20 * 2**30),
    "huge manifest": lambda f: _sparse(f / artifact.MANIFEST, 20 * 2**30),
    "huge seal": lambda f: _sparse(f / artifact.SEAL, 20 * 2**30),
    "huge by its own account": _claim_huge,
    "deep nesting in the manifest": lambda f: _sealed_as(f, b"[" * 100_000 + b"]" * 100_000),
    "deep nesting in the golden rows": lambda f: _sealed_as(f, b'{"golden":{"rows":' + b"[" * 1_000_000),
    "deep nesting in the trees": _deep_trees,
    "not JSON": lambda f: _sealed_as(f, b"\x80\x04\x95 a pickle, perhaps"),
    "path out of the folder": _escape,
    "trees: NaN threshold": lambda f: _flat(f, TREES, _nan_array("threshold")),
    "trees: other hash": lambda f: _flat(f, TREES, lambda d: d.update(hash="0" * 64)),
    "calibration: NaN": lambda f: _flat(f, CALIBRATION, _nan_array("values")),
}
"""By name; none may ever serve."""


SABOTAGE = """
import sys

if "stream.trial_process" in sys.orig_argv:
    import os

    class Saboteur:
        def find_spec(self, name, path=None, target=None):
            if name == "models.trial":
                sys.meta_path.remove(self)
                self.arm()
            return None

        def arm(self):
            from models import artifact

            real = artifact.assemble

            def assemble(bundle, *more):
                made = real(bundle, *more)
                for source in made.manifest.sources:
                    if source == "test: crash":
                        import ctypes

                        ctypes.string_at(0)
                    while source == "test: hang":
                        pass
                    if source == "test: sleep":
                        import time

                        time.sleep(3600)
                    if source == "test: memory":
                        hoard = []
                        while True:
                            hoard.append(bytearray(1 << 26))
                    if source == "test: exit":
                        os._exit(7)
                return made

            artifact.assemble = assemble

    sys.meta_path.insert(0, Saboteur())
"""
"""A `sitecustomize` that makes the process of a trial, and none else, do what a manifest's sources ask for.

So a loader that crashes, hangs or hoards is had at will: nothing that passes our own parser is known to do that.
"""
SABOTAGES = ("crash", "hang", "sleep", "memory", "exit")


def install_sabotage(folder: Path) -> dict[str, str]:
    """Write the module into a folder; return the environment that makes processes load it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(SABOTAGE)
    before = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([before] if before else [])])}


def sabotage(folder: Path, how: str) -> None:
    """Let a folder ask for that, every hash right."""
    reseal(folder, sources=[f"test: {how}"])


POLICY = (Path(artifact.__file__).parent / "policies" / "default.toml").read_text()


def _instead(make: Callable[[Path], object]) -> Form:
    def form(path: Path) -> None:
        path.unlink()
        make(path)

    return form


POLICY_FORMS: dict[str, Form] = {
    "truncated": lambda p: p.write_text(POLICY[: len(POLICY) // 2]),
    "empty": lambda p: p.write_text(""),
    "weights don't sum to 1": lambda p: p.write_text(POLICY.replace("bot = 0.6", "bot = 0.7", 1)),
    "not UTF-8": lambda p: p.write_bytes(b"\xff\xfe" + POLICY.encode()),
    "recovery fails open": lambda p: (
        p.write_text(POLICY.replace('on_degraded = "step_up"', 'on_degraded = "allow"')) and None
    ),
    "deep nesting": lambda p: p.write_text("x = " + "[" * 50_000 + "]" * 50_000),
    "huge": lambda p: _sparse(p, 20 * 2**30),
    "missing": lambda p: p.unlink(),
    "folder": _instead(Path.mkdir),
    "FIFO": _instead(os.mkfifo),
    "dangling symlink": _instead(lambda path: path.symlink_to("nowhere")),
}


def slow_policy(path: Path) -> None:
    """A file that is small, and would take the TOML parser hours."""
    path.write_text(".".join("a" * 120_000) + " = 1\n")


def stricter(path: Path) -> None:
    """A good policy that is not what ships."""
    path.write_text(POLICY.replace('id = "default"', 'id = "stricter"', 1))
