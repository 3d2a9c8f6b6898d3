"""The rules of the house are checked, and each check is seen to fail on a seeded violation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.support import require

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "features", "models", "stream")
ROOMS_APART = ("stream.gateway", "stream.console", "stream.simulation")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, include_external_packages=True)


def direct_imports(graph: grimp.ImportGraph, room: str) -> set[tuple[str, str]]:
    """Return (importer, imported) for everything that modules of `room` import directly."""
    inside = {module for module in graph.modules if module == room or module.startswith(f"{room}.")}
    return {(module, target) for module in inside for target in graph.find_modules_directly_imported_by(module)}


def within(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def test_gateway_console_and_simulation_do_not_import_one_another(graph: grimp.ImportGraph) -> None:
    for room in ROOMS_APART:
        others = tuple(other for other in ROOMS_APART if other != room)
        assert {edge for edge in direct_imports(graph, room) if within(edge[1], others)} == set()


def test_the_transport_imports_none_of_ours(graph: grimp.ImportGraph) -> None:
    edges = direct_imports(graph, "stream.transport")
    assert edges
    ours = {edge for edge in edges if within(edge[1], PACKAGES) and not within(edge[1], ("stream.transport",))}
    assert ours == set()


def test_the_ledger_shares_no_code_with_what_it_verifies() -> None:
    listing = "import sys, tests.support.ledger; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if within(name, (*PACKAGES, "tests"))}
    assert loaded == {"tests", "tests.support", "tests.support.ledger", "tests.support.log_reader"}


def lint_imports(tree: Path) -> str:
    config = (ROOT / "pyproject.toml").read_text()
    (tree / "pyproject.toml").write_text(config[config.index("[tool.importlinter]") :])
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False, timeout=60)
    assert ("BROKEN" in done.stdout) == (done.returncode != 0), done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        ("features/x.py", "models", "Imports go one way"),
        ("schemas/x.py", "stream", "Imports go one way"),
        ("models/x.py", "redis", "are known to stream alone"),
        ("features/x.py", "confluent_kafka", "are known to stream alone"),
        ("stream/x.py", "river", "are known to models alone"),
        ("features/x.py", "lightgbm", "are known to models alone"),
        ("schemas/x.py", "numpy", "Contracts need msgspec"),
        ("models/x.py", "tests", "Nothing that ships"),
        ("stream/x.py", "bench", "Nothing that ships"),
    ],
)
def test_a_seeded_wrong_import_breaks_its_contract(tmp_path: Path, module: str, imported: str, contract: str) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    assert "BROKEN" not in lint_imports(tmp_path)
    (tmp_path / module).write_text(f"import {imported}\n")
    broken = [line for line in lint_imports(tmp_path).splitlines() if line.endswith("BROKEN")]
    assert [line for line in broken if contract in line]


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    "line",
    [
        "import time\n\nNOW = time.time()\n",
        "import time\n\nNOW = time.monotonic_ns()\n",
        "import datetime as dt\n\nNOW = dt.datetime.now(dt.UTC)\n",
        "import random\n\nDICE = random.Random(1)\n",
        "import uuid\n\nNAME = uuid.uuid4()\n",
    ],
)
def test_clock_and_dice_are_refused_below_stream(package: str, line: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", f"{package}/x.py", "-"]
    done = subprocess.run(command, input=line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ("TID251" in done.stdout) == (package != "stream"), done.stdout + done.stderr


ENDS_THE_PROCESS = "list_consumer_group_offsets"
"""librdkafka 2.16 dereferences NULL in it where a broker does not coordinate the group (its issue 5040)."""


def test_nobody_calls_what_ends_the_process_while_a_group_changes_its_broker() -> None:
    files = [path for room in ("stream", "bench", "tests") for path in (ROOT / room).rglob("*.py")]
    assert [path for path in files if ENDS_THE_PROCESS in path.read_text()] == [Path(__file__).resolve()]


NOT_LOADED = {
    "aiohttp": "the client of Faust's web side, which is off: a seventh of what there is to import",
    "lightgbm": "the package; its shared library alone is loaded",
    "matplotlib": "training and its reports",
    "models.dataset": "training and offline scoring",
    "models.evaluate": "training and its reports",
    "models.train": "training",
    "numba.np.linalg": "numba's compiler: kernels come from its cache",
    "numba.typed.typeddict": "numba's compiler",
    "pandas": "nobody's; libraries load it where it is installed",
    "pyarrow": "training and offline scoring",
    "rich": "tables for people",
    "river": "the learner's: what is served are flat arrays",
    "scipy.linalg": "numba's compiler loads it to find BLAS; half a second, and memory",
    "scipy.sparse": "training",
    "scipy.special": "training",
    "scipy.stats": "training",
    "sklearn": "training",
    "stream.demo": "the demo's",
    "stream.embedded": "the demo's",
    "stream.learner": "another process",
    "stream.redrive": "a command for people",
    "stream.simulation": "the demo's and the load's",
}
"""What a worker that is ready to score has not loaded, and why not: each start pays for it, and others wait for it."""
READY_TO_SCORE = """
import sys
import stream.cli.worker, stream.app
from stream.artefacts import Artefacts
from stream.metrics import Metrics
from stream.settings import ArtefactSettings
from stream.state import tally
from features.session import warm_up

Artefacts(ArtefactSettings(), Metrics())
warm_up()
tally.warm_up()
print(*sys.modules)
"""


def test_a_worker_loads_what_it_needs_and_nothing_of_the_list() -> None:
    def loaded() -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", READY_TO_SCORE], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return set(done.stdout.split())

    modules = loaded()
    if "numba.typed.typeddict" in modules:
        modules = loaded()  # the first one compiled the kernels
    assert {"faust", "confluent_kafka", "models", "redis"} <= {name.partition(".")[0] for name in modules}
    assert {name: why for name, why in NOT_LOADED.items() if name in modules} == {}


@pytest.mark.parametrize("in_ci", [False, True])
def test_what_is_missing_skips_by_hand_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch, *, in_ci: bool) -> None:
    monkeypatch.setenv("CI", "true" if in_ci else "")
    require(condition=True, reason="never seen")
    outcome = pytest.fail.Exception if in_ci else pytest.skip.Exception
    with pytest.raises(outcome, match="no Java here"):
        require(condition=False, reason="no Java here")


@pytest.mark.parametrize("in_ci", [False, True])
def test_any_skip_fails_the_run_in_ci(tmp_path: Path, *, in_ci: bool) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_makereport\n")
    (tmp_path / "test_x.py").write_text(
        "import pytest\n\ndef test_body():\n    pytest.skip('said in the body')\n\n"
        "@pytest.mark.skip(reason='said by a mark')\ndef test_mark(): ...\n\n"
        "@pytest.mark.xfail(reason='known')\ndef test_known():\n    assert False\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "CI": "true" if in_ci else "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ("1 failed, 1 xfailed, 1 error" if in_ci else "2 skipped, 1 xfailed") in done.stdout
    assert done.returncode == int(in_ci)
