"""Near-duplicate movements: description and comparison against naive twins, what counts as another's, and the score."""

import hashlib
import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.movement import WIDTH
from models import movement_key as keys
from models import movement_match as match
from models.movement_key import Described, MovementKey, load_reference

REFERENCE = load_reference()[0]
KEY = MovementKey(b"0123456789abcdef", REFERENCE)
LOG_MS = math.log(800.0)


def shapes(n: int, seed: int = 1) -> np.ndarray:
    """Shapes as usual as people's."""
    rng = np.random.default_rng(seed)
    axes = np.array(REFERENCE.axes)
    return (np.array(REFERENCE.mean) + rng.normal(size=(n, keys.AXES)) @ np.linalg.pinv(axes).T).astype(np.float32)


def described(n: int = 3, seed: int = 1) -> Described:
    return KEY.describe(shapes(n, seed), np.full(n, LOG_MS))


def packed(*, session: bytes = b"s" * 6, owner: bytes = b"o" * 6, at: int = 1_000, seed: int = 1) -> bytes:
    body = match.packed_bodies(described(seed=seed))[0]
    return b"".join((session, match.place_of(at, 0, 5, 0), owner, body))


def nearness(pending: match.Pending, stored: Iterable[bytes]) -> int:
    """Of one alone."""
    return match.nearness([pending], [stored])[0]


def test_a_description_does_not_depend_on_what_else_is_described() -> None:
    some = shapes(40)
    log_ms = np.linspace(5.3, 8.0, 40)
    together = KEY.describe(some, log_ms)
    for i in range(40):
        alone = KEY.describe(some[i : i + 1], log_ms[i : i + 1])
        for name in Described._fields:
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[i])


