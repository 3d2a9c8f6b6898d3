"""A display that nobody sees, for one attacker's window: so that it has the focus, as a person's window has."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Final

SIZE: Final = (1280, 1600)
"""A screen on which the whole form of the demo's page is seen without scrolling, px."""
_STOP_S: Final = 10.0


@contextlib.contextmanager
def display(server: str | None, window_manager: str | None) -> Iterator[str | None]:
    """Start an X server (the path of Xvfb) until the end of the block; yields its display, None without one.

    Without a window manager no window gets the focus.
    """
    if server is None:
        yield None
        return
    started = [
        subprocess.Popen(  # noqa: S603 - an X server found on PATH
            [server, "-displayfd", "1", "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-nolisten", "tcp"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    ]
    try:
        assert started[0].stdout is not None
        name = f":{started[0].stdout.readline().strip().decode()}"
        if name != ":" and window_manager is not None:
            env = {**os.environ, "DISPLAY": name}
            started.append(subprocess.Popen([window_manager], env=env, stderr=subprocess.DEVNULL))  # noqa: S603 - as above
        yield name if name != ":" else None
    finally:
        for each in reversed(started):
            each.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.wait(_STOP_S)
