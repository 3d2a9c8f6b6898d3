"""The two scorers without training: weighted signals, and typing against published ranges."""

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.recorded import Recorded, telemetry_of
from features.registry import INDEX, N_FEATURES
from features.session import columns_of, fold_chunk, new_states
from features.signal_table import SIGNALS
from models.artifact import shipped_directory
from models.device_risk import DEFAULT_WEIGHTS, SignalScorer
from models.errors import ArtifactError
from models.evaluate_keys import random_delay_bot
from models.keystroke_range import KeystrokeRange, Ranges
from models.scorer import check_scorer
from schemas.risk import SignalValue

Floats = NDArray[np.float64]
RANGES_FILE = (shipped_directory() / "keystroke_ranges.json").read_bytes()
KEYS = KeystrokeRange.decode(RANGES_FILE, INDEX)
SCORER = SignalScorer()


def signal(severity: str, confidence: str = "high", exempt: str | None = None, value: bool = True) -> SignalValue:
    return SignalValue(value=value, severity=severity, confidence=confidence, exempt=exempt)  # type: ignore[arg-type]


fired = st.dictionaries(
    st.sampled_from(sorted(SIGNALS)),
    st.builds(
        signal,
        st.sampled_from(["strong", "medium", "weak"]),
        st.sampled_from(["high", "medium", "low"]),
        st.sampled_from([None, None, "assistive"]),
    ),
    max_size=20,
)


def naive_risk(signals: dict[str, SignalValue], channel: str) -> float:
    by = {"strong": [0.0], "medium": [0.0], "weak": [0.0]}
    for name, value in signals.items():
        if value.exempt is None and SCORER.channel_of(name) == channel:
            by[value.severity].append(SCORER.weight_of(name, value))

    def either(a: float, b: float) -> float:
        return a + b - a * b

    joined = {}
    for severity, weights in by.items():
        joined[severity] = 0.0
        for weight in weights:
            joined[severity] = either(joined[severity], weight)
    hints = min(DEFAULT_WEIGHTS.caps.weak, joined["weak"])
    doubts = min(DEFAULT_WEIGHTS.caps.medium, either(joined["medium"], hints))
    return min(0.999, either(joined["strong"], doubts))


@settings(max_examples=300, deadline=None)
@given(signals=fired)
def test_risk_agrees_with_its_naive_twin_in_any_order(signals: dict[str, SignalValue]) -> None:
    device, bot = SCORER.raw(signals)
    assert device == pytest.approx(naive_risk(signals, "device"), abs=1e-12)
    assert bot == pytest.approx(naive_risk(signals, "bot"), abs=1e-12)
    assert SCORER.raw(dict(reversed(signals.items()))) == (device, bot)
    for channel in ("device", "bot"):
        weights = [share.weight for share in SCORER.explain(signals, channel)]
        assert weights == sorted(weights, reverse=True)


@settings(max_examples=200, deadline=None)
@given(signals=fired, extra=st.sampled_from(sorted(SIGNALS)))
def test_one_more_signal_never_lowers_the_risk(signals: dict[str, SignalValue], extra: str) -> None:
    if extra in signals:
        return
    more = {**signals, extra: signal("weak")}
    assert all(b >= a for a, b in zip(SCORER.raw(signals), SCORER.raw(more), strict=True))


def test_hints_never_become_a_proof() -> None:
    device = [name for name in SIGNALS if SCORER.channel_of(name) == "device"]
    weak, _ = SCORER.raw({name: signal("weak") for name in device})
    medium, _ = SCORER.raw({name: signal("medium") for name in device})
    strong, _ = SCORER.raw({"webdriver_true": signal("strong")})
    assert weak == pytest.approx(0.3)
    assert medium == pytest.approx(0.85)
    assert strong >= 0.95 > medium > weak


