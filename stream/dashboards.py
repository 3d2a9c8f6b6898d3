"""Renders the dashboards of dashboard_service.py and dashboard_models.py into JSON for Grafana, in deploy/grafana.

`python -m stream.dashboards render` writes them, `check` says which differ from these tables (exit 1).
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from stream.dashboard_models import MODELS
from stream.dashboard_panel import Dashboard, Panel
from stream.dashboard_service import SERVICE

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = Path("deploy/grafana/dashboards")
SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
WIDTH: Final = 24
HEIGHT: Final = 8

DASHBOARDS: Final = (SERVICE, MODELS)


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["tellwire"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": []},
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "datasource": SOURCE,
                    "enable": True,
                    "iconColor": "red",
                    "expr": 'ALERTS{alertname=~"Tellwire.+",alertstate="firing"}',
                    "titleFormat": "{{alertname}}",
                }
            ]
        },
        "panels": list(_panels(dashboard)),
    }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for heading, panels in dashboard.rows:
        number += 1
        place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": heading, "collapsed": False, "gridPos": place, "panels": []}
        top += 1
        left = 0
        for panel in panels:
            if left + panel.width > WIDTH:
                left, top = 0, top + HEIGHT
            number += 1
            yield _panel(panel, number, {"h": HEIGHT, "w": panel.width, "x": left, "y": top})
            left += panel.width
        top += HEIGHT


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
                **({"instant": True, "format": "table"} if panel.kind == "table" else {}),
            }
            for i, (expression, legend) in enumerate(panel.lines)
        ],
    }


def rendered() -> dict[Path, str]:
    """Return the text of every committed file, by its path from the repository's root."""
    return {
        FOLDER / f"{dashboard.uid}.json": json.dumps(as_json(dashboard), indent=2, ensure_ascii=False) + "\n"
        for dashboard in DASHBOARDS
    }


def main(arguments: Sequence[str] | None = None, target: Path = ROOT) -> int:
    """Render or check, as the one argument says; return 0 when all is well, 1 when `check` finds a difference."""
    chosen = list(sys.argv[1:] if arguments is None else arguments)
    if chosen not in (["render"], ["check"]):
        sys.stderr.write("usage: python -m stream.dashboards render|check\n")
        return 2
    code = 0
    for path, text in rendered().items():
        file = target / path
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        if chosen == ["render"]:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path}\n")
        else:
            sys.stderr.write(f"{path} differs from its table: run `make contracts`\n")
            code = 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
