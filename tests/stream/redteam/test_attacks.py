"""The table of attacks hangs together, each session has a seed of its own, and replays are made of people's strokes."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.attack_generators import GENERATORS, side_of
from redteam.hands import morphed
from stream.redteam import session
from stream.redteam.attacks import ATTACKS, GROUPS
from stream.redteam.run import entries_of, film, seed_of
from stream.redteam.strokes import REST_MS, SHORTEST_PX, keys_of, simulated, strokes_of
from stream.redteam.tools import Tools

ROOT = Path(__file__).resolve().parents[3]


def test_names_are_unique_and_generators_and_groups_known() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert {attack.group for attack in ATTACKS} == set(GROUPS)
    assert {name for attack in ATTACKS for name in attack.generators} == set(GENERATORS)


def test_an_attack_is_never_train_where_one_of_its_generators_is() -> None:
    for attack in ATTACKS:
        assert (attack.side == "never_train") == any(side_of(name) == "never_train" for name in attack.generators)


def test_both_sides_have_stealth_and_cursors() -> None:
    hidden = [attack for attack in ATTACKS if attack.group == "hidden"]
    cursors = {name for name, generator in GENERATORS.items() if generator.kind == "cursor"}
    for side in ("train", "never_train"):
        ours = [attack for attack in hidden if attack.side == side]
        assert len(ours) >= 3
        assert any(cursors & set(attack.generators) for attack in ours)


def test_attacks_are_chosen_by_name_and_by_group() -> None:
    assert session.choose([]) == list(ATTACKS)
    chosen = session.choose(["driven", "agent"])
    assert [attack.name for attack in chosen] == ["playwright", "puppeteer", "selenium", "agent"]
    with pytest.raises(ValueError, match="'nobody'"):
        session.choose(["nobody"])


def test_what_is_missing_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    tools = Tools(tmp_path)
    tools.chromium = "/usr/bin/chromium"
    tools.node = "/usr/bin/node"
    missing = session.missing(list(ATTACKS), tools, None)
    assert "make redteam-tools" in missing["playwright"]
    assert "puppeteer-core" in missing["puppeteer"]
    assert "forged-bare" not in missing
    assert "--data" in missing["replay-recorded"]
    tools.chromium = None
    assert "chromium" in session.missing(list(ATTACKS), tools, None)["playwright"]


def test_versions_are_those_of_the_locked_packages(tmp_path: Path) -> None:
    for name in ("puppeteer-core", "ghost-cursor"):
        (tmp_path / "node_modules" / name).mkdir(parents=True)
        (tmp_path / "node_modules" / name / "package.json").write_text(json.dumps({"version": f"1-{name}"}))
    tools = Tools(tmp_path)
    tools.chromium = None
    attack = next(attack for attack in ATTACKS if attack.name == "fingerprint-injector")
    assert tools.versions(attack) == {
        "puppeteer-core": "1-puppeteer-core", "fingerprint-injector": "?", "ghost-cursor": "1-ghost-cursor",
        "chromium": "?",
    }  # fmt: skip


def test_each_session_has_its_own_seed_and_types_something_else() -> None:
    seeds = {seed_of(1, attack.name, number) for attack in ATTACKS for number in range(5)}
    assert len(seeds) == 5 * len(ATTACKS)
    assert entries_of(1) == entries_of(1)
    assert entries_of(1) != entries_of(2)


def test_a_person_is_cut_at_rests_into_strokes_that_go_somewhere() -> None:
    t = np.array([0, 50, 100, 150, 200, 250, 1_000, 1_010, 1_020, 1_030, 1_040, 1_050], dtype=float)
    x = np.array([0, 50, 100, 150, 200, 250, 250, 251, 252, 253, 254, 255], dtype=float)
    (stroke,) = strokes_of(t, x, np.zeros(12))
    assert stroke == [(50.0 * n, 50.0 * n, 0.0) for n in range(6)]
    assert keys_of([0, 100, 150, 5_000], [80, 170, 160, 5_050]) == [(80.0, 20.0), (70.0, 0.0)]


def test_a_simulated_person_gives_strokes_and_keys_enough() -> None:
    found = simulated(3)
    assert found == simulated(3)
    assert len(found.strokes) >= 8
    for stroke in found.strokes:
        assert math.dist(stroke[0][1:], stroke[-1][1:]) >= SHORTEST_PX
        assert all(b[0] - a[0] <= REST_MS for a, b in itertools.pairwise(stroke))


PLACE = st.tuples(st.floats(0, 2_000), st.floats(0, 2_000))


@given(PLACE, PLACE, st.lists(PLACE, min_size=2, max_size=20))
def test_a_turned_stroke_begins_and_ends_where_it_should_and_keeps_its_shape(
    start: tuple[float, float], end: tuple[float, float], places: list[tuple[float, float]]
) -> None:
    stroke = [(10.0 * n, x, y) for n, (x, y) in enumerate(places)]
    found = morphed(stroke, start, end)
    assert math.dist(found[-1][1:], end) < 1e-3
    had = math.dist(places[0], places[-1])
    if had < 1.0:
        return
    assert math.dist(found[0][1:], start) < 1e-3
    scale = math.dist(start, end) / had
    for a, b, before, after in zip(found, found[1:], places, places[1:], strict=False):
        assert math.dist(a[1:], b[1:]) == pytest.approx(scale * math.dist(before, after), abs=1e-3)


def test_the_film_has_the_frames_that_its_header_says(tmp_path: Path) -> None:
    film(tmp_path / "OBS Virtual Camera.y4m", frames=2)
    head, *frames = (tmp_path / "OBS Virtual Camera.y4m").read_bytes().split(b"FRAME\n")
    assert head.startswith(b"YUV4MPEG2 W640 H480 ")
    assert len(b"".join(frames)) == 2 * 640 * 480 * 3 // 2
