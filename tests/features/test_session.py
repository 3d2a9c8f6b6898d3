"""The session state: chunks, codec, merge, order, hostile values."""

import itertools
import math
import zlib
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features import recorded
from features.registry import FEATURES, HIGH, INDEX, LOW, N_FEATURES
from features.session import (
    STATE_DTYPE,
    STATE_WIDTH,
    Meta,
    StateMismatch,
    columns_of,
    decode,
    encode,
    encode_all,
    finalize,
    fold_chunk,
    merge,
    new_row,
    new_states,
)
from schemas.telemetry import Focus, Form, FormField, Motion, Scroll, Telemetry, Touch
from tests.features import build


def sessions(n: int) -> list[list[Telemetry]]:
    """Sessions of different kinds: pointer, keys, both with form and focus."""
    made = []
    for i in range(n):
        events = build.batches(build.wander(i, 4.0 + i)) if i % 3 != 1 else []
        if i % 3:
            keys = build.typing(i, 30)
            events = [*events, build.event(9000, sequence=50, keys=build.keys_of(keys[:15]))]
            events += [
                build.event(
                    15_000,
                    sequence=51,
                    keys=build.keys_of(keys[15:], 15_000),
                    focus=Focus(t=[1.0, 90.0], kind=[1, 3]),
                    form=Form(fields=[FormField(field="email", key_count=5, input_count=6, hesitation_ms=300)]),
                )
            ]
        made.append(events)
    return made


def interleaved(made: Sequence[Sequence[Telemetry]], seed: int) -> list[tuple[int, Telemetry]]:
    """All events in an order that keeps each session's own."""
    rng = np.random.default_rng(seed)
    owners = rng.permutation([i for i, events in enumerate(made) for _ in events]).tolist()
    left = [iter(events) for events in made]
    return [(i, next(left[i])) for i in owners]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.booleans())
def test_chunk_borders_and_the_codec_change_no_bit(seed: int, sizes: list[int], through_codec: bool) -> None:
    made = sessions(5)
    order = interleaved(made, seed)
    rows = np.array([i for i, _ in order], np.int32)
    events = [event for _, event in order]
    whole = np.empty((len(events), N_FEATURES))
    at_once = new_states(len(made))
    fold_chunk(at_once, rows, columns_of(events), whole)

    states = new_states(len(made))
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(events):
            break
        part = slice(at, at + size)
        out = np.empty((len(events[part]), N_FEATURES))
        fold_chunk(states, rows[part], columns_of(events[part]), out)
        assert out.tobytes() == whole[part].tobytes()
        if through_codec:
            for i in range(len(made)):
                states[i] = decode(f"s{i}", encode(f"s{i}", Meta(), states[i]))[1]
        at += size
    assert states.tobytes() == at_once.tobytes()


def test_sessions_do_not_touch_each_other() -> None:
    made = sessions(4)
    alone = [build.fold(events)[-1] for events in made]
    for seed in (1, 2):
        order = interleaved(made, seed)
        states = new_states(len(made))
        out = np.empty((len(order), N_FEATURES))
        fold_chunk(states, np.array([i for i, _ in order], np.int32), columns_of([e for _, e in order]), out)
        assert finalize(states).tobytes() == np.array(alone).tobytes()


def test_finalize_is_what_fold_wrote_last() -> None:
    events = sessions(3)[2]
    states = new_states(1)
    out = np.empty((len(events), N_FEATURES))
    fold_chunk(states, np.zeros(len(events), np.int32), columns_of(events), out)
    before = states.tobytes()
    assert finalize(states)[0].tobytes() == out[-1].tobytes()
    assert states.tobytes() == before


def test_an_empty_state_knows_nothing() -> None:
    vector = finalize(new_states(1))[0]
    known = {name for name in INDEX if not math.isnan(vector[INDEX[name]])}
    assert known == {"session_observed_s", "session_active_s", "session_events", "session_clamped_clocks"}


@pytest.mark.parametrize("block", ["pointer", "keys"])
def test_a_missing_block_is_no_data_and_never_an_extreme(block: str) -> None:
    made = {
        "pointer": build.batches(build.wander(3, 5.0)),
        "keys": [build.event(keys=build.keys_of(build.typing(3, 40)))],
    }
    other = {"pointer": "keystroke", "keys": "pointer"}[block]
    vector = build.fold(made[block])[-1]
    trained = [i for i, f in enumerate(FEATURES) if f.family == other]
    assert np.isnan(vector[trained]).all()


