"""`tellwire topics apply`: what it says of what it mended, what is left, and what it ignored."""

import json

import pytest
from typer.testing import CliRunner

from stream import topics
from stream.cli import app
from stream.topics import Difference

MENDED = Difference("risk.events", "retention.ms", "1", "2", fixable=True)
CREATED = Difference("capture.telemetry", "topic", "missing", "4 partitions", fixable=True)
LEFT = Difference("risk.features", "partitions", "3", "4", fixable=False)


def apply(
    monkeypatch: pytest.MonkeyPatch, mended: list[Difference], left: list[Difference], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(topics, "apply", lambda *_, **__: mended)
    monkeypatch.setattr(topics, "diff", lambda *_, **__: left)
    done = CliRunner().invoke(app, ["topics", "apply", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_json_holds_what_was_mended_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = apply(monkeypatch, [MENDED], [LEFT], "--json")
    found = json.loads(out)
    assert [d["topic"] for d in found["mended"]] == ["risk.events"]
    assert [(d["topic"], d["found"], d["wanted"]) for d in found["left"]] == [("risk.features", "3", "4")]
    assert (code, err) == (1, "")
    code, out, _ = apply(monkeypatch, [MENDED], [], "--json")
    assert (code, json.loads(out)["left"]) == (0, [])


def test_text_tells_the_two_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = apply(monkeypatch, [MENDED], [LEFT])
    assert (code, out.splitlines()) == (
        1,
        ["risk.events: retention.ms was 1, wanted 2", "risk.features: partitions differs 3, wanted 4"],
    )
    assert err == "not mended, needs a drain and a person:\n"


def test_partitions_that_are_ignored_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, err = apply(monkeypatch, [MENDED], [], "--partitions", "12")
    assert "--partitions was ignored" in err
    _, _, err = apply(monkeypatch, [CREATED], [], "--partitions", "12")
    assert not err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--replication-factor", "-5"),
        ("--replication-factor", "0"),
        ("--replication-factor", "99999"),
        ("--partitions", "0"),
        ("--partitions", "100000000"),
    ],
)
def test_numbers_that_no_topic_can_have_are_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, str]
) -> None:
    code, out, err = apply(monkeypatch, [], [], *wrong)
    assert (code, out) == (2, "")
    assert wrong[0] in err
