"""Quix Streams: a dataframe of bytes, one function applied to each event."""

import tempfile
from typing import Any

from quixstreams import Application, message_context

from bench.contestants.shared import BOOTSTRAP, INPUT, OUTPUT, Blocking

SETTINGS: dict[str, Any] = {
    "auto_offset_reset": "earliest",
    "processing_guarantee": "at-least-once",
    "producer_extra_config": {"acks": "all", "partitioner": "murmur2_random"},
    "auto_create_topics": False,
    "loglevel": "WARNING",
}
"""Everything else as it comes."""


def main() -> None:
    """Run until a signal."""
    with tempfile.TemporaryDirectory() as folder:
        app = Application(BOOTSTRAP, consumer_group="bench-quix", state_dir=folder, **SETTINGS)
        source = app.topic(INPUT, value_deserializer="bytes", key_deserializer="bytes")
        sink = app.topic(OUTPUT, value_serializer="bytes", key_serializer="bytes")
        score = Blocking("quix")

        def apply(value: bytes, key: bytes, append_ms: int, _: Any) -> Any:
            place = message_context()
            return score(key, value, append_ms, place.partition, place.offset)

        scored = app.dataframe(source).apply(apply, metadata=True)
        scored = scored.set_headers(lambda done, _key, _timestamp, _headers: done.headers)
        scored.apply(lambda done: done.value).to_topic(sink)
        app.run()


if __name__ == "__main__":
    main()
