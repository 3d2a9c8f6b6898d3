"""The generated reference pages: complete, and not behind their declarations."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer

from stream import reference_pages, settings
from stream.cli import app
from stream.exit_status import EXIT_CODES
from stream.gateway.metrics import GatewayMetrics
from stream.metrics import Metrics
from stream.reference_pages import PAGES, ROOT, command_line_page, drift, main, metrics_page, render, settings_page
from stream.store_watch import STORE_FAMILIES
from stream.transport_watch import FAMILIES


@pytest.mark.parametrize("page", sorted(PAGES, key=str), ids=lambda page: page.name)
def test_committed_pages_are_what_their_declarations_say(page: Path) -> None:
    assert [line for line in drift() if line.startswith(str(page))] == []


def test_make_contracts_renders_them() -> None:
    said = subprocess.run(["make", "-n", "contracts"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert "stream.reference_pages render" in said


def test_drift_is_told_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drift(tmp_path) == [f"{page} is missing: run `make contracts`" for page in PAGES]
    assert render(tmp_path) == list(PAGES)
    assert drift(tmp_path) == []
    assert render(tmp_path) == []
    page = tmp_path / "docs/reference/metrics.md"
    page.write_text(page.read_text() + "by hand\n")
    assert drift(tmp_path) == ["docs/reference/metrics.md differs from its declarations: run `make contracts`"]
    assert render(tmp_path) == [Path("docs/reference/metrics.md")]


def test_check_is_exit_1_when_a_page_is_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference_pages, "drift", lambda: ["x is missing"])
    assert main(["check"]) == 1
    assert capsys.readouterr().err == "x is missing\n"
    monkeypatch.setattr(reference_pages, "drift", list)
    assert main(["check"]) == 0


def test_every_setting_is_on_its_page_and_the_environment_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings_page()
    monkeypatch.setenv("TELLWIRE_KAFKA__GROUP", "of-this-machine")
    assert settings_page() == before
    for section, name, field in settings.declared():
        row = next(line for line in before.splitlines() if line.startswith(f"| `{section}.{name}` |"))
        assert f"`{settings.variable_of(section, name)}`" in row
        assert (field.description or "?") in row


def test_every_metric_that_can_be_scraped_is_on_its_page() -> None:
    names = set(re.findall(r"^\| `(\w+)` \|", metrics_page(), re.MULTILINE))
    registered = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for registry in (Metrics().registry, GatewayMetrics().registry)
        for family in registry.collect()
    }
    watched = {family.shown_name for family in FAMILIES} | {family.shown_name for family in STORE_FAMILIES}
    assert names == registered | watched


def test_every_command_and_option_is_on_its_page() -> None:
    page = command_line_page()

    def check(path: str, command: object) -> None:
        inside = getattr(command, "commands", None)
        if inside is not None:
            for name, child in inside.items():
                check(f"{path} {name}", child)
            return
        section = page.split(f"## {path}\n")[1].split("\n## ")[0]
        for parameter in command.params:  # type: ignore[attr-defined]
            options = [name for name in parameter.opts if name.startswith("-")] or [parameter.name.upper()]
            assert all(f"`{name}`" in section for name in options)

    check("tellwire", typer.main.get_command(app))
    assert all(f"| {code} | {meaning} |" in page for code, meaning in EXIT_CODES.items())


@pytest.mark.parametrize("page", sorted(PAGES, key=str), ids=lambda page: page.name)
def test_tables_are_whole(page: Path) -> None:
    rows = [line for line in PAGES[page]().splitlines() if line.startswith("|")]
    assert rows
    width = 0
    for line in rows:
        cells = len(re.findall(r"(?<!\\)\|", line))
        if set(line) <= set("|- "):
            assert cells == width
        width = cells
