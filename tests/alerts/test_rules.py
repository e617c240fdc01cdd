"""The rules: lawful, tested case by case, tied to the daemon's metrics, defaults and own pages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from feedd.config.settings import Settings
from feedd.core.gate import GATED
from feedd.model import Reason
from feedd.outputs import alertmanager
from tests.alerts.shipped import (
    CASES,
    alerts,
    cases,
    exported,
    metrics_in,
    recorded,
    rules,
    unknown_metrics,
)
from tests.alerts.stack import RULES, compress, needs_components

ALERTS = alerts()


def promtool(*arguments: str) -> tuple[int, str]:
    outcome = subprocess.run(["promtool", *arguments], text=True, capture_output=True, check=False)
    return outcome.returncode, outcome.stdout + outcome.stderr


def test_rules_pass_promtool_with_every_lint() -> None:
    needs_components()
    code, text = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert code == 0, text
    assert f"{len(rules())} rules found" in text


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_cases_pass_promtool(path: Path) -> None:
    needs_components()
    code, text = promtool("test", "rules", str(path))
    assert code == 0, text


def outcomes(case: dict[str, Any], name: str) -> list[bool]:
    """Return whether the alert is expected to fire, at each time at which the case asks."""
    asked = sorted(
        (seconds(test["eval_time"]), bool(test.get("exp_alerts")))
        for test in case["alert_rule_test"]
        if test["alertname"] == name
    )
    return [fires for _, fires in asked]


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_shown_to_be_silent_then_to_fire(name: str) -> None:
    shown = [outcomes(case, name) for case in cases() if case["name"].startswith(f"{name}: ")]
    assert any(fires[:2] == [False, True] for fires in shown)


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_shown_to_be_silent_on_what_looks_alike(name: str) -> None:
    twins = [case for case in cases() if case["name"].startswith(f"{name}: twin, ")]
    assert twins
    for twin in twins:
        assert outcomes(twin, name), twin["name"]
        assert not any(outcomes(twin, name)), twin["name"]


def test_every_case_is_about_an_alert_that_exists() -> None:
    assert {case["name"].partition(":")[0] for case in cases()} == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)
def test_alert_says_what_a_person_needs(alert: Any) -> None:
    assert re.fullmatch(r"Feedd([A-Z][a-z]+)+", alert.name)
    assert alert.labels in ({"severity": "critical"}, {"severity": "warning"})
    assert alert.annotations.keys() == {"summary", "description", "runbook_url"}
    summary = alert.annotations["summary"]
    assert summary.endswith(".") and "{{" not in summary, "a fixed sentence, so that pages can be told apart"
    assert alert.annotations["runbook_url"] == f"{Settings().runbook_url}#{alert.name.lower()}"


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)
def test_description_names_what_it_is_about(alert: Any) -> None:
    for_all = {"FeeddKillSwitch", "FeeddFlagsUnreadable", "FeeddAbsent"}
    described = set(re.findall(r"\$labels\.(\w+)", alert.annotations["description"]))
    if alert.name in for_all:
        assert described == set()
    else:
        assert described & {"symbol", "instance"}
    if re.search(r"by \([^)]*symbol", alert.expr) or "symbol" in alert.expr:
        assert "symbol" in described


def test_summaries_differ() -> None:
    assert len({alert.annotations["summary"] for alert in ALERTS.values()}) == len(ALERTS)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rule_asks_only_for_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert metrics_in(rule["expr"])
    assert unknown_metrics(rule["expr"]) == set()


def test_recorded_names_say_level_metric_and_operation() -> None:
    for name in recorded():
        level, metric, operation = name.split(":")
        assert set(level.split("_")) <= {"instance", "symbol", "stream"}, name
        assert any(each.startswith(metric) for each in exported()) or "unplanned" in metric, name
        assert operation


def test_thresholds_are_the_defaults_of_the_daemon() -> None:
    settings = Settings()
    assert (
        ALERTS["FeeddLatencyHigh"]
        .expr.partition(" unless")[0]
        .endswith(f"> {settings.latency_limit_seconds:g}")
    )
    # Not a number of the rules: each symbol has its own limit, and the daemon tells which.
    assert "feedd_stale_after_seconds" in ALERTS["FeeddFeedStale"].expr


@pytest.mark.parametrize("name", ["FeeddKillSwitch", "FeeddFlagsUnreadable", "FeeddTradingHalted"])
def test_halts_page_at_once(name: str) -> None:
    assert ALERTS[name].wait == "0s"
    assert ALERTS[name].labels["severity"] == "critical"


@pytest.mark.parametrize("reason", [reason for reason in GATED if reason is not Reason.STARTING])
def test_daemon_posts_exactly_the_alert_that_the_rule_yields(reason: Reason) -> None:
    is_state_wide = reason in (Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE)
    halt = alertmanager.Halt(reason, None if is_state_wide else "BTCUSDT")
    labels = halt.labels()
    rule = ALERTS[labels.pop("alertname")]
    by = re.match(r"max by \(([a-z, ]+)\)", rule.expr)
    assert by is not None
    of_series = {"symbol": "BTCUSDT", "reason": str(reason)}
    assert labels == rule.labels | {label: of_series[label] for label in by[1].split(", ")}
    expected = dict(rule.annotations)
    for label, value in of_series.items():
        expected["description"] = expected["description"].replace(f"{{{{ $labels.{label} }}}}", value)
    assert halt.annotations(Settings().runbook_url) == expected


def test_compression_makes_every_wait_shorter_and_stays_lawful(tmp_path: Path) -> None:
    needs_components()
    shipped = RULES.read_text("utf-8")
    shorter = compress(shipped, 10)
    assert "for: 6000ms" in shorter and "[200ms]" not in shorter and "[3000ms]" in shorter
    assert not re.search(r"\[\d+[smh]\]|for: \d+[smh]\b", shorter)
    path = tmp_path / "rules.yaml"
    path.write_text(shorter)
    code, text = promtool("check", "rules", "--lint=all", "--lint-fatal", str(path))
    assert code == 0, text
