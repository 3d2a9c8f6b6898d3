"""What a dashboard is made of: rows of panels, each with a title, what it tells, and its expressions."""

from typing import Literal, NamedTuple

Unit = Literal["short", "s", "reqps", "percentunit", "bytes", "dateTimeFromNow"]


class Panel(NamedTuple):
    """One graph: its title, what it tells, and (expression, legend) of its lines."""

    title: str
    text: str
    unit: Unit
    lines: tuple[tuple[str, str], ...]
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    width: int = 8


class Dashboard(NamedTuple):
    """One dashboard: rows of panels under headings."""

    uid: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """Return the median's and the 99th percentile's line of a histogram, for each value of the label `by`."""
    more, legend = (f"{by}, ", f"{{{{{by}}}}} ") if by else ("", "")
    return tuple(
        (
            f"histogram_quantile({q}, sum by ({more}le) (rate({metric}_bucket[$__rate_interval])))",
            f"{legend}p{q * 100:g}",
        )
        for q in (0.5, 0.99)
    )
