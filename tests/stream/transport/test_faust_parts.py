"""What the transport puts in the place of Faust's own parts."""

from __future__ import annotations

from pathlib import Path

import faust
import pytest

from stream.transport import faust_settings
from stream.transport.conductor import NoTables


async def test_a_start_does_not_sleep_for_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust's table manager sleeps for a second before the group is joined: partitions would wait for it."""
    app = faust.App("a", broker="librdkafka://127.0.0.1:1", datadir=tmp_path, **faust_settings())
    assert isinstance(app.tables, NoTables)
    began: list[str] = []

    async def start() -> None:
        began.append("recovery")

    async def sleep(seconds: float) -> None:
        raise AssertionError(f"it sleeps for {seconds} s")

    monkeypatch.setattr(app.tables, "sleep", sleep)
    monkeypatch.setattr(app.tables.recovery, "start", start)
    await app.tables.on_start()
    assert began == ["recovery"]
