"""The report says what was found, what slipped through and why, what was not run; and recordings can be read again."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.dataset import read_recordings, read_records, read_truth
from models.evaluate_results import interval95
from schemas.telemetry import Collector, Keys, Pointer, SessionEnd, Telemetry, Viewport
from stream.redteam import session
from stream.redteam.joined import joined
from stream.redteam.recordings import Recordings
from stream.redteam.report import About, is_found, render, why
from stream.redteam.run import Trial
from stream.redteam.verdict import Verdict
from stream.redteam.world import Seen

ABOUT = About(
    command="tellwire redteam", seed=1, sessions=2, pipeline="0.1.0", policy="default", models={}, bar=0.95,
    browser="156", versions={"playwright": {"playwright": "1.65"}}, missing={"pydoll": "not here: make redteam-tools"},
    notes=["no display"], load=1.5, cores=2,
)  # fmt: skip
ATTACKS = session.choose(["playwright", "pydoll", "agent", "nonce-reused"])


def trial(attack: str, number: int, *, action: str = "allow", refused: tuple[str, ...] = (), **found: float) -> Trial:
    verdict = Verdict(
        events=9, observed_s=9.5, action=action, rule="r", found_after_s=found, peaks={"bot": 0.91, "device": 0.2},
        overall=0.9, signals={"rtt_zero": "weak"}, first_by=["webdriver_true"] if found else [],
        missing=["device"], found_ms=3,
    )  # fmt: skip
    return Trial(
        attack=attack, number=number, seed=1, session_id=f"{attack}{number}", is_done=True, refused=list(refused),
        verdict=None if refused else verdict,
    )  # fmt: skip


TRIALS = [
    trial("playwright", 0, action="step_up", overall=2.5, device=1.0),
    trial("playwright", 1, action="block", overall=0.5, device=0.5),
    trial("agent", 0),
    trial("agent", 1, action="step_up", overall=4.0, behaviour=4.0),
    trial("nonce-reused", 0, refused=("nonce_mismatch",)),
    Trial(attack="nonce-reused", number=1, seed=1, note="TimeoutError: /some/path did | not come"),
]


def test_the_page_tells_all_of_it() -> None:
    page = render(ATTACKS, TRIALS, ABOUT)
    assert "| tools as they come, by device alone | all | all | 2 of 2 | 1.00 | 0.34 to 1.00 |" in page
    assert "| playwright 1.65 | 2 | 2/2 | 0/2 | 2/2 | 1.5 s | `webdriver_true` |" in page
    assert "**agent**: 1 of 2." in page
    assert "gateway: `nonce_mismatch`" in page
    assert "- pydoll: not here: make redteam-tools" in page
    assert "not run" in page
    # A session that came to no end counts nowhere, is told, and tells no path of this machine.
    assert "- nonce-reused #1: TimeoutError: … did \\| not come" in page
    assert "/some/path" not in page
    assert max(len(line) for line in page.splitlines() if not line.startswith("|")) <= 300


def test_what_slips_through_has_a_reason() -> None:
    said = why([TRIALS[2]], 0.95)
    assert "bot 0.91, device 0.20 (bar 0.95)" in said
    assert "`rtt_zero` (weak, 1)" in said
    assert "Never came: device (1)." in said
    assert "reached the bar" not in said
    assert "reached the bar" in why([TRIALS[2]], 0.9)


def test_a_gateways_refusal_finds_too() -> None:
    assert is_found(TRIALS[4], "any")
    assert not is_found(TRIALS[4], "overall")
    assert not is_found(TRIALS[2], "any")


@pytest.mark.parametrize(
    ("found", "n", "low", "high"), [(0, 3, 0.0, 0.561), (3, 3, 0.439, 1.0), (50, 100, 0.404, 0.596), (0, 0, 0.0, 1.0)]
)
def test_intervals_are_wilsons(found: int, n: int, low: float, high: float) -> None:
    assert list(interval95(found, n)) == pytest.approx([low, high], abs=1e-3)


def telemetry(sequence: int, effective_at: int) -> bytes:
    return msgspec.json.encode(
        Telemetry(
            event_id=f"e{sequence}", session_id="s1", tenant="demo", flow="signup", sequence=sequence,
            effective_at=effective_at, observed_at=effective_at + 500, collector=Collector(name="c", version="1"),
            viewport=Viewport(width_px=1280.0, height_px=900.0) if sequence == 0 else None,
            pointer=Pointer(t=[1.0, 9.5], x=[5.0, 6.0], y=[7.0, 8.0], kind=[0, 1], button=[0, 1], pointer_type="mouse"),
            keys=Keys(down=[10.0], up=[None if sequence else 90.0], key_class=[1]),
            end=SessionEnd(reason="completed") if sequence else None,
        )
    )  # fmt: skip


def test_recordings_are_read_again_by_what_trains(tmp_path: Path) -> None:
    attack = session.choose(["agent"])[0]
    kept = Recordings(tmp_path, "run-1")
    # Out of order, as a broker's partitions may be read, and beside something that is no telemetry.
    records = [telemetry(1, 1_790_000_000_500), telemetry(0, 1_790_000_000_000), b"not json"]
    kept.keep(trial("agent", 0), attack, Seen(telemetry=records))
    assert kept.close({"seed": 1}) is None
    folder = tmp_path / "run-1"
    (recording,) = read_recordings(folder)
    assert recording.t_ms.tolist() == [1.0, 9.5, 501.0, 509.5]
    assert recording.kind.tolist() == [0, 1, 0, 1]
    assert recording.key_down_ms.tolist() == [10.0, 510.0]
    assert recording.viewport == (1280.0, 900.0)
    (truth,) = read_truth(folder).values()
    assert (truth.label, truth.family, truth.source) == (1, "patchright+agent_script", "redteam")
    with gzip.open(folder / "telemetry.jsonl.gz") as lines:
        assert len(lines.readlines()) == 3
    only = tmp_path / "good.jsonl"
    only.write_bytes(b"\n".join(records[:2]))
    assert [event.sequence for event in read_records(only)] == [1, 0]


def test_a_run_without_telemetry_has_no_table(tmp_path: Path) -> None:
    assert Recordings(tmp_path, "run-2").close({}) == "no session sent any telemetry"


def recorded(folder: Path, attacks: list[str], **more: Any) -> Path:
    """A run's folder as `Recordings` leaves it, as far as a report needs it."""
    about = msgspec.structs.replace(ABOUT, versions={name: {} for name in attacks}, missing={}, **more)
    recordings = Recordings(folder, "run")
    for name in attacks:
        recordings.keep(trial(name, 0), session.choose([name])[0], Seen())
    recordings.close(msgspec.to_builtins(about))
    return folder / "run"


