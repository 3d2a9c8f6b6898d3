"""Session tokens: what the gateway knows of a session, signed, carried by the client; so no gateway needs a store.

`v1.<base64url of JSON>.<base64url of HMAC-SHA256>`. Its bearer can read it; without the key nobody can change it.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from typing import Final

import msgspec

from schemas.base import Flow
from stream.gateway.wire import Refusal

_VERSION: Final = b"v1"


class Session(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. Times are epoch ms; `account` is a keyed hash, made with the key `account_key`."""

    session_id: str
    nonce: str
    tenant: str
    flow: Flow
    opened_at: int
    expires_at: int
    account: str | None = None
    account_key: str | None = None


_decode: Final = msgspec.json.Decoder(Session).decode


class Tokens:
    """Opens sessions and believes what was signed with one of the keys; the first one signs. Pure but for new ids."""

    def __init__(
        self,
        keys: tuple[bytes, ...],
        *,
        ttl_ms: int,
        max_age_ms: int,
        random_id: Callable[[], str] = lambda: secrets.token_urlsafe(18),
    ) -> None:
        self._keys = keys
        self._ttl_ms = ttl_ms
        self._max_age_ms = max_age_ms
        self._random_id = random_id

    def open(self, tenant: str, flow: Flow, account: str | None, key_version: str, now_ms: int) -> Session:
        """Return a new session, with an id and a nonce of 144 random bits each."""
        return Session(
            session_id=f"s_{self._random_id()}",
            nonce=f"n_{self._random_id()}",
            tenant=tenant,
            flow=flow,
            opened_at=now_ms,
            expires_at=now_ms + min(self._ttl_ms, self._max_age_ms),
            account=account,
            account_key=None if account is None else key_version,
        )

    def renew(self, session: Session, account: str | None, key_version: str, now_ms: int) -> Session:
        """Return the same session with a later expiry; its first account stays. Raises Refusal beyond its age.

        Where the hash of its account was made with another key, that account is forgotten: a new one may be given.
        """
        latest = session.opened_at + self._max_age_ms
        if now_ms >= latest:
            raise Refusal("token_expired", "the session is too old to be renewed: open a new one")
        kept = session.account if session.account_key == key_version else None
        account = kept or account
        return msgspec.structs.replace(
            session,
            expires_at=min(now_ms + self._ttl_ms, latest),
            account=account,
            account_key=None if account is None else key_version,
        )

    def sign(self, session: Session) -> str:
        """Return the token of a session."""
        signed = _VERSION + b"." + _encode64(msgspec.json.encode(session))
        return (signed + b"." + _encode64(hmac.digest(self._keys[0], signed, "sha256"))).decode()

    def read(self, token: str) -> Session:
        """Return what a token of ours says, expired or not; raises Refusal for any other text."""
        signed, _, mac = token.encode().rpartition(b".")
        version, _, payload = signed.partition(b".")
        if version == _VERSION and any(
            hmac.compare_digest(mac, _encode64(hmac.digest(key, signed, "sha256"))) for key in self._keys
        ):
            try:
                return _decode(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
            except (Base64Error, msgspec.DecodeError):
                pass  # signed by us, in a form of another version
        raise Refusal("token_invalid", "the token was not signed by this gateway's key: open a session anew")

    def check(self, token: str, key_version: str, now_ms: int) -> Session:
        """Return the session of a token that is valid now; raises Refusal."""
        session = self.read(token)
        if now_ms >= session.expires_at:
            raise Refusal("token_expired", "renew the session at the app's server, or open a new one")
        if session.account is not None and session.account_key != key_version:
            raise Refusal("token_expired", "the key of references has changed: renew the session at the app's server")
        return session


def _encode64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
