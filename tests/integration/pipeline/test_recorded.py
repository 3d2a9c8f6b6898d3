"""Recorded sessions through the whole pipeline: the same scores as offline, and the documentation's own snippets."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.dataset import read_recordings
from models.engine import Engine
from models.offline import OfflineScorer, parse_cuts
from models.train_vectors import events_of
from tests.support import require
from tests.support.pipeline import Pipeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

DATA = Path(__file__).parents[4] / "shared" / "data"
WANTED = {"sapimouse_gen": 6, "delbot": 25, "captcha2017": 25, "aalto_sample": 15, "mobikey": 3, "key_gen": 6}


@pytest.mark.recorded
def test_one_partition_gives_the_offline_scores_bit_for_bit(pipeline: Pipeline) -> None:
    require((DATA / "sessions.parquet").exists(), "the recorded sessions (../shared/data) are missing")
    left = dict(WANTED)
    chosen = []
    for recording in read_recordings(DATA / "sessions.parquet"):
        if left.get(recording.source, 0) > 0:
            left[recording.source] -= 1
            chosen.append(recording)
    assert not any(left.values()), left
    pipeline.create_topics(1)
    # Sessions that are scored offline are not compared with one another: some of these are copies of others.
    worker = pipeline.start("worker", REPLAY__ENABLED="false")
    worker.wait_ready()
    # Side by side, as live sessions are: the first events of all, then the second ones, ...
    sessions = [events_of(recording) for recording in chosen]
    turns = range(max(len(events) for events in sessions))
    count = pipeline.produce_events(events[turn] for turn in turns for events in sessions if turn < len(events))
    pipeline.wait_answered(worker, count)
    worker.stop()
    assert pipeline.audit(expected_dead_letters=[]).ok

    live = {event.session_id: event for event in pipeline.risk_events() if event.is_final}
    scorer = OfflineScorer(Engine.load(), parse_cuts("end"))
    offline = {row.session_id: row.assessment for rows in scorer.recordings(chosen) for row in rows}
    assert live.keys() == offline.keys()
    for session_id, event in live.items():
        found = offline[session_id]
        assert found is not None
        assert event.scores == found.scores
        assert event.decision.action == found.decision.action
        assert event.coverage == found.coverage
