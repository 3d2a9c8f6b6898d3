"""Tokens: what was signed is read back, everything else is refused."""

from __future__ import annotations

from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.gateway.tokens import Session, Tokens
from stream.gateway.wire import MAX_TOKEN_CHARS, Refusal

KEY, OLD, STRANGE = b"k" * 32, b"o" * 32, b"s" * 32
NOW = 1_790_000_000_000


def tokens(*keys: bytes) -> Tokens:
    return Tokens(keys or (KEY,), ttl_ms=60_000, max_age_ms=150_000)


def session(of: Tokens | None = None, account: str | None = "a" * 32) -> Session:
    return (of or tokens()).open("shop", "login", account, "k1", NOW)


def code(made: Tokens, token: str, now_ms: int = NOW, version: str = "k1") -> str:
    with pytest.raises(Refusal) as caught:
        made.check(token, version, now_ms)
    return caught.value.code


def test_a_session_is_read_back_by_every_gateway_with_the_key() -> None:
    opened = session()
    assert tokens().check(tokens().sign(opened), "k1", NOW) == opened
    assert tokens(STRANGE, KEY).check(tokens().sign(opened), "k1", NOW) == opened
    assert len({session().session_id for _ in range(100)} | {session().nonce for _ in range(100)}) == 200


def test_another_key_is_not_believed() -> None:
    assert code(tokens(), tokens(STRANGE).sign(session())) == "token_invalid"
    # What the old key signed is, but nothing new is signed with it.
    assert code(tokens(OLD), tokens(KEY, OLD).sign(session())) == "token_invalid"


@given(st.data())
def test_no_changed_token_is_believed(data: st.DataObject) -> None:
    token = tokens().sign(session())
    at = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(
        st.sampled_from("ABCabc019_-.") | st.characters(max_codepoint=0x2FF, exclude_categories=["Cs"])
    )
    changed = token[:at] + character + token[at + 1 :]
    if changed != token:
        assert code(tokens(), changed) == "token_invalid"


@given(st.text(max_size=60) | st.from_regex(r"v1\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,43}"))
def test_no_other_text_is_believed(text: str) -> None:
    assert code(tokens(), text) == "token_invalid"


def test_a_parts_swap_between_two_tokens_is_not_believed() -> None:
    first, second = (tokens().sign(session()).split(".") for _ in range(2))
    assert code(tokens(), ".".join((first[0], first[1], second[2]))) == "token_invalid"


def test_it_expires_to_the_millisecond() -> None:
    token = tokens().sign(session())
    assert tokens().check(token, "k1", NOW + 59_999).flow == "login"
    assert code(tokens(), token, NOW + 60_000) == "token_expired"


def test_renewing_keeps_the_session_and_ends_at_its_age() -> None:
    made, opened = tokens(), session()
    later = made.renew(opened, "b" * 32, "k1", NOW + 70_000)
    assert (later.session_id, later.nonce, later.account) == (opened.session_id, opened.nonce, opened.account)
    assert later.expires_at == NOW + 130_000
    assert made.renew(later, None, "k1", NOW + 140_000).expires_at == NOW + 150_000
    with pytest.raises(Refusal) as caught:
        made.renew(later, None, "k1", NOW + 150_000)
    assert caught.value.code == "token_expired"


def test_an_account_that_becomes_known_is_added() -> None:
    made = tokens()
    assert made.renew(session(account=None), "b" * 32, "k1", NOW).account == "b" * 32


def test_a_hash_of_another_key_of_references_never_passes_as_one_of_this() -> None:
    made, opened = tokens(), session()
    assert code(made, made.sign(opened), version="k2") == "token_expired"
    assert made.renew(opened, None, "k2", NOW).account is None
    assert made.renew(opened, "c" * 32, "k2", NOW).account == "c" * 32
    assert made.check(made.sign(session(account=None)), "k2", NOW).account is None


def test_it_fits_its_bound_and_holds_no_account_in_the_clear() -> None:
    longest = Tokens((KEY,), ttl_ms=86_400_000, max_age_ms=30 * 86_400_000).open(
        "t" * 64, "high_risk_action", "a" * 32, "k" * 16, NOW
    )
    token = tokens().sign(longest)
    assert len(token) < MAX_TOKEN_CHARS
    payload = token.split(".")[1]
    assert b'"high_risk_action"' in urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