def test_cells_and_density_are_their_naive_twin() -> None:
    some, log_ms = shapes(30), np.linspace(5.3, 8.0, 30)
    found = KEY.describe(some, log_ms)
    for i in range(30):
        centred = some[i].astype(float) - np.array(REFERENCE.mean)
        z = np.array(REFERENCE.axes) @ centred
        radius, widest = np.linalg.norm(z), np.abs(some[i, WIDTH // 2 :]).max()
        b = REFERENCE.density
        usual = math.exp(b[0] + b[1] * math.log(radius + 0.1) + b[2] * radius + b[3] * math.log(widest + 0.02))
        assert found.usual[i] == pytest.approx(usual, rel=1e-5)
        turned = KEY._turn @ centred / keys.COORDINATE_STEP
        np.testing.assert_allclose(found.coordinates[i], np.clip(turned, -127, 127), atol=0.501)
        for table in range(keys.TABLES):
            cuts = [*(KEY._directions[table] @ z / keys.CELL_WIDTH), log_ms[i] / keys.DURATION_CELL]
            cell = int(KEY._seeds[table])
            for cut, shift in zip(cuts, KEY._shifts[table], strict=True):
                cell = naive_mix(cell ^ (math.floor(cut + shift) & 0xFFFFFFFF))
            assert found.cells[i, table] == cell


def naive_mix(value: int) -> int:
    mask = (1 << 64) - 1
    value = (value + 0x9E3779B97F4A7C15) & mask
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & mask
    return value ^ value >> 31


def test_the_turn_keeps_distances_and_another_key_gives_other_numbers() -> None:
    np.testing.assert_allclose(KEY._turn @ KEY._turn.T, np.eye(WIDTH), atol=1e-9)
    other = MovementKey(b"another key, of as many bytes", REFERENCE)
    mine, theirs = described(8), other.describe(shapes(8), np.full(8, LOG_MS))
    assert not np.isin(mine.cells, theirs.cells).any()
    assert (mine.coordinates != theirs.coordinates).mean() > 0.8
    assert KEY.tag("owner", "a", size=6) != other.tag("owner", "a", size=6)
    with pytest.raises(ValueError, match="16 bytes"):
        MovementKey(b"short", REFERENCE)


TAGS = st.sampled_from([b"aaaaaa", b"bbbbbb", b"aaaaab"])


@settings(max_examples=150, deadline=None)
@given(
    own=st.tuples(TAGS, TAGS, st.integers(0, 3), st.integers(0, 30)),
    others=st.lists(st.tuples(TAGS, TAGS, st.integers(0, 3), st.integers(0, 30)), max_size=12),
    seed=st.integers(0, 1_000),
)
def test_the_nearest_is_its_naive_twin(
    own: tuple[bytes, bytes, int, int], others: list[tuple[bytes, bytes, int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)

    def entry(session: bytes, owner: bytes, at: int, duration: int) -> bytes:
        coordinates = rng.integers(-127, 128, WIDTH).astype(np.int8)
        return b"".join((session, match.place_of(at, 0, 7, 0), owner, bytes((duration,)), coordinates.tobytes()))

    mine = entry(*own)
    stored = [entry(*other) for other in others]
    best = None
    for other in stored:
        if other[:6] == mine[:6] or other[16:22] == mine[16:22] or other[6:16] >= mine[6:16]:
            continue
        if abs(other[22] - mine[22]) > match.DURATION_STEPS:
            continue
        a, b = (np.frombuffer(e[23:], dtype=np.int8).astype(int) for e in (mine, other))
        squares = int(((a - b) ** 2).sum())
        best = squares if best is None else min(best, squares)
    pending = match.Pending(mine, 0.5, ())
    expected = match.FAR if best is None else match.near_of(best, 0.5)
    middle = len(stored) // 2
    values = [b"".join(stored[:middle]), b"", b"junk", b"".join(stored[middle:])]
    assert nearness(pending, values) == expected
    strange = match.Pending(entry(b"cccccc", b"cccccc", 9, own[3]), 0.5, ())
    alone = nearness(strange, values[::-1])
    assert match.nearness([pending, strange, pending, pending], [values, values, [b"junk"], ()]) == [
        expected, alone, match.FAR, match.FAR,
    ]  # fmt: skip


def test_what_is_packed_is_read_back_and_anything_else_is_refused() -> None:
    some = described(4)
    for i, body in enumerate(match.packed_bodies(some)):
        one = match.unpack(b"s" * 6 + match.place_of(1_000, 0, 5, 0) + b"o" * 6 + body)
        assert len(one.entry) == match.ENTRY_BYTES
        assert one.entry[-WIDTH - 1 :] == bytes((int(some.duration[i]),)) + some.coordinates[i].tobytes()
        assert one.cells == tuple(some.cells[i].tolist())
        assert one.usual == pytest.approx(some.usual[i])
    with pytest.raises(ValueError, match="packed movement has"):
        match.unpack(packed()[:-1])


def test_a_tag_is_the_keyed_hash_of_its_parts() -> None:
    for kind, size, parts in (("owner", 6, ("a", "b")), ("session", 6, ("é\ud800",)), ("owner", 8, ("a", "b"))):
        text = "\0".join(parts).encode("utf-8", "surrogatepass")
        naive = hashlib.blake2b(text, key=b"0123456789abcdef", digest_size=size, person=b"mov." + kind.encode())
        assert KEY.tag(kind, *parts, size=size) == KEY.tag(kind, *parts, size=size) == naive.digest()


def test_a_copy_of_another_owners_is_near_and_ones_own_or_a_later_one_is_not() -> None:
    mine = match.unpack(packed(at=2_000))

    def stored(**other: bytes | int) -> bytes:
        return match.unpack(packed(**other)).entry  # type: ignore[arg-type]

    assert nearness(mine, [stored(session=b"t" * 6, owner=b"p" * 6)]) == 0
    assert nearness(mine, [stored(session=b"t" * 6)]) == match.FAR, "a retry of the same account"
    assert nearness(mine, [stored(owner=b"p" * 6)]) == match.FAR, "the session itself"
    assert nearness(mine, [stored(session=b"t" * 6, owner=b"p" * 6, at=2_000)]) == match.FAR, "at the same place"
    assert nearness(mine, [stored(session=b"t" * 6, owner=b"p" * 6, at=3_000)]) == match.FAR, "later"
    assert nearness(mine, [stored(session=b"t" * 6, owner=b"p" * 6, seed=2)]) > 20, "somebody's other movement"


def test_places_sort_as_the_log_does() -> None:
    times, offsets = (1, 2**33, 2**41), (1, 300, 2**20)
    places = [match.place_of(at, 3, offset, n) for at in times for offset in offsets for n in (0, 3)]
    assert places == sorted(places)
    assert all(len(place) == match.PLACE_BYTES for place in places)


def test_an_owner_is_the_account_else_the_device_else_the_session_of_one_tenant() -> None:
    def tag(tenant: str = "t", account: str | None = None, device: str | None = None, session: str = "s") -> bytes:
        return match.owner_tag(KEY, tenant, account, device, session)

    assert tag(account="a", device="d", session="s") == tag(account="a", device="e", session="r")
    assert tag(device="d", session="s") == tag(device="d", session="r")
    assert len({tag(account="a"), tag(device="a"), tag(session="a"), tag(tenant="u", account="a"), tag()}) == 5


def test_the_score_rests_on_the_third_nearest_of_the_latest_ten() -> None:
    assert math.isnan(match.raw_of(b"\1\1")), "too few to say anything"
    assert match.raw_of(bytes([1, 1, match.FAR])) == 0.0
    assert match.raw_of(bytes([3, 20, 11])) == 1.0
    assert match.raw_of(bytes([3, 25, 11])) == pytest.approx(0.5)
    assert match.raw_of(bytes([3, 31, 11])) == 0.0
    assert match.raw_of(bytes([match.SAME])) == match.raw_of(bytes([40, match.SAME, match.FAR])) == 1.0, "one is enough"
    assert match.copies(bytes([3, 30, 11, 20, 255])) == 3
    near = b""
    for value in range(25):
        near = match.with_answers(near, [value])
    assert list(near) == list(range(15, 25))
