"""The collector as it is built: small, whole, without dependencies, and the committed build is the sources' own."""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import UnavailableError, collector, require

CORE_BYTES = 10_000
LAZY_BYTES = 10_000


@pytest.fixture(scope="module")
def built() -> dict[str, bytes]:
    try:
        return collector.fresh()
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))
        raise


def gzipped(data: bytes) -> int:
    return len(gzip.compress(data, 9))


def test_committed_build_is_what_the_sources_give(built: dict[str, bytes]) -> None:
    committed = {f"browser/{path.name}": path.read_bytes() for path in collector.BROWSER.iterdir()}
    wanted = {name: data for name, data in built.items() if name.startswith("browser/")}
    assert sorted(committed) == sorted(wanted), "run `make collector` and commit collector/browser"
    stale = [name for name, data in wanted.items() if committed[name] != data]
    assert stale == [], "run `make collector` and commit collector/browser"


@pytest.mark.parametrize("folder", ["dist", "browser"])
def test_sizes_are_within_the_budget(built: dict[str, bytes], folder: str) -> None:
    core = {"dist": "dist/index.js", "browser": "browser/tellwire.js"}[folder]
    lazy = [f"{folder}/{name}.js" for name in ("device", "camera", "worker")]
    assert gzipped(built[core]) <= CORE_BYTES
    assert sum(gzipped(built[name]) for name in lazy) <= LAZY_BYTES
    # Loaded when needed, so not part of the core.
    assert b"WEBGL" not in built[core]
    assert b"./device.js" in built[core]


def test_package_has_no_dependency(built: dict[str, bytes]) -> None:
    package = json.loads((collector.FOLDER / "package.json").read_text())
    assert not {"dependencies", "peerDependencies", "optionalDependencies"} & set(package)
    for target in (package["exports"]["."]["types"], package["exports"]["."]["default"], package["types"]):
        assert target.removeprefix("./") in built
    types = built["dist/index.d.ts"].decode()
    assert "export declare const start" in types


def test_what_npm_packs_is_whole(built: dict[str, bytes], tmp_path: Path) -> None:
    """The licence, the guide, modules with their types, the script-tag build; no sources, no tests, nothing else."""
    for name in ("package.json", "README.md", "LICENSE"):
        shutil.copy(collector.FOLDER / name, tmp_path)
    for name, data in built.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    command = ["npm", "pack", "--dry-run", "--json", "--ignore-scripts", "--offline"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    packed = {one["path"] for one in json.loads(done.stdout)[0]["files"]}
    assert packed == {"package.json", "README.md", "LICENSE", *built}
    assert (collector.FOLDER / "LICENSE").read_bytes() == (collector.ROOT / "LICENSE").read_bytes()


def test_lock_pins_with_hashes_and_names_no_registry() -> None:
    text = (collector.FOLDER / "package-lock.json").read_text()
    assert re.findall(r"https?:", text) == []
    packages = json.loads(text)["packages"]
    assert [name for name, one in packages.items() if name and not one.get("integrity", "").startswith("sha512-")] == []
    declared = json.loads((collector.FOLDER / "package.json").read_text())["devDependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in declared} == declared


def test_importing_it_needs_no_browser(built: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "index.mjs").write_bytes(built["dist/index.js"])
    script = "import('./index.mjs').then((m) => console.log(Object.keys(m).join()))"
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "start"


_READS_VALUES = re.compile(
    r"\.value\b|\[[\"']value[\"']\]|valueAs|\.data\b|dataTransfer|clipboard|innerText|textContent|(inner|outer)HTML|"
    r"getSelection|selectedOptions|selectedIndex|\.checked\b|\.files\b|FormData|cookie|localStorage|location\."
)
# The parameters of a sound, what a worker of its own answers, and a property's descriptor.
_OTHER_VALUES = re.compile(
    r"(frequency|threshold|knee|ratio|attack|release)\.value = |worker\.onmessage|descriptor\?\.value"
)


def test_no_value_is_ever_read() -> None:
    """What is typed cannot be sent where it is never read: not from fields, input events, selections, the clipboard."""
    for line in ("field.value", 'x["value"]', "event.data", "event.clipboardData", "new FormData(form)"):
        assert _READS_VALUES.search(line)
    found = []
    for path in sorted((collector.FOLDER / "src").glob("*.ts")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = re.sub(r"^\s*(/?\*|//).*", "", line)
            if _READS_VALUES.search(code) and not _OTHER_VALUES.search(code):
                found.append(f"{path.name}:{number}: {line.strip()}")
    assert found == []


def test_nothing_makes_code_or_markup() -> None:
    """A strict content security policy forbids them, and so do the sources."""
    for path in sorted((collector.FOLDER / "src").glob("*.ts")):
        text = path.read_text()
        made = re.findall(r"\beval\(|new Function\(|insertAdjacentHTML|document\.write|setAttribute\(\"style\"", text)
        assert made == [], path.name


def test_unit_tests_pass() -> None:
    try:
        told = collector.unit_tests()
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))
        raise
    assert re.search(r"^# (pass|tests) \d\d", told, re.MULTILINE)
    assert "# fail 0" in told
