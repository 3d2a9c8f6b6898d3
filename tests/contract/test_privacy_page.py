"""The privacy page's tables are what the code does: blocks by consent, retention by topic, lifetimes in Redis."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import confluent_kafka
import pytest

from features.meta import BLOCKS
from schemas import envelope
from schemas.label import Label
from schemas.topics import DAY_MS, TOPICS
from stream.learning import MAX_SESSIONS
from stream.refs import DIGEST_BYTES
from stream.settings import Settings
from stream.state.counters import ENTITY_TTL_MS
from tests.models.test_consent import CONSENTS
from tests.support import pages

PAGE = "docs/explanation/privacy.md"
TEXT = (pages.ROOT / PAGE).read_text()
ROWS = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", TEXT, re.MULTILINE)]


def test_every_block_is_under_the_consent_that_the_collector_asks_for() -> None:
    said = {row[0].strip("`"): row[1] for row in ROWS if row[0].strip("`") in BLOCKS}
    wanted = {block: consent for consent, blocks in CONSENTS.items() for block in blocks}
    assert said == {**wanted, "network": "none: the gateway says it"}
    assert set(said) == set(BLOCKS)


def test_every_topic_has_its_retention() -> None:
    said = {name: row[2] for row in ROWS for name in re.findall(r"`([a-z]+\.[a-z]+)`", row[0])}
    wanted = {
        spec.name: f"{int(spec.config['retention.ms']) // DAY_MS} days"
        if "retention.ms" in spec.config
        else "compacted"
        for spec in TOPICS
    }
    assert {name: said[name] for name in wanted} == wanted


def test_lifetimes_and_hashes_are_the_codes() -> None:
    assert f"{Settings().redis.session_ttl_s:,} s".replace(",", " ") in TEXT
    assert f"{ENTITY_TTL_MS // 3_600_000} h after" in TEXT
    assert f"newest {MAX_SESSIONS:,} sessions".replace(",", " ") in TEXT
    assert f"{DIGEST_BYTES * 8} bits" in TEXT


def test_its_appeal_is_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    settings: list[dict[str, Any]] = []

    def producer(config: dict[str, Any]) -> SimpleNamespace:
        settings.append(config)
        return SimpleNamespace(
            produce=lambda topic, **record: sent.append((topic, record)), flush=lambda seconds: int(seconds) * 0
        )

    monkeypatch.setattr(confluent_kafka, "Producer", producer)
    monkeypatch.setenv("TELLWIRE_KAFKA__BOOTSTRAP_SERVERS", "broker:9092")
    (code,) = pages.blocks(PAGE, "python")
    exec(compile(code, "privacy.md", "exec"), {})
    ((topic, record),) = sent
    label = envelope.decode_label(record["value"].encode(), record["key"].encode())
    assert isinstance(label, Label)
    assert (topic, label.label, label.source) == ("risk.labels", "genuine", "USER_APPEAL")
    assert settings[0]["partitioner"] == "murmur2_random"
    assert json.loads(record["value"])["session_id"] == record["key"]