def test_exempt_and_unfired_signals_do_not_count() -> None:
    assert SCORER.raw({"webdriver_true": signal("strong", exempt="assistive")}) == (0.0, 0.0)
    assert SCORER.raw({"webdriver_true": signal("strong", value=False)}) == (0.0, 0.0)
    assert SCORER.explain({"webdriver_true": signal("strong", exempt="assistive")}, "device") == []


def test_every_signal_about_input_counts_in_the_bot_channel() -> None:
    wanted = {name for name, definition in SIGNALS.items() if definition.category == "behaviour"}
    assert {name for name in SIGNALS if SCORER.channel_of(name) == "bot"} == wanted
    assert set(DEFAULT_WEIGHTS.bot_signals) == wanted


def test_shipped_weights_are_the_default_and_read_back() -> None:
    shipped = SignalScorer.decode((shipped_directory() / "signal_weights.json").read_bytes())
    assert shipped.hash == SCORER.hash
    assert SignalScorer.decode(SCORER.encode()).hash == SCORER.hash
    with pytest.raises(ArtifactError, match="signal weights"):
        SignalScorer.decode(SCORER.encode().replace(b"0.95", b"1.95"))


def typed(down: Floats, hold: Floats, classes: NDArray[np.int64]) -> Floats:
    """The vector after a recording of typing, through the real adapter and fold."""
    events = telemetry_of(
        Recorded(session_id="s", key_down_ms=down, key_up_ms=down + hold, key_class=classes, pointer_type="unknown")
    )
    out = np.empty((len(events), N_FEATURES))
    fold_chunk(new_states(1), np.zeros(len(events), dtype=np.int32), columns_of(events), out)
    return out[-1:].copy()


def person(rng: np.random.Generator, n: int = 60) -> Floats:
    """Log-normal holds and intervals with word pauses and rollover, about 50 words a minute."""
    classes = rng.choice([1, 1, 1, 1, 3, 2], n)
    gaps = np.exp(rng.normal(np.log(170), 0.45, n)) * np.where(classes == 3, 1.6, 1.0)
    gaps[rng.random(n) < 0.05] += rng.exponential(800)
    return typed(np.cumsum(gaps), np.exp(rng.normal(np.log(110), 0.25, n)), classes)


def machine(rng: np.random.Generator, kind: str, n: int = 60) -> Floats:
    """Drivers that press, hold, release and wait: one loop, never two keys at once."""
    hold = {
        "constant": np.full(n, 20.0),
        "zero_hold": rng.uniform(0.1, 1.0, n),
        "uniform": rng.uniform(15, 45, n),
        "exponential": np.full(n, 30.0) + rng.normal(0, 0.8, n),
        "regular": rng.uniform(30, 90, n),
    }[kind]
    wait = {
        "constant": np.full(n, 80.0),
        "zero_hold": np.exp(rng.normal(np.log(170), 0.45, n)),
        "uniform": rng.uniform(30, 80, n),
        "exponential": rng.exponential(100, n),
        "regular": np.maximum(1.0, 110 + rng.normal(0, 2, n) - hold),
    }[kind]
    down = np.concatenate([[0.0], np.cumsum(hold + wait)[:-1]])
    return typed(down, hold, rng.choice([1, 1, 1, 1, 3, 2], n))


@pytest.mark.parametrize("kind", ["constant", "zero_hold", "uniform", "exponential", "regular"])
def test_drivers_with_constant_and_random_delays_stand_out(kind: str) -> None:
    rng = np.random.default_rng(1)
    people = KEYS.raw(np.vstack([person(rng) for _ in range(60)]))
    machines = KEYS.raw(np.vstack([machine(rng, kind) for _ in range(60)]))
    assert np.mean(machines[:, None] > people[None, :]) > 0.97
    assert np.mean(1 - people**0.25 <= 0.05) <= 0.05


