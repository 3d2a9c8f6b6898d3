"""The dashboard of the models: what serves, scores and their drift, evidence and learning."""

from typing import Final

from stream.dashboard_panel import Dashboard, Panel, quantiles

_EVENTS: Final = "rate(tellwire_risk_events_total[$__rate_interval])"
_SCORED: Final = 'rate(tellwire_risk_score_count{channel!="overall"}[$__rate_interval])'
_OVERALL: Final = 'rate(tellwire_risk_score_count{channel="overall"}[$__rate_interval])'

MODELS: Final = Dashboard(
    "tellwire-models",
    "tellwire models",
    (
        (
            "What serves",
            (
                Panel(
                    "Models and policy",
                    "Hashes, by process: more than one of a kind while they are swapped.",
                    "short",
                    (("count by (models, policy) (tellwire_artefact_info)", "{{models}} {{policy}}"),),
                    "table",
                ),
                Panel(
                    "Snapshots, age",
                    "Of the served ones.",
                    "s",
                    (
                        (
                            "time() - max by (flow, kind) (tellwire_snapshot_timestamp_seconds)",
                            "{{flow}} {{kind}}",
                        ),
                    ),
                ),
                Panel(
                    "Serving since",
                    "Age of the latest swap.",
                    "s",
                    (("time() - max by (what) (tellwire_artefact_loaded_timestamp_seconds)", "{{what}}"),),
                ),
            ),
        ),
        (
            "Scores",
            (
                Panel(
                    "Drift",
                    "Largest difference of the shares below a bound, last hour against the week before; alert at 0.15.",
                    "percentunit",
                    (("channel:tellwire_risk_score:drift_ratio", "{{channel}}"),),
                ),
                Panel(
                    "Scores above 0.9",
                    "Share in the last hour: of people alone it would be 10 %.",
                    "percentunit",
                    (('1 - channel_le:tellwire_risk_score:share1h{le="0.9"}', "{{channel}}"),),
                ),
                Panel("Overall score", "Median and p99.", "short", quantiles("tellwire_risk_score", "channel")),
                Panel(
                    "Decisions",
                    "Share of risk events.",
                    "percentunit",
                    (
                        (
                            f"sum by (action) ({_EVENTS}) / on () group_left () (sum({_EVENTS}) > 0)",
                            "{{action}}",
                        ),
                    ),
                ),
                Panel(
                    "Flows",
                    "Risk events.",
                    "reqps",
                    (("sum by (flow) (rate(tellwire_risk_events_total[$__rate_interval]))", "{{flow}}"),),
                ),
                Panel(
                    "Channels with a score",
                    "Share of events.",
                    "percentunit",
                    (
                        (
                            f"sum by (channel) ({_SCORED}) / on () group_left () (sum({_OVERALL}) > 0)",
                            "{{channel}}",
                        ),
                    ),
                ),
            ),
        ),
        (
            "Evidence and learning",
            (
                Panel(
                    "Coverage",
                    "Share of the flow's expected evidence.",
                    "percentunit",
                    (("tellwire:coverage:avg1h", "average, 1 h"), *quantiles("tellwire_coverage_ratio")),
                ),
                Panel(
                    "Learnt",
                    "Vectors, by flow; skipped, by reason.",
                    "reqps",
                    (
                        ("sum by (flow) (rate(tellwire_learner_learnt_total[$__rate_interval]))", "{{flow}}"),
                        (
                            "sum by (reason) (rate(tellwire_learner_skipped_total[$__rate_interval]))",
                            "skipped: {{reason}}",
                        ),
                    ),
                ),
                Panel(
                    "Snapshots and swaps",
                    "In an hour.",
                    "short",
                    (
                        ("sum by (kind) (increase(tellwire_learner_snapshots_total[1h]))", "published {{kind}}"),
                        ("sum(increase(tellwire_snapshots_rejected_total[1h]))", "rejected"),
                        (
                            "sum by (what, outcome) (increase(tellwire_artefact_swaps_total[1h]))",
                            "{{what}} {{outcome}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
