"""Simulated injection attacks: each is found among simulated people, but for the one that shows nothing."""

import numpy as np

from features.meta import Meta
from features.signals import derive_signals
from schemas.signals import Signal
from stream.simulation.injections import ATTACKS, FIGURES, HARMLESS, REFUSED, UNSEEN, genuine, measure, records_of


def test_each_attack_is_found_at_one_percent_of_simulated_people() -> None:
    found = measure()
    assert found == FIGURES
    assert found.keys() == ATTACKS.keys()
    for name, (hits, sessions) in found.items():
        assert (hits < 0.1 * sessions) if name in UNSEEN else (hits >= 0.9 * sessions), name


def test_people_show_the_innocent_causes_as_often_as_the_page_says() -> None:
    n, fired = 1_500, dict.fromkeys(("virtual_camera_installed", "device_list_changed", "frame_drop_pattern"), 0)
    for i in range(n):
        rng = np.random.default_rng([11, i])
        meta, signals = Meta(), {}
        for record in records_of(rng, genuine(rng)):
            if isinstance(record, Signal):
                meta.observe_signal(record, 0)
            else:
                meta.observe(record, 0)
            signals = derive_signals(record, meta)
        for name in fired:
            fired[name] += name in signals
    # Half of them are on phones, which have no virtual cameras beside their own.
    wanted = {
        "virtual_camera_installed": HARMLESS["virtual_camera_installed"] / 2,
        "device_list_changed": HARMLESS["device_list_changed"],
        "frame_drop_pattern": HARMLESS["dim_light"],
    }
    for name, share in wanted.items():
        assert abs(fired[name] / n - share) < 0.02, name
    assert all(for_good <= at_first for at_first, for_good in REFUSED.values())
