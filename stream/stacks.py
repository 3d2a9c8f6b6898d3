"""Where every thread and every asyncio task of this process stands: files, lines and function names, never a value."""

import asyncio
import itertools
import logging
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

log = logging.getLogger(__name__)

MAX_FRAMES: Final = 40
"""Innermost frames shown of one stack."""
MAX_TASKS: Final = 200


def thread_stacks() -> Iterator[tuple[str, list[str]]]:
    """Yield name and frames, innermost last, of every Python thread but the calling one."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - its documented name
        if ident != own:
            yield names.get(ident, "thread not of Python's making"), _outwards(frame)


def task_stacks(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[str, list[str]]]:
    """Yield name and frames of every unfinished task, down to what it awaits; from any thread, as well as that goes."""
    for task in itertools.islice(_tasks(loop), MAX_TASKS):
        coroutine: Any = task.get_coro()
        name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
        frames: list[str] = []
        while coroutine is not None and len(frames) < MAX_FRAMES:
            frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
            if frame is not None:
                frames.append(_place(frame))
            coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
        yield name, frames


def tell_stacks(loop: asyncio.AbstractEventLoop | None) -> None:
    """Log where each thread and each task stands, one line each, and write the log out."""
    for name, frames in thread_stacks():
        log.critical("thread %s stands at %s", name, frames[-1] if frames else "?", extra={"frames": frames})
    for name, frames in task_stacks(loop) if loop is not None else ():
        log.critical("task %s stands at %s", name, frames[-1] if frames else "?", extra={"frames": frames})
    for handler in logging.getLogger().handlers:
        handler.flush()


def _tasks(loop: asyncio.AbstractEventLoop) -> Iterator["asyncio.Task[Any]"]:
    try:
        yield from asyncio.all_tasks(loop)
    except RuntimeError:  # the set changed for as long as it was tried
        return


def _outwards(frame: FrameType | None) -> list[str]:
    found: list[str] = []
    while frame is not None and len(found) < MAX_FRAMES:
        found.append(_place(frame))
        frame = frame.f_back
    return found[::-1]


def _place(frame: FrameType) -> str:
    code = frame.f_code
    file = code.co_filename.rsplit("/", 2)
    return f"{'/'.join(file[-2:])}:{frame.f_lineno} {code.co_qualname}"
