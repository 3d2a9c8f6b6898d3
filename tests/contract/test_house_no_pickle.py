"""No pickle anywhere: nothing of ours imports what runs code while it reads data, nor asks a library to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "features", "models", "stream", "bench")
FORBIDDEN = frozenset(
    (
        "pickle",
        "_pickle",
        "cPickle",
        "cloudpickle",
        "dill",
        "joblib",
        "marshal",
        "shelve",
        "jsonpickle",
        "skops",
        "torch",
    )
)
"""Formats whose reader executes what it reads."""
CALLS = frozenset(("eval", "exec", "compile", "__import__"))
LOADERS = frozenset(("numpy.load", "np.load", "pandas.read_pickle", "pd.read_pickle"))
ARGUMENTS = frozenset(("allow_pickle",))


def findings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in FORBIDDEN:
                yield node.module or ""
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS or called in LOADERS:
                yield called
            if called.endswith("import_module") and node.args and isinstance(node.args[0], ast.Constant):
                name = str(node.args[0].value).split(".")[0]
                if name in FORBIDDEN:
                    yield name
            yield from (keyword.arg for keyword in node.keywords if keyword.arg in ARGUMENTS)


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_reads_what_could_run(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = [f"{path.relative_to(ROOT)}: {what}" for path in files for what in findings(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, dill.detect",
        "from cloudpickle import loads",
        "def f():\n    from joblib import load",
        "import importlib\nimportlib.import_module('pickle')",
        "numpy.load(path)",
        "read(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert list(findings(source))


def test_no_artefact_that_ships_is_of_such_a_format() -> None:
    """The first bytes of every file that is not source: no pickle (protocol 2 and up), no archive, no bytecode."""
    others = [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc", ".nbi", ".nbc"} and "__pycache__" not in path.parts
    ]
    assert others
    for path in others:
        head = path.read_bytes()[:4]
        assert head[:1] != b"\x80", path
        assert head != b"PK\x03\x04", path
