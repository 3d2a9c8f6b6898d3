"""The comparer finds every incompatible change, passes every compatible one, and never passes what a sample refutes."""

import copy
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import Label, Signal, Snapshot, Telemetry, asyncapi
from schemas.closed import closed_schema, message_types, tag_of
from schemas.compat import backward, compare_release, full
from schemas.contracts_cli import compatibility_rules
from schemas.envelope import encode
from tests.schemas.strategies import messages

Change = Callable[[dict[str, Any]], object]


def of(schema: dict[str, Any], struct: str) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][struct]["properties"]
    return found


def changed(schema: dict[str, Any], change: Change) -> dict[str, Any]:
    new = copy.deepcopy(schema)
    change(new)
    assert new != schema, "the change changed nothing"
    return new


def add(name: str, field: dict[str, Any], *, required: bool) -> Change:
    def change(schema: dict[str, Any]) -> None:
        schema["properties"][name] = {"description": "New."} | field
        if required:
            schema["required"].append(name)

    return change


BREAKS_READING: dict[str, tuple[Change, str]] = {
    "field removed": (lambda s: s["properties"].pop("nonce"), "$.nonce: the field was removed"),
    "nested field removed": (lambda s: of(s, "Keys").pop("ime_count"), "$.keys.ime_count: the field was removed"),
    "struct without its field": (lambda s: s["properties"].pop("keys"), "$.keys: the field was removed"),
    "field renamed": (
        lambda s: s["properties"].update(tenant_id=s["properties"].pop("nonce")),
        "$.nonce: the field was removed",
    ),
    "new required field": (add("region", {"type": "string"}, required=True), "$.region: was absent, is required"),
    "optional made required": (lambda s: s["required"].append("nonce"), "$.nonce: was optional, is required"),
    "upper bound narrowed": (
        lambda s: s["properties"]["sequence"].update(maximum=1000),
        "$.sequence: was `maximum` 2147483647, is `maximum` 1000",
    ),
    "lower bound narrowed": (
        lambda s: of(s, "Collector")["sampling_interval_ms"].update(minimum=1),
        "$.collector.sampling_interval_ms: was `minimum` 0.0, is `minimum` 1",
    ),
    "items narrowed": (
        lambda s: of(s, "Pointer")["t"]["items"].update(minimum=0),
        "$.pointer.t[*]: was `minimum` -60000.0, is `minimum` 0",
    ),
    "fewer items": (
        lambda s: of(s, "Form")["fields"].update(maxItems=32),
        "$.form.fields: was `maxItems` 64, is `maxItems` 32",
    ),
    "bound added": (
        lambda s: of(s, "Form")["fields"].update(minItems=1),
        "$.form.fields: was `minItems` absent, is `minItems` 1",
    ),
    "shorter text": (
        lambda s: s["properties"]["tenant"].update(maxLength=32),
        "$.tenant: was `maxLength` 64, is `maxLength` 32",
    ),
    "enum value removed": (
        lambda s: s["properties"]["flow"]["enum"].remove("recovery"),
        "$.flow: was with 'recovery', is without 'recovery'",
    ),
    "nested enum value removed": (
        lambda s: of(s, "Network")["agent"]["anyOf"][0]["enum"].remove("spoofed"),
        "$.network.agent: was with 'spoofed', is without 'spoofed'",
    ),
    "text made an enum": (
        lambda s: s["properties"].update(tenant={"type": "string", "enum": ["acme"]}),
        "$.tenant: was any string, is only 'acme'",
    ),
    "type changed": (lambda s: s["properties"]["sequence"].update(type="string"), "$.sequence: was integer, is string"),
    "number made integer": (
        lambda s: of(s, "Viewport")["width_px"].update(type="integer"),
        "$.viewport.width_px: was number, is integer",
    ),
    "null refused": (
        lambda s: s["properties"].update(account_ref=s["properties"]["account_ref"]["anyOf"][0]),
        "$.account_ref: was null, is string",
    ),
    "pattern changed": (
        lambda s: s["properties"]["tenant"].update(pattern="^[a-z]+$"),
        "$.tenant: was `pattern` ^[A-Za-z0-9][A-Za-z0-9._:/+-]*$, is `pattern` ^[a-z]+$",
    ),
    "default changed": (
        lambda s: of(s, "Pointer")["pointer_type"].update(default="mouse"),
        "$.pointer.pointer_type: default was 'unknown', is 'mouse'",
    ),
    "version changed": (
        lambda s: s["properties"]["type"].update(const="capture.telemetry.v2"),
        "$.type: was with 'capture.telemetry.v1', is without 'capture.telemetry.v1'",
    ),
    "other struct": (
        lambda s: s["properties"]["scroll"]["anyOf"][0].update({"$ref": "#/$defs/Touch"}),
        "$.scroll.kind: was absent, is required",
    ),
    "rule added": (
        lambda s: s.update({"if": {"required": ["nonce"]}, "then": {"required": ["device"]}}),
        "$: was `if` absent, is `if` {'required': ['nonce']}",
    ),
}

