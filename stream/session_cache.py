"""The read-through cache of one partition's sessions: numeric state in one matrix, the rest beside it.

Only the partition's owner writes its sessions, so what is cached is what is stored, as long as every write succeeded.
After any failure the cache is dropped, never repaired.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from features.session import STATE_DTYPE, STATE_WIDTH, Meta, new_row

FIRST_ROWS = 256


class SessionCache:
    """Sessions of one partition by id, least recently used first."""

    def __init__(self) -> None:
        self.rows: NDArray[np.float32] = np.empty((FIRST_ROWS, STATE_WIDTH), dtype=STATE_DTYPE)
        """Numeric state, one row a session; rows of no session hold rubbish. Replaced when it grows."""
        self._slots: dict[str, tuple[int, Meta]] = {}
        self._free = list(range(FIRST_ROWS))

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._slots

    def get(self, session_id: str) -> tuple[int, Meta]:
        """Return row number and meta, and make the session the most recently used. KeyError when it is not here."""
        found = self._slots.pop(session_id)
        self._slots[session_id] = found
        return found

    def at(self, session_id: str) -> tuple[int, Meta]:
        """Return row number and meta; changes nothing. KeyError when it is not here."""
        return self._slots[session_id]

    def peek(self, session_id: str) -> Meta | None:
        """Return a session's meta where it is cached; changes nothing."""
        found = self._slots.get(session_id)
        return None if found is None else found[1]

    def put(self, session_id: str, meta: Meta | None, row: NDArray[np.float32] | None) -> None:
        """Take in a session that is not here yet; without meta and row it is new."""
        if not self._free:
            grown = np.empty((2 * len(self.rows), STATE_WIDTH), dtype=STATE_DTYPE)
            grown[: len(self.rows)] = self.rows
            self._free = list(range(len(self.rows), len(grown)))
            self.rows = grown
        slot = self._free.pop()
        self.rows[slot] = new_row() if row is None else row
        self._slots[session_id] = (slot, Meta() if meta is None else meta)

    def reset(self, session_id: str) -> None:
        """Let a session that is here begin anew: nothing of what was known of it is left."""
        slot, _ = self._slots[session_id]
        self.rows[slot] = new_row()
        self._slots[session_id] = (slot, Meta())

    def drop(self, session_id: str) -> None:
        """Forget a session, where it is here; its row is overwritten."""
        found = self._slots.pop(session_id, None)
        if found is not None:
            self.rows[found[0]] = 0.0
            self._free.append(found[0])

    def trim(self, capacity: int) -> None:
        """Forget the least recently used sessions beyond `capacity`."""
        for session_id in self._oldest(len(self._slots) - capacity):
            slot, _ = self._slots.pop(session_id)
            self._free.append(slot)

    def clear(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]

    def _oldest(self, count: int) -> Iterable[str]:
        return [] if count <= 0 else [sid for sid, _ in zip(self._slots, range(count), strict=False)]
