"""What is fuzzed: a corpus of valid inputs, how they are broken, and what must hold of every answer.

`check` returns whether the input was accepted. It raises whatever the code under test may not raise, and
`AssertionError` where an answer is not what it has to be.
"""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from features.codec import MAGIC, STATE_VERSION
from features.reading import ChunkReader
from features.registry import NAMES, REGISTRY_HASH
from features.session import STATE_DTYPE, STATE_WIDTH, Meta, StateMismatch
from features.session import decode as decode_state
from features.session import encode as encode_state
from models import artifact
from models.errors import ArtifactError, SnapshotError
from models.flat import from_blobs
from models.snapshots import compact, make_snapshot, read_snapshot
from schemas import envelope
from schemas.envelope import Rejected
from schemas.erasure import Erasure
from schemas.examples import examples_of
from schemas.signals import Signal
from schemas.snapshot import Snapshot
from stream import crash_note
from stream.simulation.population import population
from stream.state import MAX_CRASH_NOTE_BYTES
from tests.fuzz.mutators import BYTES, JSON, MSGPACK, Mutator, mutated
from tests.support.oracle import Oracle
from tests.support.pipeline_world import REFS, START_MS, engine
from tests.support.readings import check_reading

MAX_CALL_S = 2.0
"""Longest that one call may take, s of the processor; inputs are of 1.3 MB at most."""


@dataclass(frozen=True)
class Target:
    """One reader of bytes."""

    name: str
    corpus: Sequence[bytes]
    mutate: Callable[[bytes, random.Random], bytes]
    check: Callable[[bytes], bool]
    weight: float = 1.0
    """Share of the time, beside the others."""


def with_mutators(mutators: Sequence[Mutator]) -> Callable[[bytes, random.Random], bytes]:
    """Return a mutation of one to three of these in a row."""
    return lambda data, rng: mutated(data, mutators, rng)


def telemetry(count: int, seed: int = 5) -> list[bytes]:
    """Simulated telemetry: people and bots, every block that they send."""
    people = population(seed, start_ms=START_MS, sessions_per_s=3.0, bot_ratio=0.5)
    return [envelope.encode(due.event) for due in itertools.islice(people, count)]


def examples(message: type[msgspec.Struct]) -> list[bytes]:
    """The published examples of a contract: every field is in one of them."""
    return [envelope.encode(example.message) for example in examples_of(message)]


# --- records -------------------------------------------------------------------------------------------


def record(decode: Callable[[bytes | None, bytes | None], Any]) -> Callable[[bytes], bool]:
    """A topic's decoder: an object that survives a round trip, or one `Rejected` that quotes nothing."""

    def check(data: bytes) -> bool:
        try:
            message = decode(data, None)
        except Rejected as rejected:
            _check_rejected(rejected)
            return False
        again = envelope.encode(message)
        assert decode(again, None) == message, "it reads back as something else"
        assert envelope.encode(decode(again, None)) == again
        session_id = getattr(message, "session_id", None)
        if session_id is not None and not isinstance(message, Snapshot):
            assert decode(data, session_id.encode()) == message
            _refuses_other_key(decode, data)
        return True

    return check


def _check_rejected(rejected: Rejected) -> None:
    for text in (rejected.path, rejected.detail, str(rejected)):
        assert text.isprintable(), "not one printable line"
        assert len(text) < 600, "it quotes the input"
        text.encode("utf-8")
    assert rejected.path.startswith("$")


def _check_line(error: Exception) -> None:
    text = str(error)
    assert text.isprintable(), "not one printable line"
    assert len(text) < 600, "more than one line's length"
    text.encode("utf-8")


def _refuses_other_key(decode: Callable[[bytes | None, bytes | None], Any], data: bytes) -> None:
    try:
        decode(data, b"\xff another key")
    except Rejected as rejected:
        _check_rejected(rejected)
        return
    raise AssertionError("another session's key is accepted")


def reader() -> Callable[[bytes], bool]:
    """The compiled reader, amid good records: it agrees with the typed decoder, and its neighbours come through."""
    compiled, before, after = ChunkReader(), *telemetry(2)

    def check(data: bytes) -> bool:
        first, accepted, last = check_reading(compiled, [before, data, after])
        assert first, "the record in front is not read"
        assert last, "the record behind is not read"
        return accepted

    return check


