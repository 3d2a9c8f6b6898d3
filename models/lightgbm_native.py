"""LightGBM's prediction calls through ctypes, on the shared library inside its wheel.

The library is found without importing the Python package, which would import scipy into the worker. Only text that
`models.forest` understood and rewrote is ever handed to it.
"""

import ctypes
import importlib.util
import logging
import math
import sys
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from models.errors import ArtifactError
from models.forest import Forest
from models.scorer import FloatArray
from models.treewalk import margins

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
        raise ArtifactError("the package 'lightgbm' is not installed: its shared library scores the pointer model")
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


class Booster(Protocol):
    """What the pointer model needs of a runtime; both give the same bits."""

    row: FloatArray

    def predict_row(self) -> float:
        """Probability of the vector in `row`."""
        ...

    def predict(self, rows: FloatArray, *, raw_score: bool = False) -> FloatArray:
        """Probabilities, or log-odds, of `rows` (n, n_features)."""
        ...


class WalkBooster:
    """The same model in our own compiled tree walk, for where LightGBM's library can't be loaded.

    Its wheel needs the system's OpenMP runtime, which minimal images lack. Margins are LightGBM's, bit for bit
    (`PointerModel.check` says so wherever both run), and so is the logistic function behind them.
    """

    def __init__(self, forest: Forest) -> None:
        self._forest = forest
        self.row = np.zeros(len(forest.feature_names), dtype=np.float64)
        """Input of `predict_row`."""

    def predict_row(self) -> float:
        """Probability of the vector in `row`."""
        return float(self.predict(self.row[np.newaxis, :])[0])

    def predict(self, rows: FloatArray, *, raw_score: bool = False) -> FloatArray:
        """Probabilities (or log-odds with `raw_score`) of `rows` (n, n_features)."""
        found = margins(self._forest, np.ascontiguousarray(rows, dtype=np.float64))
        if raw_score:
            return found
        sigmoid = self._forest.sigmoid
        return np.array([1.0 / (1.0 + math.exp(-sigmoid * margin)) for margin in found.tolist()])


def open_booster(forest: Forest) -> Booster:
    """Load the model into LightGBM's runtime; into our own walk where its library needs what the system lacks."""
    try:
        _library()
    except OSError as error:
        log.warning("LightGBM's library can't be loaded, the compiled tree walk scores in its place: %s", error)
        return WalkBooster(forest)
    return NativeBooster(forest)


class NativeBooster:
    """One model in LightGBM's own runtime. Not thread-safe: one scoring thread uses it at a time.

    Raises ArtifactError when LightGBM refuses the model or sees another number of features or trees than we did.
    """

    def __init__(self, forest: Forest) -> None:
        self._handle = ctypes.c_void_p()
        self._fast = ctypes.c_void_p()
        self._free = _library().LGBM_BoosterFree
        self._free_fast = _library().LGBM_FastConfigFree
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
        self.row = np.zeros(self.n_features, dtype=np.float64)
        """Input of `predict_row`."""
        self._out = ctypes.c_double(0.0)
        self._out_len = ctypes.c_int64(0)
        _check(
            _library().LGBM_BoosterPredictForMatSingleRowFastInit(
                self._handle,
                ctypes.c_int(_NORMAL),
                ctypes.c_int(0),
                ctypes.c_int(-1),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int32(self.n_features),
                ctypes.c_char_p(_PARAMETERS),
                ctypes.byref(self._fast),
            )
        )
        # Resolved once: building these arguments is a third of the cost of a single-row call.
        self._predict_fast = _library().LGBM_BoosterPredictForMatSingleRowFast
        self._row_pointer = ctypes.c_void_p(self.row.ctypes.data)
        self._out_pointer = ctypes.byref(self._out)
        self._len_pointer = ctypes.byref(self._out_len)

    def predict_row(self) -> float:
        """Probability of the vector in `row`, by LightGBM's single-row fast path."""
        status = self._predict_fast(self._fast, self._row_pointer, self._len_pointer, self._out_pointer)
        if status != 0:
            _check(status)
        return self._out.value

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
        if not hasattr(self, "_free_fast"):
            return
        for free, handle in ((self._free_fast, self._fast), (self._free, self._handle)):
            if handle.value is not None:
                free(handle)
                handle.value = None
