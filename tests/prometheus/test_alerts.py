"""Every alert fires when it should and is silent just below that: the rules run over invented series by promtool."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.prometheus import world
from tests.prometheus.world import FOLDER, ROOT

STEP_S: Final = 30
LONG_STEP_S: Final = 900
DAY_S: Final = 86_400


@dataclass(frozen=True)
class Case:
    """What is not as in the healthy world, until when, and which alerts (severity, found) fire then; none else may."""

    name: str
    changed: dict[str, str | None] = field(default_factory=dict)
    fires: set[tuple[str, ...]] = field(default_factory=set)
    after_s: int = 3_600
    long: bool = False


CASES: Final = [
    Case("all is well"),
    Case(
        "15 of 100 chunks late for an hour",
        {world.LATE: "0+85x200"},
        {("TellwireFreshnessBurn", "page"), ("TellwireFreshnessBurn", "ticket")},
    ),
    Case("5 of 100 chunks late for an hour", {world.LATE: "0+95x200"}, {("TellwireFreshnessBurn", "ticket")}),
    Case(
        "late for half an hour, well again for longer",
        {world.LATE: "0+80x60 4800+100x100", world.ALL: "0+100x200"},
        {("TellwireFreshnessBurn", "ticket")},
        4_200,
    ),
    Case(
        "4 of 100 chunks late for a day",
        {world.LATE: "0+96x100"},
        {("TellwireFreshnessBurn", "ticket")},
        DAY_S,
        long=True,
    ),
    Case("1 of 200 chunks late for three days", {world.LATE: "0+99.5x300"}, after_s=3 * DAY_S, long=True),
    # Of three records in an hour one waited for a start: nobody is woken for that.
    Case(
        "one chunk of three late, and else idle",
        {world.LATE: "0x40 1x30 2x200", world.ALL: "0x40 1x30 2x38 3x200"},
        after_s=3_570,
    ),
    Case("one partition has no owner", {world.ASSIGNED: "8x20 7x100"}, {("TellwireInputNotRead", "page")}, 900),
    Case("a rebalance of a minute", {world.ASSIGNED: "8x20 7x1 8x100"}, after_s=900),
    Case("no worker at all", {world.ASSIGNED: None}, {("TellwireInputNotRead", "page")}, 900),
    Case("input was gone", {world.GAP: "0x20 12x100"}, {("TellwireInputNotRead", "page", "gone")}, 900),
    Case(
        "lag without progress",
        {world.LAG: "0x20 5x100", world.POSITION: "0+10x20 200x100"},
        {("TellwirePartitionStuck", "page")},
        1_500,
    ),
    Case("lag with slow progress", {world.LAG: "5000x200", world.POSITION: "0+1x200"}, after_s=1_500),
    Case("idle, then a burst", {world.LAG: "0x48 50x1 0x50", world.POSITION: "7x49 57x50"}, after_s=1_500),
    Case("stopped on purpose", {world.STOPPED: "_x40 1x60"}, {("TellwirePartitionStuck", "page", "stopped")}, 1_260),
    Case(
        "the store is away: lag, no progress, and one alert",
        {world.WAITING: "0x20 1x100", world.LAG: "0x20 500x100", world.POSITION: "0+10x20 200x100"},
        {("TellwireDependencyAway", "page")},
        1_500,
    ),
    Case("the store was away for a minute", {world.WAITING: "0x20 1x2 0x100"}, after_s=690),
    Case("the store lost its watermarks", {world.LOST: "0x20 1x100"}, {("TellwireStoreUnsafe", "page")}, 900),
    Case("the store went back", {world.REWOUND: "0x20 800x100"}, {("TellwireStoreUnsafe", "page")}, 900),
    Case("keys were evicted", {world.EVICTED: "0x20 3x100"}, {("TellwireStoreUnsafe", "page")}, 900),
    Case("keys were evicted long before", {world.EVICTED: "3x200"}, after_s=900),
    Case("another owner wrote: a rebalance", {world.NEWER: "0x20 1x100"}, after_s=900),
    Case("the store is nearly full", {world.MEMORY: "0.9x200"}, {("TellwireStoreUnsafe", "ticket")}, 900),
    Case("the store is rather full", {world.MEMORY: "0.84x200"}, after_s=900),
    Case(
        "live sessions would lift a threshold",
        {world.HELD: "0.6x20 1.1x100"},
        {("TellwireScoreDrift", "ticket", "held")},
    ),
    Case("a threshold rises by as much as a day allows", {world.HELD: "1x200"}),
    Case("a threshold was held back for ten minutes", {world.HELD: "0.6x20 3x20 0.9x100"}, after_s=1_200),
    Case("10 of 110 requests fail", {world.TURNED_AWAY: "0+10x200"}, {("TellwireGatewayRefuses", "page")}),
    Case("10 of 110 requests come too often", {world.LIMITED: "0+10x200"}),
    Case("3 of 103 requests fail", {world.TURNED_AWAY: "0+3x200"}),
    Case("the gateway has no Kafka", {world.KAFKA_AWAY: "0x20 1x100"}, {("TellwireGatewayRefuses", "page")}, 900),
    Case("there is no gateway", dict.fromkeys((world.TAKEN, world.KAFKA_AWAY, world.GATEWAY_READY, world.ACCEPTED))),
    Case(
        "all gateways are gone",
        {
            world.TAKEN: "0+100x20 _x100",
            world.KAFKA_AWAY: "0x20 _x100",
            world.GATEWAY_READY: "1x20 _x100",
            world.ACCEPTED: "0+100x20 _x100",
        },
        {("TellwireGatewayRefuses", "page", "gone")},
        1_200,
    ),
    Case(
        "all gateways are up and none is ready",
        {world.GATEWAY_READY: "1x20 0x100"},
        {("TellwireGatewayRefuses", "page", "gone")},
        1_200,
    ),
    Case("one of two gateways is gone", {world.GATEWAY_READY.replace("g1", "g2"): "1x20 _x100"}, after_s=1_200),
    Case("the gateway restarts", {world.GATEWAY_READY: "1x20 _x3 1x100"}, after_s=720),
    Case(
        "nothing arrives at the gateway since an hour, and did the day before",
        {world.ACCEPTED: "0+100x97 9700x20"},
        {("TellwireNoTelemetry", "page")},
        101 * LONG_STEP_S,
        long=True,
    ),
    Case(
        "nothing arrives on the topic since an hour, and did the day before",
        {world.EVENTS: "0+100x97 9700x20"},
        {("TellwireNoTelemetry", "page")},
        101 * LONG_STEP_S,
        long=True,
    ),
    Case(
        "nothing arrives, nor did the day before",
        {world.ACCEPTED: "0x200", world.EVENTS: "0x200"},
        after_s=101 * LONG_STEP_S,
        long=True,
    ),
    Case(
        "nothing is scored because records wait",
        {world.EVENTS: "0+100x97 9700x20", world.LAG: "0x97 500x20", world.WAITING: "0x97 1x20"},
        {("TellwireDependencyAway", "page")},
        101 * LONG_STEP_S,
        long=True,
    ),
    Case(
        "nothing is accepted because Kafka is away",
        {world.ACCEPTED: "0+100x97 9700x20", world.KAFKA_AWAY: "0x97 1x20"},
        {("TellwireGatewayRefuses", "page")},
        101 * LONG_STEP_S,
        long=True,
    ),
    Case(
        "40 of 140 tokens are expired", {world.EXPIRED: "0+40x200"}, {("TellwireTelemetryRefused", "ticket", "tokens")}
    ),
    Case("20 of 120 tokens are expired", {world.EXPIRED: "0+20x200"}),
    Case("a few tokens of few", {world.EXPIRED: "0+1x200", world.TAKEN: "0+0.5x200"}),
    Case(
        "10 of 110 events are refused",
        {world.NOT_ACCEPTED: "0+10x200"},
        {("TellwireTelemetryRefused", "ticket", "events")},
    ),
    Case("4 of 104 events are refused", {world.NOT_ACCEPTED: "0+4x200"}),
    Case("3 of 100 records refused", {world.REFUSED: "0+3x200"}, {("TellwireDeadLetters", "ticket")}, 1_800),
    Case("1 of 200 records refused", {world.REFUSED: "0+0.5x200"}, after_s=1_800),
    Case(
        "half of the little input refused",
        {world.REFUSED: "0x20 0+1x4 4x80", world.EVENTS: "0x20 0+1x4 4x80"},
        after_s=900,
    ),
    Case(
        "a third of the input refused",
        {world.REFUSED: "0+50x200"},
        {("TellwireDeadLetters", "page"), ("TellwireDeadLetters", "ticket")},
        1_800,
    ),
    Case("one record failed in tellwire", {world.FAILED: "0x50 1x50"}, {("TellwireRecordsFail", "ticket")}, 1_620),
    Case("a record ends processes", {world.SUSPECTS: "_x50 1x50"}, {("TellwireRecordsFail", "ticket")}, 1_620),
    Case(
        "the snapshot is two days old", {world.SNAPSHOT: "0x200"}, {("TellwireModelsStale", "ticket")}, 2 * DAY_S, True
    ),
    Case(
        "the snapshot is two days old, and nothing was there to learn",
        {world.SNAPSHOT: "0x200", world.LEARNT: "5x200"},
        after_s=2 * DAY_S,
        long=True,
    ),
    Case("the learner is away", {world.LEARNER_READY: "1x20 _x200"}, {("TellwireModelsStale", "ticket")}, 3_600),
    Case("the learner restarts", {world.LEARNER_READY: "1x20 0x10 1x100"}, after_s=1_800),
    Case("a policy was refused", {world.REFUSED_FILES: "0x20 1x200"}, {("TellwireModelsStale", "ticket")}, 3_600),
    Case(
        "bot scores moved up after two days",
        {world.LOW: "0+500x192 96000+100x40", world.TOP: "0+1000x300", world.SCORES: "0+1000x300"},
        {("TellwireScoreDrift", "ticket")},
        2 * DAY_S + 4 * 3_600,
        long=True,
    ),
    Case(
        "they moved a little",
        {world.LOW: "0+500x192 96000+420x40", world.TOP: "0+1000x300", world.SCORES: "0+1000x300"},
        after_s=2 * DAY_S + 4 * 3_600,
        long=True,
    ),
    Case(
        "they moved within the first day",
        {world.LOW: "0+500x48 24000+100x50", world.TOP: "0+1000x300", world.SCORES: "0+1000x300"},
        after_s=20 * 3_600,
        long=True,
    ),
]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def declared_of(rule: dict[str, Any]) -> tuple[str, ...]:
    """Name, severity, and what was found where a rule says that."""
    labels = rule["labels"]
    return (rule["alert"], labels["severity"], *([labels["found"]] if "found" in labels else []))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_fires(case: Case, tmp_path: Path) -> None:
    step_s = LONG_STEP_S if case.long else STEP_S
    steps = case.after_s // step_s + 5
    series = world.healthy(steps, step_s) | case.changed
    assert world.firing(tmp_path, series, step_s=step_s, at_s=case.after_s, expected=case.fires) == ""


def test_a_wrong_expectation_is_told(tmp_path: Path) -> None:
    series = world.healthy(130, STEP_S)
    assert "TellwireScoreDrift" in world.firing(
        tmp_path, series, step_s=STEP_S, at_s=3_600, expected={("TellwireScoreDrift", "ticket")}
    )


def test_every_alert_fires_in_some_case() -> None:
    fired = {one for case in CASES for one in case.fires}
    declared = {declared_of(rule) for rule in rules()}
    assert fired == declared
    names = {name for name, *_ in declared}
    assert sum(not case.fires for case in CASES) > len(names)
    assert len(names) <= 12, "who is woken by many alerts looks at none"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: "-".join(declared_of(rule)))
def test_every_alert_leads_to_its_page(rule: dict[str, dict[str, str]]) -> None:
    link = rule["annotations"]["runbook_url"]
    name = re.fullmatch(r"\{\{ \$externalLabels\.runbooks \}\}/([a-z-]+\.md)", link)
    assert name is not None, link
    page = (ROOT / "docs" / "runbooks" / name[1]).read_text()
    assert f"`{rule['alert']}`" in page
    for part in ("## What it looks like", "## What to check", "## What to do"):
        assert part in page, f"{link} lacks {part}"
    assert {"summary", "description"} <= set(rule["annotations"])


def test_the_configuration_says_where_runbooks_are() -> None:
    configured = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert (ROOT / configured["global"]["external_labels"]["runbooks"]).is_dir()
    assert set(configured["rule_files"]) == set(world.RULES)
