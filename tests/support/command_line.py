"""Runs `tellwire COMMAND ...` in this process as a shell would: its exit status, standard output and standard error."""

from __future__ import annotations

import sys

import pytest

from stream import cli


class CommandLine:
    """One command of `tellwire`; call it with its arguments."""

    def __init__(
        self, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int = 120
    ) -> None:
        """`columns`: width of the terminal that it believes in."""
        self._name, self._capsys, self._monkeypatch = name, capsys, monkeypatch
        monkeypatch.setenv("COLUMNS", str(columns))

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """Return what it prints; it must end with exit status `code`."""
        self._monkeypatch.setattr(sys, "argv", ["tellwire", self._name, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, out + err
        return out, err
