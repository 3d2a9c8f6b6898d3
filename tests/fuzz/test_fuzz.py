"""Every target of the fuzzer for about a second; by hand it goes on for longer: `make fuzz SECONDS=600`."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.fuzz.__main__ import Found, fuzz, main
from tests.fuzz.mutators import BYTES, JSON, MAX_BYTES, MSGPACK, mutated
from tests.fuzz.targets import Manifests, Target, all_targets, telemetry

SECONDS = 1.5
NAMES = ("records", "reader", "signals", "score", "state", "snapshots", "crash notes", "manifests")


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Target]]:
    manifests = Manifests()
    yield {target.name: target for target in all_targets(manifests)}
    manifests.close()


def test_every_target_is_here(targets: dict[str, Target]) -> None:
    assert tuple(targets) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_an_answer(targets: dict[str, Target], name: str) -> None:
    found = fuzz(targets[name], SECONDS, seed=2)
    assert not found.failures, {kind: data[:200] for kind, data in found.failures.items()}
    assert found.inputs >= 3


def test_a_reader_that_raises_or_dawdles_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzzer is not blind: it sees another exception, a wrong answer and one that takes too long."""
    monkeypatch.setattr("tests.fuzz.__main__.MAX_CALL_S", 0.0)

    def check(data: bytes) -> bool:
        if data == corpus[0]:
            return True
        if b"NaN" in data:
            raise KeyError("x")
        assert not data.endswith(b"]"), "a wrong answer"
        return False

    corpus = [telemetry(1)[0][:400]]
    found: Found = fuzz(Target("blind?", corpus, lambda data, rng: mutated(data, JSON, rng), check), 1.0, seed=1)
    kinds = {kind.split(" ", maxsplit=1)[0] for kind in found.failures}
    assert kinds >= {"KeyError", "AssertionError", "more"}


@pytest.mark.parametrize("mutators", [BYTES, JSON, MSGPACK])
def test_mutants_are_bounded_differ_and_are_the_same_for_a_seed(mutators: tuple[object, ...]) -> None:
    data = telemetry(1)[0]

    def some(seed: int) -> list[bytes]:
        rng = random.Random(seed)
        return [mutated(data, mutators, rng) for _ in range(60)]  # type: ignore[arg-type]

    made = some(1)
    assert made == some(1) != some(2)
    assert max(map(len, made)) <= MAX_BYTES
    assert len(set(made)) > 30
    assert mutated(b"", mutators, random.Random(1)) is not None  # type: ignore[arg-type]


def test_the_command_counts_and_says_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "0.3", "--only", "crash"]) == 0
    out = capsys.readouterr().out
    assert "crash notes" in out
    assert " 0 failures" in out
