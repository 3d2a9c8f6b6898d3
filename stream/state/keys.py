"""The names of all keys in Redis, and what is under them.

Everything of one partition (its sessions and its watermark) shares one hash tag, so that it can be written by one
script call on Redis Cluster too. Entities are spread over `ENTITY_SHARDS` hash tags.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Final, NamedTuple

from features.velocity import COUNTED, Entity
from stream.state.base import Watermark
from stream.state.counters import COUNTERS_VERSION, ENTITY_SHARDS
from stream.state.movements import MOVEMENT_SHARDS, MOVEMENTS_VERSION, MovementAsk

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_ENTITY_LETTERS: Final = {entity: entity[:1].encode() for entity in COUNTED}

WATERMARK_TTL_MS: Final = 90 * 86_400_000
"""How long a watermark is kept after it was last written or read, ms: well above the retention of the input.

What nobody owns and nobody uses any more (another prefix, another state version) is gone after it. Owners read theirs
now and then, so that an idle partition keeps its own.
"""


class KeyDescription(NamedTuple):
    """One kind of key, for the documentation."""

    pattern: str
    kind: str
    holds: str
    lives: str


def checked_name(what: str, name: str) -> str:
    """Return `name` if it can be part of a hash tag. Raises `ValueError`."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what} may hold letters, digits, '.', '_' and '-' only")
    return name


class Keys:
    """Makes the keys of one key prefix and state version.

    `state_version` names the layout of session values: another version never sees their keys. Entities carry the
    version of the counters' definition instead, so that they survive a change of the session state.
    """

    def __init__(self, prefix: str, state_version: str) -> None:
        self._prefix = checked_name("the key prefix", prefix)
        self._state_version = checked_name("the state version", state_version)
        self._tags: dict[tuple[str, int], bytes] = {}
        shards = [f"{{{prefix}:c{COUNTERS_VERSION}:e{shard}}}:".encode() for shard in range(ENTITY_SHARDS)]

        @functools.lru_cache(maxsize=65_536)
        def entity_key(entity: Entity, ref: str) -> bytes:
            # Hashed: bounded length, no identifier in a key, and no reference can end like a spilled set's key.
            letter = _ENTITY_LETTERS.get(entity)
            if letter is None:
                raise ValueError(f"{entity} is not an entity that is counted")
            digest = hashlib.blake2b(ref.encode("utf-8", "surrogatepass"), digest_size=16, person=letter)
            return shards[digest.digest()[0] % ENTITY_SHARDS] + letter + b":" + digest.hexdigest().encode()

        self.entity = entity_key
        self._movements = [f"{{{prefix}:m{MOVEMENTS_VERSION}:e{shard}}}:" for shard in range(MOVEMENT_SHARDS)]

    def movement(self, ask: MovementAsk) -> list[bytes]:
        """Return the keys of a movement's buckets, one a table."""
        tags, space = self._movements, ask.space
        return [f"{tags[b % MOVEMENT_SHARDS]}{space}:{t}:{b:x}".encode() for t, b in enumerate(ask.buckets)]

    def _tag(self, topic: str, partition: int) -> bytes:
        tag = self._tags.get((topic, partition))
        if tag is None:
            checked_name("a topic", topic)
            if partition < 0:
                raise ValueError("a partition is 0 or more")
            tag = f"{{{self._prefix}:v{self._state_version}:{topic}:p{partition}}}:".encode()
            self._tags[topic, partition] = tag
        return tag

    def watermark(self, topic: str, partition: int) -> bytes:
        """Return the key of a partition's watermark."""
        return self._tag(topic, partition) + b"w"

    def crash_note(self, topic: str, partition: int) -> bytes:
        """Return the key of a partition's crash note."""
        return self._tag(topic, partition) + b"c"

    def sessions(self, topic: str, partition: int, session_ids: list[str]) -> list[bytes]:
        """Return the keys of sessions; an id may hold any character, it comes after the hash tag."""
        start = self._tag(topic, partition) + b"s:"
        return [start + session_id.encode("utf-8", "surrogatepass") for session_id in session_ids]


def describe_keys(prefix: str, state_version: str) -> tuple[KeyDescription, ...]:
    """Return every kind of key that a store writes."""
    partition = f"{{{prefix}:v{state_version}:TOPIC:pPARTITION}}"
    entity = f"{{{prefix}:c{COUNTERS_VERSION}:eSHARD}}:ENTITY:HASH"
    return (
        KeyDescription(
            f"{partition}:w",
            "string",
            "the partition's watermark: TOPIC_ID:OFFSET|WRITER",
            "90 days after it was last written, or looked at by the partition's owner",
        ),
        KeyDescription(
            f"{partition}:c",
            "string",
            "the partition's crash note: where its owner began, and which record it works on while one by one",
            "a day; removed when the partition is given up in order",
        ),
        KeyDescription(
            f"{partition}:s:SESSION_ID", "string", "one session's packed state", "the session TTL after each write"
        ),
        KeyDescription(
            entity,
            "string",
            "members seen with an account (a), device (d), IP (i), capture (c), device template (t), 12 bytes each; "
            "HASH of the reference",
            "25 hours after its last new link",
        ),
        KeyDescription(
            f"{entity}:WHAT",
            "sorted set",
            "members of one set that has become large (WHAT is a number of counters.WHAT_NAMES)",
            "25 hours after its last new link",
        ),
        KeyDescription(
            f"{{{prefix}:m{MOVEMENTS_VERSION}:eSHARD}}:TENANT:TABLE:BUCKET",
            "string",
            "movements to know copies by, at most 32 of 53 bytes: keyed tags, place in the log, turned shape",
            "`replay.ttl_s` after its last new movement",
        ),
    )


def pack_expected(expected: Watermark | None) -> bytes:
    """Return what a stored watermark must begin with to be the expected one; empty for none."""
    return b"" if expected is None else f"{expected.topic_id}:{expected.offset}|".encode()


def unpack_watermark(value: bytes | None) -> Watermark | None:
    """Return the watermark in a stored value. Raises `ValueError` for a value that no store wrote."""
    if not value:
        return None
    topic_id, _, offset = value.decode("utf-8").rpartition("|")[0].rpartition(":")
    if not topic_id:
        raise ValueError("a stored watermark is unreadable")
    return Watermark(topic_id, int(offset))
