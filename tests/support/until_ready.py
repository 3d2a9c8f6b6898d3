"""Runs `tellwire worker|learner|gateway` as a shell would, until it says that it is ready; then stops it.

`python -m tests.support.until_ready worker [OPTIONS]`: settings come from the environment, but for the port of its
probes and a learner's group. The exit status is that of the process, or 1 with its log where it never was ready.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.support.pipeline import Process
from tests.support.process import free_ports, spawn


def main(arguments: list[str]) -> int:
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        # A learner in a group of its own: two in one would wait for each other.
        own = {"TELLWIRE_METRICS__PORT": str(port), "TELLWIRE_KAFKA__LEARNER_GROUP": f"until-ready-{port}"}
        environment = {**os.environ, **own}
        process = Process(spawn([sys.executable, "-m", "stream", *arguments], log, environment), port, log)
        try:
            process.wait_ready()
        except AssertionError as error:
            print(error, file=sys.stderr)
            process.stop()
            return 1
        return process.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
