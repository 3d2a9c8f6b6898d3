"""The cache of kernels: loaded without the compiler, compiled where nothing fits, and a full disk is told of once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = """
import logging
import numba
import numpy as np

logging.basicConfig(format="%(levelname)s %(message)s")

@numba.njit(cache=True)
def double(x):
    return 2 * x

@numba.njit(cache=True)
def triple(x):
    return 3 * x

@numba.njit(cache=True)
def sums(rows):
    # Makes arrays, raises, and calls another cached kernel.
    if rows.shape[0] == 0:
        raise ValueError("no rows")
    out = np.empty(rows.shape[0])
    for i in range(rows.shape[0]):
        out[i] = 0.0
        for value in rows[i]:
            out[i] += double(value)
    return np.sqrt(out)
"""
FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # nothing can be written, as on a full disk
{tolerate}
from kernels import double, triple
print(double(4), triple(4), double(1.5))
"""
TOLERATE = "from stream import kernel_cache as k; k.prepare(); k.prepare()"


@pytest.mark.parametrize("tolerated", [True, False])
def test_kernels_that_cannot_be_kept_are_used(tolerated: bool, tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(KERNELS)
    code = FULL.format(tolerate=TOLERATE if tolerated else "")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
    if not tolerated:
        # What it is for: without it the first compiled function is the end of the process.
        assert done.returncode == 1
        assert "OSError" in done.stderr
        return
    assert done.stdout.split() == ["8", "12", "3.0"]
    assert done.stderr == (
        "WARNING compiled kernels can't be kept (File too large): until they can, each start takes a minute longer\n"
    )


LOADED = """
import sys
import numpy as np
{prepare}
from kernels import double, sums, triple

def hits():
    return [sum(kernel.stats.cache_hits.values()) for kernel in (double, triple, sums)]

print(double(4), triple(4), *sums(np.array([[1.0, 1.0], [8.0, 0.0]])), *hits())
print(any(name in sys.modules for name in {compiler}))
try:
    sums(np.empty((0, 1)))
except ValueError as error:
    print(error)
# What is not there for these types is compiled as ever.
print(double({new}), triple({new}), *hits())
print("numba.typed.typeddict" in sys.modules)
"""
PREPARE = "from stream import kernel_cache; kernel_cache.prepare()"
COMPILER = ("numba.np.linalg", "numba.typed.typeddict", "scipy.linalg")


def test_kernels_that_are_cached_are_loaded_without_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text(KERNELS)

    def run(new: str, prepare: str = PREPARE) -> list[str]:
        code = LOADED.format(prepare=prepare, compiler=COMPILER, new=new)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert run("1.5") == ["8 12 2.0 4.0 0 0 0", "True", "no rows", "3.0 4.5 0 0 0", "True"]
    assert run("2.5j") == ["8 12 2.0 4.0 1 1 1", "False", "no rows", "5j 7.5j 1 1 1", "True"]
    # Without ours the compiler is there as well: that is what it is for.
    assert run("2.5j", "")[:2] == ["8 12 2.0 4.0 1 1 1", "True"]
