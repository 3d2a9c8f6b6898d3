"""Looks after the state store beside the chunks: checks its servers every few seconds, and exports its figures.

A check finds what changed under a running worker: a server that was told to evict, or that evicted. It also keeps the
watermarks of idle partitions from running out.
"""

import logging
import time
from collections.abc import Collection, Iterable
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from stream.metric_family import Family, collected, one
from stream.state import StateStore, StoreError, StoreMisconfigured, StoreStats, StoreUnavailable

log = logging.getLogger(__name__)

CHECK_S: Final = 5.0
"""Time between two checks, s."""
KEEP_S: Final = 3_600.0
"""Time after which the watermarks of owned partitions are kept for another term, s."""


STORE_FAMILIES: Final[tuple[Family[StoreStats], ...]] = (
    Family(
        "tellwire_store_connections", "counter", "Connections opened to the store.", one(lambda s: s.connections_total)
    ),
    Family("tellwire_store_round_trips", "counter", "Exchanges with a server.", one(lambda s: s.round_trips_total)),
    Family("tellwire_store_sent_bytes", "counter", "Bytes sent to the store.", one(lambda s: s.sent_bytes_total)),
    Family(
        "tellwire_store_received_bytes", "counter", "Bytes of sessions received.", one(lambda s: s.received_bytes_total)
    ),
    Family(
        "tellwire_store_unavailable",
        "counter",
        "Calls that were not answered in time.",
        one(lambda s: s.unavailable_total),
    ),
    Family(
        "tellwire_store_full",
        "counter",
        "Calls refused because a server's memory is full.",
        one(lambda s: s.full_total),
    ),
    Family(
        "tellwire_store_repeated_commits",
        "counter",
        "Writes that had arrived although their answer was lost: repeated, and changed nothing.",
        one(lambda s: s.repeated_commits_total),
    ),
    Family(
        "tellwire_store_script_reloads",
        "counter",
        "Times that a server had forgotten a script: a restart or a failover.",
        one(lambda s: s.script_reloads_total),
    ),
    Family(
        "tellwire_store_redirections",
        "counter",
        "Commands that a cluster sent elsewhere or asked to send again: MOVED, ASK, TRYAGAIN.",
        one(lambda s: s.redirections_total),
    ),
    Family(
        "tellwire_store_topology_changes",
        "counter",
        "Times that a cluster's slots were found with other masters than before.",
        one(lambda s: s.topology_changes_total),
    ),
    Family(
        "tellwire_store_evicted_keys",
        "gauge",
        "Keys that the servers evicted since they were started. Anything but 0: state was lost.",
        one(lambda s: s.evicted_keys_total),
    ),
    Family(
        "tellwire_store_memory_used_ratio",
        "gauge",
        "Share of its memory limit that the fullest server uses, 0 to 1; none without a limit.",
        one(lambda s: s.memory_used_ratio),
    ),
    Family(
        "tellwire_store_counters_missing",
        "counter",
        "Entity counters that could not be read: their events are degraded.",
        one(lambda s: s.counters_missing_total),
    ),
    Family(
        "tellwire_store_unreadable_entities",
        "counter",
        "Entity counters under whose key somebody else's value was found.",
        one(lambda s: s.unreadable_entities_total),
    ),
    Family(
        "tellwire_store_links_left",
        "counter",
        "Links that were written later than their chunk because their server was away.",
        one(lambda s: s.links_left_total),
    ),
)


class StoreWatch(Collector):
    """Checks one store and exports its statistics; register it on the process's registry."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._evicted: int | None = None
        self._told = ""
        self._warned: set[str] = set()
        self._kept_at = time.monotonic()

    async def look(self, topic: str, partitions: Collection[int]) -> None:
        """Check the store; keep the watermarks of these partitions of `topic` now and then. Raises nothing."""
        try:
            await self._store.check()
            if time.monotonic() - self._kept_at >= KEEP_S:
                await self._store.watermarks(topic, sorted(partitions))
                self._kept_at = time.monotonic()
        except StoreMisconfigured as error:
            if str(error) != self._told:
                self._told = str(error)
                log.error("the state store is not used until this is put right: %s", error)
            return
        except StoreUnavailable:
            return  # chunks that wait for it say so
        except StoreError as error:
            log.warning("the state store could not be checked: %s", error)
            return
        if self._told:
            self._told = ""
            log.info("the state store is used again")
        self._tell()

    def _tell(self) -> None:
        for warning in getattr(self._store, "warnings", ()):
            if warning not in self._warned:
                self._warned.add(warning)
                log.warning("state store: %s", warning)
        evicted = self._store.stats.evicted_keys_total
        if self._evicted is not None and evicted > self._evicted:
            log.error(
                "the state store evicted keys: their sessions begin anew and are marked state_cold, and counters lack "
                "members; set maxmemory-policy to noeviction and give it more memory",
                extra={"evicted_keys": evicted - self._evicted},
            )
        self._evicted = evicted

    def collect(self) -> Iterable[Metric]:
        """Yield one family a figure."""
        yield from collected(STORE_FAMILIES, self._store.stats)
