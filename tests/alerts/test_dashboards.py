"""The dashboards: written by their source, lawful for Grafana, asking for what exists, tied to the alerts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from feedd.config.settings import Settings
from tests.alerts.panels import expressions, panels, substituted
from tests.alerts.shipped import DASHBOARDS, alerts, dashboards_module, unknown_metrics

FILES = sorted((DASHBOARDS / "dashboards").glob("*.json"))
BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text("utf-8")) for path in FILES}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in panels(board)]
IDS = [f"{name}: {panel['title']}" for name, panel in PANELS]


def test_files_are_what_their_source_writes() -> None:
    module = dashboards_module()
    written = {name: module.text_of(content) for name, content in module.dashboards().items()}
    assert written == {path.name: path.read_text("utf-8") for path in FILES}, (
        "run: python deploy/grafana/dashboards.py"
    )


def lost(ours: object, theirs: object, path: str = "") -> set[str]:
    """Return what of our JSON does not survive Grafana's own types: unknown keys, and wrong values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {
            each
            for key, value in ours.items()
            for each in (lost(value, theirs[key], f"{path}.{key}") if key in theirs else {f"{path}.{key}"})
        }
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return {
            each for mine, other in zip(ours, theirs, strict=True) for each in lost(mine, other, f"{path}[]")
        }
    return set() if ours == theirs else {f"{path}: {ours!r} became {theirs!r}"}


def round_trip(board: dict[str, Any]) -> set[str]:
    register_default_plugins()
    return lost(board, json.loads(JSONEncoder(sort_keys=True, indent=2).encode(Dashboard.from_json(board))))


KNOWN_TO_PROMETHEUS_ONLY = {f".annotations.list[].{key}" for key in ("titleFormat", "textFormat", "step")}
"""Keys of the Prometheus data source in an annotation: Grafana's common types don't list them."""


@pytest.mark.parametrize("name", BOARDS)
def test_structure_survives_grafanas_own_types(name: str) -> None:
    assert round_trip(BOARDS[name]) == KNOWN_TO_PROMETHEUS_ONLY


def test_structure_check_sees_a_misspelt_key() -> None:
    board = json.loads(json.dumps(BOARDS["feedd-overview"]))
    panel = panels(board)[0]
    panel["fieldConfig"]["defaults"]["untis"] = "s"
    panel["gridpos"] = panel.pop("gridPos")
    panel["options"]["colourMode"] = "background"
    assert round_trip(board) - KNOWN_TO_PROMETHEUS_ONLY == {
        ".panels[].fieldConfig.defaults.untis",
        ".panels[].gridpos",
        ".panels[].options.colourMode",
    }


@pytest.mark.parametrize("name", BOARDS)
def test_board_has_a_fixed_uid_its_variables_alerts_and_links(name: str) -> None:
    board = BOARDS[name]
    assert board["uid"] == name
    assert [each["name"] for each in board["templating"]["list"]] == ["datasource", "instance", "symbol"]
    [annotation] = board["annotations"]["list"]
    assert annotation["expr"].startswith("ALERTS{") and annotation["enable"]
    assert Settings().runbook_url in [link.get("url") for link in board["links"]]


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=IDS)
def test_panel_is_complete(name: str, panel: dict[str, Any]) -> None:
    assert panel["title"] and panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert expressions(panel)
    for link in panel.get("links", ()):
        base, _, anchor = link["url"].partition("#")
        assert base == Settings().runbook_url
        assert anchor in {alert.lower() for alert in alerts()}


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=IDS)
def test_panel_asks_only_for_metrics_that_exist(name: str, panel: dict[str, Any]) -> None:
    for expr in expressions(panel):
        assert unknown_metrics(substituted(expr)) == set()
        assert "$instance" in expr or "$symbol" in expr


@pytest.mark.parametrize("name", BOARDS)
def test_panels_neither_overlap_nor_stand_out(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in BOARDS[name]["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_alert_is_linked_from_some_panel() -> None:
    linked = {link["url"].partition("#")[2] for _, panel in PANELS for link in panel.get("links", ())}
    # Of these there is nothing to draw: no daemon, an unreadable file, a start, new fields, failing attempts.
    without = {"FeeddAbsent", "FeeddFlagsUnreadable", "FeeddStuckStarting", "FeeddUnknownFields"}
    assert {alert.lower() for alert in set(alerts()) - without} == linked


def lines_at(panel: dict[str, Any]) -> list[float]:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [step["value"] for step in steps if step["value"] is not None]


def test_lines_stand_where_the_alerts_do() -> None:
    by_title = {panel["title"]: panel for _, panel in PANELS}
    assert lines_at(by_title["Age of the newest message"]) == [Settings().stale_after_seconds]
    for title, alert in (
        ("Total latency", "FeeddLatencyHigh"),
        ("Event loop lag", "FeeddEventLoopLagging"),
        ("Connect budget left", "FeeddConnectBudgetLow"),
        ("Age of the clock's measurement", "FeeddClockUnsynchronised"),
    ):
        [line] = lines_at(by_title[title])
        assert re.search(rf"[<>] {line:g}\b", alerts()[alert].expr), title


def test_provisioning_names_what_the_dashboards_use() -> None:
    provisioning = DASHBOARDS / "provisioning"
    [source] = read(provisioning / "datasources" / "feedd.yaml")["datasources"]
    [provider] = read(provisioning / "dashboards" / "feedd.yaml")["providers"]
    assert (source["type"], source["uid"], provider["folder"]) == ("prometheus", "feedd", "feedd")
    for board in BOARDS.values():
        assert board["templating"]["list"][0]["current"]["value"] == source["uid"]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))
