"""What a person does not agree to makes nobody riskier: without a consent's blocks scores and decisions never rise."""

from __future__ import annotations

import itertools
from functools import cache

import msgspec
import pytest

from models.engine import Assessment, Engine
from models.offline import OfflineScorer, parse_cuts
from models.policy import ACTION_RANK
from schemas.surroundings import Device, Network
from schemas.telemetry import Telemetry
from tests.fault.load import simulated

CONSENTS = {
    "behaviour": ("pointer", "touch", "scroll", "keys", "form", "focus"),
    "device": ("device",),
    "camera": ("capture",),
    "motion": ("motion",),
}
"""Blocks of each consent, as the collector's guide has them."""

Scored = dict[tuple[str, str], Assessment]


def scored(events: list[Telemetry]) -> Scored:
    """The assessments of each session after two and ten seconds and at its end."""
    scorer = OfflineScorer(Engine.load(None), parse_cuts("2,10,end"))
    rows = itertools.chain.from_iterable(scorer.records(events))
    return {(row.session_id, row.cut.name): row.assessment for row in rows if row.assessment is not None}


@cache
def crowd() -> tuple[Telemetry, ...]:
    """People and bots, half and half."""
    return tuple(itertools.islice(simulated(5, 5.0, 0.5, 1_790_000_000_000), 900))


@cache
def with_all() -> Scored:
    return scored(list(crowd()))


def without(events: tuple[Telemetry, ...], blocks: tuple[str, ...]) -> list[Telemetry]:
    return [msgspec.structs.replace(event, **dict.fromkeys(blocks)) for event in events]


@pytest.mark.parametrize("consent", CONSENTS)
def test_less_consent_is_less_evidence_and_never_more_risk(consent: str) -> None:
    less = scored(without(crowd(), CONSENTS[consent]))
    seen = with_all()
    assert len(seen) > 80
    assert less.keys() <= seen.keys()
    for key, found in less.items():
        before = seen[key]
        assert found.scores.overall_anytime <= before.scores.overall_anytime + 1e-9, key
        assert ACTION_RANK[found.decision.action] <= ACTION_RANK[before.decision.action], key
        assert found.coverage <= before.coverage, key


def test_the_consents_are_all_that_a_client_says_of_behaviour_and_surroundings() -> None:
    """A new block of telemetry belongs to a consent; what the gateway adds by itself does not."""
    blocks = {block for blocks in CONSENTS.values() for block in blocks}
    of_the_session = {"collector", "viewport", "end", "network"}
    declared = {field.name for field in msgspec.structs.fields(Telemetry) if field.name not in of_the_session}
    structs = {name for name in declared if isinstance(getattr(example(), name), msgspec.Struct)}
    assert structs <= blocks
    assert blocks <= declared


@cache
def example() -> Telemetry:
    """One event with as many blocks as an example has."""
    from schemas.examples import examples_of

    found = [one.message for one in examples_of(Telemetry) if isinstance(one.message, Telemetry)]
    merged: dict[str, object] = {}
    for each in found:
        merged |= {name: value for name, value in msgspec.structs.asdict(each).items() if value is not None}
    return msgspec.structs.replace(found[0], **merged)


def test_a_phone_is_known_by_its_headers_too() -> None:
    """Who does not agree to device facts keeps the allowance for phones, whose address changes on the way."""
    agent = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/130.0.0.0 Mobile Safari/537.36"
    first = example()
    assert first.network is not None
    events = [
        msgspec.structs.replace(
            first,
            event_id=f"e{number}",
            sequence=number,
            effective_at=first.effective_at + 500 * number,
            observed_at=first.observed_at + 500 * number,
            device=msgspec.convert({"user_agent": agent, "ua_mobile": True}, Device) if number == 0 else None,
            network=Network(ip_ref=f"{number:032x}", user_agent=agent, ua_mobile=True),
            capture=None,
            end=None,
        )
        for number in range(4)
    ]
    seen = scored(events)
    less = scored(without(tuple(events), CONSENTS["device"]))
    key = (first.session_id, "end")
    assert less[key].scores.overall_anytime <= seen[key].scores.overall_anytime
    assert {reason.code for reason in less[key].reasons} <= {reason.code for reason in seen[key].reasons}
