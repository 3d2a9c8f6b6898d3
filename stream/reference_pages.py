"""Writes and checks the reference pages that stand in declarations: settings, metrics, features, injection, commands.

`python -m stream.reference_pages render` writes them, `check` says which differ from their declarations (exit 1). The
contracts and their page are `schemas.contracts_cli`'s.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import typer
from prometheus_client.metrics import MetricWrapperBase

from features import document
from stream.cli import app
from stream.exit_status import EXIT_CODES
from stream.gateway.metrics import GatewayMetrics
from stream.injection_page import injection_page
from stream.loop_metrics import LoopCounter, LoopHistogram
from stream.metric_family import Family
from stream.metrics import Metrics
from stream.setting_rows import SettingRow, declared_rows
from stream.settings import CONFIG_VARIABLE, PREFIX, Settings
from stream.store_watch import STORE_FAMILIES
from stream.transport_watch import FAMILIES

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = Path("docs/reference")


_SETTINGS_INTRODUCTION: Final = f"""\
A value comes, strongest first, from the environment, from a TOML file (`--config FILE` or the variable
`{CONFIG_VARIABLE}`), or is the default. In the file, a section is a table: `kafka.group` is `group` below `[kafka]`.
In the environment it is `{PREFIX}KAFKA__GROUP`; an object is written as JSON. An unknown name or a wrong value is told
in one line, with exit code 2. `tellwire config show` prints the values in force and where each comes from; secrets are
masked there, as everywhere.""".splitlines()

_METRICS_INTRODUCTION: Final = """\
Worker, learner and gateway serve them on `/metrics` in Prometheus' text format (`metrics.host`, `metrics.port`). Units
are in the names: seconds, bytes, ratios; `_total` ends a counter's name. No label ever holds an identifier of a
session, account, device or address. A histogram has `_bucket`, `_sum` and `_count` series. A labelled metric appears
with its first observation; those whose first one raises an alert are there from the start, at 0. What they are for:
[monitor](../how-to/monitor.md).""".splitlines()

_COMMANDS_INTRODUCTION: Final = """\
Results go to standard output; progress, logs and errors go to standard error. `--help` explains every command,
`tellwire --version` names the version, and `tellwire --install-completion` sets up completion in the shell in
use.""".splitlines()


def settings_page() -> str:
    """The page of all settings as Markdown."""
    lines = [
        "# Settings",
        "",
        _generated("stream/settings.py"),
        "",
        *_SETTINGS_INTRODUCTION,
    ]
    rows = declared_rows()
    for section, field in Settings.model_fields.items():
        lines += ["", f"## {section}", "", (getattr(field.annotation, "__doc__", None) or "").strip(), ""]
        header = ("setting", "variable", "type", "allowed", "default", "meaning")
        lines += _table(header, (_setting(row) for row in rows if row.name.startswith(f"{section}.")))
    return "\n".join(lines) + "\n"


def _setting(row: SettingRow) -> tuple[str, ...]:
    default = row.default if row.default == "(unset)" else f"`{row.default}`"
    allowed = f"`{row.allowed}`" if row.allowed else ""
    return (f"`{row.name}`", f"`{row.variable}`", row.type, allowed, default, row.description)


def metrics_page() -> str:
    """The page of all metrics as Markdown."""
    lines = [
        "# Metrics",
        "",
        _generated(
            "stream/metrics.py`, `stream/gateway/metrics.py`, `stream/store_watch.py` and `stream/transport_watch.py"
        ),
        "",
        *_METRICS_INTRODUCTION,
        "",
        "## Pipeline and learner",
        "",
        *_table(("metric", "type", "labels", "meaning"), (_metric(*row) for row in _own_metrics(Metrics()))),
        "",
        "## State store",
        "",
        *_table(("metric", "type", "labels", "meaning"), _watched(STORE_FAMILIES)),
        "",
        "## Transport",
        "",
        "Read from the transport once a second, from the first second on.",
        "",
        *_table(("metric", "type", "labels", "meaning"), _watched(FAMILIES)),
        "",
        "## Gateway",
        "",
        *_table(("metric", "type", "labels", "meaning"), (_metric(*row) for row in _own_metrics(GatewayMetrics()))),
    ]
    return "\n".join(lines) + "\n"


class MetricRow(NamedTuple):
    """One metric as it is declared: the name under which it is scraped, without the ends of a histogram's series."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def declared_metrics() -> list[MetricRow]:
    """Every metric of every process."""
    watched = [
        MetricRow(family.shown_name, family.kind, family.labels, family.text)
        for families in (STORE_FAMILIES, FAMILIES)
        for family in cast("Iterable[Family[Any]]", families)
    ]
    return [*_own_metrics(Metrics()), *_own_metrics(GatewayMetrics()), *watched]


