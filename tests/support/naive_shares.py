"""The stupid twins of the models: a score and each input's share in it, one row and one tree at a time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from features.registry import INDEX
from models.anomaly import FlatHST
from models.bot import PointerModel
from models.forest import Forest
from models.keystroke_range import KeystrokeRange

Floats = NDArray[np.float64]
Shares = dict[int, float]


def walk_forest(forest: Forest, x: Floats) -> tuple[float, Shares]:
    """Margin of `x` (n_features,) and each feature's share of it; LightGBM's rules for missing values spelled out."""
    margin = 0.0
    shares: Shares = {}

    def expected(tree: int, node: int) -> float:
        if node < 0:
            return float(forest.leaf_value[forest.leaf_start[tree] + ~node])
        return float(forest.node_value[forest.node_start[tree] + node])

    for tree in range(forest.n_trees):
        first = int(forest.node_start[tree])
        node = 0 if forest.node_start[tree + 1] > first else -1
        while node >= 0:
            at = first + node
            feature, kind = int(forest.split_feature[at]), int(forest.decision_type[at])
            value = float(x[feature])
            default_left, missing = bool(kind & 2), ("none", "zero", "nan")[kind >> 2]
            if math.isnan(value) and missing != "nan":
                value = 0.0
            if abs(value) <= float(np.float32(1e-35)):
                value = 0.0
            is_missing = (missing == "nan" and math.isnan(value)) or (missing == "zero" and value == 0.0)
            left = default_left if is_missing else value <= forest.threshold[at]
            child = int(forest.left[at] if left else forest.right[at])
            shares[feature] = shares.get(feature, 0.0) + (expected(tree, child) - expected(tree, node))
            node = child
        margin += expected(tree, node)
    return margin, shares


def pointer_shares(model: PointerModel, x: Floats) -> tuple[float, Shares] | None:
    """Probability and log-odds by position in the model's inputs; None without evidence."""
    inputs = x[model.inputs]
    if np.isnan(inputs).all() or not all(x[int(index)] >= least for index, least in model._trees.evidence):
        return None
    cases: dict[float, list[bool]] = {}
    for case, first, other, bound in model._trees.outside.tolist():
        value = float(x[int(first)]) + (float(x[int(other)]) if other >= 0 else 0.0)
        cases.setdefault(case, []).append(value >= bound)
    if any(all(reached) for reached in cases.values()):
        return None
    margin, shares = walk_forest(model._forest, inputs)
    return 1.0 / (1.0 + math.exp(-model._forest.sigmoid * margin)), shares


def anomaly_shares(model: FlatHST, x: Floats) -> tuple[float, Shares] | None:
    """River's score and each input's share of what it is above the bias; None without any input."""
    inputs = x[model.inputs]
    if not model.ready or np.isnan(inputs).all():
        return None
    units = [
        0.5 if value != value else min(1.0, max(0.0, (value - low) / (high - low)))
        for value, low, high in zip(inputs.tolist(), model.low.tolist(), model.high.tolist(), strict=True)
    ]
    a, height, few = model.arrays, model.height, 0.1 * model.window_size
    most = float(a.feature.shape[0] * model.window_size * (2 ** (height + 1) - 1))
    total = 0.0
    shares: Shares = {}
    for tree in range(a.feature.shape[0]):
        node, level = 0, 0
        mass = float(a.mass[tree, 0])
        total += mass
        while level < height and mass >= few:
            split = int(a.feature[tree, node])
            node = 2 * node + (1 if units[split] < a.threshold[tree, node] else 2)
            before = mass * 2.0**level
            mass, level = float(a.mass[tree, node]), level + 1
            after = mass * 2.0**level
            total += after
            shares[split] = shares.get(split, 0.0) - (after - before) * (height - level + 1) / most
            if level < height and mass < few:
                # The walk ends here: the levels below contribute nothing.
                shares[split] += after * (height - level) / most
    return 1.0 - total / most, shares


def keystroke_shares(model: KeystrokeRange, x: Floats) -> tuple[float, Shares] | None:
    """(1 - exp(-surprise)) ^ 4, by squaring twice, and the surprise of each term in nats; None without evidence."""
    ranges = model.ranges
    keys = float(x[INDEX[ranges.count_feature]])
    if not keys >= ranges.min_keys:
        return None
    shares: Shares = {}
    for k, term in enumerate(ranges.terms):
        value = float(x[INDEX[term.feature]])
        if value != value:
            continue
        if term.only_below is not None and not x[INDEX[term.only_below[0]]] < term.only_below[1]:
            continue
        low = -math.inf if term.low is None else term.low
        high = math.inf if term.high is None else term.high
        scale = math.sqrt(term.scale**2 + term.noise**2 / keys)
        shares[k] = term.weight * min(term.cap, max(0.0 - term.trust, max(low - value, value - high) / scale))
    if not shares:
        return None
    total = sum(shares.values())
    base = 1.0 - math.exp(-total) if ranges.offset is None else 1.0 / (1.0 + math.exp(ranges.offset - total))
    return (base * base) * (base * base), shares
