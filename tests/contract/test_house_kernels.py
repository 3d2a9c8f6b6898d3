"""No stale kernels: what numba keeps on disk is compiled from its own file, or its cache key covers the other files.

numba asks only whether the file of the cached function has changed. A kernel or a number that it takes from another
file is compiled into it and served as it was, however that file changes, unless a salt out of it is part of the key.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "features", "models", "stream")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source:
    """One file: what it imports from ours, what it defines, and which of its functions numba caches."""

    def __init__(self, root: Path, path: Path) -> None:
        self.root, self.path = root, path
        self.tree = ast.parse(path.read_text())
        self.imported: dict[str, tuple[Path, str | None]] = {}
        self.defined: dict[str, list[ast.AST]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self._import(node.module or "", alias.name, alias.asname or alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    self._import("", alias.name, alias.asname or alias.name)
        for node in self.tree.body:
            if isinstance(node, Function | ast.ClassDef):
                self.defined.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for name in (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)):
                    self.defined.setdefault(name, []).append(node.value)

    def _import(self, module: str, name: str, local: str) -> None:
        whole = f"{module}.{name}" if module else name
        if whole.split(".")[0] not in PACKAGES:
            return
        folder = self.root.joinpath(*whole.split("."))
        for file in (folder.with_suffix(".py"), folder / "__init__.py"):
            if file.is_file():
                self.imported[local] = (file, None)
                return
        folder = self.root.joinpath(*module.split("."))
        for file in (folder.with_suffix(".py"), folder / "__init__.py"):
            if file.is_file():
                self.imported[local] = (file, name)

    def cached(self) -> Iterator[tuple[Function, Function | None]]:
        """Each function that numba caches, and the function that it stands in, if any."""
        for node in self.tree.body:
            inner = [node, *ast.walk(node)] if isinstance(node, Function) else []
            for one in dict.fromkeys(inner):
                if isinstance(one, Function) and any(self._caches(d, node) for d in one.decorator_list):
                    yield one, None if one is node else node  # type: ignore[misc]

    def _caches(self, decorator: ast.expr, around: ast.AST) -> bool:
        if isinstance(decorator, ast.Call):
            on = [word.value for word in decorator.keywords if word.arg == "cache"]
            return any(not (isinstance(value, ast.Constant) and value.value is False) for value in on)
        if not isinstance(decorator, ast.Name):
            return False
        values = [v for v in self.defined.get(decorator.id, ()) if isinstance(v, ast.Call)]
        values += [
            n.value
            for n in ast.walk(around)
            if isinstance(n, ast.Assign)
            and isinstance(n.value, ast.Call)
            and any(isinstance(t, ast.Name) and t.id == decorator.id for t in n.targets)
        ]
        return any(self._caches(value, around) for value in values)

    def uses(self, node: ast.AST) -> Iterator[tuple[Path, str]]:
        """What the code takes by name from module level: (file, name), here or in another file of ours."""
        # Types are for readers; defaults and the body are compiled.
        body = [*node.body, *node.args.defaults] if isinstance(node, Function) else [node]
        for part in (inner for statement in body for inner in ast.walk(statement)):
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                file, name = self.imported.get(part.value.id, (None, None))
                if file is not None and name is None:
                    yield file, part.attr
            elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                if part.id in self.imported:
                    file, name = self.imported[part.id]
                    if name is not None:
                        yield file, name
                elif part.id in self.defined:
                    yield self.path, part.id

    def salted(self) -> set[Path]:
        """The files that `_salt` reads: named beside this one, or by path, there or in a list of its."""
        nodes = self.defined.get("_salt", [])
        nodes = nodes + [value for salt in nodes for _, name in self.uses(salt) for value in self.defined.get(name, ())]
        words = {n.value for node in nodes for n in ast.walk(node) if isinstance(n, ast.Constant)}
        names = [word for word in words if isinstance(word, str) and word.replace("/", "_").isidentifier()]
        files = {folder / f"{name}.py" for name in names for folder in (self.path.parent, self.root)}
        return {file for file in files if file.is_file()}


def findings(root: Path) -> list[str]:
    """Each cached kernel that takes something from a file which its cache key does not cover."""

    @cache
    def source(path: Path) -> Source:
        return Source(root, path)

    found: set[str] = set()
    for path in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        for kernel, around in source(path).cached():
            has_salt = around is not None and any(isinstance(n, ast.Name) and n.id == "salt" for n in ast.walk(kernel))
            covered = {path} | (source(path).salted() if has_salt else set())
            waiting, seen = list(source(path).uses(kernel)), set[tuple[Path, str]]()
            while waiting:
                file, name = waiting.pop()
                if (file, name) in seen:
                    continue
                seen.add((file, name))
                if file not in covered:
                    found.add(f"{path.relative_to(root)}: {kernel.name} takes {name} of {file.relative_to(root)}")
                    continue
                if name in source(file).imported:
                    other, real = source(file).imported[name]
                    waiting += [(other, real)] if real is not None else []
                for node in source(file).defined.get(name, ()):
                    waiting += source(file).uses(node)
    return sorted(found)


def test_no_cached_kernel_takes_from_a_file_that_its_cache_key_does_not_cover() -> None:
    assert findings(ROOT) == []


CACHED = "import numba\n\n@numba.njit(cache=True)\ndef entry(x):\n    return {body}\n"
SALTED = """
import hashlib, numba
from pathlib import Path
from features import table
from features.other import helper

