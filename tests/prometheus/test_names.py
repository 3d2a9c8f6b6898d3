"""Every metric, label and label value that rules, alerts and dashboards name is one that the code exports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest
import yaml

from stream.gateway import wire as gateway_codes
from stream.reference_pages import declared_metrics
from tests.prometheus.world import FOLDER, ROOT

_NAME: Final = re.compile(r"(?<![\w:])(?:\w+:)*tellwire[\w:]*")
_SERIES: Final = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
CODES: Final = {"ok", "disconnected", *gateway_codes.CODES}
"""What the gateway's answers are labelled with."""
TARGET_LABELS: Final = {"job", "instance"}


def exported() -> dict[str, set[str]]:
    """Labels by name of every series that a process of ours exports."""
    found = {}
    for metric in declared_metrics():
        for end in _SERIES[metric.kind]:
            found[metric.name + end] = {*metric.labels, *TARGET_LABELS} | ({"le"} if end == "_bucket" else set())
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for name in ("recording.yml", "alerts.yml"):
        for group in yaml.safe_load((FOLDER / name).read_text())["groups"]:
            for rule in group["rules"]:
                yield f"{name}: {rule.get('record') or rule['alert']}", rule["expr"]


def recorded() -> set[str]:
    groups = yaml.safe_load((FOLDER / "recording.yml").read_text())["groups"]
    return {rule["record"] for group in groups for rule in group["rules"]}


def unknown(expression: str) -> list[str]:
    """What of an expression nothing exports: names, and labels that are selected of a name that lacks them."""
    series, rules = exported(), recorded()
    # Names of jobs are quoted and no metrics.
    bare = re.sub(r'"[^"]*"', '""', expression)
    wrong = [name for name in _NAME.findall(bare) if name not in series and name not in rules]
    for name, selected in re.findall(r"(tellwire\w+)\{([^}]*)\}", bare):
        if name in series:
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selected))
            wrong += [f"{name}{{{label}}}" for label in sorted(labels - series[name])]
    for selected in re.findall(r'tellwire_gateway_requests_total\{[^}]*code=~?"([^"]*)"', expression):
        wrong += [f"code {code}" for code in selected.split("|") if code not in CODES]
    return wrong


@pytest.mark.parametrize(("where", "expression"), list(expressions()), ids=lambda value: str(value)[:60])
def test_what_rules_name_is_exported(where: str, expression: str) -> None:
    assert unknown(expression) == [], where


def test_what_is_not_is_found() -> None:
    assert unknown("sum(tellwire_chunkz_total)") == ["tellwire_chunkz_total"]
    assert unknown('rate(tellwire_stage_seconds_count{stag="x"}[5m])') == ["tellwire_stage_seconds_count{stag}"]
    assert unknown("tellwire:nothing:rate5m + tellwire_stage_seconds") == [
        "tellwire:nothing:rate5m",
        "tellwire_stage_seconds",
    ]
    assert unknown('tellwire_gateway_requests_total{path="/",code=~"ok|stopping"}') == ["code stopping"]
    assert unknown('up{job="tellwire-worker"} + tellwire_ready{job="x"}') == []


def test_runbooks_name_only_what_is_exported() -> None:
    series, rules = exported(), recorded()
    for page in sorted((ROOT / "docs" / "runbooks").glob("*.md")):
        for name in re.findall(r"(?<![\w:/.-])tellwire[_:][\w:]+", page.read_text()):
            if name.endswith("_"):
                assert any(known.startswith(name) for known in series), f"{page.name}: {name}"
            else:
                names = {known.rstrip("_") for known in series} | {
                    re.sub(r"_(bucket|sum|count)$", "", n) for n in series
                }
                assert name in series or name in names or name in rules, f"{page.name}: {name}"
