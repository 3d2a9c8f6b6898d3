"""Entity counters: their definition, the links of a session, and the overlay of a chunk's own links."""

from hypothesis import strategies as st

from features.meta import Meta
from features.velocity import (
    ALL_PAIRS,
    BUCKET_MS,
    CAPTURE_PAIRS,
    PAIRS,
    WINDOWS_MS,
    bucket_of,
    buckets_of,
    links_of,
)

NOW = 1_700_000_000_000


def full() -> Meta:
    return Meta(account_ref="a", device_ref="d", ip_ref="i", ip_country="DE")


def test_a_full_session_makes_every_link() -> None:
    links = links_of(full(), "s", NOW)
    assert [(link.entity, link.what) for link in links] == list(PAIRS)
    captured = full()
    captured.capture_ref = "c"
    links = links_of(captured, "s", NOW)
    assert [(link.entity, link.what) for link in links] == [*PAIRS, *CAPTURE_PAIRS]
    captured.template_ref = "t"
    links = links_of(captured, "s", NOW)
    assert [(link.entity, link.what) for link in links] == list(ALL_PAIRS)
    assert {link.bucket_ms for link in links} == {bucket_of(NOW)}


def test_nothing_is_linked_to_what_is_not_known() -> None:
    assert links_of(Meta(), "s", NOW) == []
    assert links_of(Meta(ip_country="DE"), "s", NOW) == []
    links = links_of(Meta(account_ref="a", ip_country="DE"), "s", NOW)
    assert [(link.entity, link.what) for link in links] == [("account", "sessions"), ("account", "countries")]


def test_windows_never_forget_what_they_should_hold() -> None:
    for window in WINDOWS_MS.values():
        for offset in (0, 1, BUCKET_MS - 1):
            at = bucket_of(NOW) + offset
            buckets = buckets_of(window, at)
            assert buckets[0] <= at - window < buckets[0] + BUCKET_MS
            assert buckets[-1] == bucket_of(at)
            assert len(buckets) == window // BUCKET_MS + 1


Records = list[tuple[int, str, str, str]]
records = st.lists(
    st.tuples(
        st.integers(0, 90_000_000), st.sampled_from("ab"), st.sampled_from(["d1", "d2", "d3"]), st.sampled_from("xyz")
    ),
    max_size=25,
)
