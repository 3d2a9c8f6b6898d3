"""The test tree: mirrors the four packages, plus contract, integration, fault and property tests.

Only `tests` and `tests.support` are packages, so that helpers import as `tests.support.x`; test folders need no
`__init__.py` (pytest runs with `--import-mode=importlib`, equal file names in different folders don't collide).
"""
