"""Imports Faust without aiohttp, of which Faust takes one name, for annotations of an HTTP client.

That client is not used here, and it is a seventh of what a process of ours would import. Whoever imports aiohttp later
gets the real one; where it is there already, or Faust wants more of it than that name, the real one is used.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType
from typing import Any, Final

_CLIENT: Final = "ClientSession"


def _import_types() -> None:
    """Import ``faust.types``, unless it is there already."""
    if "faust.types" in sys.modules or "aiohttp" in sys.modules:
        return
    package: Any = ModuleType("aiohttp")
    package.client = ModuleType("aiohttp.client")
    setattr(package.client, _CLIENT, type(_CLIENT, (), {}))
    lent = {"aiohttp": package, "aiohttp.client": package.client}
    sys.modules.update(lent)
    try:
        # Where it fails, modules that were half imported are gone, and who needs them imports them as they are.
        with contextlib.suppress(ImportError):
            importlib.import_module("faust.types")
    finally:
        for name in lent:
            sys.modules.pop(name, None)


_import_types()
# By name: an import statement would have to stand above.
TRANSPORTS: Final[Any] = importlib.import_module("faust.transport.drivers").TRANSPORTS
"""Faust's transports by URL scheme. Take it from here before anything else of Faust is imported."""
