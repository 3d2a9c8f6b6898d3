"""Histograms and counters that the event loop alone writes: no lock, no call a bucket; read by whoever scrapes.

A chunk of one event makes ten observations, and prometheus_client's take a lock for each number that they change, since
any thread may write theirs.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Series:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Observations by bucket, each in one; the last is above all bounds."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value in the first bucket whose bound it does not pass."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (bound, observations up to it) as they are exported."""
        found, sum_ = [], 0
        for bound, count in zip([*map(str, map(float, self._bounds)), "+Inf"], list(self.counts), strict=True):
            sum_ += count
            found.append((bound, float(sum_)))
        return found


class LoopHistogram(Collector):
    """A histogram with at most one label, whose values are known from the start."""

    def __init__(
        self,
        name: str,
        text: str,
        buckets: Sequence[float],
        registry: CollectorRegistry,
        label: str | None = None,
        values: Sequence[str] = (),
    ) -> None:
        self._name, self._text = name, text
        self.label_names: tuple[str, ...] = () if label is None else (label,)
        self.series: Final = {value: Series(buckets) for value in (values if label is not None else ("",))}
        """By value of the label; one, under '', where there is none."""
        self.observe = next(iter(self.series.values())).observe
        """Of the only series."""
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yield the family."""
        (metric,) = self.describe()
        for value, series in self.series.items():
            metric.add_metric([value] if self.label_names else [], series.cumulative(), series.total)
        yield metric

    def describe(self) -> list[HistogramMetricFamily]:
        """Return the family without its series."""
        return [HistogramMetricFamily(self._name, self._text, labels=self.label_names)]


class LoopCounter(Collector):
    """A counter; label values appear as they come, and there must be few of them. `name` ends in `_total`."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry, labels: Sequence[str] = ()) -> None:
        self._name, self._text = name.removesuffix("_total"), text
        self.label_names = tuple(labels)
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0}
        registry.register(self)

    def add(self, number: float, *labels: str) -> None:
        """Add to the series of these label values, in the order of the labels' names."""
        values = self._values
        values[labels] = values.get(labels, 0) + number

    def collect(self) -> Iterable[Metric]:
        """Yield the family."""
        (metric,) = self.describe()
        for labels, value in self._values.copy().items():
            metric.add_metric(labels, value)
        yield metric

    def describe(self) -> list[CounterMetricFamily]:
        """Return the family without its series."""
        return [CounterMetricFamily(self._name, self._text, labels=self.label_names)]
