"""The dashboards: committed as their tables say, every expression parses and names only what is exported."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from stream.dashboards import DASHBOARDS, SOURCE, WIDTH, main, rendered
from tests.prometheus.test_names import unknown
from tests.prometheus.world import ROOT, promtool

FILES = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))


def expressions(file: Path) -> list[str]:
    found = json.loads(file.read_text())
    return [target["expr"] for panel in found["panels"] for target in panel.get("targets", [])]


def test_what_is_committed_is_what_the_tables_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert {file.relative_to(ROOT) for file in FILES} == set(rendered())
    assert main(["check"], tmp_path) == 1
    assert main(["render"], tmp_path) == 0
    assert main(["check"], tmp_path) == 0
    assert main(["redner"]) == 2
    assert "run `make contracts`" in capsys.readouterr().err


def parses(folder: Path, wanted: list[str]) -> bool:
    # What Grafana puts in; any interval will do.
    rules = [
        {"record": f"x:{i}", "expr": expression.replace("$__rate_interval", "5m")}
        for i, expression in enumerate(wanted)
    ]
    file = folder / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run([promtool(), "check", "rules", str(file)], capture_output=True, text=True, check=False)
    return done.returncode == 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_expressions_parse_and_name_what_is_exported(file: Path, tmp_path: Path) -> None:
    found = expressions(file)
    assert len(found) > 12
    assert parses(tmp_path, found)
    for expression in found:
        assert unknown(expression) == []
    assert not parses(tmp_path, [*found, "sum(rate(x[5m])"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_are_beside_one_another_and_have_their_source(file: Path) -> None:
    panels = json.loads(file.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < WIDTH
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == SOURCE
            assert panel["description"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_compose_provisions_the_source_that_they_name() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == SOURCE
    assert len(DASHBOARDS) == len(FILES)


def test_grafana_finds_in_its_container_what_its_files_name() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    grafana = services["grafana"]
    mounted: dict[str, Path] = {
        mount.split(":")[1]: ROOT / mount.split(":")[0] for mount in grafana["volumes"] if mount[0] == "."
    }

    def inside(path: str) -> Path:
        """The file of this checkout that lies at a path of the container."""
        (found,) = [
            source / Path(path).relative_to(target)
            for target, source in mounted.items()
            if Path(path).is_relative_to(target)
        ]
        return found

    (provider,) = yaml.safe_load((folder / "dashboards" / "tellwire.yml").read_text())["providers"]
    assert set(inside(provider["options"]["path"]).glob("*.json")) == set(FILES)
    assert inside(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]) in FILES
    assert inside("/etc/grafana/provisioning") == folder
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    address = urlsplit(source["url"])
    assert address.hostname in services
    ports = [port.rpartition(":")[2] for port in services[str(address.hostname)]["ports"]]
    assert str(address.port) in ports
    assert set(grafana["depends_on"]) == {address.hostname}
