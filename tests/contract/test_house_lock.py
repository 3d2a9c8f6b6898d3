"""The locks fit pyproject.toml: every dependency is pinned with hashes, within its range, and nothing names a host."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?: ; (?P<marker>[^\\]+?))? \\$")

BENCH = ("bench-bytewax", "bench-faust", "bench-profiler", "bench-quix")
APART = (*BENCH, "redteam")
"""Locks of environments of their own."""
Lock = dict[str, list[tuple[Version, Marker | None, int]]]
"""By canonical name: version, marker and number of hashes of each pin."""


def read_lock(name: str) -> Lock:
    lock: Lock = {}
    for block in re.split(r"\n(?=\S)", (ROOT / "requirements" / f"{name}.txt").read_text().strip()):
        pin = _PIN.match(block.splitlines()[0])
        assert pin, f"not a pin with hashes: {block.splitlines()[0]}"
        marker = Marker(pin["marker"]) if pin["marker"] else None
        hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}", block))
        lock.setdefault(canonicalize_name(pin["name"]), []).append((Version(pin["version"]), marker, hashes))
    return lock


def declared(*groups: str) -> list[Requirement]:
    """Requirements of the project, its extras, and dependency groups."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = [*project["project"]["dependencies"]]
    lines += [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    return [Requirement(line) for line in [*lines, *(line for group in groups for line in grouped(group))]]


def grouped(group: str) -> list[str]:
    """Requirements of one dependency group, and of those that it includes."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    found: list[str] = []
    for line in groups[group]:
        found += grouped(line["include-group"]) if isinstance(line, dict) else [line]
    return found


def unmet(requirements: list[Requirement], lock: Lock) -> list[str]:
    """Return the requirements that the lock does not satisfy with each of its pins."""
    missing = []
    for requirement in requirements:
        pins = lock.get(canonicalize_name(requirement.name), [])
        if not pins or not all(requirement.specifier.contains(version, prereleases=True) for version, *_ in pins):
            missing.append(str(requirement))
    return missing


@pytest.mark.parametrize(("name", "groups"), [("run", ("build",)), ("dev", ("build", "dev"))])
def test_every_declared_dependency_is_locked_within_its_range(name: str, groups: tuple[str, ...]) -> None:
    assert unmet(declared(*groups), read_lock(name)) == [], "run `make lock`"


@pytest.mark.parametrize("name", APART)
def test_what_has_an_environment_of_its_own_is_locked_within_its_range(name: str) -> None:
    assert unmet([Requirement(line) for line in grouped(name)], read_lock(name)) == [], "run `make lock`"


@pytest.mark.parametrize("name", [name for name in BENCH if name != "bench-profiler"])
def test_contestants_compute_with_the_same_versions(name: str) -> None:
    ours, theirs = read_lock("run"), read_lock(name)
    for package in ("lightgbm", "llvmlite", "msgspec", "numba", "numpy", "orjson", "redis", "uvloop"):
        assert [version for version, *_ in theirs[package]] == [version for version, *_ in ours[package]], package


@pytest.mark.parametrize("name", ["run", "dev", *APART])
def test_every_pin_has_hashes_and_no_line_names_a_host_or_a_path(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert min(hashes for pins in read_lock(name).values() for *_, hashes in pins) >= 1
    assert re.findall(r"https?:|index-url|find-links|file:|^-|/", text, flags=re.MULTILINE) == []


def test_the_tools_lock_only_adds_to_the_other() -> None:
    run, dev = read_lock("run"), read_lock("dev")
    assert {name: dev.get(name) for name in run} == run


@pytest.mark.parametrize("name", ["run", "dev"])
def test_what_locked_packages_need_is_locked_too(name: str) -> None:
    lock = read_lock(name)
    wanted_extras: dict[str, set[str]] = {
        canonicalize_name(each.name): each.extras for each in declared("build", "dev")
    }
    missing, checked = [], 0
    for package, pins in lock.items():
        here = {str(version) for version, marker, _ in pins if marker is None or marker.evaluate()}
        try:
            distribution = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        if distribution.version not in here:
            continue
        checked += 1
        environments = [{"extra": extra} for extra in ("", *wanted_extras.get(package, set()))]
        needs = [Requirement(line) for line in distribution.requires or ()]
        active = [
            need for need in needs if need.marker is None or any(need.marker.evaluate(each) for each in environments)
        ]
        missing += [f"{package} needs {line}" for line in unmet(active, lock)]
    assert checked > 20
    assert missing == []


def test_a_dependency_out_of_step_is_found() -> None:
    lock = read_lock("run")
    assert unmet([Requirement("numpy>=999"), Requirement("no-such-package"), Requirement("numpy>=2")], lock) == [
        "numpy>=999",
        "no-such-package",
    ]


@pytest.mark.parametrize("where", ["tests/node", "redteam"])
def test_locks_of_node_programs_pin_with_hashes_and_name_no_registry(where: str) -> None:
    folder = ROOT / where
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert [name for name, one in packages.items() if "resolved" in one] == []
    assert [name for name, one in packages.items() if name and not one.get("integrity", "").startswith("sha512-")] == []
    declared = json.loads((folder / "package.json").read_text())
    wanted = {**declared["dependencies"], **declared.get("optionalDependencies", {})}
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
