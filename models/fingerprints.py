"""Recorded fingerprints as device blocks, and how many recorded people each signal fires for.

`python -m models.fingerprints ../shared/data > features/signal_rates.py` writes the figures that the reference page
shows. The recordings themselves do not ship.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow.parquet as pq

from features.forensics import forensic_signals
from features.meta import Meta
from features.registry import INDEX, N_FEATURES
from features.session import columns_of, fold_chunk, new_states
from features.signal_table import SIGNALS
from features.signals import derive_signals, exemption
from models.dataset import Recording, read_recordings, read_truth
from models.fingerprint_networks import draw
from models.train_vectors import events_of
from schemas.telemetry import Collector, Device, Telemetry

PEOPLE: Final = "chrome_windows_2023"
"""Windows Chrome of 2023, collected from visitors who are believed to be people."""
TRAFFIC: Final = "user_agents_intoli"
"""Traffic of a web site: people, and programs that claim to be phones."""

_FIELDS: Final[dict[str, dict[str, str]]] = {
    PEOPLE: {
        "user_agent": "user_agent",
        "ua_platform": "platform",
        "hardware_concurrency": "hardware_concurrency",
        "device_memory_gib": "device_memory",
        "screen_width_px": "screen_width",
        "screen_height_px": "screen_height",
        "avail_width_px": "screen_avail_width",
        "avail_height_px": "screen_avail_height",
        "color_depth_bits": "screen_color_depth",
        "gpu_vendor": "webgl_vendor",
        "gpu_renderer": "webgl_renderer",
        "plugin_count": "plugins_n",
    },
    TRAFFIC: {
        "user_agent": "userAgent",
        "platform": "platform",
        "vendor": "vendor",
        "language": "language",
        "screen_width_px": "screenWidth",
        "screen_height_px": "screenHeight",
        "plugin_count": "pluginsLength",
    },
}
"""Attribute of the device block, and its column, of each recording."""

SHOWN: Final[dict[str, tuple[str, ...]]] = {
    PEOPLE: (
        *("headless_ua", "plugins_inconsistent", "headless_like", "impossible_hardware", "software_renderer"),
        *("emulator", "ua_platform_mismatch", "gpu_os_mismatch", "screen_contradiction", "cores_gpu_mismatch"),
        *("cores_unusual", "memory_gpu_mismatch", "screen_gpu_mismatch"),
    ),
    TRAFFIC: ("headless_ua", "plugins_inconsistent", "rtt_zero", "emulator", "ua_platform_mismatch"),
}
"""Signals of which a recording has what they look at: those of the others would be silent for want of data."""


EVASIONS: Final = 5_000
EVASION_SEED: Final = 8
LEAST_DRAWN: Final = 100
"""Platforms that fewer of the drawn fingerprints claim are left out."""
CONSISTENCY: Final = ("cores_gpu_mismatch", "cores_unusual", "memory_gpu_mismatch", "screen_gpu_mismatch")
ANY_MISMATCH: Final = "any of these"
ANY_SIGNAL: Final = "any medium or strong"
SESSIONS: Final = "sessions"
"""Sessions of people, recorded by seven instruments."""
RECORDER_MS: Final = 8.0
"""Sampling interval that sessions are judged under: recordings declare none, and a rule asks for a fine one."""
_ENOUGH: Final[dict[str, tuple[str, float]]] = {
    "click_without_move": ("pointer_presses", 4.0),
    "press_without_rest": ("pointer_presses", 4.0),
    "cdp_rate": ("pointer_samples", 60.0),
    "zero_ms_hold": ("keystroke_keys", 8.0),
}
"""Rules on input of which the recordings have what they look at: the feature that says whether there is enough."""


class Rate(msgspec.Struct, frozen=True):
    """How many of a recording's people a signal fires for, none excused."""

    fired: int
    people: int


def devices(folder: Path, recording: str) -> Iterator[tuple[Device, int]]:
    """Each distinct fingerprint of a recording, and how many people have it. Raises OSError where it is not there."""
    columns = _FIELDS[recording]
    for row in pq.read_table(folder / "fingerprints" / f"{recording}.parquet").to_pylist():
        known = {name: row[column] for name, column in columns.items() if row[column] is not None}
        if "Brave" in (row.get("brands") or ""):
            # It says so in the page, too, which this recording did not ask; one that a program only claims does not.
            known["resist_fingerprinting"] = True
        rtt = _rtt_of(row)
        if rtt is not None:
            known["rtt_ms"] = rtt
        # The weight of the traffic is a share, not a number of people.
        yield Device(**known), row["weight"] if recording == PEOPLE else 1


def _rtt_of(row: Mapping[str, Any]) -> float | None:
    connection = row.get("connection")
    found = msgspec.json.decode(connection) if connection else None
    return found.get("rtt") if isinstance(found, dict) else None


