"""A full disk under the cache of kernels: compiled all the same, told once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = """
import logging
import numba

logging.basicConfig(format="%(levelname)s %(message)s")

@numba.njit(cache=True)
def double(x):
    return 2 * x

@numba.njit(cache=True)
def triple(x):
    return 3 * x
"""
FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # nothing can be written, as on a full disk
{tolerate}
from kernels import double, triple
print(double(4), triple(4), double(1.5))
"""
TOLERATE = "from stream.kernel_cache import tolerate_full_disk as t; t(); t()"


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
