"""What is measured with models that never saw a source: changes of input, and takeovers inside a session."""

from collections.abc import Iterator
from pathlib import Path

from models.dataset import Truth, read_recordings
from models.engine import Engine
from models.evaluate_fairness import Change, measure, pointer_people, typing_people
from models.evaluate_keys import choose
from models.evaluate_pointer import PointerLearner
from models.evaluate_takeover import Takeover, sources_of, splice, takeovers
from models.evaluate_whole import whole_samples
from models.train import TrainSettings
from models.train_people import LeftOut, anomaly_prior, pointer_model, score_people
from models.train_vectors import Sample, Table
from models.train_windows import SHIPPABLE, recorded_samples

PEOPLE_SOURCES = ("sapimouse", "balabit", "delbot")
UNSEEN_POINTER = "captcha2017"
MOST_CHANGED = 240
"""People's windows or typing sessions a source and input that are changed, at most."""


def models_left_out(table: Table, learner: PointerLearner, train: TrainSettings) -> LeftOut:
    """Pointer model and half-space trees without each source of people."""
    groups = [source for source in PEOPLE_SOURCES if (table.group == source).any()]
    return LeftOut(
        pointer={one: pointer_model(learner.booster(table.group != one)) for one in groups},
        anomaly={one: anomaly_prior(table, table.group != one, train.anomaly) for one in groups},
    )


def fairness(
    data: Path, truths: dict[str, Truth], models: LeftOut, engine: Engine, train: TrainSettings
) -> list[Change]:
    """What other ways of moving and typing do to people whom the models that judge them never saw."""
    recipe, seed = train.recipe, train.fit.seed

    def windows(sources: tuple[str, ...]) -> Iterator[Sample]:
        return recorded_samples(read_recordings(data), truths, sources, 1, seed, recipe.every)

    known = [one for one in windows(PEOPLE_SOURCES) if one.label == 0]
    scores = list(score_people(known, models, whole=True))
    most = MOST_CHANGED // recipe.every
    people = pointer_people(windows((*PEOPLE_SOURCES, UNSEEN_POINTER)), engine, models, scores, most, seed)
    typed = typing_people(choose(read_recordings(data), truths, most, 3), truths, engine, most)
    return measure([*people, *typed], seed)


def spliced_sessions(data: Path, truths: dict[str, Truth], models: LeftOut, train: TrainSettings) -> list[Takeover]:
    """Takeovers of the sources whose sessions are long enough, by models without the source."""
    found: list[Takeover] = []
    for source, samples in sources_of(whole_samples(data, truths, SHIPPABLE, train.recipe.every)).items():
        made = splice(samples, train.fit.seed)
        if made and source in models.pointer:
            found += takeovers(source, made, models.pointer[source], models.anomaly[source])
    return found
