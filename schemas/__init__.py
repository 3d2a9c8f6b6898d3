"""The wire contracts of tellwire: one tagged struct a message, and the one table of topics.

Everything that crosses a topic is declared here and nowhere else. AsyncAPI, JSON Schemas and the reference pages are
generated from these declarations.
"""

from schemas.deadletter import DeadLetterHeader, DeadLetterReason
from schemas.erasure import Erasure
from schemas.label import Label
from schemas.risk import RiskEvent
from schemas.served import ServedFeatures
from schemas.signals import Signal
from schemas.snapshot import Snapshot
from schemas.telemetry import Telemetry
from schemas.topics import TOPICS, TopicSpec

__all__ = [
    "TOPICS",
    "DeadLetterHeader",
    "DeadLetterReason",
    "Erasure",
    "Label",
    "RiskEvent",
    "ServedFeatures",
    "Signal",
    "Snapshot",
    "Telemetry",
    "TopicSpec",
]
