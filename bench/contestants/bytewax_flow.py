"""Bytewax: Kafka in, a function mapped over the events, Kafka out; offsets in its recovery store."""

import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from bench.contestants.shared import BOOTSTRAP, INPUT, OUTPUT, Blocking

SETTINGS = {
    "consumer": {},
    "producer": {"acks": "all", "partitioner": "murmur2_random"},
    "epoch_interval": timedelta(seconds=5),
}
"""Everything else as it comes."""


def main() -> None:
    """Run until a signal."""
    score = Blocking("bytewax")

    def apply(message: KafkaSourceMessage[bytes, bytes]) -> KafkaSinkMessage[bytes, bytes]:
        done = score(message.key, message.value, message.timestamp[1], message.partition, message.offset)
        return KafkaSinkMessage(done.key, done.value, headers=done.headers)

    flow = Dataflow("bench")
    found = kafka.input("in", flow, brokers=[BOOTSTRAP], topics=[INPUT], add_config=SETTINGS["consumer"])
    scored = op.map("score", found.oks, apply)
    kafka.output("out", scored, brokers=[BOOTSTRAP], topic=OUTPUT, add_config=SETTINGS["producer"])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "bytewax.recovery", folder, "1"], check=True)
        cli_main(flow, epoch_interval=SETTINGS["epoch_interval"], recovery_config=RecoveryConfig(Path(folder)))


if __name__ == "__main__":
    main()
