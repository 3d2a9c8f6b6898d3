"""The sample of served vectors: every session up to a rate, then a keyed share, all or nothing."""

from hypothesis import given
from hypothesis import strategies as st

from stream.sampling import FeatureSampler

T0 = 1_700_000_000_000
TIMES = st.lists(st.integers(0, 5_000), max_size=200).map(
    lambda steps: [T0 + sum(steps[:i]) for i in range(len(steps))]
)


@given(TIMES, st.floats(0.1, 20), st.floats(0, 0.9))
def test_no_window_holds_more_whole_sessions_than_the_rate_fills(times: list[int], rate: float, share: float) -> None:
    sampler = FeatureSampler(rate, share)
    chosen = [(at, sampler.choose(f"s{i}", at)) for i, at in enumerate(times)]
    whole = [at for at, ratio in chosen if ratio == 1.0]
    for i in range(len(whole)):
        for j in range(i, len(whole)):
            held = max(1.0, rate) + (whole[j] - whole[i]) / 1000 * rate
            assert j - i + 1 <= held + 1e-6


@given(TIMES, st.floats(0.1, 20))
def test_below_the_rate_every_session_is_whole(times: list[int], rate: float) -> None:
    sampler = FeatureSampler(rate, 0.0)
    spacing_ms = int(1000 / rate) + 1
    assert all(sampler.choose(f"s{i}", T0 + i * spacing_ms) == 1.0 for i in range(len(times)))


def test_a_rate_below_one_a_second_still_gives_sessions() -> None:
    sampler = FeatureSampler(0.5, 0.0)
    assert [sampler.choose(f"s{i}", T0 + i * 1000) for i in range(6)] == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]


@given(st.floats(0.001, 0.999), st.lists(st.text(max_size=20), max_size=50), st.integers(0, 10**6))
def test_the_share_is_chosen_by_the_id_alone(share: float, ids: list[str], shift_ms: int) -> None:
    first = {sid: FeatureSampler(0, share).choose(sid, T0) for sid in ids}
    late = FeatureSampler(0, share)
    assert {sid: late.choose(sid, T0 + shift_ms) for sid in reversed(ids)} == first
    assert set(first.values()) <= {0.0, share}
    assert all(FeatureSampler(0, 1.0).choose(sid, T0) == 1.0 for sid in ids)
    assert all(FeatureSampler(0, 0.0).choose(sid, T0) == 0.0 for sid in ids)


def test_the_share_is_about_the_share_and_grows_with_it() -> None:
    ids = [f"session-{i}" for i in range(20_000)]
    small = {sid for sid in ids if FeatureSampler(0, 0.05).choose(sid, T0)}
    large = {sid for sid in ids if FeatureSampler(0, 0.2).choose(sid, T0)}
    assert 0.045 < len(small) / len(ids) < 0.055
    assert small <= large


def test_time_that_goes_back_fills_nothing() -> None:
    sampler = FeatureSampler(2.0, 0.0)
    assert [sampler.choose(f"s{i}", T0 - i * 60_000) for i in range(4)] == [1.0, 1.0, 0.0, 0.0]
