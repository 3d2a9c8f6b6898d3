"""Keyed description of movements: turned coordinates, cells of a locality-sensitive hash, and how usual a shape is.

Everything that leaves here depends on a secret key: the directions that cells are cut along, the places of the cuts,
their numbers, and the turn of the coordinates. Turned coordinates keep distances and nothing else that one could read
without the key. What is usual is known from `Reference`: means and axes of many people's movements, no movement of any.
"""

import hashlib
import importlib.resources
import math
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import numba
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from features.movement import WIDTH
from models.errors import ArtifactError

TABLES: Final = 4
"""Cells a movement lies in; a copy is found where it shares one of them with its original."""
PROJECTIONS: Final = 8
AXES: Final = 10
CELL_WIDTH: Final = 0.8
"""Of a projection whose standard deviation over people's movements is 1."""
DURATION_CELL: Final = 0.5
"""Of the logarithm of the duration, which is one more direction to cut along."""
COORDINATE_STEP: Final = 0.01
"""Of a turned coordinate, in chords: a byte holds up to 1.27, five standard deviations."""
DURATION_STEP: Final = 0.0125
FIRST_LOG_MS: Final = 5.2

Floats = NDArray[np.float64]
_Axis = Annotated[list[float], Meta(min_length=WIDTH, max_length=WIDTH)]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is usual: aggregates over all movements of many people."""

    format: int
    note: str
    people: int
    movements: int
    mean: _Axis
    axes: Annotated[list[_Axis], Meta(min_length=AXES, max_length=AXES)]
    """Principal axes, each over its standard deviation: coordinates along them have a standard deviation of 1."""
    density: Annotated[list[float], Meta(min_length=4, max_length=4)]
    """ln of how far the 20th nearest of 2 500 movements of people lies, from `usual`'s terms."""


class Described(NamedTuple):
    """Movements as they are stored and compared."""

    coordinates: NDArray[np.int8]
    """int8[n, WIDTH], turned, in steps."""
    duration: NDArray[np.uint8]
    """uint8[n]: ln duration in steps from FIRST_LOG_MS on."""
    usual: Floats
    """float64[n]: distance (root mean square over the shape, chords) within which people's movements are dense."""
    cells: NDArray[np.uint64]
    """uint64[n, TABLES]: a keyed number of each cell."""


