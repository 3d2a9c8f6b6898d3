"""LightGBM's own prediction through ctypes, on the shared library inside its wheel: what our walk is compared with.

It does not score: our walk gives the same bits in a third of the time, whatever the number of rows, and sooner than the
single-row fast call too. The library is found without importing the Python package, which would import scipy into the
worker. Only text that `models.forest` understood and rewrote is ever handed to it.
"""

import ctypes
import importlib.util
import logging
import sys
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from models.errors import ArtifactError
from models.forest import Forest
from models.scorer import FloatArray

log = logging.getLogger(__name__)

_FLOAT64: Final = 1
_NORMAL: Final = 0
_RAW_SCORE: Final = 1
_PARAMETERS: Final = b"num_threads=1 verbosity=-1"
_LIBRARY_NAMES: Final = {"darwin": "lib_lightgbm.dylib", "win32": "lib_lightgbm.dll"}


@cache
def library_path() -> Path:
    """Path of LightGBM's shared library; ArtifactError if the package is not installed."""
    spec = importlib.util.find_spec("lightgbm")
    if spec is None or spec.origin is None:
        raise ArtifactError("the package 'lightgbm' is not installed: the pointer model is checked against its library")
    name = _LIBRARY_NAMES.get(sys.platform, "lib_lightgbm.so")
    root = Path(spec.origin).parent
    for candidate in (root / "lib" / name, root / name, root / "bin" / name):
        if candidate.is_file():
            return candidate
    raise ArtifactError(f"the installed package 'lightgbm' has no {name}")


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path()))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _check(status: int) -> None:
    if status != 0:
        message = _library().LGBM_GetLastError()
        raise ArtifactError(f"LightGBM: {message.decode(errors='replace') if message else 'unknown error'}")


def open_booster(forest: Forest) -> "NativeBooster | None":
    """Load the model into LightGBM's runtime; None, and a warning, where its library needs what the system lacks."""
    try:
        _library()
    except OSError as error:
        log.warning("LightGBM's library can't be loaded, the model is served without comparing it: %s", error)
        return None
    return NativeBooster(forest)


class NativeBooster:
    """One model in LightGBM's own runtime. Not thread-safe.

    Raises ArtifactError when LightGBM refuses the model or sees another number of features or trees than we did.
    """

    def __init__(self, forest: Forest) -> None:
        self._handle = ctypes.c_void_p()
        self._free = _library().LGBM_BoosterFree
        iterations = ctypes.c_int(0)
        _check(
            _library().LGBM_BoosterLoadModelFromString(
                ctypes.c_char_p(forest.canonical), ctypes.byref(iterations), ctypes.byref(self._handle)
            )
        )
        count = ctypes.c_int(0)
        _check(_library().LGBM_BoosterGetNumFeature(self._handle, ctypes.byref(count)))
        self.n_features = len(forest.feature_names)
        if count.value != self.n_features or iterations.value != forest.n_trees:
            raise ArtifactError(
                f"LightGBM read {iterations.value} trees and {count.value} features, "
                f"the text has {forest.n_trees} and {self.n_features}"
            )

    def predict(self, rows: FloatArray, *, raw_score: bool = False) -> FloatArray:
        """Probabilities (or log-odds with `raw_score`) of `rows` (n, n_features), on one thread."""
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ValueError(f"rows have shape {rows.shape}, (n, {self.n_features}) is needed")
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        out = np.empty(len(rows), dtype=np.float64)
        if len(rows) == 0:
            return out
        written = ctypes.c_int64(0)
        _check(
            _library().LGBM_BoosterPredictForMat(
                self._handle,
                ctypes.c_void_p(rows.ctypes.data),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int32(len(rows)),
                ctypes.c_int32(self.n_features),
                ctypes.c_int(1),
                ctypes.c_int(_RAW_SCORE if raw_score else _NORMAL),
                ctypes.c_int(0),
                ctypes.c_int(-1),
                ctypes.c_char_p(_PARAMETERS),
                ctypes.byref(written),
                ctypes.c_void_p(out.ctypes.data),
            )
        )
        if written.value != len(rows):
            raise ArtifactError(f"LightGBM wrote {written.value} scores for {len(rows)} rows")
        return out

    def __del__(self) -> None:
        # At interpreter shutdown module globals may be gone already: only what the object holds is used here.
        if hasattr(self, "_free") and self._handle.value is not None:
            self._free(self._handle)
            self._handle.value = None
