"""How glibc's allocator is set in a process that runs for months: few arenas, large blocks given back at once.

By itself it makes an arena for each thread that allocates while another one does, and after the first large block was
freed it takes blocks of that size (up to 32 MB) from its heap, where each that follows leaves a hole. Elsewhere (musl,
macOS) nothing is set: allocators there have no such habits.
"""

import ctypes
import sys
from typing import Final

ARENAS: Final = 2
"""The event loop's, and one for the clients' threads."""
LARGE_BYTES: Final = 2 * 1024 * 1024
"""Blocks from here on are mapped by themselves."""
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def bound_heap() -> bool:
    """Set it for this process, before there are other threads; return whether that was possible."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_ARENA_MAX, ARENAS) and mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