def load_reference() -> tuple[Reference, str]:
    """Return what ships, and its SHA-256. ArtifactError with one line when it can't be read."""
    data = importlib.resources.files("models").joinpath("movement_reference.json").read_bytes()
    try:
        return msgspec.json.decode(data, type=Reference), hashlib.sha256(data).hexdigest()
    except (msgspec.DecodeError, RecursionError) as error:
        raise ArtifactError(f"movement_reference.json: {error}") from None


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _describe(  # type: ignore[no-untyped-def]  # noqa: C901, PLR0912, PLR0917 - one kernel, called once
    shapes, log_ms, mean, axes, density, turn, directions, shifts, seeds, coordinates, duration, usual, cells
):
    """Fill the last four for each shape. Plain loops: a matrix product's last bits may depend on how many are in it.

    `turn`, `axes` and `directions` come transposed: sums that grow side by side, each in the order of its terms, take
    a fraction of the time that one after the other takes.
    """
    width = len(mean)
    turned = np.empty(width)
    z = np.empty(AXES)
    cuts = np.empty(PROJECTIONS)
    for n in range(len(shapes)):
        shape = shapes[n]
        turned[:] = 0.0
        z[:] = 0.0
        for j in range(width):
            apart = shape[j] - mean[j]
            for i in range(width):
                turned[i] += turn[j, i] * apart
            for i in range(AXES):
                z[i] += axes[j, i] * apart
        for i in range(width):
            coordinates[n, i] = min(max(math.floor(turned[i] / COORDINATE_STEP + 0.5), -127), 127)
        square = 0.0
        for i in range(AXES):
            square += z[i] * z[i]
        widest = 0.0
        for j in range(width // 2, width):
            widest = max(widest, abs(shape[j]))
        radius = math.sqrt(square)
        usual[n] = math.exp(
            density[0]
            + density[1] * math.log(radius + 0.1)
            + density[2] * radius
            + density[3] * math.log(widest + 0.02)
        )
        duration[n] = min(max(math.floor((log_ms[n] - FIRST_LOG_MS) / DURATION_STEP + 0.5), 0), 255)
        for t in range(TABLES):
            cuts[:] = 0.0
            for i in range(AXES):
                for k in range(PROJECTIONS):
                    cuts[k] += directions[t, i, k] * z[i]
            cell = seeds[t]
            for k in range(PROJECTIONS + 1):
                if k < PROJECTIONS:
                    at = math.floor(cuts[k] / CELL_WIDTH + shifts[t, k])
                else:
                    at = math.floor(log_ms[n] / DURATION_CELL + shifts[t, k])
                cell = _mixed(cell ^ np.uint64(np.int64(at) & 0xFFFFFFFF))
            cells[n, t] = cell


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _mixed(value):  # type: ignore[no-untyped-def]
    """Steele, Lea and Flood's SplitMix64 finalizer (2014), after its increment."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


class MovementKey:
    """Describes movements under one key. All workers with the same key describe them alike, whatever the machine."""

    def __init__(self, key: bytes, reference: Reference) -> None:
        """Derive all directions from `key` (16 bytes or more)."""
        if len(key) < 16:
            raise ValueError("a key needs 16 bytes or more")
        self._key = key[:64]
        self._mean = np.array(reference.mean)
        self._axes = np.array(reference.axes)
        self._density = np.array(reference.density)
        draw = _Draws(self._key)
        self._turn = _orthogonal(draw)
        scale = 1.0 / math.sqrt(AXES)
        self._directions = np.array(
            [[[draw.normal() * scale for _ in range(AXES)] for _ in range(PROJECTIONS)] for _ in range(TABLES)]
        )
        self._shifts = np.array([[draw.uniform() for _ in range(PROJECTIONS + 1)] for _ in range(TABLES)])
        self._seeds = np.array([draw.integer() for _ in range(TABLES)], dtype=np.uint64)
        self._constants = (
            self._mean,
            np.ascontiguousarray(self._axes.T),
            self._density,
            np.ascontiguousarray(self._turn.T),
            np.ascontiguousarray(self._directions.transpose(0, 2, 1)),
            self._shifts,
            self._seeds,
        )
        self._hashes: dict[tuple[str, int], Any] = {}

    def describe(self, shapes: NDArray[np.float32], log_ms: Floats) -> Described:
        """Describe movements: shapes float32[n, WIDTH] and log_ms float64[n] of `features.movement`."""
        n = len(shapes)
        found = Described(
            np.empty((n, WIDTH), dtype=np.int8),
            np.empty(n, dtype=np.uint8),
            np.empty(n),
            np.empty((n, TABLES), dtype=np.uint64),
        )
        _describe(shapes, log_ms, *self._constants, *found)
        return found

    def tag(self, kind: str, *parts: str, size: int) -> bytes:
        """Keyed hash of an identifier: `size` bytes, purpose-separated by `kind`."""
        begun = self._hashes.get((kind, size))
        if begun is None:
            # The key's block is hashed once for each kind: a copy goes on from there.
            begun = hashlib.blake2b(key=self._key, digest_size=size, person=f"mov.{kind}".encode()[:16])
            self._hashes[kind, size] = begun
        digest = begun.copy()
        digest.update("\x00".join(parts).encode("utf-8", "surrogatepass"))
        return digest.digest()


class _Draws:
    """Numbers out of a key, the same in every version of everything."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._drawn = 0

    def integer(self) -> int:
        """The next one, 64 bits."""
        self._drawn += 1
        block = self._drawn.to_bytes(8, "little")
        return int.from_bytes(
            hashlib.blake2b(block, key=self._key, digest_size=8, person=b"mov.draw").digest(), "little"
        )

    def uniform(self) -> float:
        """In [0, 1)."""
        return (self.integer() >> 11) / 2.0**53

    def normal(self) -> float:
        """Mean 0, standard deviation 1 (Box and Muller 1958)."""
        return math.sqrt(-2.0 * math.log(1.0 - self.uniform())) * math.cos(2.0 * math.pi * self.uniform())


def _orthogonal(draw: _Draws) -> Floats:
    """A random turn of the whole space: rows of unit length at right angles (Gram and Schmidt, twice)."""
    rows: list[list[float]] = []
    while len(rows) < WIDTH:
        row = [draw.normal() for _ in range(WIDTH)]
        for _ in range(2):
            for other in rows:
                part = math.fsum(a * b for a, b in zip(row, other, strict=True))
                row = [a - part * b for a, b in zip(row, other, strict=True)]
        length = math.sqrt(math.fsum(a * a for a in row))
        if length > 1e-6:
            rows.append([a / length for a in row])
    return np.array(rows)
