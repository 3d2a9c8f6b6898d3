"""Asks worker and learner how they are: `/readyz` while they start, latency and what was learnt from `/metrics`.

They serve both on 127.0.0.1; see the list of metrics for what the histogram holds.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Sequence

from stream.demo.tally import Quantiles

LEARNT = "tellwire_learner_learnt_total"
HISTOGRAM = "tellwire_received_to_acked_seconds_bucket"
_ANSWER_S = 1.0


def free_ports(n: int) -> list[int]:
    """Return `n` ports of 127.0.0.1 that were free just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def is_free(port: int) -> bool:
    """Whether a port of 127.0.0.1 can be had just now."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def get(port: int, path: str) -> tuple[int, str]:
    """Return status and body of a local GET; status 0 where nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


class Probe:
    """Reads worker and learner each second, in a thread of its own, so that no answer delays the view."""

    def __init__(self, worker_port: int, learner_port: int) -> None:
        self._worker_port, self._learner_port = worker_port, learner_port
        self._stop = threading.Event()
        self.acked: Quantiles | None = None
        self.learnt = 0
        """Vectors that the learner took."""
        self._thread = threading.Thread(target=self._run, name="demo-probe", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask a last time, and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * _ANSWER_S)

    def _run(self) -> None:
        while True:
            last = self._stop.wait(1.0)
            status, body = get(self._worker_port, "/metrics")
            if status == 200:
                self.acked = histogram_quantiles(body) or self.acked
            status, body = get(self._learner_port, "/metrics")
            if status == 200:
                self.learnt = counter_total(body, LEARNT)
            if last:
                return


def counter_total(body: str, name: str) -> int:
    """Sum of a counter over all its labels; 0 where it is absent."""
    rows = (line for line in body.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in rows))


def histogram_quantiles(body: str) -> Quantiles | None:
    """Median and 99th percentile, ms, of the worker's histogram; None while it is empty or absent."""
    buckets: list[tuple[float, float]] = []
    for line in body.splitlines():
        if line.startswith(HISTOGRAM):
            edge = line.partition('le="')[2].partition('"')[0]
            buckets.append((float(edge), float(line.rsplit(" ", 1)[1])))
    buckets.sort()
    total = buckets[-1][1] if buckets else 0.0
    if total <= 0:
        return None
    return Quantiles(_quantile(buckets, 0.5) * 1000, _quantile(buckets, 0.99) * 1000, int(total))


def _quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    """Linear within the bucket, as Prometheus' histogram_quantile; the last edge for what lies beyond it."""
    rank = share * buckets[-1][1]
    below_edge, below_count = 0.0, 0.0
    for edge, count in buckets:
        if count >= rank and count > below_count:
            if edge == float("inf"):
                return below_edge
            return below_edge + (edge - below_edge) * (rank - below_count) / (count - below_count)
        below_edge, below_count = edge, count
    return below_edge
