"""From recordings to feature vectors at cuts of observed time, through the very functions that the pipeline uses.

A recording becomes telemetry by the one adapter, is folded by the one kernel, and its vector is read off after the last
event that lies within each cut: the same for training, evaluation and offline scoring.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from features.fill import fill_context
from features.recorded import Recorded, telemetry_of
from features.registry import INDEX, N_FEATURES
from features.session import Meta, columns_of, fold_chunk, new_states
from models.dataset import Floats, Recording
from schemas.base import Flow
from schemas.telemetry import Telemetry

END = float("inf")
CUTS_S: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, END)
"""Observed time at which sessions are judged, s; END is all there is."""

OBSERVED = INDEX["session_observed_s"]
STROKES = INDEX["pointer_strokes"]

Origin = Literal["recorded", "transformed", "generated"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A recording to learn from or to judge, and what is known of it.

    person: whose hand it was or was made from, None where unknown; family: bot family, None for people; group: the
    source whose instrument it went through (generated rows belong to the source that they were made from).
    """

    recording: Recording
    label: int
    source: str
    group: str
    person: str | None
    family: str | None
    origin: Origin = "recorded"


@dataclass(frozen=True, slots=True)
class Table:
    """Vectors at cuts, and what is known of each sample.

    X: float32 (samples, cuts, N_FEATURES), NaN rows where nothing was seen by the cut; reached: bool (samples, cuts),
    the session had not ended before the previous cut, so that the row tells something new.
    """

    X: NDArray[np.float32]
    reached: NDArray[np.bool_]
    label: NDArray[np.int64]
    source: NDArray[np.str_]
    group: NDArray[np.str_]
    person: NDArray[np.str_]
    family: NDArray[np.str_]
    origin: NDArray[np.str_]
    session: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.label)


def events_of(recording: Recording, flow: Flow = "signup") -> list[Telemetry]:
    """The telemetry of a recording; its source becomes the collector's name, which calibration keys on."""
    width, height = recording.viewport or (None, None)
    return telemetry_of(
        Recorded(
            session_id=recording.session_id,
            t_ms=recording.t_ms, x=recording.x, y=recording.y, kind=recording.kind, button=recording.button,
            key_down_ms=recording.key_down_ms, key_up_ms=recording.key_up_ms, key_class=recording.key_class,
            pointer_type=recording.pointer_type, viewport_width_px=width, viewport_height_px=height,
        ),
        flow=flow, collector=recording.source, tenant="recorded",
    )  # fmt: skip


def last_within(observed_s: Floats, cuts_s: Sequence[float]) -> NDArray[np.int64]:
    """Index of the last event within each cut, -1 where there is none. observed_s: after each event, not decreasing."""
    return np.searchsorted(observed_s, np.asarray(cuts_s) + 1e-9, side="right").astype(np.int64) - 1


def fold_recordings(recordings: Sequence[Recording]) -> Iterator[NDArray[np.float64]]:
    """Vectors of each recording after each of its events: float64 (events, N_FEATURES)."""
    events = [events_of(recording) for recording in recordings]
    rows = np.repeat(np.arange(len(events), dtype=np.int32), [len(e) for e in events])
    flat = [event for one in events for event in one]
    out = np.full((len(flat), N_FEATURES), np.nan)
    fold_chunk(new_states(len(events)), rows, columns_of(flat), out)
    at = 0
    for one in events:
        meta = Meta()
        for i, event in enumerate(one):
            meta.observe(event, event.observed_at)
            fill_context(out[at + i], meta)
        yield out[at : at + len(one)]
        at += len(one)


def in_batches(samples: Iterable[Sample], events: int = 4_000) -> Iterator[list[Sample]]:
    """Samples in lists of about `events` telemetry events, so that memory stays bounded."""
    batch: list[Sample] = []
    size = 0.0
    for sample in samples:
        batch.append(sample)
        size += 2.0 + sample.recording.duration_ms / 500.0
        if size >= events:
            yield batch
            batch, size = [], 0.0
    if batch:
        yield batch


def tabulate(samples: Iterable[Sample], cuts_s: Sequence[float] = CUTS_S) -> Table:
    """Fold samples and read off their vectors at the cuts."""
    vectors: list[NDArray[np.float32]] = []
    reached: list[NDArray[np.bool_]] = []
    kept: list[Sample] = []
    before = np.concatenate(([0.0], np.asarray(cuts_s)[:-1]))
    for batch in in_batches(samples):
        for sample, out in zip(batch, fold_recordings([s.recording for s in batch]), strict=True):
            at = last_within(out[:, OBSERVED], cuts_s)
            rows = out[np.maximum(at, 0)].astype(np.float32)
            rows[at < 0] = np.nan
            vectors.append(rows)
            reached.append((at >= 0) & (out[-1, OBSERVED] > before))
            kept.append(_without_events(sample))
    return Table(
        X=np.stack(vectors) if vectors else np.zeros((0, len(cuts_s), N_FEATURES), np.float32),
        reached=np.stack(reached) if reached else np.zeros((0, len(cuts_s)), bool),
        label=np.asarray([s.label for s in kept], dtype=np.int64),
        source=np.asarray([s.source for s in kept], dtype=np.str_),
        group=np.asarray([s.group for s in kept], dtype=np.str_),
        person=np.asarray([s.person or "" for s in kept], dtype=np.str_),
        family=np.asarray([s.family or "" for s in kept], dtype=np.str_),
        origin=np.asarray([s.origin for s in kept], dtype=np.str_),
        session=np.asarray([s.recording.session_id for s in kept], dtype=np.str_),
    )


def _without_events(sample: Sample) -> Sample:
    """The sample with its event columns dropped: the table keeps who it was, not what it held."""
    empty = np.zeros(0)
    codes = np.zeros(0, dtype=np.int64)
    recording = replace(
        sample.recording,
        t_ms=empty, x=empty, y=empty, kind=codes, button=codes, key_down_ms=empty, key_up_ms=empty, key_class=codes,
    )  # fmt: skip
    return replace(sample, recording=recording)
