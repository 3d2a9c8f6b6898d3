"""What is learnt from: windows of recorded sessions, the same through other instruments, and generated counterparts.

Long sessions are cut into windows so that a person with five minutes weighs no more than one with ten seconds. Every
draw comes from a generator seeded by the session's place in the data, so a run repeats bit for bit.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from models.adapted import ADAPTED
from models.attack_generators import may_be_learnt
from models.dataset import Recording, Truth
from models.train_generators import counterpart, draw_style
from models.train_transforms import draw_instrument, through, window
from models.train_vectors import Sample

SHIPPABLE: tuple[str, ...] = ("sapimouse", "balabit", "delbot", "sapimouse_gen")
"""Sources with a permissive or public-benchmark statement: shipped artefacts are trained on these alone."""

MADE_FROM = {"sapimouse_gen": "sapimouse"}
"""Sources of generated rows and the source whose targets, clock and screen they took over: they leave together."""

PEOPLE_ADAPTED = ("tremor of 4 to 8 Hz", "mouse keys", "half speed", "dwell clicks", "missing batches")
BOTS_ADAPTED = ("tremor of 4 to 8 Hz", "half speed", "dwell clicks", "missing batches")
"""Mouse keys make the path themselves: nothing of a bot would be left in it."""

WINDOW_MS = 20_000.0
LEAST_SAMPLES = 8
THINNED_FAMILIES = {"delbot_gan": 4}
"""Families of which one session in so many is used: 35 points in 0.4 s from no recorder at all."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How many windows and versions are taken.

    windows: a session, at most; copies, bot_copies: transformed copies of a window; adapted, bot_adapted: copies as the
    tools and hands of those who move otherwise would make them; counterparts: generated ones of a person's window;
    every: take one session in so many (a quick run). What ships was made without adapted copies.
    """

    windows: int = 6
    copies: int = 1
    bot_copies: int = 2
    adapted: int = 0
    bot_adapted: int = 0
    counterparts: int = 2
    every: int = 1


def group_of(source: str) -> str:
    """The source whose instrument a session went through."""
    return MADE_FROM.get(source, source)


def windows_of(recording: Recording, most: int, rng: np.random.Generator) -> list[Recording]:
    """The whole recording when it is short, else `most` windows of WINDOW_MS at half-window steps, at random."""
    duration = recording.duration_ms
    if duration <= 1.5 * WINDOW_MS:
        return [window(recording, 0.0, duration + 1.0)]
    starts = np.arange(0.0, duration - WINDOW_MS / 2, WINDOW_MS / 2)
    chosen = np.sort(rng.choice(starts, size=min(most, len(starts)), replace=False))
    return [window(recording, float(start), WINDOW_MS) for start in chosen]


def recorded_samples(
    recordings: Iterable[Recording],
    truths: dict[str, Truth],
    sources: tuple[str, ...],
    most: int,
    seed: int,
    every: int = 1,
) -> Iterator[Sample]:
    """Windows of the sessions of `sources` that have pointer samples, as recorded; none of the never-train side."""
    for number, recording in enumerate(recordings):
        truth = truths[recording.session_id]
        if truth.source not in sources or len(recording.t_ms) < LEAST_SAMPLES or not may_be_learnt(truth.family):
            continue
        if number % (THINNED_FAMILIES.get(truth.family or "", 1) * every):
            continue
        rng = np.random.default_rng((seed, number))
        for part in windows_of(recording, most, rng):
            if len(part.t_ms) >= LEAST_SAMPLES:
                yield Sample(part, truth.label, truth.source, group_of(truth.source), truth.person, truth.family)


def training_samples(
    recordings: Iterable[Recording], truths: dict[str, Truth], recipe: Recipe, seed: int
) -> Iterator[Sample]:
    """Recorded windows of the shippable sources, their transformed copies, and people's generated counterparts."""
    recorded = recorded_samples(recordings, truths, SHIPPABLE, recipe.windows, seed, recipe.every)
    for number, sample in enumerate(recorded):
        yield sample
        rng = np.random.default_rng((seed, 1, number))
        for _ in range(recipe.bot_copies if sample.label else recipe.copies):
            yield _again(sample, through(sample.recording, draw_instrument(rng), rng), "transformed")
        others = np.random.default_rng((seed, 2, number))
        for _ in range(recipe.bot_adapted if sample.label else recipe.adapted):
            changes = BOTS_ADAPTED if sample.label else PEOPLE_ADAPTED
            change = ADAPTED[changes[int(others.integers(len(changes)))]]
            yield _again(sample, change(sample.recording, others), "transformed")
        if sample.label == 0:
            for copy in range(recipe.counterparts):
                yield _counterpart(sample, transformed=copy % 2 == 1, rng=rng)


def _again(sample: Sample, recording: Recording, origin: str) -> Sample:
    assert origin == "transformed"
    return Sample(recording, sample.label, sample.source, sample.group, sample.person, sample.family, "transformed")


def _counterpart(sample: Sample, *, transformed: bool, rng: np.random.Generator) -> Sample:
    style = draw_style(rng)
    recording = counterpart(sample.recording, style, rng)
    if transformed:
        recording = through(recording, draw_instrument(rng), rng)
    return Sample(recording, 1, sample.source, sample.group, sample.person, f"own_{style.rule}", "generated")
