"""The table that offline scoring writes: its columns, and writers for parquet and CSV that keep one batch in memory."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

from models.dataset import DatasetError
from schemas.risk import CHANNELS

if TYPE_CHECKING:
    from types import TracebackType

    from models.offline import ScoredCut

BATCH_ROWS = 20_000

_CHANNEL_COLUMNS: tuple[tuple[str, type], ...] = (
    ("state", str), ("score", float), ("score_anytime", float), ("raw", float), ("raw_max", float),
    ("calibration_cell", str), ("calibration_people", int), ("calibration_state", str), ("fpr_upper95", float),
)  # fmt: skip

COLUMNS: tuple[tuple[str, type], ...] = (
    ("session_id", str), ("at", str), ("observed_s", float),
    ("overall", float), ("overall_anytime", float), ("risk_score", int), ("risk_level", str),
    ("decision", str), ("decision_rule", str), ("coverage", float),
    *((f"{channel}_{name}", kind) for channel in CHANNELS for name, kind in _CHANNEL_COLUMNS),
    ("reasons", str),
)  # fmt: skip
"""Columns of the output in order, with their types; a missing value is null (parquet) or empty (CSV)."""

NAMES: tuple[str, ...] = tuple(name for name, _ in COLUMNS)

Value = str | float | int | None


def row_of(scored: ScoredCut) -> dict[str, Value]:
    """One row: nothing seen yet is an overall score of 0, `allow`, and no channel scores."""
    row: dict[str, Value] = dict.fromkeys(NAMES)
    row.update(session_id=scored.session_id, at=scored.cut.name, observed_s=scored.observed_s)
    found = scored.assessment
    if found is None:
        row.update(overall=0.0, overall_anytime=0.0, risk_score=0, risk_level="low", decision="allow", coverage=0.0)
        row.update({f"{channel}_state": "no_data" for channel in CHANNELS})
        return row
    row.update(
        overall=found.scores.overall,
        overall_anytime=found.scores.overall_anytime,
        risk_score=found.risk_score,
        risk_level=found.risk_level,
        decision=found.decision.action,
        decision_rule=found.decision.policy.rule,
        coverage=found.coverage,
        reasons=" ".join(reason.code for reason in found.reasons if reason.polarity == "risk") or None,
    )
    for channel in CHANNELS:
        score = getattr(found.scores, channel)
        if score is None:
            continue
        row.update({f"{channel}_{name}": getattr(score, name) for name, _ in _CHANNEL_COLUMNS[:5]})
        if score.calibration is not None:
            row[f"{channel}_calibration_cell"] = score.calibration.cell
            row[f"{channel}_calibration_people"] = score.calibration.n_people
            row[f"{channel}_calibration_state"] = score.calibration.state
            row[f"{channel}_fpr_upper95"] = score.calibration.fpr_upper95
    return row


class TableWriter(Protocol):
    """Takes rows of sessions in order; a context manager."""

    def write(self, rows: Sequence[ScoredCut]) -> None:
        """Write the rows of one session."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn a full disc, a forbidden folder and the like into DatasetError with one line."""
    try:
        yield
    except OSError as error:
        # The library for parquet puts more than the system's words there, with the path that it was given.
        said = os.strerror(error.errno) if error.errno else str(error).partition("\n")[0]
        raise DatasetError(f"{path} cannot be written: {said}") from None


class CsvWriter:
    """Writes CSV with a header; floats in their shortest exact form. Raises DatasetError where it cannot write."""

    def __init__(self, path: Path, named: Path | None = None) -> None:
        """Begin the table at `path`; errors call it `named`."""
        self._path = named or path
        with _writing(self._path):
            self._file: IO[str] = path.open("w", newline="", encoding="utf-8")
            self._csv = csv.DictWriter(self._file, NAMES, lineterminator="\n")
            self._csv.writeheader()

    def write(self, rows: Sequence[ScoredCut]) -> None:
        """Write the rows of one session."""
        with _writing(self._path):
            self._csv.writerows(row_of(row) for row in rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # what is buffered may fail again: the first error is the one to tell
            with contextlib.suppress(OSError):
                self._file.close()
            return
        with _writing(self._path):
            self._file.close()


class ParquetWriter:
    """Writes zstd parquet, a row group each BATCH_ROWS rows. Needs the extra `train`.

    Raises DatasetError where it cannot write.
    """

    def __init__(self, path: Path, named: Path | None = None) -> None:
        """Begin the table at `path`; errors call it `named`."""
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra
            from pyarrow import parquet  # noqa: PLC0415 - likewise
        except ImportError as error:
            raise DatasetError(
                "writing parquet needs the extra `train`: pip install 'tellwire[train]', or use .csv"
            ) from error
        kinds = {str: pa.string(), float: pa.float64(), int: pa.int64()}
        self._table: Any = pa.Table
        self._schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS])
        self._path = named or path
        with _writing(self._path):
            self._writer: Any = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Value]] = []

    def write(self, rows: Sequence[ScoredCut]) -> None:
        """Write the rows of one session."""
        self._rows += [row_of(row) for row in rows]
        if len(self._rows) >= BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            with _writing(self._path):
                self._writer.write_table(self._table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            return
        self._flush()
        with _writing(self._path):
            self._writer.close()


ENDINGS: tuple[str, ...] = (".parquet", ".csv")


def check_table(path: Path) -> None:
    """Check a table's name before there is anything to write. Raises DatasetError with one line."""
    if path.suffix not in ENDINGS:
        raise DatasetError(f"{path}: the output's name must end in {' or '.join(ENDINGS)}")
    with _writing(path):
        if not path.parent.is_dir():
            raise DatasetError(f"{path} cannot be written: there is no folder {path.parent}")
        if path.is_dir():
            raise DatasetError(f"{path} cannot be written: it is a folder")


def open_table(path: Path) -> contextlib.AbstractContextManager[TableWriter]:
    """The writer for a name that ends in .parquet or .csv, as a context.

    The table is written beside `path` and takes its name at the end, so that a failure leaves what was there before.
    Raises DatasetError for another name, an absent folder, and where it cannot be written.
    """
    check_table(path)
    return _table(path)


@contextlib.contextmanager
def _table(path: Path) -> Iterator[TableWriter]:
    with _writing(path):
        wanted = path.resolve()
        # What is no regular file, such as a device, can't be replaced: it is written to.
        in_place = wanted.exists() and not wanted.is_file()
    beside = wanted if in_place else wanted.with_name(f".tellwire-{os.getpid()}{path.suffix}")
    try:
        with CsvWriter(beside, path) if path.suffix == ".csv" else ParquetWriter(beside, path) as table:
            yield table
        if not in_place:
            with _writing(path):
                beside.replace(wanted)
    except BaseException:
        if not in_place:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
        raise
