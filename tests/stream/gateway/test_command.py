"""`tellwire gateway` where its extra is not installed: one line that says what to install."""

from __future__ import annotations

import sys

import pytest

from stream import cli
from tests.stream.gateway.doubles import SECRET


@pytest.mark.parametrize("name", ["uvicorn", "starlette", "httptools"])
def test_a_missing_extra_is_told(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [*sys.modules]:
        if module.startswith(
            (
                "stream.gateway.app",
                "stream.gateway.server",
                "stream.gateway.bounded",
                "stream.http_server",
                "uvicorn.prot",
            )
        ):
            monkeypatch.delitem(sys.modules, module)
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("TELLWIRE_GATEWAY__TOKEN_KEY", SECRET)
    monkeypatch.setattr("stream.stopping.Stop.install", lambda _: None)
    monkeypatch.setattr("stream.logs.configure", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["tellwire", "gateway"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"tellwire: the gateway needs {name}, which is not installed: install tellwire[gateway]\n"
    )
