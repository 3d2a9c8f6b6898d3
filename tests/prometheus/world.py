"""Worlds for `promtool test rules`: the series of a healthy deployment, and what a scenario changes of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support import require

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "deploy" / "prometheus"
RULES: Final = ("recording.yml", "alerts.yml")

WORKER: Final = 'job="tellwire-worker",instance="w1"'
LEARNER: Final = 'job="tellwire-learner",instance="l1"'
PLACE: Final = 'topic="capture.telemetry",partition="0"'

LATE: Final = f'tellwire_append_to_acked_seconds_bucket{{{WORKER},le="1.0"}}'
ALL: Final = f"tellwire_append_to_acked_seconds_count{{{WORKER}}}"
ASSIGNED: Final = f"tellwire_partitions_assigned{{{WORKER}}}"
LAG: Final = f"tellwire_consumer_lag_records{{{WORKER},{PLACE}}}"
POSITION: Final = f"tellwire_partition_position_offset{{{WORKER},{PLACE}}}"
WAITING: Final = f'tellwire_waiting_for{{{WORKER},dependency="store"}}'
STOPPED: Final = f"tellwire_partition_stopped{{{WORKER},{PLACE}}}"
GAP: Final = f'tellwire_gap_records_total{{{WORKER},reason="retention"}}'
LOST: Final = f'tellwire_state_conflicts_total{{{WORKER},found="lost"}}'
NEWER: Final = f'tellwire_state_conflicts_total{{{WORKER},found="newer"}}'
REWOUND: Final = f'tellwire_rewound_offsets_total{{{WORKER},found="rolled_back"}}'
EVICTED: Final = f"tellwire_store_evicted_keys{{{WORKER}}}"
MEMORY: Final = f"tellwire_store_memory_used_ratio{{{WORKER}}}"
REFUSED: Final = f'tellwire_dead_letters_total{{{WORKER},reason="schema"}}'
FAILED: Final = f'tellwire_dead_letters_total{{{WORKER},reason="processing_error"}}'
SUSPECTS: Final = f"tellwire_crash_suspects{{{WORKER},{PLACE}}}"
EVENTS: Final = f'tellwire_risk_events_total{{{WORKER},flow="signup",action="allow"}}'
SNAPSHOT: Final = f'tellwire_snapshot_timestamp_seconds{{{WORKER},kind="anomaly_hst",flow="signup"}}'
LEARNT: Final = f'tellwire_learner_learnt_total{{{LEARNER},flow="signup"}}'
HELD: Final = f'tellwire_learner_threshold_rise_ratio{{{LEARNER},flow="signup"}}'
LEARNER_READY: Final = f"tellwire_ready{{{LEARNER}}}"
REFUSED_FILES: Final = f'tellwire_artefact_refused{{{WORKER},what="policy"}}'
TAKEN: Final = 'tellwire_gateway_requests_total{job="tellwire-gateway",instance="g1",path="/v1/telemetry",code="ok"}'
TURNED_AWAY: Final = TAKEN.replace('"ok"', '"overloaded"')
LIMITED: Final = TAKEN.replace('"ok"', '"rate_limited"')
KAFKA_AWAY: Final = 'tellwire_gateway_kafka_away{job="tellwire-gateway",instance="g1"}'
EXPIRED: Final = TAKEN.replace('"ok"', '"token_expired"')
GATEWAY_READY: Final = 'tellwire_gateway_ready{job="tellwire-gateway",instance="g1"}'
ACCEPTED: Final = 'tellwire_gateway_events_accepted_total{job="tellwire-gateway",instance="g1"}'
NOT_ACCEPTED: Final = 'tellwire_gateway_events_refused_total{job="tellwire-gateway",instance="g1",code="schema"}'
LOW: Final = f'tellwire_risk_score_bucket{{{WORKER},channel="bot",le="0.5"}}'
TOP: Final = f'tellwire_risk_score_bucket{{{WORKER},channel="bot",le="1.0"}}'
SCORES: Final = f'tellwire_risk_score_count{{{WORKER},channel="bot"}}'


def healthy(steps: int, step_s: int) -> dict[str, str]:
    """The series of a deployment in which all is well: notation of promtool, by name; 100 of everything a step."""
    rising, zero = f"0+100x{steps}", f"0x{steps}"
    return {
        LATE: rising,
        ALL: rising,
        f"tellwire_input_partitions{{{WORKER}}}": f"8x{steps}",
        ASSIGNED: f"8x{steps}",
        LAG: zero,
        POSITION: rising,
        WAITING: zero,
        GAP: zero,
        LOST: zero,
        NEWER: zero,
        REWOUND: zero,
        EVICTED: zero,
        MEMORY: f"0.4x{steps}",
        REFUSED: zero,
        FAILED: zero,
        EVENTS: rising,
        SNAPSHOT: f"0+{step_s}x{steps}",
        LEARNT: rising,
        LEARNER_READY: f"1x{steps}",
        HELD: f"0.6x{steps}",
        REFUSED_FILES: zero,
        TAKEN: rising,
        KAFKA_AWAY: zero,
        GATEWAY_READY: f"1x{steps}",
        ACCEPTED: rising,
        NOT_ACCEPTED: zero,
        LOW: f"0+50x{steps}",
        TOP: rising,
        SCORES: rising,
    }


def promtool() -> str:
    """The checker of Prometheus; the test is skipped, and in CI fails, without it."""
    found = shutil.which("promtool")
    require(found, "promtool checks rules and alerts; install the package prometheus")
    return str(found)


def firing(
    folder: Path, series: Mapping[str, str | None], *, step_s: int, at_s: int, expected: Collection[tuple[str, ...]]
) -> str:
    """Let promtool run the rules over `series`; return what it complains of, "" if exactly `expected` fires.

    `expected` are alerts with their severities, and with what was found where there are several of one name. A series
    of None is not there.
    """
    names = ("alertname", "severity", "found")
    count = "count by (alertname, severity, found) (ALERTS{alertstate='firing'})"
    test: dict[str, Any] = {
        "interval": f"{step_s}s",
        "external_labels": {"runbooks": "docs/runbooks"},
        "input_series": [{"series": name, "values": values} for name, values in series.items() if values is not None],
        "promql_expr_test": [
            {
                "expr": f"{count} > bool 0",
                "eval_time": f"{at_s}s",
                "exp_samples": [
                    {
                        "labels": "{" + ", ".join(f'{k}="{v}"' for k, v in zip(names, one, strict=False)) + "}",
                        "value": 1,
                    }
                    for one in sorted(expected)
                ],
            }
        ],
    }
    groups: list[str] = []
    for name in RULES:
        # Its rules are found beside it, and what is recorded is there before alerts ask for it.
        text = (FOLDER / name).read_text()
        (folder / name).write_text(text)
        groups += [group["name"] for group in yaml.safe_load(text)["groups"]]
    made = folder / "test.yml"
    made.write_text(
        yaml.safe_dump(
            {
                "rule_files": list(RULES),
                "evaluation_interval": f"{step_s}s",
                "group_eval_order": groups,
                "tests": [test],
            }
        )
    )
    done = subprocess.run([promtool(), "test", "rules", str(made)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
