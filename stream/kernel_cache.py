"""Lets a process start where the cache of compiled kernels can't be written: the disk is full, a quota is reached.

The kernels are compiled once an installation and kept on disk by numba, which takes a cache that can't be written for a
failure of the function that it compiled. Here it is a warning: this process has its kernels, the next start compiles
again.
"""

import logging
from typing import Any, Final

from numba.core.caching import FunctionCache

log = logging.getLogger(__name__)

_save: Final[Any] = FunctionCache.save_overload
_told: Final[set[str]] = set()


def tolerate_full_disk() -> None:
    """From here on, a kernel that can't be kept is told of once and used. May be called again."""
    FunctionCache.save_overload = _save_or_tell  # type: ignore[method-assign]


def _save_or_tell(self: Any, signature: Any, data: Any) -> None:
    try:
        _save(self, signature, data)
    except OSError as error:
        why = error.strerror or type(error).__name__
        if why not in _told:
            _told.add(why)
            log.warning("compiled kernels can't be kept (%s): until they can, each start takes a minute longer", why)