def score(data: bytes) -> bool:
    """What is accepted is scored, whatever it holds: no exception on the way from a record to a decision."""
    try:
        event = envelope.decode(data, None)
    except Rejected:
        return False
    oracle = Oracle(engine(), REFS)
    velocity: dict[str, Any] = {}
    assert (oracle.evaluate(data, START_MS, velocity, []) is None) == isinstance(event, Erasure)
    assert oracle.evaluate(data, START_MS + 1, velocity, []) is None, "a repeat counts"
    for session_id, state in oracle.sessions.items():
        meta, row = decode_state(session_id, state)
        assert encode_state(session_id, meta, row) == state
    return True


# --- state ---------------------------------------------------------------------------------------------

SESSION = "s-fuzzed"
_HEAD = len(MAGIC) + len(STATE_VERSION) // 2 + 4


def states() -> list[bytes]:
    """States of simulated sessions, from their first event to their last, and a few at the edges."""
    found = [encode_state(SESSION, Meta(), np.zeros(STATE_WIDTH, dtype=STATE_DTYPE))]
    found.append(encode_state(SESSION, Meta(), np.full(STATE_WIDTH, np.nan, dtype=STATE_DTYPE)))
    oracle = Oracle(engine(), REFS)
    for data in telemetry(150, seed=9):
        event = msgspec.structs.replace(envelope.decode(data, None), session_id=SESSION)
        oracle.evaluate(envelope.encode(event), START_MS, {}, [])
        if oracle.sessions.get(SESSION) not in found:
            found.append(oracle.sessions[SESSION])
    return found


def mutate_state(data: bytes, rng: random.Random) -> bytes:
    """Break bytes; or break the parts, and put them together again under a checksum that fits."""
    if rng.random() < 0.25:
        return mutated(data, BYTES, rng)
    body = data[_HEAD:]
    at = 2 + int.from_bytes(body[:2], "little")
    end = at + 4 + int.from_bytes(body[at : at + 4], "little")
    name, meta, numbers = body[2:at], body[at + 4 : end], body[end:]
    what = rng.randrange(10)
    if what < 6:
        meta = mutated(meta, MSGPACK, rng)
    elif what < 8:
        numbers = mutated(numbers, BYTES, rng)
    elif what < 9:
        name = mutated(name, BYTES, rng)[:60_000]
    size = (
        len(meta) if rng.random() < 0.9 else rng.choice((0, 1, len(meta) - 1, len(meta) + 1, 0xFFFFFFFF)) & 0xFFFFFFFF
    )
    body = len(name).to_bytes(2, "little") + name + size.to_bytes(4, "little") + meta + numbers
    if rng.random() < 0.1:
        body = mutated(body, BYTES, rng)
    return data[: _HEAD - 4] + zlib.crc32(body).to_bytes(4, "little") + body


def state(data: bytes) -> bool:
    """The state codec: a state that reads back bit for bit, or `StateMismatch`; never another session's."""
    for other in ("another", "", "s-fuzze", SESSION + "d"):
        try:
            decode_state(other, data)
        except StateMismatch:
            continue
        assert data[_HEAD + 2 : _HEAD + 2 + len(other)] == other.encode(), "another session's state"
    try:
        meta, row = decode_state(SESSION, data)
    except StateMismatch as mismatch:
        _check_line(mismatch)
        return False
    written = encode_state(SESSION, meta, row)
    meta_again, row_again = decode_state(SESSION, written)
    assert row_again.view(np.uint32).tolist() == row.view(np.uint32).tolist(), "other numbers"
    assert encode_state(SESSION, meta_again, row_again) == written, "it reads back as something else"
    return True


# --- notes, snapshots, artefacts -------------------------------------------------------------------------


