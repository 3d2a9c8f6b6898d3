"""Counts the time in which a process does without a dependency: by name, in the looks of its watchdog."""

from collections.abc import Collection

from prometheus_client import Counter


class DegradedTime:
    """Adds up seconds by dependency. `note` from the event loop, `look` from the watchdog's thread."""

    def __init__(self, seconds: Counter) -> None:
        """`seconds` has one label: the dependency."""
        self._seconds = seconds
        self._noted: set[str] = set()

    def note(self, dependency: str) -> None:
        """Something was just done without this dependency."""
        self._noted.add(dependency)

    def look(self, passed_s: float, away: Collection[str]) -> None:
        """Count the time since the last look, s, for what was noted meanwhile and for what is away now."""
        noted, self._noted = self._noted, set()
        for dependency in noted.union(away):
            self._seconds.labels(dependency).inc(passed_s)