@pytest.mark.parametrize("kind", ["uniform", "normal", "lognormal", "exponential", "jittered"])
def test_delays_drawn_one_by_one_stand_out_after_forty_keys(kind: str) -> None:
    rng = np.random.default_rng(6)
    people = KEYS.raw(np.vstack([person(rng, 40) for _ in range(100)]))
    bots = []
    for _ in range(100):
        drawn = random_delay_bot(kind, rng.choice([1, 1, 1, 1, 3, 2], 40), rng)
        bots.append(typed(drawn.key_down_ms, drawn.key_up_ms - drawn.key_down_ms, drawn.key_class))
    found = KEYS.raw(np.vstack(bots))
    assert np.mean(found[:, None] > people[None, :]) + np.mean(found[:, None] == people[None, :]) / 2 > 0.97
    assert np.mean(1 - people**0.25 <= 0.05) <= 0.05


def test_a_persons_rhythm_does_not_excuse_holds_that_no_finger_makes() -> None:
    rng = np.random.default_rng(7)
    classes = rng.choice([1, 1, 1, 1, 3, 2], 60)
    gaps = np.exp(rng.normal(np.log(170), 0.6, 60)) * np.where(classes == 1, 1.0, 1.9)
    gaps[::13] += 2_500.0
    copied = typed(np.cumsum(gaps), np.full(60, 1.0), classes)
    (score,), (costs,) = KEYS.shares(copied, np.zeros(1, dtype=np.int64))
    assert costs.min() < -0.5
    assert 1 - score**0.25 <= 0.02


def test_grades_lower_the_sum_by_their_trust_and_no_further() -> None:
    document = json.loads(RANGES_FILE)
    graded = next(term for term in document["terms"] if term.get("trust"))
    document["terms"] = [graded]
    keys = KeystrokeRange.decode(json.dumps(document).encode(), INDEX)
    row = np.full((1, N_FEATURES), np.nan)
    row[0, INDEX["keystroke_keys"]] = 1e12
    costs = []
    for value in (graded["low"] - 1e3, graded["low"], graded["low"] + graded["scale"], graded["low"] + 1e3):
        row[0, INDEX[graded["feature"]]] = value
        costs.append(float(keys.shares(row, np.zeros(1, dtype=np.int64))[1][0, 0]))
    weight = graded["weight"]
    assert costs == pytest.approx([weight * graded["cap"], 0.0, -weight, -weight * graded["trust"]], abs=1e-5)


def test_ranges_without_offset_state_the_sum_itself() -> None:
    document = json.loads(RANGES_FILE)
    del document["offset"]
    document["terms"] = [term for term in document["terms"] if not term.get("trust")]
    keys = KeystrokeRange.decode(json.dumps(document).encode(), INDEX)
    rng = np.random.default_rng(8)
    rows = np.vstack([person(rng) for _ in range(10)] + [machine(rng, "regular") for _ in range(10)])
    assert np.allclose(keys.raw(rows), [naive_keystroke(keys.ranges, row) for row in rows], atol=1e-12)
    assert keys.raw(rows).min() == 0.0
    assert b"offset" not in keys.encode()


def test_too_few_keys_are_no_data() -> None:
    row = person(np.random.default_rng(2), n=9)
    assert np.isnan(KEYS.raw(row)).all()
    assert KEYS.explain(row[0]) == []


def test_keystroke_scorer_passes_the_public_check() -> None:
    rng = np.random.default_rng(3)
    rows = np.vstack([person(rng) for _ in range(15)] + [machine(rng, "uniform") for _ in range(15)])
    check_scorer(KEYS, rows, reload=lambda: KeystrokeRange.decode(KEYS.encode(), INDEX), clock=time.perf_counter)


