"""What is shipped, as plain data: rules, their cases, the runbook's sections, and what the daemon exports."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

from feedd.config.settings import Settings
from feedd.daemon import Daemon
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.prometheus.catalogue import Format
from tests.alerts.stack import PROJECT, RULES

RUNBOOK = PROJECT / "alerts" / "runbook.md"
CASES = sorted((PROJECT / "alerts" / "tests").glob("*.yaml"))
DASHBOARDS = PROJECT / "deploy" / "grafana"
OF_PROMETHEUS = {"up", "scrape_duration_seconds", "scrape_samples_scraped", "ALERTS", "ALERTS_FOR_STATE"}
"""What Prometheus itself adds to what it scrapes."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule."""

    name: str
    expr: str
    wait: str
    labels: dict[str, str]
    annotations: dict[str, str]


def rules() -> list[dict[str, Any]]:
    """Return every rule of every group."""
    content = yaml.safe_load(RULES.read_text("utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


def alerts() -> dict[str, Alert]:
    """Return the alerting rules by name."""
    return {
        rule["alert"]: Alert(
            rule["alert"], rule["expr"], rule.get("for", "0s"), rule["labels"], rule["annotations"]
        )
        for rule in rules()
        if "alert" in rule
    }


def recorded() -> set[str]:
    """Return the names that recording rules write."""
    return {rule["record"] for rule in rules() if "record" in rule}


def cases() -> list[dict[str, Any]]:
    """Return every promtool case."""
    return [case for path in CASES for case in yaml.safe_load(path.read_text("utf-8"))["tests"]]


def sections() -> dict[str, str]:
    """Return the runbook's sections by title."""
    _, *parts = re.split(r"^## ", RUNBOOK.read_text("utf-8"), flags=re.M)
    return {title: text for title, _, text in (part.partition("\n") for part in parts)}


def exported() -> set[str]:
    """Return the names of all samples that a daemon exports."""
    written = Daemon(Settings(realtime=True)).http.page.pieces(Format.CLASSIC, lambda: ClockReading(1.0, 1.0))
    page = "".join(written)
    return {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}


def metrics_in(expr: str) -> set[str]:
    """Return the names of the metrics that an expression asks for. Raises ValueError where it is wrong."""
    found = set()

    def visit(node: promql_parser.Expr) -> None:
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector):
            found.add(str(selector.name))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def unknown_metrics(expr: str) -> set[str]:
    """Return those of them that nobody writes."""
    return metrics_in(expr) - exported() - recorded() - OF_PROMETHEUS


@cache
def dashboards_module() -> ModuleType:
    """Return the source of the dashboards, which is a script and in no package."""
    return load(DASHBOARDS / "dashboards.py")


def load(path: Path) -> ModuleType:
    """Return a script as a module."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    # Dataclasses look their module up by its name.
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
