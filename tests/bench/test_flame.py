"""A flame graph shows each function's share of the samples, one frame for each place, and is well-formed."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bench.flame import LEAST_SHARE, draw, tree

STACKS = [
    "run (a/b.py:1);Pipeline.process (stream/pipeline.py:90);batch (stream/intake.py:10) 30",
    "run (a/b.py:1);Pipeline.process (stream/pipeline.py:95);batch (stream/intake.py:12);loads<x> (msgspec/a.py:3) 20",
    "run (a/b.py:1);serve (confluent_kafka/aio.py:7) 49",
    "run (a/b.py:1);rare (asyncio/events.py:7) 1",
]


def test_frames_of_a_function_are_one_and_begin_with_the_chunk() -> None:
    root = tree(STACKS)
    assert root.count == 100
    assert {name: frame.count for name, frame in root.below.items()} == {
        "Pipeline.process (stream/pipeline.py)": 50,
        "run (a/b.py)": 50,
    }
    (batch,) = root.below["Pipeline.process (stream/pipeline.py)"].below.values()
    assert (batch.name, batch.count) == ("batch (stream/intake.py)", 50)


def test_what_only_starts_the_loop_is_left_out() -> None:
    path = (
        "<module> (stream/__main__.py:1);Worker.execute_from_commandline (mode/worker.py:1);agent (stream/agents.py:3)"
    )
    (agent,) = tree([f"{path} 7"]).below.values()
    assert (agent.name, agent.count) == ("agent (stream/agents.py)", 7)


def test_the_drawing_is_xml_with_shares_and_without_what_is_too_narrow() -> None:
    text = draw(tree(STACKS), "A <title>")
    root = ET.fromstring(text)
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "Pipeline.process (stream/pipeline.py): 50.0%" in titles
    assert "loads<x> (msgspec/a.py): 20.0%" in titles
    _, *rects = root.iter("{http://www.w3.org/2000/svg}rect")
    widths = [float(one.get("width", "0")) for one in rects]
    assert max(widths) == pytest.approx(492.0)
    assert draw(tree(STACKS), "A <title>") == text
    many = [f"{path} {100 * int(count)}" for path, _, count in (line.rpartition(" ") for line in STACKS)]
    least = int(10_000 * LEAST_SHARE)
    assert "y/z.py" in draw(tree([*many, f"x (y/z.py:1) {least + 1}"]), "")
    assert "y/z.py" not in draw(tree([*many, f"x (y/z.py:1) {least - 1}"]), "")


def test_a_line_that_is_no_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        tree(["no count"])
