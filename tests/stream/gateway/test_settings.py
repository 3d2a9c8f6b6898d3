"""The gateway's settings and codes: what must be set, what is refused, and that no secret is shown."""

from __future__ import annotations

from typing import Any

import pytest

from stream.gateway.settings import GatewaySettings
from stream.gateway.wire import CODES
from stream.settings import SettingsError
from tests.stream.gateway.doubles import OTHER_SECRET, SECRET, World, settings


def test_every_code_has_a_status_and_a_title() -> None:
    assert all(400 <= status <= 599 and title for status, title in CODES.values())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tenants": {}, "origins": {}}, "gateway.tenants"),
        ({"token_key": None}, "gateway.token_key"),
    ],
)
def test_what_must_be_set_is_told(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        World(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tenants": {"shop": "short"}}, "at least 32"),
        ({"tenants": {"shop": f"{SECRET} "}}, "at least 32"),
        ({"tenants": {"sh op": SECRET}}, "no name of a tenant"),
        ({"tenants": {"shop": SECRET, "bank": f"{OTHER_SECRET} {SECRET}"}}, "shop and bank have the same secret"),
        ({"origins": {"https://x.example/": "shop"}}, "no origin"),
        ({"origins": {"*": "shop"}}, "no origin"),
        ({"origins": {"https://x.example": "who"}}, "not in gateway.tenants"),
        ({"token_key": "short"}, "shorter than 32"),
        ({"trusted_proxies": "everyone"}, "no network"),
        ({"trusted_proxies": "10.0.0.1/8"}, "no network"),
        ({"edge_headers": {"ip_ref": "x-ip"}}, "no fact that an edge tells"),
        ({"edge_headers": {"asn": "X ASN"}}, "no header's name"),
        ({"port": True}, "no value"),
    ],
)
def test_wrong_settings_are_told(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings(**given)


def test_no_secret_is_shown() -> None:
    made: GatewaySettings = settings().gateway
    assert SECRET not in repr(made) + str(made) + str(made.model_dump())