COMPATIBLE_FOR_INPUT: dict[str, Change] = {
    "new optional field": add("region", {"type": "string", "default": "eu"}, required=False),
    "wider bound": lambda s: s["properties"]["sequence"].update(maximum=2**40),
    "bound dropped": lambda s: s["properties"]["sequence"].pop("maximum"),
    "new enum value": lambda s: s["properties"]["flow"]["enum"].append("payout"),
    "enum made text": lambda s: s["properties"].update(flow={"type": "string", "maxLength": 64, "description": "."}),
    "required made optional": lambda s: s["required"].remove("tenant"),
    "integer made number": lambda s: s["properties"]["sequence"].update(type="number"),
    "null allowed": lambda s: s["properties"].update(tenant={"anyOf": [s["properties"]["tenant"], {"type": "null"}]}),
    "pattern dropped": lambda s: s["properties"]["tenant"].pop("pattern"),
    "rule dropped": lambda s: s.pop("x-rule", s["properties"]["tenant"].pop("minLength")),
}
COMPATIBLE_FOR_ALL: dict[str, Change] = {
    "new optional field": COMPATIBLE_FOR_INPUT["new optional field"],
    "new words": lambda s: s.update(description="Other words.", title="Other"),
    "struct renamed": lambda s: (
        s["$defs"].update(KeyPresses=s["$defs"].pop("Keys")),
        s["properties"]["keys"]["anyOf"][0].update({"$ref": "#/$defs/KeyPresses"}),
    ),
    "order changed": lambda s: s.update(properties=dict(reversed(s["properties"].items())), title="x"),
    "meanings reworded": lambda s: s["properties"]["flow"]["x-meanings"].update(login="x"),
}
TELEMETRY = closed_schema(Telemetry)


@pytest.mark.parametrize(("change", "told"), BREAKS_READING.values(), ids=BREAKS_READING)
def test_change_that_breaks_old_records(change: Change, told: str) -> None:
    new = changed(TELEMETRY, change)
    found = [str(problem) for problem in backward(TELEMETRY, new)]
    assert f"{told} (old records break)" in found
    assert set(found) <= {str(problem) for problem in full(TELEMETRY, new)}


@pytest.mark.parametrize("change", COMPATIBLE_FOR_INPUT.values(), ids=COMPATIBLE_FOR_INPUT)
def test_change_that_input_may_make(change: Change) -> None:
    assert backward(TELEMETRY, changed(TELEMETRY, change)) == []


@pytest.mark.parametrize(
    "name", [name for name in COMPATIBLE_FOR_INPUT if name != "new optional field"], ids=lambda name: name
)
def test_output_may_not_make_them(name: str) -> None:
    found = full(TELEMETRY, changed(TELEMETRY, COMPATIBLE_FOR_INPUT[name]))
    assert found
    assert {problem.hurts for problem in found} == {"old readers"}


@pytest.mark.parametrize("change", COMPATIBLE_FOR_ALL.values(), ids=COMPATIBLE_FOR_ALL)
def test_change_that_output_may_make(change: Change) -> None:
    assert full(TELEMETRY, changed(TELEMETRY, change)) == []


@pytest.mark.parametrize("message", message_types(), ids=tag_of)
def test_no_change_is_no_problem(message: Any) -> None:
    assert full(closed_schema(message), closed_schema(message)) == []


def tree(depth: int) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [],
        "properties": {"child": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]}},
        "$defs": {
            "Tree": {
                "type": "object",
                "additionalProperties": False,
                "required": [],
                "properties": {
                    "child": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]},
                    "n": {"type": "integer", "maximum": depth},
                },
            }
        },
    }


def test_recursive_structs_end() -> None:
    assert backward(tree(3), tree(4)) == []
    assert [str(problem) for problem in backward(tree(4), tree(3))] == [
        "$.child.n: was `maximum` 4, is `maximum` 3 (old records break)"
    ]


def test_one_broken_struct_is_told_wherever_it_is_used() -> None:
    new = changed(TELEMETRY, lambda s: of(s, "CameraTrack").pop("width_px"))
    assert [problem.path for problem in backward(TELEMETRY, new)] == [
        "$.capture.asked.width_px",
        "$.capture.reported.width_px",
        "$.capture.delivered.width_px",
    ]


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asyncapi.render())
    return found


