"""How this process uses the cache of compiled kernels: it loads them without the compiler, and a full disk is no end.

The kernels are compiled once an installation and kept on disk by numba. Before it looks there, numba readies its
compiler: two hundred modules, among them scipy's linear algebra where that is installed, and three times as long as
loading all our kernels takes. A kernel that is found needs none of it, and one that is not found readies it when it is
compiled. And numba takes a cache that can't be written for a failure of the function that it compiled. Here it is a
warning: this process has its kernels, the next start compiles again.
"""

import logging
from typing import Any, Final

from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys

log = logging.getLogger(__name__)

_save: Final[Any] = FunctionCache.save_overload
_told: Final[set[str]] = set()


def prepare() -> None:
    """From here on kernels are loaded quickly, and one that can't be kept is told of once and used.

    To be called before any kernel is; may be called again.
    """
    FunctionCache.load_overload = _load_without_compiler  # type: ignore[method-assign]
    FunctionCache.save_overload = _save_or_tell  # type: ignore[method-assign]


def _load_without_compiler(self: Any, signature: Any, context: Any) -> Any:
    """Return the cached kernel of a signature; None where there is none, and it is compiled."""
    rtsys.initialize(context)  # memory for the arrays that kernels make
    with self._guard_against_spurious_io_errors():
        return self._load_overload(signature, context)


def _save_or_tell(self: Any, signature: Any, data: Any) -> None:
    try:
        _save(self, signature, data)
    except OSError as error:
        why = error.strerror or type(error).__name__
        if why not in _told:
            _told.add(why)
            log.warning("compiled kernels can't be kept (%s): until they can, each start takes a minute longer", why)