def segments() -> tuple[list[Telemetry], list[Telemetry]]:
    # Moves alone: the movement before the border is still open there, and the merge has to end it.
    samples = [s for s in build.wander(7, 20.0) if s[3] == 0]
    times = [s[0] for s in samples]
    # A border inside a pause: no movement spans it, as when sessions are split where nothing happens.
    border = next(i for i in range(len(samples) // 2, len(samples)) if times[i] - times[i - 1] > 400.0)
    first = [build.event(pointer=build.pointer_of(samples[:border]))]
    start = times[border]
    second = [build.event(start, sequence=1, pointer=build.pointer_of(samples[border:], float(round(start))))]
    return first, second


def test_merge_equals_the_fold_of_the_whole_up_to_the_border() -> None:
    first, second = segments()
    origin = first[0].effective_at
    a, b, whole = (new_row(origin)[None] for _ in range(3))
    for states, events in ((a, first), (b, second), (whole, first + second)):
        fold_chunk(states, np.zeros(len(events), np.int32), columns_of(events), np.empty((len(events), N_FEATURES)))
    merged = finalize(merge(a[0], b[0])[None])[0]
    expected = finalize(whole)[0]
    # The one pause and interval across the border are in neither part.
    touched = {i for name, i in INDEX.items() if "pause" in name or "interval" in name or "moving" in name}
    touched |= {INDEX[f"pointer_dwell_{end}"] for end in ("log_mean", "log_sd", "zero_ratio")}
    touched |= {INDEX["pointer_jump_ratio"], INDEX["session_active_s"]}
    for i, (got, want) in enumerate(zip(merged, expected, strict=True)):
        if i not in touched:
            same = (math.isnan(got) and math.isnan(want)) or math.isclose(got, want, rel_tol=1e-4, abs_tol=1e-5)
            assert same, (FEATURES[i].name, got, want)
    pauses = INDEX["pointer_pauses_per_movement"]
    assert merged[pauses] == pytest.approx(expected[pauses], rel=0.15)


def test_merging_nothing_changes_nothing() -> None:
    events = sessions(3)[2]
    states = new_states(1)
    fold_chunk(states, np.zeros(len(events), np.int32), columns_of(events), np.empty((len(events), N_FEATURES)))
    row = states[0]
    vectors = finalize(np.stack([row, merge(row, new_row()), merge(new_row(), row)]))
    np.testing.assert_allclose(vectors[1], vectors[0], rtol=1e-6)
    np.testing.assert_allclose(vectors[2], vectors[0], rtol=1e-6)


def test_merge_is_associative() -> None:
    origin = recorded.START_MS
    rows = []
    for i in range(3):
        states = new_row(origin)[None]
        events = [build.event(20_000.0 * i, sequence=i, pointer=build.pointer_of(build.wander(i, 8.0)))]
        fold_chunk(states, np.zeros(1, np.int32), columns_of(events), np.empty((1, N_FEATURES)))
        rows.append(states[0])
    left = merge(merge(rows[0], rows[1]), rows[2])
    right = merge(rows[0], merge(rows[1], rows[2]))
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("late", [1, 3])
def test_a_late_event_has_a_bounded_effect(late: int) -> None:
    events = build.batches(build.wander(11, 30.0))
    swapped = [*events[:5], *events[6 : 6 + late], events[5], *events[6 + late :]]
    a, b = build.fold(events)[-1], build.fold(swapped)[-1]
    assert build.value(b, "pointer_reordered") >= 1.0
    assert build.value(a, "pointer_reordered") == 0.0
    for name in ("strokes", "speed_cv_mean", "profile_3", "bend_log_mean", "pause_log_mean", "peaks_mean"):
        assert build.value(b, f"pointer_{name}") == pytest.approx(build.value(a, f"pointer_{name}"), rel=0.15, abs=0.05)
    assert build.value(b, "session_observed_s") == build.value(a, "session_observed_s")


def test_a_clock_that_jumps_is_clamped_and_counted() -> None:
    samples = build.wander(4, 3.0)
    broken = [
        build.event(0.0, pointer=build.pointer_of(samples)),
        build.event(9e11, sequence=1, pointer=build.pointer_of(samples)),
        build.event(-6e11, sequence=2, pointer=build.pointer_of(samples)),
        build.event(5000.0, sequence=3, pointer=build.pointer_of(samples)),
    ]
    vector = build.fold(broken)[-1]
    assert build.value(vector, "session_clamped_clocks") == 2.0
    assert_bounded(vector)


def assert_bounded(vector: build.Vector) -> None:
    assert not np.isinf(vector).any()
    known = ~np.isnan(vector)
    assert (vector[known] >= LOW[known]).all()
    assert (vector[known] <= HIGH[known]).all()


hostile_time = st.one_of(st.sampled_from([0.0, -60_000.0, 600_000.0]), st.floats(-60_000.0, 600_000.0))
hostile_px = st.one_of(st.sampled_from([0.0, -1e6, 1e6, 0.1]), st.floats(-1e6, 1e6))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(hostile_time, hostile_px, hostile_px, st.integers(0, 255)), max_size=30),
    st.lists(st.tuples(hostile_time, st.one_of(st.none(), hostile_time), st.integers(0, 255)), max_size=30),
    st.lists(st.tuples(hostile_time, st.integers(0, 255)), max_size=8),
    st.lists(st.integers(0, 4_000_000_000_000), min_size=1, max_size=3),
)
def test_hostile_values_give_no_infinity(
    samples: list[build.Sample], keys: list[build.Key], changes: list[tuple[float, int]], starts: list[int]
) -> None:
    events = [
        build.event(
            start - 1e12,
            pointer=build.pointer_of(samples, click_offset_px=[1e5], untrusted_count=2**53 - 1, coalesced_count=7),
            keys=build.keys_of(keys, ime_count=2**53 - 1),
            focus=Focus(t=[c[0] for c in changes], kind=[c[1] for c in changes]),
            form=Form(
                fields=[FormField(field="a", key_count=2**53 - 1, hesitation_ms=0.0, focus_ms=86_400_000.0)],
                submitted=True,
                submit_ms=0.0,
            ),
            touch=Touch(t=[0.0], x=[0.0], y=[0.0], kind=[0]),
            scroll=Scroll(t=[0.0], x=[0.0], y=[0.0]),
            motion=Motion(t=[0.0], ax=[0.0], ay=[0.0], az=[0.0]),
        )
        for start in starts
    ]
    for vector in build.fold(events):
        assert_bounded(vector)