_SOURCES = ({names})

def _salt():
    return sum(len((Path(__file__).parent / f"{{name}}.py").read_bytes()) for name in _SOURCES)

def _entry_point(salt):
    compiled = numba.njit(cache=True)

    @compiled
    def entry(x):
        return helper(x) + table.WIDTH + {salt}

    return entry
"""
OTHER = "from features.deep import DEEP\n\nLIMIT = DEEP\n\ndef helper(x):\n    return x + LIMIT\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (CACHED.format(body="x + 1"), []),
        ("from features.other import helper\n" + CACHED.format(body="x + 1"), []),
        ("from features.other import helper\n" + CACHED.format(body="helper(x)"), ["helper of features/other.py"]),
        ("from features import other as o\n" + CACHED.format(body="x + o.LIMIT"), ["LIMIT of features/other.py"]),
        (
            "from features import other\nOWN = 2 * other.LIMIT\n\ndef own(x):\n    return x + OWN\n"
            + CACHED.format(body="own(x)"),
            ["LIMIT of features/other.py"],
        ),
        ("from features.other import helper\n" + CACHED.format(body="helper(x)").replace("=True", "=False"), []),
        (SALTED.format(names='"kernels", "other", "table", "deep"', salt="(salt & 0)"), []),
        (SALTED.format(names='"kernels", "other", "table"', salt="(salt & 0)"), ["DEEP of features/deep.py"]),
        (
            SALTED.format(names='"kernels", "other", "table", "deep"', salt="0"),
            ["WIDTH of features/table.py", "helper of features/other.py"],
        ),
    ],
)
def test_each_way_of_taking_from_another_file_is_found(tmp_path: Path, text: str, wanted: list[str]) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    files = {"kernels": text, "other": OTHER, "deep": "DEEP = 1\n", "table": "WIDTH = 3\n"}
    for name, content in files.items():
        (folder / f"{name}.py").write_text(content)
    assert findings(tmp_path) == [f"features/kernels.py: entry takes {one}" for one in wanted]


def test_the_kernels_of_the_tree_are_seen() -> None:
    paths = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    seen = {kernel.name for path in paths for kernel, _ in Source(ROOT, path).cached()}
    assert {"fold_rows", "scan_records", "_score", "to_unit", "_tally", "_pack", "_quantile"} <= seen


def sets_built(source: str) -> Iterator[str]:
    """Sets that kernels build: numba makes one anew each time it comes to it, even of constants, in some 40 ns."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function) and any(
            word in ast.unparse(decorator) for decorator in node.decorator_list for word in ("inner", "njit")
        ):
            yield from (f"{node.name}: {ast.unparse(one)}" for one in ast.walk(node) if isinstance(one, ast.Set))


def test_no_kernel_builds_a_set() -> None:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    found = [f"{path.relative_to(ROOT)}: {what}" for path in files for what in sets_built(path.read_text())]
    assert found == []


@pytest.mark.parametrize("decorator", ["@inner", "@numba.njit(cache=True)"])
def test_a_set_in_a_kernel_is_found(decorator: str) -> None:
    source = f"{decorator}\ndef f(code):\n    return code in {{1, 2}}\n\ndef g(code):\n    return code in {{3}}\n"
    assert list(sets_built(source)) == ["f: {1, 2}"]
