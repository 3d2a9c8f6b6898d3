"""LightGBM's text format as an untrusted input: our own parser and structural validator, and the flat forest it yields.

LightGBM's loader aborts the process, loops for ever or reads out of bounds on a damaged file. So a model is parsed and
checked here first, and what LightGBM gets is written anew from what was understood (header and trees only).
"""

import contextlib
import math
import re
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError

MAX_TEXT_BYTES: Final = 32 * 1024 * 1024
MAX_TREES: Final = 5_000
MAX_LEAVES: Final = 4_096
MAX_LEAF_ABS: Final = 1e4

_HEADER_KEYS: Final = (
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "feature_names",
    "feature_infos",
    "tree_sizes",
)
_INTERNAL_INTS: Final = ("split_feature", "decision_type", "left_child", "right_child", "internal_count")
_INTERNAL_FLOATS: Final = ("split_gain", "threshold", "internal_value", "internal_weight")
_LEAF_FLOATS: Final = ("leaf_value", "leaf_weight")
_TREE_KEYS: Final = frozenset(
    ("num_leaves", "num_cat", "is_linear", "shrinkage", "leaf_count", *_INTERNAL_INTS, *_INTERNAL_FLOATS, *_LEAF_FLOATS)
)
_CATEGORICAL_BIT: Final = 1
_WHOLE_NUMBERS: Final = re.compile(r"-?[0-9]{1,10}(?: -?[0-9]{1,10})*")
_NUMBERS: Final = re.compile(r"[0-9+\-.eEinfa]{1,40}(?: [0-9+\-.eEinfa]{1,40})*")
"""A line at once, what `_ints_one_by_one` and `_float` allow token by token: a start waits for every model's text."""
_T = TypeVar("_T")


class Forest(NamedTuple):
    """All trees of one model, flat. Internal node k of tree t is at `node_start[t] + k`, leaf k at `leaf_start[t] + k`.

    `left` and `right` hold a tree's own numbers: k >= 0 is an internal node, k < 0 the leaf `~k`. `node_value` and
    `leaf_value` are log-odds; `node_value` is the mean of the leaves below, weighted by training rows, computed here
    from the leaves (the text rounds it to six digits).
    """

    feature_names: tuple[str, ...]
    sigmoid: float
    node_start: NDArray[np.int64]
    leaf_start: NDArray[np.int64]
    split_feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    decision_type: NDArray[np.int8]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    node_value: NDArray[np.float64]
    leaf_value: NDArray[np.float64]
    bias: float
    canonical: bytes

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.node_start) - 1


class _Tree(NamedTuple):
    split_feature: list[int]
    threshold: list[float]
    decision_type: list[int]
    left: list[int]
    right: list[int]
    leaf_value: list[float]
    leaf_count: list[int]
    node_value: list[float]


def parse_forest(text: bytes) -> Forest:
    """Parse and check a binary LightGBM text model; raise ArtifactError with one line if anything is off."""
    if len(text) > MAX_TEXT_BYTES:
        raise ArtifactError(f"model text has {len(text)} bytes, at most {MAX_TEXT_BYTES} are allowed")
    start = text.find(b"\nTree=0\n")
    end = text.find(b"end of trees\n")
    if not text.startswith(b"tree\n") or start < 0 or end < start:
        raise ArtifactError("model text is not a complete LightGBM text model (header, trees, 'end of trees')")
    try:
        header = _pairs(text[5:start].decode("ascii"), frozenset(_HEADER_KEYS), "header")
        names, sigmoid = _check_header(header)
        sizes = _ints(header, "tree_sizes", "header")
    except UnicodeDecodeError:
        raise ArtifactError("model text header is not ASCII") from None
    body = text[start + 1 : end]
    if not 1 <= len(sizes) <= MAX_TREES:
        raise ArtifactError(f"header: tree_sizes names {len(sizes)} trees, 1 to {MAX_TREES} are allowed")
    if min(sizes) <= 0 or sum(sizes) != len(body):
        raise ArtifactError(f"header: tree_sizes add up to {sum(sizes)} bytes, the trees have {len(body)}")
    trees: list[_Tree] = []
    at = 0
    for number, size in enumerate(sizes):
        trees.append(_parse_tree(body[at : at + size], number, len(names)))
        at += size
    canonical = text[: start + 1] + body + b"end of trees\n"
    return _flatten(names, sigmoid, trees, canonical)


