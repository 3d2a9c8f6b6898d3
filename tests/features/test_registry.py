"""The registry: one ordered list, its hash, its page."""

from pathlib import Path

import numpy as np

from features import document, movement
from features.fold import STATE_WIDTH
from features.registry import (
    FAMILIES,
    FEATURES,
    HIGH,
    INDEX,
    LOW,
    N_FEATURES,
    NAMES,
    REGISTRY_HASH,
    TABLES,
    feature_offset,
    select,
    state_offset,
)
from features.signals import SIGNALS

ROOT = Path(__file__).parents[2]


def test_names_are_unique_ordered_and_carry_their_family() -> None:
    assert len(set(NAMES)) == N_FEATURES == len(FEATURES)
    assert [INDEX[name] for name in NAMES] == list(range(N_FEATURES))
    assert all(f.name.startswith(f"{f.family}_") and f.family in FAMILIES for f in FEATURES)


def test_every_feature_says_what_it_is() -> None:
    for feature in FEATURES:
        assert feature.low < feature.high
        assert feature.description.endswith(".")
        assert feature.unit
        assert feature.source
    assert (LOW < HIGH).all()


def test_what_depends_on_the_recorder_or_is_no_evidence_is_no_input() -> None:
    for feature in FEATURES:
        trained = feature.bot or feature.keys
        assert not (trained and (feature.clock or feature.basis != "trained")), feature.name
        assert not (feature.bot and feature.family != "pointer"), feature.name
        assert not (feature.keys and feature.family != "keystroke"), feature.name
    # Families without recorded people and bots have no trained weight.
    assert not [
        f for f in FEATURES if f.family in {"touch", "scroll", "motion", "form", "focus"} and f.basis == "trained"
    ]


def test_absolute_speed_and_times_are_no_bot_inputs() -> None:
    for feature in FEATURES:
        if feature.unit in {"px", "px/s", "ms", "s", "events", "samples", "strokes", "presses"}:
            assert not feature.bot, feature.name


def test_offsets_follow_the_order_of_families() -> None:
    assert sum(t.width for t in TABLES) == movement.OFFSET
    assert movement.OFFSET + movement.T.width == STATE_WIDTH
    for table in TABLES:
        at = feature_offset(table.family)
        assert list(FEATURES[at : at + table.count]) == table.features
        assert state_offset(table.family) + table.width <= STATE_WIDTH
        assert len(table.added) == table.width


def test_select_gives_columns_in_order() -> None:
    columns = select(lambda f: f.bot)
    assert columns.dtype == np.int64
    assert (np.diff(columns) > 0).all()
    assert len(columns) > 50


def test_the_hash_is_of_the_definitions() -> None:
    assert len(REGISTRY_HASH) == 64
    assert int(REGISTRY_HASH, 16) >= 0


def test_the_page_is_up_to_date() -> None:
    page = ROOT / "docs" / "reference" / "features.md"
    assert page.read_text() == document.render(), "run: python -m features.document > docs/reference/features.md"


def test_the_page_names_every_feature_and_signal_once() -> None:
    text = document.render()
    for name in (*NAMES, *SIGNALS):
        assert text.count(f"| `{name}` |") == 1, name
