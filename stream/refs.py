"""Keyed hashes of references: account, device and address never travel further than here in the clear."""

import re
from hashlib import blake2b
from typing import Final

from schemas.signals import Signal
from schemas.telemetry import Telemetry
from stream.settings import KeySettings, SettingsError

DIGEST_BYTES = 16
_HASH = re.compile(r"[0-9a-f]{32}")
_SIGNAL_REFS: Final = (
    "document_ref",
    "document_image_ref",
    "face_cluster_ref",
    "capture_ref",
    "phone_ref",
    "email_ref",
)

_DEVICE_HASHES: Final = ("canvas_hash", "audio_hash", "fonts_hash")


class RefHasher:
    """Hashes references with BLAKE2b-128 under a secret key (RFC 7693, keyed mode), purpose-separated.

    The same reference gives the same hash under one key, whoever hashed it; without the key it cannot be enumerated.
    """

    def __init__(self, settings: KeySettings, *, device_templates: bool = False) -> None:
        """Raise SettingsError when the key is missing.

        device_templates: keep hashes of what a device draws, sounds and has fonts for, keyed; otherwise nobody behind
        this line sees them, and devices that look alike cannot be counted.
        """
        if settings.ref_key is None:
            msg = (
                "keys.ref_key (TELLWIRE_KEYS__REF_KEY): not set; give a secret of at least 16 characters, "
                "the same in gateway and workers, for example from `openssl rand -hex 32`"
            )
            raise SettingsError(msg)
        secret = settings.ref_key.get_secret_value()
        self._key = secret.encode()[:64]
        # By kind, with the key taken in already: half the work of a short reference.
        self._begun: dict[str, blake2b] = {}
        self.version = settings.ref_key_version
        self._device_templates = device_templates

    def derived(self, purpose: str) -> bytes:
        """Return a key of 32 bytes for another purpose, from which this one can't be found."""
        return blake2b(digest_size=32, key=self._key, person=f"key.{purpose}".encode()[:16]).digest()

    def hash(self, kind: str, ref: str) -> str:
        """Return 32 hex characters for a raw reference of this kind (account, device, ip, document, ...)."""
        begun = self._begun.get(kind)
        if begun is None:
            person = kind.encode()[:16]
            begun = self._begun[kind] = blake2b(digest_size=DIGEST_BYTES, key=self._key, person=person)
        hashed = begun.copy()
        hashed.update(ref.encode())
        return hashed.hexdigest()

    def keep_or_hash(self, kind: str, ref: str | None, key_version: str | None) -> str | None:
        """Return the reference hashed, unless the producer says that this key hashed it already, and it looks so.

        What is said to be hashed and has no hash's shape is hashed: a claim must not let a raw reference through.
        """
        if ref is None or (key_version == self.version and _HASH.fullmatch(ref)):
            return ref
        return self.hash(kind, ref)

    def hash_event(self, event: Telemetry | Signal) -> None:
        """Replace every raw reference by its keyed hash, in place; nothing behind this line sees a raw one."""
        version = event.ref_key_version
        event.account_ref = self.keep_or_hash("account", event.account_ref, version)
        event.device_ref = self.keep_or_hash("device", event.device_ref, version)
        if isinstance(event, Telemetry):
            network, capture, device = event.network, event.capture, event.device
            if device is not None:
                # Nothing but a digest of these is kept, and that is as hard to guess as they are.
                for name in _DEVICE_HASHES:
                    raw = getattr(device, name)
                    if raw is not None:
                        setattr(device, name, self.hash(name, raw) if self._device_templates else None)
            if network is not None:
                network.ip_ref = self.keep_or_hash("ip", network.ip_ref, version)
                network.header_order_ref = self.keep_or_hash("header_order", network.header_order_ref, version)
            if capture is not None:
                capture.capture_ref = self.keep_or_hash("capture_ref", capture.capture_ref, version)
        elif event.refs is not None:
            held = event.refs
            for name in _SIGNAL_REFS:
                setattr(held, name, self.keep_or_hash(name, getattr(held, name), held.ref_key_version))
            held.ref_key_version = self.version
        event.ref_key_version = self.version
