"""Reads the settings, and tells what is wrong with them in one clear line a problem, never a stack trace.

Values come, strongest first, from the environment (`TELLWIRE_` prefix, `__` between levels), a TOML file (`--config` or
`TELLWIRE_CONFIG`), and the defaults in settings.py.
"""

import difflib
import json
import os
import tomllib
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from stream.settings import CONFIG_VARIABLE, PREFIX, Settings, SettingsError, declared, is_secret, variable_of


def load(config_file: Path | None = None) -> Settings:
    """Read settings from file and environment.

    Raises SettingsError, one line a problem, for unknown names, wrong values and unreadable files.
    """
    path, values = read_file(config_file)
    _check_variables()
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from None


def read_file(config_file: Path | None = None) -> tuple[Path | None, dict[str, Any]]:
    """Return the settings file in force and its content; (None, {}) where there is none.

    Raises SettingsError when it cannot be read.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = config_file if config_file is not None else Path(named) if named else None
    if path is None:
        return None, {}
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            problem = "is not a regular file"
            raise SettingsError(f"settings file {path}: {problem}")
        # Editors on Windows put a byte-order mark in front.
        return path, tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        problem = "not found"
    except IsADirectoryError:
        problem = "is a folder, not a file"
    except OSError as error:
        problem = str(error.strerror)
    except RecursionError:
        problem = "not valid: nested too deep"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"not valid TOML: {error}"
    raise SettingsError(f"settings file {path}: {problem}")


def _check_variables() -> None:
    """Refuse unknown names and broken JSON, which pydantic-settings reports without the variable's name."""
    # Which variables there are, and which of them hold a JSON object.
    known = {variable_of(section, name): get_origin(field.annotation) is dict for section, name, field in declared()}
    known[CONFIG_VARIABLE] = False
    problems = []
    for name, value in sorted(os.environ.items()):
        upper = name.upper()
        if not upper.startswith(PREFIX):
            continue
        if upper not in known:
            names = [variable.removeprefix(PREFIX) for variable in known]
            near = difflib.get_close_matches(upper.removeprefix(PREFIX), names, n=1, cutoff=0.6)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else "; see `tellwire config show`"
            problems.append(f"environment variable {name}: no such setting{hint}")
        elif known[upper]:
            try:
                parsed = json.loads(value)
            except json.JSONDecodeError:
                parsed = None
            if not isinstance(parsed, dict):
                problems.append(f'environment variable {name}: must be a JSON object, such as {{"client.id": "w1"}}')
    if problems:
        raise SettingsError("\n".join(problems))


_MESSAGES = {"path_type": "must be a path"}
"""Where pydantic speaks of Python."""


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    fields = {f"{section}.{name}": field for section, name, field in declared()}
    names = [*Settings.model_fields, *fields]
    for problem in error.errors():
        place = [str(part) for part in problem["loc"]]
        name = ".".join(place[:2])
        if problem["type"] == "extra_forbidden":
            # Names from the environment were checked before: this one is the file's.
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]}?" if near else "; see `tellwire config show`"
            lines.append(f"settings file {path}: {name}: no such setting{hint}")
        elif len(place) == 1:
            lines.append(f"settings file {path}: {name}: must be a section, [{name}] with one setting a line")
        else:
            variable = variable_of(*place[:2])
            where = f"{name} ({variable})" if path is None else f"{name} ({variable} or {path})"
            inner = f"{'.'.join(place[2:])}: " if place[2:] else ""
            message = _MESSAGES.get(problem["type"], problem["msg"].removeprefix("Value error, "))
            given = "" if inner or is_secret(fields[name]) else f", got {_short(problem['input'])}"
            lines.append(f"{where}: {inner}{message[0].lower()}{message[1:]}{given}")
    return "\n".join(lines)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
