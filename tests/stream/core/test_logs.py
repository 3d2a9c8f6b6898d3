"""Logs: whatever is logged is one line that a program can read."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import logs
from stream.settings import LogSettings

NAMES = st.text(st.characters(categories=["Ll"]), min_size=1).filter(lambda name: name not in logs._STANDARD)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inside: st.lists(inside) | st.dictionaries(st.integers() | st.text(), inside) | st.tuples(inside),
    max_leaves=6,
)


def a_record(message: str = "it happened", *arguments: object, **extra: Any) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": "stream.x", "levelno": 30, "levelname": "WARNING", "msg": message, **extra})
    record.args = arguments
    return record


@given(st.text(), st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_record_is_one_line_of_json(message: str, extra: dict[str, Any]) -> None:
    line = logs.JsonFormatter().format(a_record("%s", message, **extra))
    assert "\n" not in line
    found = json.loads(line)
    assert found["level"] == "warning"
    assert found["logger"] == "stream.x"
    assert found["message"] == message
    assert {f"extra_{name}" if name in logs._OWN else name for name in extra} <= set(found)


def test_extra_fields_keep_their_types_and_numbers_of_numpy_are_numbers() -> None:
    extra: dict[str, Any] = {"partition": 3, "share": np.float64(0.25), "ids": [1, 2], "is_on": True, "none": None}
    found = orjson.loads(logs.JsonFormatter().format(a_record(**extra)))
    assert {name: found[name] for name in extra} == extra


def test_time_is_utc_with_milliseconds() -> None:
    record = a_record(created=1_700_000_000.25, msecs=250.0)
    assert orjson.loads(logs.JsonFormatter().format(record))["time"] == "2023-11-14T22:13:20.250Z"


def test_an_exception_is_a_field_with_its_trace() -> None:
    record = a_record()
    try:
        int("no such thing")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = logs.JsonFormatter().format(record)
    assert "\n" not in line
    error = orjson.loads(line)["error"]
    assert error.startswith("Traceback")
    assert error.endswith("ValueError: invalid literal for int() with base 10: 'no such thing'")
    text = logs.TextFormatter().format(record)
    assert text.endswith("'no such thing'")


def test_text_is_for_people() -> None:
    text = logs.TextFormatter().format(a_record("lag of %d", 7, partition=3))
    assert text[8:] == " warning stream.x: lag of 7 partition=3"


@pytest.fixture
def logging_kept() -> Iterator[None]:
    root = logging.getLogger()
    names = ["faust", "mode", "aiokafka", "stream.transport"]
    kept = (root.handlers[:], root.level, {name: logging.getLogger(name).level for name in names})
    yield
    root.handlers[:], root.level = kept[0], kept[1]
    for name, level in kept[2].items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("logging_kept")
def test_configure_sends_one_line_a_record_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(level="info", format="json"))
    logs.configure(LogSettings(level="info", format="json"))
    logging.getLogger("stream.y").info("said once", extra={"partition": 1})
    logging.getLogger("stream.y").debug("not said")
    logging.getLogger("faust").info("a banner")
    logging.getLogger("faust").warning("a warning")
    out, err = capsys.readouterr()
    assert out == ""
    assert [json.loads(line)["message"] for line in err.splitlines()] == ["said once", "a warning"]
