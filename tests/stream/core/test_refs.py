"""Keyed hashes of references: keyed, purpose-separated, and hashed once."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from stream.refs import RefHasher
from stream.settings import KeySettings, SettingsError

KEY = "0123456789abcdef-test"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
KINDS = ["account", "device", "ip", "document_ref", "document_image_ref", "face_cluster_ref", "capture_ref"]
KINDS += ["canvas_hash", "audio_hash", "fonts_hash"]


def hasher(key: str = KEY, version: str = "k1") -> RefHasher:
    return RefHasher(KeySettings(ref_key=SecretStr(key), ref_key_version=version))


@given(TEXT, st.sampled_from(KINDS))
def test_it_is_keyed_blake2b_of_128_bits_personalised_by_kind(ref: str, kind: str) -> None:
    plain = hashlib.blake2b(digest_size=16, key=KEY.encode(), person=kind.encode()[:16])
    plain.update(ref.encode())
    assert hasher().hash(kind, ref) == plain.hexdigest()
    assert len(hasher().hash(kind, ref)) == 32


@given(TEXT)
def test_another_key_or_kind_gives_another_hash(ref: str) -> None:
    hashes = {hasher().hash(kind, ref) for kind in KINDS} | {hasher("another-key-of-16+").hash("account", ref)}
    assert len(hashes) == len(KINDS) + 1


def test_kinds_stay_apart_although_only_16_bytes_of_them_count() -> None:
    from stream.refs import _DEVICE_HASHES, _SIGNAL_REFS

    kinds = ("account", "device", "ip", "header_order", *_DEVICE_HASHES, *_SIGNAL_REFS)
    assert len({name[:16] for name in kinds}) == len(kinds)


def test_what_this_key_hashed_already_is_kept_and_all_else_is_hashed() -> None:
    refs = hasher(version="k2")
    hashed = refs.hash("account", "a")
    assert refs.keep_or_hash("account", hashed, "k2") == hashed
    assert refs.keep_or_hash("account", hashed, "k1") == refs.hash("account", hashed)
    assert refs.keep_or_hash("account", "a", None) == hashed
    assert refs.keep_or_hash("account", None, None) is None
    assert refs.version == "k2"


def test_a_raw_reference_that_claims_to_be_hashed_is_hashed() -> None:
    refs = hasher(version="k2")
    assert refs.keep_or_hash("account", "alice@example.com", "k2") == refs.hash("account", "alice@example.com")


def test_without_a_key_nothing_starts() -> None:
    with pytest.raises(SettingsError, match="TELLWIRE_KEYS__REF_KEY") as caught:
        RefHasher(KeySettings(ref_key=None))
    assert "not set" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "x" * 15])
def test_a_short_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValidationError, match="shorter than 16 characters") as caught:
        KeySettings(ref_key=SecretStr(key))
    assert not key or key not in str(caught.value)
