"""The split of the red team's generators is committed: sides don't move, and a card names what its model saw."""

from __future__ import annotations

import pytest

from models.attack_generators import DECIDED, GENERATORS, may_be_learnt, reason_of, seen_by, side_of, side_of_all
from models.dataset import Truth
from models.train_windows import recorded_samples
from tests.models.recordings import recording

COMMITTED = {
    "train": {
        "playwright", "puppeteer", "selenium", "chromium_flags", "playwright_stealth", "patchright", "pydoll",
        "rebrowser_puppeteer", "humancursor", "windmouse", "virtual_camera_file", "canvas_camera", "agent_script",
        "columns_fabricated",
    },
    "never_train": {
        "undetected_chromedriver", "puppeteer_stealth", "cursory", "ghost_cursor", "browserforge",
        "fingerprint_injector", "chromium_fake_device", "recorded_person", "simulated_person", "forged_visit",
        "system_input", "nonce_reused", "clock_skewed", "clock_backwards", "sequence_impossible", "payload_copied",
        "forged_in_form",
    },
}  # fmt: skip
"""A generator that a model has learnt from can't be unlearnt: nothing here may move to the other side."""


def test_no_generator_changes_its_side() -> None:
    found = {side: {name for name in GENERATORS if side_of(name) == side} for side in COMMITTED}
    assert found == COMMITTED


def test_a_new_generator_has_a_side_before_it_is_run() -> None:
    sides = [side_of(f"a package of tomorrow, {n}") for n in range(200)]
    assert 60 < sides.count("train") < 140
    assert reason_of("a package of tomorrow") == "by the hash of its name"


def test_every_decided_side_has_a_reason_and_a_generator() -> None:
    assert set(DECIDED) <= set(GENERATORS)
    assert all(len(reason) > 20 for _, reason in DECIDED.values())


def test_training_leaves_the_never_train_side_out() -> None:
    for family, taken in (
        ("playwright+humancursor", True),
        ("puppeteer+ghost_cursor", False),
        ("somebody_elses_family", True),
        (None, True),
    ):
        truth = Truth("s-1", "lab", None, 1, family, "recorded", "")
        samples = list(recorded_samples([recording()], {"s-1": truth}, ("lab",), 3, seed=1))
        assert bool(samples) == taken, family
        assert may_be_learnt(family) == taken


def test_a_card_names_the_generators_that_its_model_saw() -> None:
    assert seen_by([]) == ()
    assert seen_by(["playwright+humancursor", "windmouse", "some_other_family"]) == (
        "playwright", "humancursor", "windmouse",
    )  # fmt: skip
    with pytest.raises(ValueError, match="ghost_cursor may never be learnt from"):
        seen_by(["puppeteer+ghost_cursor"])
    assert side_of_all(["puppeteer", "ghost_cursor"]) == "never_train"
    assert side_of_all(["puppeteer", "windmouse"]) == "train"
