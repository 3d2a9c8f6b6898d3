"""The dashboard of the service: freshness, traffic, lag, each stage, processes, gateway."""

from typing import Final

from stream.dashboard_panel import Dashboard, Panel, quantiles

SERVICE: Final = Dashboard(
    "tellwire-service",
    "tellwire service",
    (
        (
            "Does it keep its promise?",
            (
                Panel(
                    "Late chunks, by window",
                    "Share of chunks that took longer than 1 s from append to acknowledged risk events; budget: 1 %.",
                    "percentunit",
                    tuple(
                        (f'job:tellwire_late_chunks:ratio_rate{w}{{job="tellwire-worker"}}', w)
                        for w in ("5m", "1h", "6h", "3d")
                    ),
                ),
                Panel(
                    "Append to acknowledged",
                    "Of a chunk's oldest record.",
                    "s",
                    quantiles("tellwire_append_to_acked_seconds"),
                ),
                Panel(
                    "Degraded",
                    "Share of time without a dependency, over processes.",
                    "percentunit",
                    (
                        (
                            "sum by (job, dependency) (rate(tellwire_degraded_seconds_total[$__rate_interval]))",
                            "{{job}}: {{dependency}}",
                        ),
                    ),
                ),
            ),
        ),
        (
            "Traffic and outcomes",
            (
                Panel(
                    "Risk events",
                    "Acknowledged, by action.",
                    "reqps",
                    (("sum by (action) (rate(tellwire_risk_events_total[$__rate_interval]))", "{{action}}"),),
                ),
                Panel(
                    "Dead letters",
                    "By reason.",
                    "reqps",
                    (("sum by (reason) (rate(tellwire_dead_letters_total[$__rate_interval])) > 0", "{{reason}}"),),
                ),
                Panel(
                    "Filtered, folded again, abandoned",
                    "Records without an event of their own.",
                    "reqps",
                    (
                        ("sum by (filter) (rate(tellwire_filtered_total[$__rate_interval]))", "{{filter}}"),
                        ("sum(rate(tellwire_folded_only_total[$__rate_interval]))", "folded again"),
                        (
                            "sum by (reason) (rate(tellwire_chunks_abandoned_total[$__rate_interval]))",
                            "chunks {{reason}}",
                        ),
                    ),
                ),
            ),
        ),
        (
            "Lag and its progress",
            (
                Panel("Lag, records", "By topic.", "short", (("tellwire:lag_records:sum", "{{topic}}"),)),
                Panel(
                    "Lag, time to work off",
                    "Of the slowest partition, at its present rate.",
                    "s",
                    (("tellwire:lag_seconds:max", "{{topic}}"),),
                ),
                Panel(
                    "Progress",
                    "Offsets a second of each partition: 0 with a lag is a stuck one.",
                    "reqps",
                    (
                        (
                            "max by (topic, partition) (rate(tellwire_partition_position_offset[5m]))",
                            "{{topic}}[{{partition}}]",
                        ),
                    ),
                ),
            ),
        ),
        (
            "Each stage: rate, errors, duration",
            (
                Panel("Rate", "Batches.", "reqps", (("stage:tellwire_stage_seconds_count:rate5m", "{{stage}}"),)),
                Panel(
                    "Errors",
                    "Share of batches that failed.",
                    "percentunit",
                    (("stage:tellwire_stage_errors:ratio_rate5m", "{{stage}}"),),
                ),
                Panel("Duration, p99", "Of a batch.", "s", (("stage:tellwire_stage_seconds:p99_rate5m", "{{stage}}"),)),
            ),
        ),
        (
            "Processes",
            (
                Panel(
                    "Ready",
                    "1: ready.",
                    "short",
                    (
                        ("tellwire_ready", "{{job}} {{instance}}"),
                        ("tellwire_gateway_ready", "{{job}} {{instance}}"),
                    ),
                ),
                Panel(
                    "Partitions",
                    "Owned, and all.",
                    "short",
                    (
                        ('sum(tellwire_partitions_assigned{job="tellwire-worker"})', "owned"),
                        ('max(tellwire_input_partitions{job="tellwire-worker"})', "all"),
                        ("sum(tellwire_partition_stopped)", "stopped"),
                    ),
                ),
                Panel("Event loop late", "Of its timers.", "s", quantiles("tellwire_loop_lag_seconds")),
                Panel(
                    "Rebalances, stalls, retries",
                    "In five minutes.",
                    "short",
                    (
                        ("sum(increase(tellwire_rebalances_total[5m]))", "rebalances"),
                        ("sum(increase(tellwire_membership_stalls_total[5m]))", "membership stalls"),
                        ("sum by (reason) (increase(tellwire_store_retries_total[5m]))", "store {{reason}}"),
                        ("sum(increase(tellwire_unclean_starts_total[5m]))", "unclean starts"),
                    ),
                ),
                Panel(
                    "Store memory",
                    "Share of its limit, the fullest server.",
                    "percentunit",
                    (("max(tellwire_store_memory_used_ratio)", "used"),),
                ),
                Panel(
                    "State",
                    "Sessions by where their state came from; conflicts.",
                    "reqps",
                    (
                        ("sum by (source) (rate(tellwire_sessions_read_total[$__rate_interval]))", "{{source}}"),
                        (
                            "sum by (found) (rate(tellwire_state_conflicts_total[$__rate_interval])) > 0",
                            "conflict: {{found}}",
                        ),
                    ),
                ),
            ),
        ),
        (
            "Gateway",
            (
                Panel(
                    "Requests",
                    "By code.",
                    "reqps",
                    (("sum by (code) (rate(tellwire_gateway_requests_total[$__rate_interval]))", "{{code}}"),),
                ),
                Panel(
                    "Failed",
                    "Share of requests answered with 500 or 503.",
                    "percentunit",
                    (("tellwire:gateway_failed:ratio_rate5m", "failed"),),
                ),
                Panel(
                    "Duration", "Kafka's acknowledgement included.", "s", quantiles("tellwire_gateway_request_seconds")
                ),
                Panel(
                    "Connections",
                    "Of clients, open, of each gateway, and the most of one address.",
                    "short",
                    (
                        ("tellwire_gateway_connections", "{{instance}}"),
                        ("tellwire_gateway_ip_connections", "{{instance}}: one address"),
                    ),
                ),
                Panel(
                    "Memory held by bodies",
                    "Being read, and on their way to Kafka: all of a gateway's, and the most of one address.",
                    "bytes",
                    (
                        ("tellwire_gateway_in_flight_bytes", "{{instance}}"),
                        ("tellwire_gateway_ip_in_flight_bytes", "{{instance}}: one address"),
                    ),
                ),
                Panel("Event loop late", "Of its timers.", "s", quantiles("tellwire_gateway_loop_lag_seconds")),
                Panel(
                    "Told to wait",
                    "Requests beyond a rate or a share, by whose; they are sent again.",
                    "reqps",
                    (
                        (
                            "sum by (scope) (rate(tellwire_gateway_rate_limited_total[$__rate_interval])) > 0",
                            "{{scope}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
