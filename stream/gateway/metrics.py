"""Every metric of the gateway, one line each: rate, errors and duration of requests, what became of events, and Kafka.

Base units, `_total` on counters, no identifier ever as a label: not of a session, an address, an origin or a tenant.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream.metrics import LAG_BUCKETS

REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""
SIZE_BUCKETS: Final = (512, 2_048, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144)
"""Bytes."""


class GatewayMetrics:
    """The metrics of one gateway process, on a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = r = registry if registry is not None else CollectorRegistry()
        self.build_info = Gauge(
            "tellwire_gateway_build_info", "Version of this gateway; always 1.", ["version"], registry=r
        )
        self.ready = Gauge("tellwire_gateway_ready", "1 while the gateway takes requests.", registry=r)
        self.requests = Counter(
            "tellwire_gateway_requests_total",
            "Requests answered, by path and code: ok, or the code of the refusal.",
            ["path", "code"],
            registry=r,
        )
        self.request_seconds = Histogram(
            "tellwire_gateway_request_seconds",
            "From a request's headers to its answer, Kafka's acknowledgement included.",
            ["path"],
            buckets=REQUEST_BUCKETS,
            registry=r,
        )
        self.in_progress = Gauge("tellwire_gateway_requests_in_progress", "Requests that are not answered.", registry=r)
        self.body_bytes = Histogram(
            "tellwire_gateway_body_bytes", "Size of telemetry bodies that were read.", buckets=SIZE_BUCKETS, registry=r
        )
        self.events_accepted = Counter(
            "tellwire_gateway_events_accepted_total", "Events in Kafka, acknowledged by all replicas.", registry=r
        )
        self.events_refused = Counter(
            "tellwire_gateway_events_refused_total", "Events not taken, by code.", ["code"], registry=r
        )
        self.rate_limited = Counter(
            "tellwire_gateway_rate_limited_total",
            "Requests beyond a rate: of their address, session, origin or tenant; beyond an address's share: ip_bytes; "
            "connections that were closed for that: ip_connections.",
            ["scope"],
            registry=r,
        )
        self.rate_entries = Gauge(
            "tellwire_gateway_rate_entries", "Sessions and addresses whose rates are remembered.", ["scope"], registry=r
        )
        self.sessions = Counter("tellwire_gateway_sessions_total", "Sessions opened and renewed.", ["kind"], registry=r)
        self.kafka_seconds = Histogram(
            "tellwire_gateway_kafka_seconds",
            "From handing a request's records to the producer to their acknowledgement.",
            buckets=REQUEST_BUCKETS,
            registry=r,
        )
        self.in_flight_bytes = Gauge(
            "tellwire_gateway_in_flight_bytes",
            "Bytes of bodies that are being read, and handed to the producer and not acknowledged.",
            registry=r,
        )
        self.ip_in_flight_bytes = Gauge(
            "tellwire_gateway_ip_in_flight_bytes",
            "Bytes of bodies that came and are not answered yet, of the address that has most of them.",
            registry=r,
        )
        self.ip_connections = Gauge(
            "tellwire_gateway_ip_connections",
            "Open connections of the address that has most of them, trusted proxies left out.",
            registry=r,
        )
        self.connections = Gauge("tellwire_gateway_connections", "Open connections of clients.", registry=r)
        self.loop_lag_seconds = Histogram(
            "tellwire_gateway_loop_lag_seconds",
            "How late the event loop came to a timer that is due twice a second.",
            buckets=LAG_BUCKETS,
            registry=r,
        )
        self.silence_seconds = Gauge(
            "tellwire_gateway_watchdog_silence_seconds",
            "Time since the last sign of life of the event loop.",
            ["watched"],
            registry=r,
        )
        self.kafka_away = Gauge("tellwire_gateway_kafka_away", "1 while Kafka does not take what is tried.", registry=r)