@pytest.mark.parametrize("name", ["still", "one place", "same time", "one sample", "leaps"])
def test_degenerate_pointers(name: str) -> None:
    samples: dict[str, list[build.Sample]] = {
        "still": [(16.0 * i, 5.0, 5.0, 0) for i in range(100)],
        "one place": [(16.0 * i, 5.0, 5.0, i % 3) for i in range(100)],
        "same time": [(0.0, float(i), float(-i), 0) for i in range(100)],
        "one sample": [(0.0, 1.0, 1.0, 1)],
        "leaps": [(16.0 * i, 1e6 * (-1) ** i, -1e6 * (-1) ** (i // 2), 0) for i in range(200)],
    }
    assert_bounded(build.fold(build.batches(samples[name]))[-1])


def test_fold_refuses_what_does_not_fit() -> None:
    columns = columns_of([build.event()])
    out = np.empty((1, N_FEATURES))
    with pytest.raises(ValueError, match="rows must lie"):
        fold_chunk(new_states(1), np.array([1], np.int32), columns, out)
    with pytest.raises(ValueError, match="1 events need 1 rows"):
        fold_chunk(new_states(1), np.array([0, 0], np.int32), columns, out)
    with pytest.raises(ValueError, match="float32 states"):
        fold_chunk(new_states(1).astype(np.float64), np.array([0], np.int32), columns, out)


def filled() -> tuple[Meta, "np.ndarray[tuple[int], np.dtype[np.float32]]"]:
    meta = Meta()
    events = sessions(3)[2]
    for event in events:
        meta.observe(event, event.observed_at)
        meta.mark(event.sequence)
    meta.account_ref, meta.device_ref, meta.ip_ref = ("k1:" + "a" * 43,) * 3
    states = new_states(1)
    fold_chunk(states, np.zeros(len(events), np.int32), columns_of(events), np.empty((len(events), N_FEATURES)))
    return meta, states[0]


def test_the_codec_gives_back_every_bit() -> None:
    meta, row = filled()
    again, numbers = decode("session-1", encode("session-1", meta, row))
    assert numbers.tobytes() == row.tobytes()
    assert numbers.dtype == STATE_DTYPE
    assert numbers.flags.writeable
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(meta)


def packed_plainly(row: NDArray[np.float32]) -> bytes:
    """The numbers of a row as the codec's docstring says it."""
    used = [number for number in row if number.view(np.uint32)]
    small = [bool(1 <= number <= 255 and number == np.floor(number)) for number in used]
    numbers = [bytes([int(x)]) if is_small else x.tobytes() for x, is_small in zip(used, small, strict=True)]
    masks = [np.packbits(np.array(mask, bool), bitorder="little") for mask in (row.view(np.uint32) != 0, small)]
    return b"".join([*(mask.tobytes() for mask in masks), *numbers])


EDGES = np.array([0, -0.0, 1, 2, 254, 255, 256, -1, 0.5, 254.5, np.nan, np.inf, -np.inf, 1e-45], np.float32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1)), max_size=3), st.integers(1, 40))
def test_the_codec_gives_back_any_bits(kinds: list[tuple[int, float, float]], sessions: int) -> None:
    rows = np.zeros((len(kinds) + 1, STATE_WIDTH), np.float32)
    for row, (seed, edges, used) in zip(rows, kinds, strict=False):
        rng = np.random.default_rng(seed)
        anything = rng.integers(0, 2**32, STATE_WIDTH, np.uint32).view(np.float32)
        chosen = np.where(rng.random(STATE_WIDTH) < edges, rng.choice(EDGES, STATE_WIDTH), anything)
        row[:] = np.where(rng.random(STATE_WIDTH) < used, chosen, 0)
    written = encode_all([(f"s{i}", Meta(n_events=i), i % len(rows)) for i in range(sessions)], rows)
    for i, blob in enumerate(written):
        row = rows[i % len(rows)]
        meta, again = decode(f"s{i}", blob)
        assert again.tobytes() == row.tobytes()
        assert meta.n_events == i
        assert blob.endswith(packed_plainly(row))
        assert blob == encode(f"s{i}", Meta(n_events=i), row)


