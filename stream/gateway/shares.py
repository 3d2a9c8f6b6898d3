"""What each address holds of the gateway's memory, bounded: one that sends bodies slowly must not use up all of it.

An address has a body from its first byte until its request is answered. Nothing is remembered of who holds nothing.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from stream.gateway.wire import Refusal


class Shares:
    """Bytes held by key, at most `max_bytes` each. Per process. `refused` is called for each part beyond a share."""

    def __init__(self, max_bytes: int, refused: Callable[[], object] = lambda: None) -> None:
        self._max_bytes = max_bytes
        self._refused = refused
        self._held: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """How many hold something."""
        return len(self._held)

    @property
    def largest_bytes(self) -> int:
        """What the one that holds most holds."""
        return max(self._held.values(), default=0)

    def _check(self, key: Hashable, size: int) -> None:
        if self._held.get(key, 0) + size > self._max_bytes:
            self._refused()
            raise Refusal(
                "rate_limited",
                "bodies of this address that came and are not answered yet are as large as they may be",
                scope="ip_bytes",
                retry_after_s=1,
            )

    @contextmanager
    def holding(self, key: Hashable, announced: int) -> Iterator[Callable[[int], None]]:
        """Yield what counts each part that comes, and raises Refusal beyond the share; given back at the end.

        `announced`: bytes; raises Refusal at once where the share has no room for them. They are not counted.
        """
        self._check(key, announced)
        held = 0

        def count(size: int) -> None:
            nonlocal held
            self._check(key, size)
            if size:
                held += size
                self._held[key] = self._held.get(key, 0) + size

        try:
            yield count
        finally:
            left = self._held.pop(key, 0) - held
            if left:
                self._held[key] = left
