"""Starts what the demo needs, in order: broker, topics, store, worker, learner, traffic; and says where each is.

With an address of a real broker its topics are made as `tellwire topics apply` makes them; consumer groups and Redis
keys have names of the demo's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from schemas.topics import TOPICS
from stream.demo.children import Child, DemoError, command_line, python
from stream.demo.probe import get
from stream.embedded import EmbeddedBroker, EmbeddedError, EmbeddedStore

READY_S: Final = 240.0
"""Longest start of the worker: the first one on a machine compiles its kernels."""
_PREFIX: Final = "TELLWIRE_"
_NAME: Final = "tellwire-demo"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was asked for."""

    seconds: float | None = None
    """Length of the traffic, s; None: the default, shortened so that all is over within two minutes."""
    rate: float = 10.0
    seed: int = 1
    bot_ratio: float = 0.35
    keep: bool = False
    broker: str | None = None
    redis: str | None = None
    data: Path | None = None
    as_json: bool = False
    page: bool = False
    """Serve the live page, too, where what it needs is installed."""
    port: int | None = None
    """Port of the page; None: the usual one, or a free one where that is taken."""
    run: str = dataclasses.field(default_factory=lambda: f".{secrets.token_hex(3)}")
    """End of this run's session ids, which tells them from those of other runs on the same broker."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where broker and store are."""

    bootstrap: str
    redis_url: str
    embedded_broker: bool
    embedded_store: bool
    properties: dict[str, Any]
    """librdkafka properties that reach the broker."""

    @property
    def broker_words(self) -> str:
        """The broker as the view names it, with its address."""
        return f"{'embedded broker' if self.embedded_broker else 'broker'} {self.bootstrap}"

    @property
    def store_words(self) -> str:
        """The store as the view names it."""
        return "embedded Valkey" if self.embedded_store else "Redis"

    @property
    def store_address(self) -> str | None:
        """Where the embedded store is; None for one that was given, whose URL may hold a password."""
        return self.redis_url if self.embedded_store else None


def endpoints(choice: Choice, stack: contextlib.ExitStack) -> Endpoints:
    """Start or reach broker and store, and make the topics; what was started ends with `stack`."""
    embedded = choice.broker is None
    if choice.redis is not None:
        _check_store(choice.redis)
    try:
        if choice.broker is None:
            bootstrap = stack.enter_context(EmbeddedBroker({spec.name: spec.partitions for spec in TOPICS})).bootstrap
            properties: dict[str, Any] = {"bootstrap.servers": bootstrap}
        else:
            bootstrap = choice.broker
            properties = _reach(bootstrap)
        redis_url = choice.redis or stack.enter_context(EmbeddedStore()).url
    except EmbeddedError as error:
        raise DemoError(str(error)) from None
    return Endpoints(
        bootstrap=bootstrap,
        redis_url=redis_url,
        embedded_broker=embedded,
        embedded_store=choice.redis is None,
        properties=properties,
    )


def environment(found: Endpoints, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of worker and learner.

    With the embedded broker no setting of the surroundings gets in; with a real one those that reach it stay.
    """
    keep = () if found.embedded_broker else (f"{_PREFIX}KAFKA__", f"{_PREFIX}CONFIG", f"{_PREFIX}ARTEFACTS__")
    env = {k: v for k, v in base.items() if not k.upper().startswith(_PREFIX) or k.upper().startswith(keep)}
    env |= {
        f"{_PREFIX}KAFKA__BOOTSTRAP_SERVERS": found.bootstrap,
        f"{_PREFIX}KAFKA__GROUP": _NAME,
        f"{_PREFIX}KAFKA__LEARNER_GROUP": f"{_NAME}-learner",
        f"{_PREFIX}REDIS__URL": found.redis_url,
        f"{_PREFIX}REDIS__KEY_PREFIX": _NAME,
        f"{_PREFIX}KEYS__REF_KEY": secrets.token_hex(16),
        f"{_PREFIX}LOG__FORMAT": "text",
        # A demo lasts a minute: learn from little, and show it soon.
        f"{_PREFIX}LEARNER__SNAPSHOT_INTERVAL_S": "10",
        f"{_PREFIX}LEARNER__MIN_LEARNT": "20",
    }
    if found.embedded_broker:
        env[f"{_PREFIX}KAFKA__FIXED_TOPIC_ID"] = "embedded"
        # The mock answers a waiting fetch only when its wait ends.
        env[f"{_PREFIX}KAFKA__CONSUMER_PROPERTIES"] = json.dumps({"fetch.wait.max.ms": "5"})
    return env


def start(role: str, env: Mapping[str, str], metrics_port: int, logs: Path) -> Child:
    """Start `tellwire worker`, `learner` or `gateway`, serving its metrics at a port of 127.0.0.1."""
    own = {**env, f"{_PREFIX}METRICS__PORT": str(metrics_port), f"{_PREFIX}METRICS__HOST": "127.0.0.1"}
    return Child(role, command_line(role), log=logs / f"{role}.log", env=own)


def await_ready(child: Child, metrics_port: int, waiting: Callable[[float], None]) -> None:
    """Wait until the child says that it is ready; calls `waiting` with the seconds waited so far."""
    begin = time.monotonic()
    while True:
        waited = time.monotonic() - begin
        if child.exit_code is not None:
            raise DemoError(child.complaint())
        status, why = get(metrics_port, "/readyz")
        if status == 200:
            return
        if waited > READY_S:
            said = why.strip()[:200] or "no answer"
            msg = f"the {child.name} was not ready after {READY_S:.0f} s ({said}); its log is {child.log}"
            raise DemoError(msg)
        waiting(waited)
        time.sleep(0.1)


def traffic(choice: Choice, found: Endpoints, seconds: float | None, logs: Path) -> Child:
    """Start the traffic process."""
    command = ["-m", "stream.simulation.traffic", "--seed", str(choice.seed), "--rate", str(choice.rate)]
    command += ["--bot-ratio", str(choice.bot_ratio), "--run", choice.run]
    command += [] if seconds is None else ["--seconds", f"{seconds:.1f}"]
    command += [] if choice.data is None else ["--data", str(choice.data)]
    return Child(
        "traffic",
        python(*command),
        log=logs / "traffic.log",
        first_input=json.dumps({k: str(v) for k, v in found.properties.items()}).encode() + b"\n",
        read_output=True,
    )


def _reach(address: str) -> dict[str, Any]:
    """Return the properties that reach a real broker, with its topics made. Raises DemoError."""
    from stream import kafka_properties, settings_source, topics  # noqa: PLC0415 - only here

    kafka = settings_source.load().kafka.model_copy(update={"bootstrap_servers": address})
    properties = kafka_properties.common(kafka)
    try:
        topics.apply(properties)
        left = [d for d in topics.diff(properties) if not d.fixable]
    except topics.BrokerError as error:
        raise DemoError(str(error)) from None
    if left:
        raise DemoError("; ".join(f"{d.topic}: {d.what} is {d.found}, wanted {d.wanted}" for d in left))
    return properties


def _check_store(url: str) -> None:
    """Reach the store that was given, as the worker will. Raises DemoError."""
    from stream.state import ConnectionOptions, RedisStore, StoreError  # noqa: PLC0415 - only here

    async def reach() -> None:
        store = RedisStore(ConnectionOptions(url=url), state_version="0", prefix=_NAME)
        await store.open()
        await store.close()

    try:
        asyncio.run(reach())
    except StoreError as error:
        msg = f"--redis: {error}"
        raise DemoError(msg) from None


def surroundings() -> Mapping[str, str]:
    """Return this process's environment."""
    return os.environ