def test_a_session_is_small() -> None:
    meta, row = filled()
    assert len(encode("0123456789abcdef0123456789abcdef0123", meta, row)) <= 2048


def test_foreign_old_and_damaged_state_is_refused() -> None:
    meta, row = filled()
    blob = encode("mine", meta, row)
    with pytest.raises(StateMismatch, match="another session"):
        decode("yours", blob)
    old = blob[:4] + bytes(6) + blob[10:]
    with pytest.raises(StateMismatch, match="version 000000000000"):
        decode("mine", old)
    for bad in (b"", b"TWS1", b"\x00" * 100):
        with pytest.raises(StateMismatch):
            decode("mine", bad)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_changed_or_cut_blob_is_refused(data: st.DataObject) -> None:
    blob = encode("mine", Meta(), np.ones(STATE_WIDTH, np.float32))
    at = data.draw(st.integers(0, len(blob) - 1))
    changed = blob[:at] + bytes([blob[at] ^ data.draw(st.integers(1, 255))]) + blob[at + 1 :]
    for bad in (changed, blob[:at]):
        with pytest.raises(StateMismatch):
            decode("mine", bad)


@pytest.mark.parametrize("text", [b"\xa5sign\xff", b"\xa6\xed\xa0\x80abc", b"\x91" * 5_000, b"\xc1"])
def test_a_meta_that_no_worker_wrote_is_refused_also_under_a_checksum_that_fits(text: bytes) -> None:
    """Text that is not UTF-8, endless nesting: neither is an error of its own kind, and none is quoted in a log."""
    blob = encode("mine", Meta(flow="signup"), np.ones(STATE_WIDTH, np.float32))
    head, body = blob[:14], blob[14:]
    packed = msgspec.msgpack.encode(Meta(flow="signup"))
    assert packed in body
    bad = packed.replace(b"\xa6signup", text)
    body = body.replace(len(packed).to_bytes(4, "little") + packed, len(bad).to_bytes(4, "little") + bad)
    with pytest.raises(StateMismatch, match=r"^state is damaged: [A-Za-z]+ where its Meta should be$"):
        decode("mine", head[:10] + zlib.crc32(body).to_bytes(4, "little") + body)
