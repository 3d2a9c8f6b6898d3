"""The loop's own histograms and counters against prometheus_client's: the same export for the same observations."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from stream.loop_metrics import LoopCounter, LoopHistogram
from stream.metrics import COUNT_BUCKETS, STAGE_BUCKETS

_values = st.one_of(
    st.sampled_from([*STAGE_BUCKETS, *map(float, COUNT_BUCKETS)]), st.floats(0, 1e6), st.integers(0, 6_000)
)


def exported(registry: CollectorRegistry) -> str:
    """All lines but the times at which prometheus_client's series were made, which ours don't have."""
    text = generate_latest(registry).decode()
    return "".join(line for line in text.splitlines(keepends=True) if not re.search(r"_created[ {]", line))


@given(st.lists(st.tuples(st.sampled_from("ab"), _values)), st.sampled_from([STAGE_BUCKETS, COUNT_BUCKETS]))
def test_histograms_export_what_the_librarys_do(found: list[tuple[str, float]], buckets: tuple[float, ...]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    plain = (
        LoopHistogram("plain", "Text.", buckets, ours),
        Histogram("plain", "Text.", buckets=buckets, registry=theirs),
    )
    by = (
        LoopHistogram("by", "Text.", buckets, ours, "stage", "ab"),
        Histogram("by", "Text.", ["stage"], buckets=buckets, registry=theirs),
    )
    for stage in "ab":
        by[1].labels(stage)
    for stage, value in found:
        plain[0].observe(value)
        plain[1].observe(value)
        by[0].series[stage].observe(value)
        by[1].labels(stage).observe(value)
    assert exported(ours) == exported(theirs)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 5))))
def test_counters_export_what_the_librarys_do(found: list[tuple[str, str, int]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    plain = LoopCounter("plain_total", "Text.", ours), Counter("plain_total", "Text.", registry=theirs)
    by = (
        LoopCounter("by_total", "Text.", ours, ("flow", "action")),
        Counter("by_total", "Text.", ["flow", "action"], registry=theirs),
    )
    for flow, action, number in found:
        plain[0].add(number)
        plain[1].inc(number)
        by[0].add(number, flow, action)
        by[1].labels(flow, action).inc(number)
    assert exported(ours) == exported(theirs)
