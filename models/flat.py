"""Flat models: a definition and named little-endian arrays, content-hashed. No pickle, no code, nothing to execute.

The one form in which calibrations and anomaly models are shipped (a JSON file) and published (a snapshot record).
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.snapshot import ArrayBlob

Definition = Mapping[str, float | int | str | list[str]]
MAX_ARRAY_BYTES: Final = 4_000_000
MAX_ARRAYS: Final = 32
_ITEM_BYTES: Final = {"<f8": 8, "<f4": 4, "<i4": 4, "<i2": 2, "<u1": 1}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    definition: dict[str, float | int | str | list[str]]
    arrays: dict[str, ArrayBlob]
    hash: str


class FlatModel:
    """A definition and arrays; `hash` is the SHA-256 over both, hex."""

    def __init__(self, kind: str, definition: Definition, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.kind = kind
        self.definition = dict(definition)
        self.arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self.hash = content_hash(kind, self.definition, self.arrays)

    def array(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The array of that name; ValueError unless it has that type and shape."""
        found = self.arrays.get(name)
        if found is None or found.dtype.str != _native(dtype) or found.shape != shape:
            seen = "missing" if found is None else f"{found.dtype.str}{list(found.shape)}"
            raise ValueError(f"{self.kind}: array {name} is {seen}, {dtype}{list(shape)} is needed")
        return found

    def blobs(self) -> dict[str, ArrayBlob]:
        """The arrays as they travel."""
        out = {}
        for name, array in self.arrays.items():
            data = array.tobytes()
            if len(data) > MAX_ARRAY_BYTES:
                raise ValueError(f"{self.kind}: array {name} has {len(data)} bytes, at most {MAX_ARRAY_BYTES} travel")
            out[name] = ArrayBlob(dtype=array.dtype.str, shape=list(array.shape), data=data)  # type: ignore[arg-type]
        return out

    def encode(self) -> bytes:
        """The JSON file."""
        return msgspec.json.encode(_File(self.kind, self.definition, self.blobs(), self.hash), order="sorted")


def from_blobs(kind: str, definition: Definition, blobs: Mapping[str, ArrayBlob]) -> FlatModel:
    """Check sizes and types of travelled arrays and build the model; ValueError with one line otherwise."""
    if len(blobs) > MAX_ARRAYS:
        raise ValueError(f"{kind}: {len(blobs)} arrays, at most {MAX_ARRAYS} are allowed")
    arrays: dict[str, NDArray[Any]] = {}
    for name, blob in blobs.items():
        size = _ITEM_BYTES[blob.dtype]
        count = 1
        for axis in blob.shape:
            count *= axis
            if count * size > MAX_ARRAY_BYTES:
                raise ValueError(f"{kind}: array {name} is larger than {MAX_ARRAY_BYTES} bytes")
        if len(blob.shape) > 4 or count * size != len(blob.data):
            raise ValueError(f"{kind}: array {name} has {len(blob.data)} bytes, its shape needs {count * size}")
        arrays[name] = np.frombuffer(blob.data, dtype=blob.dtype).reshape(blob.shape)
    return FlatModel(kind, definition, arrays)


def decode(data: bytes) -> FlatModel:
    """Read a JSON file; ValueError with one line if it is malformed or its content does not match its hash."""
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a flat model: {error}") from None
    model = from_blobs(file.kind, file.definition, file.arrays)
    if model.hash != file.hash:
        raise ValueError(f"{file.kind}: content has hash {model.hash[:12]}, the file says {file.hash[:12]}")
    return model


def content_hash(kind: str, definition: Definition, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over kind, definition and arrays in the order of their names, hex."""
    digest = hashlib.sha256()
    digest.update(msgspec.json.encode([kind, dict(definition)], order="sorted"))
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(msgspec.json.encode([name, array.dtype.str, list(array.shape)]))
        digest.update(array.tobytes())
    return digest.hexdigest()


def _native(dtype: str) -> str:
    return np.dtype(dtype).str