def _check_header(header: dict[str, str]) -> tuple[tuple[str, ...], float]:
    for key in _HEADER_KEYS:
        if key not in header:
            raise ArtifactError(f"header: {key} is missing")
    for key, wanted in (("version", "v4"), ("num_class", "1"), ("num_tree_per_iteration", "1"), ("label_index", "0")):
        if header[key] != wanted:
            raise ArtifactError(f"header: {key} is {header[key]!r}, only {wanted!r} is allowed")
    objective = header["objective"].split(" ")
    if len(objective) != 2 or objective[0] != "binary" or not objective[1].startswith("sigmoid:"):
        raise ArtifactError(f"header: objective is {header['objective']!r}, only 'binary sigmoid:<number>' is allowed")
    sigmoid = _float(objective[1].removeprefix("sigmoid:"), "header: objective")
    if not 0.0 < sigmoid <= 100.0:
        raise ArtifactError(f"header: sigmoid is {sigmoid}, allowed is above 0 to 100")
    names = tuple(header["feature_names"].split(" "))
    if len(set(names)) != len(names) or not all(names):
        raise ArtifactError("header: feature_names has an empty or a repeated name")
    if header["max_feature_idx"] != str(len(names) - 1):
        raise ArtifactError(f"header: max_feature_idx is {header['max_feature_idx']}, {len(names)} features are named")
    if len(header["feature_infos"].split(" ")) != len(names):
        raise ArtifactError("header: feature_infos and feature_names differ in length")
    return names, sigmoid


def _parse_tree(block: bytes, number: int, n_features: int) -> _Tree:
    where = f"tree {number}"
    try:
        first, _, rest = block.decode("ascii").partition("\n")
    except UnicodeDecodeError:
        raise ArtifactError(f"{where}: not ASCII") from None
    if first != f"Tree={number}":
        raise ArtifactError(f"{where}: starts with {first[:20]!r}, tree_sizes does not fit the text")
    pairs = _pairs(rest, _TREE_KEYS, where)
    n_leaves = _one_int(pairs, "num_leaves", where)
    if not 1 <= n_leaves <= MAX_LEAVES:
        raise ArtifactError(f"{where}: num_leaves is {n_leaves}, 1 to {MAX_LEAVES} are allowed")
    if _one_int(pairs, "num_cat", where) != 0:
        raise ArtifactError(f"{where}: categorical splits are not allowed")
    if _one_int(pairs, "is_linear", where) != 0:
        raise ArtifactError(f"{where}: linear leaves are not allowed")
    n_nodes = n_leaves - 1
    ints = {key: _sized(_ints(pairs, key, where), n_nodes, key, where) for key in _INTERNAL_INTS}
    floats = {key: _sized(_floats(pairs, key, where), n_nodes, key, where) for key in _INTERNAL_FLOATS}
    leaf_value = _sized(_floats(pairs, "leaf_value", where), n_leaves, "leaf_value", where)
    # A single leaf is written without counts and weights by some versions.
    counts = _ints(pairs, "leaf_count", where) if n_leaves > 1 else [1]
    leaf_count = _sized(counts, n_leaves, "leaf_count", where)
    _check_leaves(leaf_value, leaf_count, where)
    _check_splits(ints, floats["threshold"], n_features, where)
    _check_children(ints["left_child"], ints["right_child"], n_leaves, where)
    node_value = _node_values(ints["left_child"], ints["right_child"], leaf_value, leaf_count)
    return _Tree(
        ints["split_feature"],
        floats["threshold"],
        ints["decision_type"],
        ints["left_child"],
        ints["right_child"],
        leaf_value,
        leaf_count,
        node_value,
    )


def _check_leaves(leaf_value: list[float], leaf_count: list[int], where: str) -> None:
    for value in leaf_value:
        if not math.isfinite(value) or abs(value) > MAX_LEAF_ABS:
            raise ArtifactError(f"{where}: leaf_value {value} is not finite or beyond {MAX_LEAF_ABS:g}")
    if min(leaf_count) < 0:
        raise ArtifactError(f"{where}: a leaf_count is negative")


def _check_splits(ints: dict[str, list[int]], threshold: list[float], n_features: int, where: str) -> None:
    if any(math.isnan(value) for value in threshold):
        raise ArtifactError(f"{where}: a threshold is NaN")
    for feature in ints["split_feature"]:
        if not 0 <= feature < n_features:
            raise ArtifactError(f"{where}: split_feature {feature} is outside 0..{n_features - 1}")
    for kind in ints["decision_type"]:
        if kind & _CATEGORICAL_BIT or not 0 <= kind <= 10:
            raise ArtifactError(f"{where}: decision_type {kind} is not a numerical split")


def _check_children(left: list[int], right: list[int], n_leaves: int, where: str) -> None:
    """Every node but the root, and every leaf, is a child exactly once and after its parent: a tree, no cycle."""
    seen_nodes: set[int] = set()
    seen_leaves: set[int] = set()
    for parent, pair in enumerate(zip(left, right, strict=True)):
        for child in pair:
            if child >= 0:
                if not parent < child < n_leaves - 1 or child in seen_nodes:
                    raise ArtifactError(f"{where}: node {parent} has the impossible child {child}")
                seen_nodes.add(child)
            else:
                leaf = ~child
                if leaf >= n_leaves or leaf in seen_leaves:
                    raise ArtifactError(f"{where}: node {parent} has the impossible leaf {leaf}")
                seen_leaves.add(leaf)
    if n_leaves > 1 and len(seen_leaves) != n_leaves:
        raise ArtifactError(f"{where}: {n_leaves - len(seen_leaves)} leaves hang on no node")


