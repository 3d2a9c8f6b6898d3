"""Signals from what only the edge and the counters know: address, headers, TLS, declared agents, who else is there."""

import datetime as dt
import zoneinfo
from typing import Final

from features.automation import Found
from features.meta import Meta
from features.useragent import browser_of, os_of, platform_os
from features.velocity import WHAT_INDEX
from schemas.surroundings import Device, Network
from schemas.telemetry import Telemetry

_TLS_ENGINES = {"chrome", "firefox", "safari"}
_KERNEL: Final = {"android": "linux", "chromeos": "linux", "ios": "macos"}
"""Systems whose TCP is another's: what tells them apart is not in its options."""
_NAMES: Final = {"user-agent", "accept-language"}
"""Headers by which a request says from whom it comes; one of them may be lost on the way."""
BACKWARDS_MS: Final = 60_000
UNSTEADY_STEPS: Final = 3
MOST_ACCOUNTS: Final = {"residential": 8, "hosting": 8, "business": 40}
"""Accounts a day at which an address stands out. Behind carriers, schools and unknown networks nobody can tell."""
_COUNTRIES_M5: Final = 3 * WHAT_INDEX["account"]["countries"]
_ACCOUNTS_H24: Final = 3 * WHAT_INDEX["ip"]["accounts"] + 2


def network_signals(event: Telemetry, meta: Meta, found: Found) -> None:
    """Add what the network block shows, beside what the device block claims in the same event."""
    network, device = event.network, event.device
    if meta.ip_changes > 0:
        found["ip_change_mid_session"] = float(meta.ip_changes)
    # An upstream result's time is of another clock.
    behind = meta.last_effective_ms - event.effective_at
    if behind > BACKWARDS_MS and event.sequence == meta.highest_sequence and not meta.upstream:
        found["clock_backwards"] = round(behind / 1000.0, 1)
    if meta.clock_steps >= UNSTEADY_STEPS:
        found["clock_unsteady"] = float(meta.clock_steps)
    if network is None:
        return
    if network.agent in {"signed", "unsigned", "spoofed"}:
        found[f"agent_{network.agent}"] = True
    if network.headers_missing:
        found["headers_not_browser"] = network.headers_missing[0][:64]
    if network.asn_type == "hosting":
        found["ip_hosting"] = True
    for name in ("proxy", "vpn", "relay", "tor"):
        if getattr(network, name):
            found[f"ip_{name}"] = True
    _count(network, meta, found)
    if device is None:
        return
    if browser_of(device.user_agent or "") != "other" and (client := _other_client(network)) is not None:
        found["client_not_browser"] = client
    _compare_headers(network, device, found)
    engine = browser_of(device.user_agent or "")
    tls = (network.tls_class or "").lower()
    if tls and engine not in {"other", tls} and (tls in _TLS_ENGINES or engine in _TLS_ENGINES):
        found["tls_ua_mismatch"] = tls[:64]
    stated, claimed = platform_os(network.tcp_os or ""), os_of(device.user_agent or "")
    if "other" not in {stated, claimed} and _KERNEL.get(stated, stated) != _KERNEL.get(claimed, claimed):
        found["tcp_os_mismatch"] = f"{claimed}/{stated}"
    if device.timezone and network.timezone and offsets_differ(device.timezone, network.timezone, event.effective_at):
        found["tz_ip_mismatch"] = f"{device.timezone}/{network.timezone}"[:64]
    regions = {language.rpartition("-")[2] for language in device.languages or () if _names_region(language)}
    if network.ip_country is not None and regions and network.ip_country not in regions:
        found["locale_country_mismatch"] = f"{min(regions)}/{network.ip_country}"


def _count(network: Network, meta: Meta, found: Found) -> None:
    """What the entity counters say; unknown ones, -1 or none, say nothing."""
    account, _, address = meta.counters
    # The country of a proxy's way out is nobody's.
    hidden = network.proxy or network.vpn or network.relay or network.tor
    if account and account[_COUNTRIES_M5] >= 2 and not hidden:
        found["impossible_travel"] = float(account[_COUNTRIES_M5])
    most = MOST_ACCOUNTS.get(network.asn_type or "")
    if address and most is not None and address[_ACCOUNTS_H24] >= most:
        found["ip_session_fanout"] = float(address[_ACCOUNTS_H24])


def _other_client(network: Network) -> str | None:
    """What a request came from that is no browser; None where nothing says so."""
    if network.user_agent:
        # Every browser's name begins so; what tools call themselves does not.
        return None if network.user_agent.startswith("Mozilla/") else network.user_agent.partition("/")[0][:64]
    return "no name" if set(network.headers_missing or ()) >= _NAMES else None


def _compare_headers(network: Network, device: Device, found: Found) -> None:
    """What the request said of the browser, beside what its scripts said: one who changes one may forget the other."""
    if network.user_agent and device.user_agent and network.user_agent != device.user_agent:
        found["header_ua_mismatch"] = f"{browser_of(network.user_agent)}/{browser_of(device.user_agent)}"
    platform, claimed = network.ua_platform, device.ua_platform
    if platform and claimed and platform.casefold() != claimed.casefold():
        found["header_hints_mismatch"] = f"{platform_os(platform)}/{platform_os(claimed)}"
    elif network.ua_mobile is not None and device.ua_mobile is not None and network.ua_mobile != device.ua_mobile:
        found["header_hints_mismatch"] = "mobile"
    if network.languages and device.languages:
        first = _primary(network.languages[0])
        if first != "*" and first not in {_primary(language) for language in device.languages}:
            found["header_language_mismatch"] = True


def _names_region(language: str) -> bool:
    region = language.rpartition("-")[2]
    return len(region) == 2 and region.isupper() and region.isascii()


def _primary(language: str) -> str:
    return language.partition("-")[0].casefold()


def offsets_differ(first: str, second: str, at_ms: int) -> bool:
    """Whether two IANA zones have different UTC offsets at a time (epoch ms). An unknown zone differs from none."""
    if first == second:
        return False
    at = dt.datetime.fromtimestamp(at_ms / 1000.0, tz=dt.UTC)
    try:
        return (
            at.astimezone(zoneinfo.ZoneInfo(first)).utcoffset() != at.astimezone(zoneinfo.ZoneInfo(second)).utcoffset()
        )
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