def test_runs_in_parts_make_one_page(tmp_path: Path) -> None:
    first = recorded(tmp_path / "a", ["agent"], models={"bot": "1"})
    second = recorded(tmp_path / "b", ["playwright"], command="tellwire redteam --only driven", seed=2, load=9.0)
    page, trials = joined([first, second])
    assert [each.attack for each in trials] == ["playwright", "agent"], "in the table's order"
    assert "from several runs" in page
    assert "- `tellwire redteam --only driven`, seed 2, 2 sessions of each attack." in page
    assert "Load average 9.0" in page
    alone, _ = joined([first])
    assert "from one run" in alone


def test_runs_of_two_builds_are_no_page(tmp_path: Path) -> None:
    first = recorded(tmp_path / "a", ["agent"], models={"bot": "1"})
    others: list[dict[str, Any]] = [{"models": {"bot": "2"}}, {"browser": "157"}, {"policy": "other"}]
    for n, other in enumerate(others):
        with pytest.raises(ValueError, match="not of one build"):
            joined([first, recorded(tmp_path / f"b{n}", ["playwright"], **other)])
    (tmp_path / "c").mkdir()
    with pytest.raises(FileNotFoundError):
        joined([tmp_path / "c"])
    (first / "run.json").write_bytes(b"{}")
    with pytest.raises(ValueError, match="holds no run"):
        joined([first])
