"""The standard workload: columnar telemetry of about 25 pointer samples, device and network blocks now and then.

Sessions are drawn evenly from the live ones, accounts, devices and addresses by Zipf's law. Values are made of random
walks: what matters here is their number and size, not what a model thinks of them.
"""

from collections.abc import Iterator

import numpy as np

from schemas.envelope import encode
from schemas.telemetry import Collector, Device, Network, Pointer, Telemetry, Viewport

START_MS = 1_790_000_000_000
SAMPLES = 25
_COLLECTOR = Collector(name="bench-web", version="1.0.0", sampling_interval_ms=16.0)
_DEVICE = Device(
    user_agent="Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    platform="Linux x86_64",
    languages=["en-GB", "en"],
    language="en-GB",
    timezone="Europe/London",
    hardware_concurrency=8,
    device_memory_gib=8.0,
    max_touch_points=0,
    screen_width_px=1920,
    screen_height_px=1080,
    plugin_count=5,
    webdriver=False,
    webdriver_native=True,
    chrome_object=True,
)


def workload(events: int, *, sessions: int = 10_000, seed: int = 1) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) of each event, 0.5 to 0.9 kB a value; the same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    sequence = np.zeros(sessions, dtype=np.int64)
    position = rng.uniform(100, 900, size=(sessions, 2))
    entities = np.minimum(rng.zipf(1.3, size=(sessions, 3)), 5_000)
    for number in range(events):
        session = int(rng.integers(sessions))
        turn = int(sequence[session])
        sequence[session] += 1
        steps = rng.normal(0, 6, size=(SAMPLES, 2)).cumsum(axis=0)
        path = np.clip(position[session] + steps, 0, 2_000).round(1)
        position[session] = path[-1]
        begin = START_MS + 500 * turn
        event = Telemetry(
            event_id=f"e{seed}-{number}",
            session_id=f"bench-{seed}-{session}",
            tenant="bench",
            flow="login",
            sequence=turn,
            effective_at=begin,
            observed_at=begin + 520,
            collector=_COLLECTOR,
            account_ref=f"account-{entities[session, 0]}",
            device_ref=f"device-{entities[session, 1]}",
            viewport=Viewport(width_px=1280, height_px=720),
            pointer=Pointer(
                t=(rng.uniform(0, 4, SAMPLES) + 20.0 * np.arange(SAMPLES)).round(1).tolist(),
                x=path[:, 0].tolist(),
                y=path[:, 1].tolist(),
                pointer_type="mouse",
            ),
            device=_DEVICE if turn == 0 else None,
            network=Network(ip_ref=f"ip-{entities[session, 2]}", ip_country="GB") if turn % 20 == 0 else None,
        )
        yield event.session_id.encode(), encode(event)