def notes() -> list[bytes]:
    """Crash notes of every kind."""
    first = crash_note.Note(owner="0123456789abcdef", topic_id="AAECAwQFBgcICQoLDA0ODw", offset=4_711)
    replace = msgspec.structs.replace
    return [
        crash_note.encode(each)
        for each in (
            first,
            replace(first, starts=2),
            replace(first, starts=3, until=5_000, deaths=1, working=True, condemned=3),
        )
    ]


def note(data: bytes) -> bool:
    """A crash note: readable, with a follow-up that can be stored, or none."""
    found = crash_note.decode(data)
    if found is None:
        return False
    assert crash_note.decode(crash_note.encode(found)) == found
    for start, end in ((0, 0), (found.offset, found.offset + 1), ((1 << 63) - 1, (1 << 63) - 1), (4_711, 9_000)):
        following = crash_note.at_start(found, owner="x" * 16, topic_id=found.topic_id, start=start, end=end)
        stored = crash_note.encode(following)
        assert crash_note.decode(stored) == following
        assert len(stored) <= MAX_CRASH_NOTE_BYTES
        assert following.offset >= start
    return True


def snapshots() -> list[bytes]:
    """A snapshot of each kind, as the learner publishes them."""
    loaded = engine()
    trees = loaded.anomaly_of("signup")
    assert trees is not None
    table = artifact.load(None, NAMES, REGISTRY_HASH).calibration
    return [
        envelope.encode(
            make_snapshot(
                model,
                "signup",
                features_hash=REGISTRY_HASH,
                created_at=START_MS,
                offsets={"0": 5},
                n_learnt=9,
                trees=trees.hash,
            )
        )
        for model in (trees, compact(table, max_bytes=20_000))
    ]


def snapshot(data: bytes) -> bool:
    """A record of `models.snapshots`, and what a worker makes of it: a model, or one line why not."""
    try:
        found = envelope.decode_snapshot(data, b"any key")
    except Rejected as rejected:
        _check_rejected(rejected)
        return False
    again = envelope.encode(found)
    assert envelope.encode(envelope.decode_snapshot(again, None)) == again
    try:
        # With the hash that its content has, too: what is behind that check must stand by itself.
        content = from_blobs(found.kind, found.definition, found.arrays).hash
    except ValueError:
        content = found.hash
    answers = []
    for known in {found.hash, content}:
        try:
            model = read_snapshot(msgspec.structs.replace(found, hash=known), NAMES, REGISTRY_HASH)
        except SnapshotError as error:
            _check_line(error)
        else:
            assert model.to_flat().hash
            answers.append(known)
    return found.hash in answers


class Manifests:
    """A copy of the shipped artefacts whose manifest, with a seal that fits, is what is fuzzed."""

    def __init__(self) -> None:
        shipped = artifact.shipped_directory()
        self.folder = Path(tempfile.mkdtemp(prefix="tellwire-fuzz-"))
        for each in shipped.iterdir():
            if each.is_file():
                shutil.copy(each, self.folder / each.name)
        self.shipped = (shipped / artifact.MANIFEST).read_bytes()

    def check(self, data: bytes) -> bool:
        """Artefacts that score their golden rows, or one line why not."""
        (self.folder / artifact.MANIFEST).write_bytes(data)
        try:
            artifact.seal(self.folder)
            artifact.load(self.folder, NAMES, REGISTRY_HASH)
        except ArtifactError as error:
            _check_line(error)
            return False
        return True

    def close(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self.folder, ignore_errors=True)


def all_targets(manifests: Manifests) -> list[Target]:
    """Every reader of bytes, with its corpus."""
    signals = examples(Signal)
    records = telemetry(80) + signals
    json_mutation = with_mutators(JSON)
    return [
        Target("records", records, json_mutation, record(envelope.decode), weight=3.0),
        Target("reader", telemetry(80), json_mutation, reader(), weight=3.0),
        Target("signals", signals, json_mutation, record(envelope.decode_signal)),
        Target("score", records, json_mutation, score, weight=2.0),
        Target("state", states(), mutate_state, state, weight=3.0),
        Target("snapshots", snapshots(), json_mutation, snapshot),
        Target("crash notes", notes(), json_mutation, note),
        Target("manifests", [manifests.shipped], json_mutation, manifests.check),
    ]