def _node_values(left: list[int], right: list[int], leaf_value: list[float], leaf_count: list[int]) -> list[float]:
    """Expected leaf value below each internal node, weighted by training rows (plain mean where all counts are 0)."""
    n = len(left)
    total, weight = [0.0] * n, [0.0] * n
    for node in range(n - 1, -1, -1):  # children come after parents
        for child in (left[node], right[node]):
            if child >= 0:
                total[node] += total[child]
                weight[node] += weight[child]
            else:
                w = leaf_count[~child] + 1e-9
                total[node] += w * leaf_value[~child]
                weight[node] += w
    return [t / w for t, w in zip(total, weight, strict=True)]


def _flatten(names: tuple[str, ...], sigmoid: float, trees: list[_Tree], canonical: bytes) -> Forest:
    def flat_ints(lists: list[list[int]]) -> NDArray[np.int32]:
        return np.array([v for part in lists for v in part], dtype=np.int32)

    def flat_floats(lists: list[list[float]]) -> NDArray[np.float64]:
        return np.array([v for part in lists for v in part], dtype=np.float64)

    bias = 0.0
    for tree in trees:
        bias += tree.node_value[0] if tree.node_value else tree.leaf_value[0]
    return Forest(
        feature_names=names,
        sigmoid=sigmoid,
        node_start=np.cumsum([0] + [len(t.left) for t in trees]).astype(np.int64),
        leaf_start=np.cumsum([0] + [len(t.leaf_value) for t in trees]).astype(np.int64),
        split_feature=flat_ints([t.split_feature for t in trees]),
        threshold=flat_floats([t.threshold for t in trees]),
        decision_type=flat_ints([t.decision_type for t in trees]).astype(np.int8),
        left=flat_ints([t.left for t in trees]),
        right=flat_ints([t.right for t in trees]),
        node_value=flat_floats([t.node_value for t in trees]),
        leaf_value=flat_floats([t.leaf_value for t in trees]),
        bias=bias,
        canonical=canonical,
    )


def _pairs(text: str, allowed: frozenset[str], where: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for line in text.split("\n"):
        if not line:
            continue
        key, sign, value = line.partition("=")
        if not sign or key not in allowed or key in pairs:
            raise ArtifactError(f"{where}: line {line[:40]!r} is unknown, repeated or malformed")
        pairs[key] = value
    return pairs


def _tokens(pairs: dict[str, str], key: str, where: str) -> list[str]:
    if key not in pairs:
        raise ArtifactError(f"{where}: {key} is missing")
    value = pairs[key]
    return value.split(" ") if value else []


def _ints(pairs: dict[str, str], key: str, where: str) -> list[int]:
    tokens = _tokens(pairs, key, where)
    if tokens and _WHOLE_NUMBERS.fullmatch(pairs[key]):
        return [int(token) for token in tokens]
    return _ints_one_by_one(tokens, key, where)


def _ints_one_by_one(tokens: list[str], key: str, where: str) -> list[int]:
    """As `_ints`, and says what is wrong."""
    out: list[int] = []
    for token in tokens:
        digits = token.removeprefix("-")
        if not digits.isascii() or not digits.isdigit() or len(digits) > 10:
            raise ArtifactError(f"{where}: {key} holds {token[:20]!r}, not a whole number")
        out.append(int(token))
    return out


def _one_int(pairs: dict[str, str], key: str, where: str) -> int:
    values = _ints(pairs, key, where)
    if len(values) != 1:
        raise ArtifactError(f"{where}: {key} must be one number")
    return values[0]


def _float(token: str, where: str) -> float:
    # `float` also takes '1_0', 'infinity' and spaces; LightGBM writes digits, 'inf' and 'nan' only.
    if not token or len(token) > 40 or not set(token) <= set("0123456789+-.eEinfa"):
        raise ArtifactError(f"{where} holds {token[:20]!r}, not a number")
    try:
        return float(token)
    except ValueError:
        raise ArtifactError(f"{where} holds {token[:20]!r}, not a number") from None


def _floats(pairs: dict[str, str], key: str, where: str) -> list[float]:
    tokens = _tokens(pairs, key, where)
    if tokens and _NUMBERS.fullmatch(pairs[key]):
        with contextlib.suppress(ValueError):
            return [float(token) for token in tokens]
    return [_float(token, f"{where}: {key}") for token in tokens]


def _sized(values: list[_T], n: int, key: str, where: str) -> list[_T]:
    if len(values) != n:
        raise ArtifactError(f"{where}: {key} has {len(values)} values, {n} are needed")
    return values
