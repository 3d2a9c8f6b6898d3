"""Examples of every message, invented for the contracts: they validate, and they are not taken from anybody's session.

AsyncAPI and the reference page show them; tests decode and validate them.
"""

from typing import Final

import msgspec

from schemas.examples_in import ERASURE, FACE_MATCH, FIRST_EVENT, LABEL, LAST_EVENT, POINTER_BATCH, VENDOR_TIMEOUT
from schemas.examples_out import NO_DATA, SERVED, SNAPSHOT, STEP_UP


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One example: a name for machines, a sentence for people, the message."""

    name: str
    summary: str
    message: msgspec.Struct


EXAMPLES: Final[tuple[Example, ...]] = (
    Example(
        name="pointer_batch", summary="Half a second of a login: pointer, keys, focus, form.", message=POINTER_BATCH
    ),
    Example(name="first_event", summary="First event of a session: device and network.", message=FIRST_EVENT),
    Example(
        name="last_event", summary="Last event of a capture session: camera facts and the end.", message=LAST_EVENT
    ),
    Example(name="face_match", summary="A vendor's face match.", message=FACE_MATCH),
    Example(name="vendor_timeout", summary="A vendor asked in shadow, which did not answer.", message=VENDOR_TIMEOUT),
    Example(name="erasure", summary="A session to be forgotten.", message=ERASURE),
    Example(name="reviewed", summary="A reviewer's label, three days later.", message=LABEL),
    Example(name="step_up", summary="Pointer movement unlike a person's: stepped up once.", message=STEP_UP),
    Example(name="no_data", summary="Too early for behaviour, published again after a crash.", message=NO_DATA),
    Example(name="served_vector", summary="The vector behind a risk event, shortened.", message=SERVED),
    Example(name="calibration", summary="A calibration snapshot with two numbers.", message=SNAPSHOT),
)


def examples_of(message: type[msgspec.Struct]) -> list[Example]:
    """The examples of one message type, in order."""
    return [example for example in EXAMPLES if type(example.message) is message]
