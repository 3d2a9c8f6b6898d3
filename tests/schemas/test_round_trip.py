"""Structs and bytes: what is written reads back equal, exactly; old bytes still decode; published JSON is valid."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import Erasure, Label, RiskEvent, ServedFeatures, Signal, Snapshot, Telemetry, envelope
from schemas.closed import closed_schema, message_types, tag_of
from schemas.envelope import encode
from schemas.examples import EXAMPLES, Example
from tests.schemas.strategies import messages

GOLDEN = Path(__file__).parent / "golden"
DECODERS: dict[type[msgspec.Struct], Callable[[bytes, bytes | None], Any]] = {
    Telemetry: envelope.decode,
    Signal: envelope.decode,
    Erasure: envelope.decode,
    Label: envelope.decode_label,
    RiskEvent: envelope.decode_risk_event,
    ServedFeatures: envelope.decode_served,
    Snapshot: envelope.decode_snapshot,
}
BY_TAG = {tag_of(message): message for message in DECODERS}
VALIDATORS = {message: jsonschema.Draft202012Validator(closed_schema(message)) for message in DECODERS}


def read(value: bytes) -> Any:
    return DECODERS[BY_TAG[json.loads(value)["type"]]](value, None)


def test_every_message_is_tested() -> None:
    assert set(DECODERS) == set(message_types())


@pytest.mark.parametrize("message", DECODERS)
@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_round_trip_and_published_schema(message: type[msgspec.Struct], data: st.DataObject) -> None:
    before = data.draw(messages(message))
    value = encode(before)
    key = getattr(before, "session_id", "any key").encode()
    assert DECODERS[message](value, key) == before
    assert encode(DECODERS[message](value, key)) == value
    VALIDATORS[message].validate(json.loads(value))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_bit(number: float) -> None:
    served = msgspec.structs.replace(
        next(example.message for example in EXAMPLES if isinstance(example.message, ServedFeatures)),
        features=[number, None],
    )
    features = envelope.decode_served(encode(served), None).features
    assert features == [number, None]
    assert features[0] is not None
    assert math.copysign(1.0, features[0]) == math.copysign(1.0, number)


def test_nan_is_no_data() -> None:
    served = next(example.message for example in EXAMPLES if isinstance(example.message, ServedFeatures))
    written = msgspec.structs.replace(served, features=[math.nan, math.inf, 1.5])
    assert envelope.decode_served(encode(written), None).features == [None, None, 1.5]


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda file: file.stem)
def test_old_bytes_still_decode_to_the_same(file: Path) -> None:
    value = file.read_bytes()
    message = read(value)
    # The files hold no field with its default, so that what is written again must be what was read.
    assert json.loads(encode(message)) == json.loads(value)
    VALIDATORS[type(message)].validate(json.loads(value))


@pytest.mark.parametrize("message", DECODERS)
def test_golden_bytes_hold_every_field(message: type[msgspec.Struct]) -> None:
    value = json.loads((GOLDEN / f"{tag_of(message)}.full.json").read_bytes())
    missing = sorted(fields_of(closed_schema(message)) - present(value, closed_schema(message), closed_schema(message)))
    assert not missing


def fields_of(root: dict[str, Any]) -> set[str]:
    structs = [root, *root.get("$defs", {}).values()]
    return {f"{struct['title']}.{name}" for struct in structs for name in struct["properties"]}


def present(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> set[str]:
    """Which fields of which structs occur in a value, by walking value and schema together."""
    for option in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        if "$ref" in option or option.get("type") in ("array", "object"):
            return present(value, option, root)
    if "$ref" in schema:
        return present(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    found: set[str] = set()
    if isinstance(value, list):
        for item in value:
            found |= present(item, schema.get("items", {}), root)
    elif isinstance(value, dict) and "properties" in schema:
        for name, inner in value.items():
            found |= {f"{schema['title']}.{name}"} | present(inner, schema["properties"][name], root)
    elif isinstance(value, dict):
        for inner in value.values():
            found |= present(inner, schema["additionalProperties"], root)
    return found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_are_valid(example: Example) -> None:
    value = encode(example.message)
    assert read(value) == example.message
    VALIDATORS[type(example.message)].validate(json.loads(value))


def test_every_message_has_an_example() -> None:
    assert {type(example.message) for example in EXAMPLES} == set(DECODERS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_published_schemas_are_closed(example: Example) -> None:
    """A misspelt field anywhere in a record is found by the published schema, though the decoder ignores it."""
    schema = VALIDATORS[type(example.message)]
    value = json.loads(encode(example.message))
    assert schema.is_valid(value)
    structs = list(objects(value, closed_schema(type(example.message)), closed_schema(type(example.message))))
    assert structs
    for struct in structs:
        struct["missspelt"] = 1
        assert not schema.is_valid(value)
        assert read(json.dumps(value).encode()) == example.message
        del struct["missspelt"]


def objects(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Every JSON object in a value that is a struct (and no map)."""
    for option in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        if "$ref" in option or option.get("type") in ("array", "object"):
            yield from objects(value, option, root)
            return
    if "$ref" in schema:
        yield from objects(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item, schema.get("items", {}), root)
    elif isinstance(value, dict):
        if "properties" in schema:
            yield value
        for name, inner in list(value.items()):
            yield from objects(
                inner, schema.get("properties", {}).get(name, schema["additionalProperties"] or {}), root
            )
