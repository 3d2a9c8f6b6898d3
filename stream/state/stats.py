"""Counts of what a state store did, for metrics, tests and the performance report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

Operation = Literal["watermarks", "crash_note", "load", "commit", "ping", "movements"]
Observer = Callable[[Operation, float], None]
"""Called with each finished operation (also a failed one) and its duration in seconds."""


class StoreStats(msgspec.Struct, kw_only=True):
    """Totals since the store was made. Times are seconds, sizes bytes of payload on the wire."""

    loads_total: int = 0
    commits_total: int = 0
    repeated_commits_total: int = 0
    """Commits that had already arrived when they were repeated: their first answer was lost."""
    conflicts_total: int = 0
    """Commits that were refused because the stored watermark was not the expected one."""
    unavailable_total: int = 0
    full_total: int = 0
    script_reloads_total: int = 0
    """Times that the server had forgotten a script (restart, flush) and it was loaded again."""
    connections_total: int = 0
    """Connections opened."""
    round_trips_total: int = 0
    """Exchanges, each one round trip; on a cluster the two of a load run at the same time."""
    sent_bytes_total: int = 0
    received_bytes_total: int = 0
    """Bytes of session values received (replies to everything else are small)."""
    sessions_read_total: int = 0
    sessions_found_total: int = 0
    sessions_written_total: int = 0
    entities_read_total: int = 0
    """Entity counters read, after equal reads of a chunk were joined."""
    sampled_reads_total: int = 0
    """Entity reads in which at least one count was an estimate."""
    counters_missing_total: int = 0
    """Entity reads that had to be answered with "unknown" because their servers did not answer."""
    unreadable_entities_total: int = 0
    """Entity reads that found somebody else's value under the key."""
    links_written_total: int = 0
    links_left_total: int = 0
    """Links that could not be written with their chunk because their servers did not answer."""
    movements_asked_total: int = 0
    movements_missing_total: int = 0
    """Movements that were asked about in vain because a server of their buckets did not answer."""
    redirections_total: int = 0
    """Commands that a cluster sent to another node, or asked to send again."""
    topology_changes_total: int = 0
    """Times that a cluster was found with other owners of its slots than before."""
    evicted_keys_total: int = 0
    """Keys that the servers evicted since they were started, as they said at the last check."""
    memory_used_ratio: float | None = None
    """Share of its memory limit that the fullest server uses, as it said at the last check; None without a limit."""
    load_s_total: float = 0.0
    commit_s_total: float = 0.0
    load_s_max: float = 0.0
    commit_s_max: float = 0.0

    def took(self, operation: Operation, seconds: float) -> None:
        """Add one finished load or commit."""
        if operation == "load":
            self.loads_total += 1
            self.load_s_total += seconds
            self.load_s_max = max(self.load_s_max, seconds)
        elif operation == "commit":
            self.commits_total += 1
            self.commit_s_total += seconds
            self.commit_s_max = max(self.commit_s_max, seconds)
