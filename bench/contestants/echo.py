"""The echo: a bare librdkafka loop that publishes each record as it came. What Kafka itself costs."""

import os

from confluent_kafka import Consumer, Producer, TopicPartition

BOOTSTRAP = os.environ["TELLWIRE_KAFKA__BOOTSTRAP_SERVERS"]
PARTITIONS = int(os.environ["BENCH_PARTITIONS"])
BATCH = 1_000


def main() -> None:
    """Run until it is ended."""
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "bench-echo", "enable.auto.commit": False})
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "acks": "all", "enable.idempotence": True, "linger.ms": 0})
    consumer.assign([TopicPartition("capture.telemetry", partition, 0) for partition in range(PARTITIONS)])
    while True:
        first = consumer.poll(1.0)
        if first is None:
            continue
        for record in [first, *consumer.consume(BATCH, 0)]:
            if (error := record.error()) is not None:
                raise SystemExit(error.str())
            while True:
                try:
                    producer.produce("risk.events", record.value(), record.key(), record.partition() or 0)
                    break
                except BufferError:
                    producer.poll(0.01)
        producer.flush()
        consumer.commit(offsets=consumer.position(consumer.assignment()), asynchronous=True)


if __name__ == "__main__":
    main()
