"""Metrics that are read from figures which another part keeps: a table of families, collected when they are scraped."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Literal, NamedTuple, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Figures = TypeVar("Figures")
Sample = tuple[tuple[str, ...], float]
"""Label values and value."""


class Family(NamedTuple, Generic[Figures]):
    """One metric family: `name` without the `_total` that counters get, and how its samples are read."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    read: Callable[[Figures], Iterable[Sample]]
    labels: tuple[str, ...] = ()

    @property
    def shown_name(self) -> str:
        """The name under which it is scraped."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def one(value: Callable[[Figures], float | None]) -> Callable[[Figures], Iterable[Sample]]:
    """Return how the single sample of a family without labels is read; a figure that is None is left out."""

    def read(figures: Figures) -> Iterable[Sample]:
        found = value(figures)
        return [] if found is None else [((), found)]

    return read


def collected(families: Iterable[Family[Figures]], figures: Figures) -> Iterator[Metric]:
    """Yield every family with its samples."""
    for family in families:
        make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
        metric = make(family.name, family.text, labels=family.labels)
        for labels, value in family.read(figures):
            metric.add_metric(labels, value)
        yield metric
