"""Reads files that somebody else may have put there: regular ones only, of bounded size, each opened once.

A name is resolved within its folder and never through a symbolic link; a FIFO, a device or a folder under that name is
refused without waiting for it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOCTTY", 0)
"""O_NONBLOCK: to open a FIFO that nobody writes to would wait for ever."""
_KINDS: Final = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class UnreadableFileError(Exception):
    """A file cannot be used; the message says why, and is to be put behind the file's name."""


@contextmanager
def opened_folder(path: Path) -> Iterator[int]:
    """Yield the descriptor of a folder: names read through it are all of this one, whatever `path` names meanwhile.

    `path` itself may be a symbolic link: it is the operator's own, and a way to switch folders at once. Raises
    UnreadableFileError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    except OSError as error:
        is_other = error.errno == errno.ENOTDIR
        why = f"is {_kind_at(path)}, not a folder" if is_other else f"cannot be read: {error.strerror}"
        raise UnreadableFileError(why) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_regular(name: str | Path, max_bytes: int, *, folder: int | None = None, follow: bool = False) -> bytes:
    """Return the bytes of a regular file of at most `max_bytes`.

    With `folder` (a descriptor) `name` is a name in that folder. A symbolic link is refused unless `follow`. The size
    is known before anything is read, and no more than that is read. Raises UnreadableFileError.
    """
    try:
        descriptor = os.open(name, _FLAGS | (0 if follow else os.O_NOFOLLOW), dir_fd=folder)
    except OSError as error:
        # ENXIO: a socket, or a device without a driver. ELOOP: a symbolic link, or links in a circle.
        link = error.errno == errno.ELOOP and not follow
        why = "is a symbolic link, not a regular file" if link else f"cannot be read: {error.strerror}"
        raise UnreadableFileError(why) from None
    try:
        return _read(descriptor, max_bytes)
    except OSError as error:
        raise UnreadableFileError(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _read(descriptor: int, max_bytes: int) -> bytes:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableFileError(f"is {_kind(found.st_mode)}, not a regular file")
    if found.st_size > max_bytes:
        raise UnreadableFileError(f"has {found.st_size} bytes, at most {max_bytes} are allowed")
    parts: list[bytes] = []
    left = found.st_size
    while left > 0:
        part = os.read(descriptor, min(left, 1 << 20))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _kind_at(path: Path) -> str:
    try:
        return _kind(path.stat().st_mode)
    except OSError:
        return "no longer there"


def _kind(mode: int) -> str:
    return next((words for is_one, words in _KINDS if is_one(mode)), "something else")
