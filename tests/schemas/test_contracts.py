"""The generated contracts: committed as rendered, complete, readable, and consistent with the table of topics."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from schemas import asyncapi, contracts_cli, envelope
from schemas.asyncapi import DEAD_LETTER
from schemas.base import END
from schemas.closed import closed_schema, enum_of, message_types, tag_of
from schemas.contracts_cli import CONTRACTS, PAGE, ROOT, drift, incompatible, main, render, rendered
from schemas.deadletter import DeadLetterHeader, DeadLetterReason
from schemas.meanings import HEADERS, REASONS, meanings_of
from schemas.topics import TOPICS
from schemas.topics_page import render_page
from tests.support import pages

DOCUMENT = asyncapi.document()


def nodes(value: Any, path: str = "#") -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from nodes(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from nodes(inner, f"{path}/{index}")


def test_committed_files_are_what_the_declarations_say() -> None:
    assert drift() == []


def test_nothing_breaks_a_released_version() -> None:
    assert incompatible() == []


def test_render_writes_everything_and_then_nothing(tmp_path: Path) -> None:
    assert set(render(tmp_path)) == set(rendered())
    assert drift(tmp_path) == []
    assert render(tmp_path) == []


def test_drift_is_found(tmp_path: Path) -> None:
    render(tmp_path)
    changed, missing, stale = tmp_path / PAGE, tmp_path / CONTRACTS / "asyncapi.json", tmp_path / CONTRACTS / "old.json"
    changed.write_text(changed.read_text() + "\n")
    missing.unlink()
    stale.write_text("{}")
    assert [line.split(" ")[0] for line in drift(tmp_path)] == [
        "schemas/contracts/asyncapi.json",
        "docs/reference/topics.md",
        "schemas/contracts/old.json",
    ]
    assert set(render(tmp_path)) == {PAGE, CONTRACTS / "asyncapi.json", CONTRACTS / "old.json"}
    assert drift(tmp_path) == []


def test_a_changed_declaration_is_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render(tmp_path)
    monkeypatch.setattr(contracts_cli, "TOPICS", ())
    monkeypatch.setattr(asyncapi, "CONTRACTS_VERSION", "9.9.9")
    assert drift(tmp_path) == ["schemas/contracts/asyncapi.json differs from the declarations: run `make contracts`"]


def test_freeze_keeps_a_version_once(tmp_path: Path) -> None:
    kept = contracts_cli.freeze("1.2.3", tmp_path)
    assert json.loads((tmp_path / kept).read_text()) == json.loads(json.dumps(DOCUMENT))
    assert incompatible(tmp_path) == []
    with pytest.raises(ValueError, match="does not change"):
        contracts_cli.freeze("1.2.3", tmp_path)
    for bad in ("1.2", "../1.2.3", "1.2.3\n", ""):
        with pytest.raises(ValueError, match="no version"):
            contracts_cli.freeze(bad, tmp_path)


def test_an_incompatible_release_is_told(tmp_path: Path) -> None:
    file = tmp_path / contracts_cli.freeze("1.0.0", tmp_path)
    released = json.loads(file.read_text())
    released["components"]["schemas"]["RiskEvent"]["properties"]["gone"] = {"type": "string"}
    file.write_text(json.dumps(released))
    assert incompatible(tmp_path) == ["since 1.0.0: RiskEvent $.gone: the field was removed (old records break)"]


def test_check_command_says_that_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert main(["freeze", "x"]) == 1
    assert "no version" in capsys.readouterr().err


@pytest.mark.parametrize("message", message_types(), ids=tag_of)
def test_schema_is_closed_complete_and_explained(message: type[msgspec.Struct]) -> None:
    schema = closed_schema(message)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["type"]["const"] == tag_of(message)
    assert "type" in schema["required"]
    for path, node in nodes(schema):
        if not isinstance(node, dict) or "/if" in path or "/then" in path or "/x-meanings" in path:
            continue
        if "properties" in node and isinstance(node["properties"], dict) and "title" in node:
            assert node["additionalProperties"] is False, path
            assert len(node["description"]) > 10, path
            undescribed = [name for name, field in node["properties"].items() if not field.get("description")]
            assert not undescribed, path
        if isinstance(node.get("enum"), list):
            assert meanings_of(node["enum"]), f"{path}: explain {node['enum']} in schemas/meanings.py"
        if isinstance(node.get("pattern"), str):
            assert END not in node["pattern"], f"{path}: {END} is Python's"
            re.compile(node["pattern"])


def test_input_is_bounded_everywhere() -> None:
    """Every text, list and number that comes from outside has a bound, however deep it lies."""
    for message in (topic.messages for topic in TOPICS if topic.direction == "in"):
        for member in message:
            for path, node in nodes(closed_schema(member)):
                if not isinstance(node, dict) or "enum" in node or "const" in node or "/if" in path or "/then" in path:
                    continue
                bound = {"string": "maxLength", "array": "maxItems", "integer": "maximum", "number": "maximum"}
                kind = node.get("type")
                if kind == "string" and node.get("pattern", "").endswith("}$"):
                    continue  # a pattern of fixed length
                if isinstance(kind, str) and kind in bound:
                    assert bound[kind] in node, f"{tag_of(member)} {path}"


def test_enum_is_found_where_it_is_nested() -> None:
    assert enum_of({"anyOf": [{"type": "array", "items": {"enum": ["a"]}}, {"type": "null"}]}) == ["a"]
    assert enum_of({"type": "array"}) == []


def test_headers_and_reasons_are_all_explained() -> None:
    assert set(REASONS) == set(DeadLetterReason)
    assert {name for topic in TOPICS for name in topic.headers} == set(HEADERS)
    assert {str(header) for header in DeadLetterHeader} == set(
        next(topic.headers for topic in TOPICS if topic.name == "risk.deadletter")
    )


def test_references_lead_somewhere() -> None:
    for path, node in nodes(DOCUMENT):
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            target: Any = DOCUMENT
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            assert target, path


def test_document_has_every_topic_and_message() -> None:
    channels = {channel["address"]: channel for channel in DOCUMENT["channels"].values()}
    assert list(channels) == [topic.name for topic in TOPICS]
    for topic in TOPICS:
        channel = channels[topic.name]
        binding = channel["bindings"]["kafka"]
        assert (binding["partitions"], binding["bindingVersion"]) == (topic.partitions, "0.5.0")
        configured = {
            key: ",".join(value) if isinstance(value, list) else str(value)
            for key, value in binding["topicConfiguration"].items()
        }
        assert configured == dict(topic.config)
        names = [message.__name__ for message in topic.messages] or [DEAD_LETTER]
        assert list(channel["messages"]) == names
    used = {ref for _, node in nodes(DOCUMENT["operations"]) if isinstance(node, dict) for ref in [node.get("$ref")]}
    assert {f"#/channels/{channel}" for channel in DOCUMENT["channels"]} <= used


def test_message_examples_are_valid_against_the_documents_own_schemas() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for name, message in DOCUMENT["components"]["messages"].items():
        for example in message.get("examples", ()):
            root = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
            jsonschema.Draft7Validator(root).validate(json.loads(json.dumps(example["payload"])))


def test_page_has_every_field_and_its_examples_decode() -> None:
    page = render_page()
    for message in message_types():
        schema = closed_schema(message)
        for struct in (schema, *schema.get("$defs", {}).values()):
            for field in struct["properties"]:
                assert f"| `{field}` |" in page
    for reason in DeadLetterReason:
        assert f"| `{reason}` |" in page
    blocks = pages.blocks("docs/reference/topics.md", "json")
    assert len(blocks) >= len(message_types())
    decoders = {
        "capture.telemetry.v1": envelope.decode,
        "capture.signal.v1": envelope.decode,
        "capture.erasure.v1": envelope.decode,
        "risk.label.v1": envelope.decode_label,
        "risk.event.v1": envelope.decode_risk_event,
        "risk.features.v1": envelope.decode_served,
        "models.snapshot.v1": envelope.decode_snapshot,
    }
    for block in blocks:
        value = json.loads(block)
        decoders[value["type"]](json.dumps(value).encode(), None)


def test_links_within_the_page_lead_somewhere() -> None:
    page = render_page()
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    assert links <= anchors, links - anchors
    assert len(anchors) == len(headings), "two headings with one anchor"
    for target in re.findall(r"\]\(((?!#|http)[^)]+)\)", page):
        assert (ROOT / PAGE.parent / target).resolve().exists(), target


def test_no_html_is_hidden_in_the_page() -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`|<br>|<!--.*?-->", "", render_page(), flags=re.DOTALL)
    assert "<" not in prose