def test_release_is_compared_by_the_rule_of_each_topic() -> None:
    new = document()
    for name in ("Telemetry", "RiskEvent"):
        new["components"]["schemas"][name]["properties"]["flow"]["enum"].append("payout")
    lines = compare_release(document(), new, compatibility_rules())
    assert lines == ["RiskEvent $.flow: was without 'payout', is with 'payout' (old readers break)"]


def test_topics_and_messages_are_not_taken_away() -> None:
    new = document()
    del new["channels"]["riskLabels"]
    del new["channels"]["captureTelemetry"]["messages"]["Signal"]
    new["channels"]["riskEvents"]["address"] = "risk.scores"
    new["components"]["messages"]["ServedFeatures"]["bindings"]["kafka"]["key"]["description"] = "tenant, UTF-8."
    assert compare_release(document(), new, compatibility_rules()) == [
        "capture.telemetry: the message Signal was removed",
        "risk.labels: the topic was removed",
        "risk.events: the topic was renamed to risk.scores",
        "ServedFeatures: the record key changed",
    ]
    assert compare_release(new, document(), compatibility_rules())[-1] == "ServedFeatures: the record key changed"


# The stupid twin: if the comparer finds nothing, no record of the writer may fail the reader's schema.


@cache
def paths(message: Any) -> list[tuple[str, ...]]:
    """Where a bound, a type, a set of values or a list of required fields stands in a message's schema."""
    found: list[tuple[str, ...]] = []

    def walk(node: Any, path: tuple[str, ...]) -> None:
        if isinstance(node, dict):
            if path and path[-1] not in ("properties", "$defs", "if", "then") and ("type" in node or "enum" in node):
                found.append(path)
            for key, inner in node.items():
                if key not in ("if", "then", "x-meanings"):
                    walk(inner, (*path, key))
        elif isinstance(node, list):
            for index, inner in enumerate(node):
                walk(inner, (*path, str(index)))

    walk(closed_schema(message), ())
    return found


def at(schema: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        schema = schema[int(step)] if isinstance(schema, list) else schema[step]
    return schema


@st.composite
def mutations(draw: st.DrawFn, message: Any) -> dict[str, Any]:
    """The message's schema with one random change."""
    schema = copy.deepcopy(closed_schema(message))
    node = at(schema, draw(st.sampled_from(paths(message))))
    keywords = [key for key in node if key not in ("description", "title", "default", "x-meanings", "$ref", "anyOf")]
    keyword = draw(st.sampled_from(sorted(keywords)))
    value = node[keyword]
    if keyword in ("enum", "required") and value:
        value.pop(draw(st.integers(0, len(value) - 1)))
    elif keyword == "properties":
        name = draw(st.sampled_from(sorted(value)))
        del value[name]
        node["required"] = [other for other in node["required"] if other != name]
    elif keyword == "type":
        node[keyword] = draw(st.sampled_from(["string", "number", "integer", "boolean", "null"]))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        node[keyword] = draw(st.sampled_from([0, 1, value - 1, value + 1, value * 2]))
    else:
        del node[keyword]
    return schema


def read_tolerantly(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Any:  # noqa: PLR0911
    """What a reader that ignores unknown fields sees of a value."""
    for option in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        if isinstance(value, dict) and ("$ref" in option or option.get("type") == "object"):
            return read_tolerantly(value, option, root)
        if isinstance(value, list) and option.get("type") == "array":
            return read_tolerantly(value, option, root)
    if "$ref" in schema:
        return read_tolerantly(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if isinstance(value, list):
        return [read_tolerantly(item, schema.get("items", {}), root) for item in value]
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return {name: read_tolerantly(inner, known[name], root) for name, inner in value.items() if name in known}
    if isinstance(value, dict) and isinstance(schema.get("additionalProperties"), dict):
        return {name: read_tolerantly(inner, schema["additionalProperties"], root) for name, inner in value.items()}
    return value


@pytest.mark.parametrize("message", [Signal, Label, Snapshot], ids=tag_of)
@given(data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_sample_refutes_a_clean_comparison(message: Any, data: st.DataObject) -> None:
    schema = closed_schema(message)
    mutant = data.draw(mutations(message))
    if backward(schema, mutant) == []:
        # Records of today's schema are valid under the mutant.
        record = json.loads(encode(data.draw(messages(message))))
        jsonschema.Draft202012Validator(mutant).validate(record)
    if not any(problem.hurts == "old readers" for problem in full(mutant, schema)):
        # A reader by the mutant (an older schema, say) reads what is written today.
        record = json.loads(encode(data.draw(messages(message))))
        jsonschema.Draft202012Validator(mutant).validate(read_tolerantly(record, mutant, mutant))
