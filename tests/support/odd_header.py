"""Sends one record with a header whose name is not UTF-8, which no usual client can: `BOOTSTRAP TOPIC PARTITION VALUE`.

A process of its own: it needs the producer in pure Python, and that is chosen when it is first imported.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys


class _Name(str):
    """Text that says other bytes when it is encoded."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe" + str.encode(self)


def send_odd_header(bootstrap: str, topic: str, partition: int, value: bytes) -> None:
    """Send it, and wait until the broker has it."""
    command = [sys.executable, "-m", __name__, bootstrap, topic, str(partition), value.decode()]
    env = os.environ | {"AIOKAFKA_NO_EXTENSIONS": "1"}
    subprocess.run(command, env=env, check=True, timeout=60)


async def _send(bootstrap: str, topic: str, partition: str, value: str) -> None:
    from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]

    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        headers = [("first", b"1"), (_Name("x"), b"2")]
        await producer.send_and_wait(topic, value.encode(), partition=int(partition), headers=headers)
    finally:
        await producer.stop()


if __name__ == "__main__":
    asyncio.run(_send(*sys.argv[1:]))
