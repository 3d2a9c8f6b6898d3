"""The AsyncAPI 3.1.0 document: channels, operations, messages and Kafka bindings, rendered from the topics table."""

import json
from typing import Any, Final

import msgspec

from schemas.closed import components, message_types, tag_of
from schemas.examples import examples_of
from schemas.meanings import HEADERS, REASONS
from schemas.topics import TOPICS, TopicSpec

ASYNCAPI_VERSION: Final = "3.1.0"
KAFKA_BINDING_VERSION: Final = "0.5.0"
CONTRACTS_VERSION: Final = "1.1.0"
"""Version of the contracts as a whole: minor for added fields and messages, major for a new version of a message."""

DEAD_LETTER: Final = "DeadLetter"
"""Name of the one message without a struct: bytes as they came."""

_OPTIONAL_HEADERS: Final = frozenset({"traceparent", "tracestate"})
_NUMBERS: Final = frozenset({"retention.ms", "max.message.bytes", "delete.retention.ms"})
_LISTS: Final = frozenset({"cleanup.policy"})

_ALSO: Final[tuple[tuple[str, str, str], ...]] = (
    # (topic, action, why): where tellwire is on the other side of one of its own topics as well.
    (
        "capture.telemetry",
        "send",
        "Signals from the door are forwarded, under their own key and id; `tellwire erase` asks.",
    ),
    ("risk.features", "receive", "The learner reads served vectors."),
    ("models.snapshots", "receive", "Every worker and the learner read snapshots."),
)


def document() -> dict[str, Any]:
    """The whole document as JSON-ready values. The same input gives the same bytes."""
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "tellwire",
            "version": CONTRACTS_VERSION,
            "description": (
                "Capture-session telemetry in, risk events out. High is risk everywhere. Schemas are closed for who "
                "writes; who reads ignores unknown fields. Keys are placed with the `murmur2_random` partitioner."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_camel(topic.name): _channel(topic) for topic in TOPICS},
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def render() -> str:
    """The document as text, as it is committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _camel(name: str) -> str:
    first, *rest = name.split(".")
    return first + "".join(part.capitalize() for part in rest)


def _names(topic: TopicSpec) -> list[str]:
    return [message.__name__ for message in topic.messages] or [DEAD_LETTER]


def _channel(topic: TopicSpec) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": topic.name,
        "title": topic.name,
        "summary": topic.summary,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _names(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "replicas": topic.replicas,
                "topicConfiguration": {key: _config_value(key, value) for key, value in topic.config.items()},
                "bindingVersion": KAFKA_BINDING_VERSION,
            }
        },
        "x-compatibility": topic.compatibility,
    }
    if topic.co_partitioned_with:
        channel["x-co-partitioned-with"] = topic.co_partitioned_with
    return channel


def _config_value(key: str, value: str) -> str | int | list[str]:
    if key in _NUMBERS:
        return int(value)
    return value.split(",") if key in _LISTS else value


def _operations() -> dict[str, Any]:
    by_name = {topic.name: topic for topic in TOPICS}
    wanted = [(topic, "receive" if topic.direction == "in" else "send", topic.summary) for topic in TOPICS]
    wanted += [(by_name[name], action, why) for name, action, why in _ALSO]
    operations = {}
    for topic, action, summary in wanted:
        channel = _camel(topic.name)
        # We send no telemetry ourselves; every other operation carries all messages of its channel.
        names = ["Signal", "Erasure"] if (topic.name, action) == ("capture.telemetry", "send") else _names(topic)
        operations[action + channel[0].upper() + channel[1:]] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
        }
    return operations


def _messages() -> dict[str, Any]:
    rendered = {message.__name__: _message(message) for message in message_types()}
    dead_letter = next(topic for topic in TOPICS if not topic.messages)
    rendered[DEAD_LETTER] = {
        "name": "risk.deadletter",
        "title": "Dead letter",
        "summary": dead_letter.summary,
        "contentType": "application/octet-stream",
        "headers": _headers(dead_letter.headers, {"dlq_reason": {"enum": [str(reason) for reason in REASONS]}}),
        "payload": {"description": "The input record's value, untouched: any bytes, or none."},
        "bindings": {"kafka": _key(dead_letter)},
    }
    return rendered


def _message(message: type[msgspec.Struct]) -> dict[str, Any]:
    topic = next(topic for topic in TOPICS if message in topic.messages)
    summary = (message.__doc__ or "").strip().splitlines()[0]
    tag = tag_of(message)
    headers = topic.headers or ("traceparent", "tracestate")
    return {
        "name": tag,
        "title": message.__name__,
        "summary": summary,
        "contentType": "application/json",
        "headers": _headers(headers, {"ce_type": {"const": tag}, "ce_specversion": {"const": "1.0"}}),
        "payload": {"$ref": f"#/components/schemas/{message.__name__}"},
        "bindings": {"kafka": _key(topic)},
        "examples": [
            {"name": example.name, "summary": example.summary, "payload": msgspec.to_builtins(example.message)}
            for example in examples_of(message)
        ],
    }


def _headers(names: tuple[str, ...], more: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [name for name in names if name not in _OPTIONAL_HEADERS],
        "properties": {name: {"type": "string", "description": HEADERS[name], **more.get(name, {})} for name in names},
    }


def _key(topic: TopicSpec) -> dict[str, Any]:
    return {
        "key": {"type": "string", "description": f"{topic.key}, UTF-8."},
        "bindingVersion": KAFKA_BINDING_VERSION,
    }


def _schemas() -> dict[str, Any]:
    found = components(message_types(), "#/components/schemas/{name}")
    return dict(sorted(found.items()))