def _own_metrics(metrics: Metrics | GatewayMetrics) -> Iterator[MetricRow]:
    for metric in vars(metrics).values():
        labels: Sequence[str]
        if isinstance(metric, LoopHistogram | LoopCounter):
            labels = metric.label_names
        elif isinstance(metric, MetricWrapperBase):
            labels = metric._labelnames  # noqa: SLF001 - the library has no public way to ask
        else:
            continue
        (family,) = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield MetricRow(name, family.type, tuple(labels), family.documentation)


def _watched(families: Iterable[Family[Any]]) -> Iterator[tuple[str, ...]]:
    for family in families:
        yield _metric(family.shown_name, family.kind, family.labels, family.text)


def _metric(name: str, kind: str, labels: Iterable[str], text: str) -> tuple[str, ...]:
    return (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), text)


def command_line_page() -> str:
    """The page of all commands, their options and exit codes as Markdown."""
    root = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        _generated("stream/cli/"),
        "",
        *_COMMANDS_INTRODUCTION,
        "",
        "## Exit codes",
        "",
        *_table(("code", "meaning"), ((str(code), meaning) for code, meaning in EXIT_CODES.items())),
    ]
    for path, command in _commands("tellwire", root):
        lines += ["", f"## {path}", "", _paragraphs(command.help)]
        rows = [_parameter(parameter) for parameter in command.params]
        if rows:
            lines += ["", *_table(("parameter", "value", "default", "meaning"), rows)]
    return "\n".join(lines) + "\n"


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, by its full name, depth first."""
    inside = getattr(command, "commands", None)
    if inside is None:
        yield path, command
        return
    for name, child in inside.items():
        yield from _commands(f"{path} {name}", child)


def _parameter(parameter: Any) -> tuple[str, ...]:
    info = parameter.type_descriptor.parameter_info
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.opts == [parameter.name]:
        names = f"`{parameter.name.upper()}`"
    flag = getattr(parameter, "is_flag", False)
    value = "" if flag else parameter.metavar or _kind(parameter.type_descriptor.annotation)
    bounds = [
        f"{sign} {limit:g}" for sign, limit in ((">=", parameter.min), ("<=", parameter.max)) if limit is not None
    ]
    if bounds:
        value = f"{value} {', '.join(bounds)}"
    default = "required" if parameter.required else ""
    if parameter.default is not None and not flag:
        default = f"`{parameter.default}`"
    elif flag and parameter.secondary_opts:
        default = f"`{(parameter.opts if parameter.default else parameter.secondary_opts)[0]}`"
    return names, value, default, info.help or ""


def _kind(annotation: Any) -> str:
    return {Path: "path", int: "integer", float: "number", str: "text"}.get(annotation, str(annotation))


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


def _generated(source: str) -> str:
    return f"<!-- Generated from `{source}` by `make contracts`. Edit the declarations, not this page. -->"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]


PAGES: Final[dict[Path, Callable[[], str]]] = {
    FOLDER / "settings.md": settings_page,
    FOLDER / "metrics.md": metrics_page,
    FOLDER / "command-line.md": command_line_page,
    FOLDER / "features.md": document.render,
    FOLDER / "injection.md": injection_page,
}
"""How each page is made, by its path from the repository's root."""


def render(target: Path = ROOT) -> list[Path]:
    """Write all pages below `target`; return those that changed."""
    changed = []
    for path, make in PAGES.items():
        file, text = target / path, make()
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def drift(target: Path = ROOT) -> list[str]:
    """One line for each page below `target` that differs from what `render` would write; [] when all agree."""
    lines = []
    for path, make in PAGES.items():
        file = target / path
        if not file.is_file():
            lines.append(f"{path} is missing: run `make contracts`")
        elif file.read_text(encoding="utf-8") != make():
            lines.append(f"{path} differs from its declarations: run `make contracts`")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 when all is well, 1 when `check` finds something."""
    parser = argparse.ArgumentParser(prog="python -m stream.reference_pages", description="Generated reference pages.")
    parser.add_argument("command", choices=("render", "check"))
    if parser.parse_args(arguments).command == "render":
        for path in render():
            sys.stdout.write(f"{path}\n")
        return 0
    lines = drift()
    for line in lines:
        sys.stderr.write(f"{line}\n")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