def naive_keystroke(ranges: Ranges, x: Floats) -> float:
    """T = sum of weight x excess / scale within [-trust, cap], p = 1 / (1 + exp(T - offset)) or exp(-T) without one."""
    keys = x[INDEX[ranges.count_feature]]
    if not keys >= ranges.min_keys:
        return float("nan")
    total, seen = 0.0, False
    for term in ranges.terms:
        value = x[INDEX[term.feature]]
        if np.isnan(value):
            continue
        if term.only_below is not None and not x[INDEX[term.only_below[0]]] < term.only_below[1]:
            continue
        seen = True
        under = term.low - value if term.low is not None else -np.inf
        over = value - term.high if term.high is not None else -np.inf
        scales = max(under, over) / (term.scale**2 + term.noise**2 / keys) ** 0.5
        total += term.weight * float(np.clip(scales, -term.trust, term.cap))
    return float((1.0 - stated_p(ranges, total)) ** 4) if seen else float("nan")


def stated_p(ranges: Ranges, total: Floats | float) -> Floats:
    """The p-value that the ranges state for a sum of costs in nats."""
    nats = np.asarray(total, dtype=np.float64)
    if ranges.offset is None:
        return np.asarray(np.exp(-nats))
    return np.asarray(1.0 / (1.0 + np.exp(nats - ranges.offset)))


def test_keystroke_score_agrees_with_its_naive_twin() -> None:
    rng = np.random.default_rng(4)
    people = [person(rng, int(n)) for n in rng.integers(5, 90, 20)]
    rows = np.vstack(people + [machine(rng, "regular") for _ in range(10)])
    rows[rng.random(rows.shape) < 0.1] = np.nan
    wanted = np.array([naive_keystroke(KEYS.ranges, row) for row in rows])
    assert np.allclose(KEYS.raw(rows), wanted, atol=1e-12, equal_nan=True)


def test_the_score_beside_the_shares_is_the_scorers_own_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    rows = np.vstack([person(rng, int(n)) for n in rng.integers(5, 90, 200)] + [machine(rng, "regular")] * 5)
    # A few costs of any size: (1 - exp(-U))^4 by another exponential or power differs in the last bit of some.
    rows += rng.normal(scale=0.3, size=rows.shape) * np.abs(rows)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    at = rng.permutation(len(rows))
    scores, shares = KEYS.shares(rows, at)
    assert np.array_equal(scores, KEYS.raw(rows)[at], equal_nan=True)
    one_by_one = np.array([KEYS.raw(row.reshape(1, -1))[0] for row in rows[at]])
    assert np.array_equal(scores, one_by_one, equal_nan=True)
    assert np.count_nonzero((scores > 0.0) & (scores < 1.0)) > 50
    there = ~np.isnan(scores)
    assert np.allclose(scores[there], (1.0 - stated_p(KEYS.ranges, shares[there].sum(axis=1))) ** 4, atol=1e-12)


def test_every_range_has_a_known_source_and_says_whether_it_was_read() -> None:
    keys = {source.key for source in KEYS.ranges.sources}
    assert all(set(term.sources) <= keys and term.why for term in KEYS.ranges.terms)
    assert all(source.reference and source.taken for source in KEYS.ranges.sources)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["terms"][0].update(feature="keystroke_nothing"), "not in the registry"),
        (lambda d: d["terms"][0].update(sources=["hearsay"]), "cites"),
        (lambda d: d["terms"][0].update(sources=[]), "cites nothing"),
        (lambda d: d["terms"][0].update(low=3.0, high=2.0), "has no range"),
        (lambda d: d["terms"][0].update(scale=0.0), "keystroke ranges"),
        (lambda d: d["terms"][0].update(trust=1.0), "graded and has two bounds"),
        (lambda d: d["terms"][0].update(trust=-1.0), "keystroke ranges"),
        (lambda d: d.update(offset=0.0), "keystroke ranges"),
        (lambda d: d.update(format=2), "keystroke ranges"),
        (lambda d: d.update(surprise=1), "keystroke ranges"),
    ],
)
def test_damaged_ranges_are_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    document = json.loads(RANGES_FILE)
    change(document)
    with pytest.raises(ArtifactError, match=message):
        KeystrokeRange.decode(json.dumps(document).encode(), INDEX)
