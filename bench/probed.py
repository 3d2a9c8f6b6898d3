"""The worker with a probe on its loop: how late it comes to a timer of 1 ms. Written beside its log at SIGUSR1.

The probe is a task on the loop, so it measures what a chunk of another partition would wait. It costs a few per cent of
CPU time; figures of throughput and latency are taken without it.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path

from bench.figures import percentile
from stream import logs, settings_source
from stream.app import Worker
from stream.stopping import Stop

TICK_S = 0.001


class Probe:
    """Looks every millisecond, and tells when asked."""

    def __init__(self, file: Path) -> None:
        self._late: list[float] = []
        self._file = file

    async def watch(self) -> None:
        """Run for ever."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.tell)
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self._late.append(max(0.0, time.perf_counter() - began - TICK_S) * 1000.0)

    def tell(self) -> None:
        """Write p99, p99.9, the worst (ms) and the number of looks since the last time."""
        late, self._late = sorted(self._late), []
        text = f"{percentile(late, 0.99)} {percentile(late, 0.999)} {late[-1]} {len(late)}" if late else "0 0 0 0"
        whole = self._file.with_suffix(".whole")
        whole.write_text(text, encoding="ascii")
        whole.rename(self._file)


def main() -> None:
    """Run the worker as its command does, with the probe among its tasks."""
    loaded = settings_source.load()
    logs.configure(loaded.log)
    stop = Stop(loaded.health.stop_s)
    stop.install()
    worker = Worker(loaded, stop)
    log = Path(f"/proc/self/fd/{sys.stderr.fileno()}").readlink()
    probe = Probe(log.with_name(log.name + ".late"))
    worker.app.task(probe.watch)
    worker.run()
    stop.leave(0)


if __name__ == "__main__":
    main()