def signals_of(device: Device) -> frozenset[str]:
    """Names of the signals, none excused, that a device block alone fires."""
    at_ms = 1_700_000_000_000
    event = Telemetry(
        event_id="f",
        session_id="f",
        tenant="recorded",
        flow="signup",
        sequence=0,
        effective_at=at_ms,
        observed_at=at_ms,
        collector=Collector(name="recorded", version="1.0.0"),
        device=device,
    )
    meta = Meta()
    meta.observe(event, at_ms)
    return frozenset(name for name, value in derive_signals(event, meta).items() if value.exempt is None)


def rates(folder: Path) -> dict[str, dict[str, Rate]]:
    """Rate of each signal in `SHOWN`, by recording and name."""
    found: dict[str, dict[str, Rate]] = {}
    for recording, shown in SHOWN.items():
        fired: Counter[str] = Counter()
        people = 0
        for device, count in devices(folder, recording):
            people += count
            for name in signals_of(device):
                fired[name] += count
        unshown = fired.keys() - set(shown)
        if unshown:
            msg = f"{recording} fires {', '.join(sorted(unshown))}, which `SHOWN` does not name"
            raise ValueError(msg)
        found[recording] = {name: Rate(fired[name], people) for name in shown}
    return found


def session_rates(parquet: Path) -> dict[str, Rate]:
    """Rate of each rule on input among the sessions of people that show enough: of those in which it ever fires."""
    truth = read_truth(parquet)
    fired: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    for recording in read_recordings(parquet):
        if truth[recording.session_id].label == 0:
            enough, ever = _judge(recording)
            judged.update(enough)
            fired.update(enough & ever)
    return {name: Rate(fired[name], judged[name]) for name in _ENOUGH}


def _judge(recording: Recording) -> tuple[set[str], set[str]]:
    """The rules of which one session shows enough, and those that held after any of its events, none excused."""
    events = events_of(recording)
    vectors = np.empty((len(events), N_FEATURES))
    marks = fold_chunk(new_states(1), np.zeros(len(events), dtype=np.int32), columns_of(events), vectors)
    meta = Meta()
    for event in events:
        meta.observe(event, event.observed_at)
    meta.sampling_interval_ms = RECORDER_MS
    ever: dict[str, bool | float | str] = {}
    for at in np.flatnonzero(marks):
        forensic_signals(meta, vectors[at], ever)
    enough = {name for name, (feature, least) in _ENOUGH.items() if vectors[-1, INDEX[feature]] >= least}
    return enough, {name for name in ever if exemption(name, meta) is None}


def evasion_rates(folder: Path) -> dict[str, dict[str, Rate]]:
    """Of fingerprints drawn as evasion tools draw them: how often signals fire, by platform claimed."""
    fired: dict[str, Counter[str]] = {}
    drawn: Counter[str] = Counter()
    for platform, device in draw(folder / "fingerprints" / "apify_networks", EVASIONS, EVASION_SEED):
        drawn[platform] += 1
        names = signals_of(device)
        held = names & set(CONSISTENCY)
        strong = any(SIGNALS[name].severity != "weak" for name in names)
        fired.setdefault(platform, Counter()).update(
            [*held, *([ANY_MISMATCH] if held else []), *([ANY_SIGNAL] if strong else [])]
        )
    return {
        platform: {name: Rate(fired[platform][name], n) for name in (*CONSISTENCY, ANY_MISMATCH, ANY_SIGNAL)}
        for platform, n in drawn.most_common()
        if n >= LEAST_DRAWN
    }


def render(found: Mapping[str, Mapping[str, Rate]], evasions: Mapping[str, Mapping[str, Rate]]) -> str:
    """The module `features.signal_rates` with these figures."""
    lines = [
        '"""How often signals fire for people of recorded fingerprints: written by `models.fingerprints`."""',
        "",
        "from typing import Final",
        "",
        "RATES: Final[dict[str, dict[str, tuple[int, int]]]] = {",
    ]
    for recording, by_name in found.items():
        lines.append(f'    "{recording}": {{')
        lines += [f'        "{name}": ({rate.fired}, {rate.people}),' for name, rate in by_name.items()]
        lines.append("    },")
    lines += ["}", '"""(people for whom it fires, people) by recording and signal."""', ""]
    lines += ["EVASIONS: Final[dict[str, dict[str, tuple[int, int]]]] = {"]
    for platform, by_name in evasions.items():
        lines.append(f'    "{platform}": {{')
        lines += [f'        "{name}": ({rate.fired}, {rate.people}),' for name, rate in by_name.items()]
        lines.append("    },")
    lines += ["}", '"""(drawn fingerprints in which it fires, drawn) by claimed platform."""']
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    data = Path(sys.argv[1])
    people = rates(data) | {SESSIONS: session_rates(data / "sessions.parquet")}
    sys.stdout.write(render(people, evasion_rates(data)))
