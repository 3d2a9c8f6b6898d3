"""Every code block of README and docs is executed or checked by a test; a new one that no test looks at fails here.

By language: `sh` is run by `tests/integration/pipeline/test_shell_blocks.py`, whichever page it is on; `toml` and
`yaml` are checked below; `text` is a drawing or an output. Everything else is executed by the test that is declared for
its page here, which must take it from the page (`pages.blocks(page, language)`).
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

from stream import settings_source
from stream.settings import Settings
from tests.support import pages
from tests.support.pages import ROOT, Block

CHECKED_HERE = ("toml", "yaml")


@dataclass(frozen=True)
class Executed:
    """Blocks that a test takes from their page and executes."""

    page: str
    language: str
    count: int
    test: str


EXECUTED = (
    Executed("README.md", "python", 2, "tests/integration/pipeline/test_snippets.py"),
    Executed("docs/explanation/event-semantics.md", "python", 1, "tests/schemas/test_semantics_page.py"),
    Executed("docs/explanation/privacy.md", "python", 1, "tests/contract/test_privacy_page.py"),
    Executed("docs/explanation/redis-and-guarantees.md", "redis", 1, "tests/stream/state/stores.py"),
    Executed("docs/how-to/add-a-feature.md", "diff", 2, "tests/contract/test_feature_page.py"),
    Executed("docs/how-to/add-a-feature.md", "sh", 2, "tests/contract/test_feature_page.py"),
    Executed("docs/how-to/calibrate-on-live-people.md", "json", 1, "tests/features/test_vouching.py"),
    Executed("docs/how-to/consume-risk-events.md", "python", 2, "tests/integration/pipeline/test_consumer_page.py"),
    Executed("docs/how-to/consume-risk-events.md", "js", 1, "tests/integration/pipeline/test_consumer_page.py"),
    Executed("docs/how-to/consume-risk-events.md", "java", 1, "tests/integration/pipeline/test_consumer_page.py"),
    Executed("docs/how-to/emit-telemetry.md", "python", 1, "tests/integration/pipeline/test_snippets.py"),
    Executed("docs/how-to/emit-telemetry.md", "java", 1, "tests/integration/pipeline/test_snippets.py"),
    Executed("docs/how-to/emit-telemetry-from-a-page.md", "html", 1, "tests/capture/test_guide.py"),
    Executed("docs/how-to/emit-telemetry-from-a-page.md", "js", 3, "tests/capture/test_guide.py"),
    Executed("docs/how-to/emit-telemetry-from-a-page.md", "json", 1, "tests/capture/test_guide.py"),
    Executed("docs/how-to/run-the-gateway.md", "python", 1, "tests/stream/gateway/test_page.py"),
    Executed("docs/how-to/run-the-gateway.md", "json", 1, "tests/stream/gateway/test_page.py"),
    Executed("docs/how-to/scale.md", "python", 1, "tests/contract/test_scale_page.py"),
    Executed("docs/how-to/tune-a-threshold.md", "python", 2, "tests/integration/pipeline/test_shell_blocks.py"),
    Executed("docs/reference/topics.md", "json", 11, "tests/schemas/test_contracts.py"),
    Executed("docs/reference/transport.md", "python", 1, "tests/integration/pipeline/test_snippets.py"),
)


def problems(found: list[Block], declared: tuple[Executed, ...]) -> list[str]:
    """What no test looks at, and what is declared and is not there, a line each."""
    known = {(one.page, one.language): one.count for one in declared}
    counted = Counter((block.page, block.language) for block in found)
    wrong = []
    for block in found:
        if not block.language:
            wrong.append(f"{block.place}: a block without a language; a drawing or an output is `text`")
        elif block.language in ("sh", "text", *CHECKED_HERE):
            continue
        elif (block.page, block.language) not in known:
            wrong.append(f"{block.place}: no test executes this {block.language} block: write it, name it in EXECUTED")
    for (page, language), count in known.items():
        if counted[page, language] != count:
            wrong.append(f"{page}: {counted[page, language]} {language} blocks, {count} are executed (EXECUTED)")
    return wrong


def test_every_block_is_executed_or_checked() -> None:
    assert problems(pages.all_blocks(), EXECUTED) == []


def test_shell_blocks_that_have_a_test_of_their_own_are_left_out_by_the_other_one() -> None:
    tree = ast.parse((ROOT / "tests/integration/pipeline/test_shell_blocks.py").read_text())
    (said,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ELSEWHERE"
    ]
    assert set(said) == {one.page for one in EXECUTED if one.language == "sh"}


def test_there_are_blocks_to_check() -> None:
    counted = Counter(block.language for block in pages.all_blocks())
    assert counted["sh"] > 20
    assert counted["python"] > 5
    assert counted["toml"] >= 3


def test_a_block_that_nobody_looks_at_is_found() -> None:
    page = "README.md"
    text = "```python\na\n```\n\n```\nb\n```\n\n~~~sh\n```\nc\n~~~\n\n   ```ruby\n   d\n   ```\n"
    found = list(pages.blocks_of(text, page))
    assert [(block.language, block.line) for block in found] == [("python", 1), ("", 5), ("sh", 9), ("ruby", 14)]
    assert found[-1].code == "d\n"
    declared = (Executed(page, "python", 2, "t"), Executed(page, "java", 1, "t"))
    assert [line.split(":")[0] + line.rpartition(":")[2][:9] for line in problems(found, declared)]
    assert len(problems(found, declared)) == 4
    with pytest.raises(ValueError, match="never closed"):
        list(pages.blocks_of("```sh\na\n", page))


@cache
def taken_by(test: str) -> frozenset[tuple[str, str]]:
    """Page and language of each `pages.blocks(...)` of a test file."""
    tree = ast.parse((ROOT / test).read_text())
    names = {
        target.id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "pages.blocks"]
    written = [[names.get(text := ast.unparse(argument), text) for argument in call.args] for call in calls]
    return frozenset((str(ast.literal_eval(page)), str(ast.literal_eval(language))) for page, language in written)


@pytest.mark.parametrize("one", EXECUTED, ids=lambda one: f"{one.page}-{one.language}")
def test_the_test_that_is_declared_takes_them_from_the_page(one: Executed) -> None:
    assert (one.page, one.language) in taken_by(one.test)


TOML = [block for block in pages.all_blocks() if block.language == "toml"]


@pytest.mark.parametrize("block", TOML, ids=lambda block: block.place)
def test_toml_is_settings_that_load(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SASL_PASSWORD", "REF_KEY"):  # what the page says to be given by the environment
        monkeypatch.delenv(f"TELLWIRE_{name}", raising=False)
    written = tmp_path / "settings.toml"
    written.write_text(block.code)
    assert tomllib.loads(block.code).keys() <= Settings.model_fields.keys()
    settings_source.load(written)


PROBES = "docs/how-to/run-under-an-orchestrator.md"


def test_the_one_yaml_block_is_the_probes_of_a_pod() -> None:
    """Kubernetes' own names of fields; paths, port and patience are those that the page and the settings say."""
    (block,) = [block for block in pages.all_blocks() if block.language == "yaml"]
    assert block.page == PROBES
    said = yaml.safe_load(block.code)
    assert set(said) == {"startupProbe", "readinessProbe", "livenessProbe", "terminationGracePeriodSeconds"}
    allowed = {"httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold", "initialDelaySeconds"}
    ready, live = {"path": "/readyz", "port": 9464}, {"path": "/livez", "port": 9464}
    wanted = {"startupProbe": ready, "readinessProbe": ready, "livenessProbe": live}
    for name, target in wanted.items():
        assert said[name]["httpGet"] == target
        assert set(said[name]) <= allowed
    settings = Settings()
    assert settings.metrics.port == 9464
    assert said["startupProbe"]["periodSeconds"] * said["startupProbe"]["failureThreshold"] >= 180
    assert said["terminationGracePeriodSeconds"] >= 2 * settings.health.stop_s


def test_json_that_is_shown_is_json() -> None:
    for block in pages.all_blocks():
        if block.language == "json":
            json.loads(block.code)


def test_commands_are_taken_whole() -> None:
    script = "# a\na b \\\n  c   # d\n\nexport X='{\n}'\ne | \\\n  f\nif g; then\n  h\nfi\n"
    assert pages.commands(script) == ["a b \\\n  c   # d", "export X='{\n}'", "e | \\\n  f", "if g; then\n  h\nfi"]
    with pytest.raises(ValueError, match="never finished"):
        pages.commands("a 'b\n")


def test_make_targets_that_pages_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "".join((ROOT / page).read_text() for page in pages.pages())
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert len(named) >= 5
    assert named <= targets
