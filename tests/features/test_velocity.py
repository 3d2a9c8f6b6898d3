"""Entity counters: their definition, the links of a session, and the overlay of a chunk's own links."""

from hypothesis import given
from hypothesis import strategies as st

from features.meta import Meta
from features.velocity import (
    BUCKET_MS,
    PAIRS,
    WINDOWS_MS,
    Count,
    Link,
    Overlay,
    bucket_of,
    buckets_of,
    count,
    links_of,
    refs_of,
)

NOW = 1_700_000_000_000


def full() -> Meta:
    return Meta(account_ref="a", device_ref="d", ip_ref="i", ip_country="DE")


def test_a_full_session_makes_every_link() -> None:
    links = links_of(full(), "s", NOW)
    assert [(link.entity, link.what) for link in links] == list(PAIRS)
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


@given(records, st.integers(0, 10))
def test_an_overlay_counts_what_single_records_would_have_read(before: Records, split: int) -> None:
    """Counters after each record of a chunk equal the definition on all links so far."""
    before = sorted(before)
    chunk_start = max(len(before) - split, 0)
    stored: list[Link] = []
    for ms, account, device, session in before[:chunk_start]:
        stored += links_of(Meta(account_ref=account, device_ref=device), session, NOW + ms)
    chunk = before[chunk_start:]
    if not chunk:
        return
    # All records of a chunk count as of one time: its buckets are what a store was read for.
    as_of = NOW + chunk[-1][0]
    metas = [(Meta(account_ref=account, device_ref=device), session) for _, account, device, session in chunk]
    base = {
        (entity, ref, what): count(stored, entity, ref, what, as_of)
        for meta, _ in metas
        for entity, ref in refs_of(meta).items()
        for owner, what in PAIRS
        if owner == entity
    }
    own = [links_of(meta, session, as_of) for meta, session in metas]
    known = {}
    for link in (link for links in own for link in links):
        held = [
            any(
                (s.entity, s.ref, s.what, s.member) == (link.entity, link.ref, link.what, link.member)
                and bucket_of(as_of - window) <= s.bucket_ms
                for s in stored
            )
            for window in WINDOWS_MS.values()
        ]
        known[link.entity, link.ref, link.what, link.member] = (held[0], held[1], held[2])
    overlay = Overlay(base, known)
    so_far = list(stored)
    for (meta, _), links in zip(metas, own, strict=True):
        overlay.add(links)
        so_far += links
        refs = refs_of(meta)
        expected = [count(so_far, e, refs[e], what, as_of) if e in refs else None for e, what in PAIRS]
        assert overlay.counters(meta) == expected


def test_unknown_counters_stay_unknown() -> None:
    overlay = Overlay({("account", "a", "sessions"): Count(-1, -1, 5, approximate=True)})
    overlay.add(links_of(full(), "s", NOW))
    assert overlay.count("account", "a", "sessions") == Count(-1, -1, 6, approximate=True)
    assert overlay.count("device", "d", "sessions") is None
