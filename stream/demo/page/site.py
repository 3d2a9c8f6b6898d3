"""The page's files: its own, which are package data, and the collector's build; and the headers that go with them."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Final, NamedTuple

ASSETS: Final = Path(__file__).with_name("assets")
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    """One file, whole."""

    content: bytes
    kind: str


def collector_folder() -> Path | None:
    """Folder of the collector's build: the checkout's, else what the wheel brought; None where there is none."""
    checkout = Path(__file__).resolve().parents[3] / "collector" / "browser"
    installed = Path(sysconfig.get_path("data")) / "share" / "tellwire" / "collector"
    return next((folder for folder in (checkout, installed) if (folder / "tellwire.js").is_file()), None)


def files(collector: Path) -> dict[str, File]:
    """Return every file by its path: a request can reach no other."""
    found = {"/": ASSETS / "index.html"}
    found |= {f"/assets/{path.name}": path for path in ASSETS.iterdir() if path.suffix in _TYPES}
    found |= {f"/tellwire/{path.name}": path for path in collector.iterdir() if path.suffix == ".js"}
    del found["/assets/index.html"]
    return {target: File(path.read_bytes(), _TYPES[path.suffix]) for target, path in found.items()}


def headers(gateway: str) -> dict[str, str]:
    """Return the headers of every answer. `gateway`: origin that the collector sends to."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": f"'self' {gateway}",
        "worker-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "tellwire",
    }
    return {
        "cache-control": "no-store",
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(self), microphone=(), geolocation=(), accelerometer=(), gyroscope=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
