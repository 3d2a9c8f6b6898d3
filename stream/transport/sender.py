"""One librdkafka producer client with the thread that serves it, from its making to its purge."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as KafkaProducer

from .clientlog import client_log

_client = client_log(__name__)
_KNOWN = "enable.gapless.guarantee is experimental"


class _LogUntil(logging.LoggerAdapter[logging.Logger]):
    """The client's log while it is in use: to itself, its purge is a fatal error."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(_client)
        self._sender = sender

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """See :class:`logging.Logger`."""
        if not self._sender.is_retired and not any(_KNOWN in str(part) for part in (msg, *args)):
            super().log(level, msg, *args, **kwargs)


class Sender:
    """Delivery reports and errors come in on its thread; everything else is called on the event loop."""

    def __init__(self, config: dict[str, Any], on_error: Callable[[KafkaError, Sender], object]) -> None:
        self.is_retired = False
        """Purged: takes no more records, and what it had either was sent or never will be."""
        self._client: KafkaProducer | None = KafkaProducer(
            {**config, "error_cb": lambda error: on_error(error, self)}, logger=_LogUntil(self)
        )
        self._on_error = on_error
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="kafka-produce", daemon=True)
        self._thread.start()

    @property
    def client(self) -> KafkaProducer:
        """The client; not to be used once the sender is retired or closed."""
        assert self._client is not None
        return self._client

    def retire(self) -> None:
        """Send nothing more. Every outstanding record is reported, then the client ends by itself.

        A client whose queue was purged is not used again: its sequence numbers would have a hole.
        """
        if not self.is_retired:
            self.is_retired = True
            self.client.purge(blocking=False)
            self._is_closing.set()

    def close(self, timeout_s: float) -> int:
        """Send what is buffered, then purge and end (blocking); returns the number of records not delivered."""
        if self.is_retired:
            self._thread.join(timeout_s)
            return 0
        self.is_retired = True
        left = self.flush(timeout_s)
        if left:
            self.client.purge()  # their reports come, so that nobody waits for ever
        self._is_closing.set()
        self._thread.join(5.0)
        return left

    def flush(self, timeout_s: float) -> int:
        """Wait for all that was handed in so far (blocking); returns how many records were not acknowledged."""
        client = self.client
        try:
            return client.flush(timeout_s)
        except KafkaException as exc:  # a fatal error: see `_serve`
            self._on_error(exc.args[0], self)
            return len(client)

    def _serve(self) -> None:
        client = self.client
        while not self._is_closing.is_set() or len(client):
            try:
                client.poll(0.1)
            except KafkaException as exc:
                # A fatal error is raised here, in place of the error callback; the delivery reports follow it.
                self._on_error(exc.args[0], self)
        self._client = None  # closed here, beside the event loop
