"""Alertmanager and Prometheus as shipped: lawful files, who gets what, and what is held back."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.alerts.shipped import alerts
from tests.alerts.stack import (
    ALERTMANAGER_CONFIG,
    PROMETHEUS_CONFIG,
    SECRETS,
    Target,
    Webhook,
    alertmanager,
    ask,
    lay_out_alertmanager,
    lay_out_prometheus,
    needs_components,
)

HALTS = {"FeeddTradingHalted", "FeeddKillSwitch", "FeeddFlagsUnreadable"}


def run(*command: str) -> tuple[int, str]:
    outcome = subprocess.run(command, text=True, capture_output=True, check=False)
    return outcome.returncode, outcome.stdout + outcome.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    needs_components()
    lay_out_alertmanager(tmp_path, "http://localhost:9747")
    return tmp_path / "alertmanager.yml"


def test_alertmanager_config_passes_amtool(config: Path) -> None:
    code, text = run("amtool", "check-config", str(config))
    assert code == 0, text
    assert "1 templates" in text


def test_prometheus_config_passes_promtool(tmp_path: Path) -> None:
    needs_components()
    lay_out_prometheus(tmp_path, "http://localhost:9093", [Target(9745, {})])
    code, text = run("promtool", "check", "config", str(tmp_path / "prometheus.yml"))
    assert code == 0, text
    assert "rules found" in text


def test_no_secret_is_in_the_config() -> None:
    receivers = yaml.safe_load(ALERTMANAGER_CONFIG.read_text("utf-8"))["receivers"]
    for receiver in receivers:
        for kind, integrations in receiver.items():
            for each in integrations if kind != "name" else ():
                files = {
                    "webhook_configs": lambda each: each["http_config"]["authorization"]["credentials_file"],
                    "pagerduty_configs": lambda each: each["routing_key_file"],
                    "slack_configs": lambda each: each["api_url_file"],
                }
                assert files[kind](each).startswith(SECRETS)


@pytest.mark.parametrize("name", alerts())
def test_alert_goes_to_who_its_severity_says(name: str, config: Path) -> None:
    severity = alerts()[name].labels["severity"]
    code, text = run(
        "amtool", "config", "routes", "test", f"--config.file={config}",
        f"--verify.receivers={severity}", f"alertname={name}", f"severity={severity}",
    )  # fmt: skip
    assert code == 0, text


def test_alert_of_no_known_severity_wakes_somebody(config: Path) -> None:
    code, text = run(
        "amtool", "config", "routes", "test", f"--config.file={config}", "--verify.receivers=critical",
        "alertname=Unknown",
    )  # fmt: skip
    assert code == 0, text


def test_halts_are_grouped_by_reason_and_hardly_wait() -> None:
    halts = yaml.safe_load(ALERTMANAGER_CONFIG.read_text("utf-8"))["route"]["routes"][0]
    assert halts["matchers"] == [
        f'alertname=~"{"|".join(("FeeddTradingHalted", "FeeddKillSwitch", "FeeddFlagsUnreadable"))}"'
    ]
    assert halts["group_by"] == ["alertname", "reason"]
    assert (halts["group_wait"], halts["group_interval"]) == ("200ms", "500ms")


def test_intervals_add_up_to_a_page_within_15_s() -> None:
    prometheus = yaml.safe_load(PROMETHEUS_CONFIG.read_text("utf-8"))["global"]
    route = yaml.safe_load(ALERTMANAGER_CONFIG.read_text("utf-8"))["route"]
    waits = [prometheus["scrape_interval"], prometheus["evaluation_interval"], route["group_wait"]]
    assert waits == ["5s", "5s", "2s"]


# --- inhibition, on the real one


def halt(reason: str, symbol: str = "BTCUSDT") -> dict[str, str]:
    return {"alertname": "FeeddTradingHalted", "severity": "critical", "symbol": symbol, "reason": reason}


def symptom(name: str, symbol: str = "BTCUSDT") -> dict[str, str]:
    labels = {"alertname": name, "symbol": symbol, "instance": "a", "job": "feedd"}
    return labels | alerts()[name].labels


HELD_BACK = [
    (halt("disconnected"), symptom("FeeddDisconnected")),
    (halt("disconnected"), symptom("FeeddFeedStale")),
    (halt("disconnected"), symptom("FeeddStuckStarting")),
    (halt("disconnected"), symptom("FeeddHeartbeatSilent")),
    (halt("stale"), symptom("FeeddFeedStale")),
    (halt("stale"), symptom("FeeddHeartbeatSilent")),
    (halt("exchange"), symptom("FeeddFeedStale")),
    (halt("schema"), symptom("FeeddFeedStale")),
    (halt("disconnected"), halt("stale")),
    (halt("exchange"), halt("stale")),
    (halt("schema"), halt("stale")),
    (halt("disconnected"), halt("latched")),
    (halt("internal"), halt("latched")),
]
NOT_HELD_BACK = [
    (halt("disconnected", "ETHUSDT"), symptom("FeeddDisconnected")),
    (halt("stale"), symptom("FeeddDisconnected")),
    (halt("stale"), halt("disconnected")),
    (halt("latency"), halt("stale")),
    (halt("disconnected"), symptom("FeeddMessagesLost")),
    (halt("disconnected"), symptom("FeeddConnectionFlapping")),
    (halt("latched"), halt("exchange")),
    ({"alertname": "FeeddKillSwitch", "severity": "critical", "reason": "kill_switch"}, halt("stale")),
]


async def test_halt_holds_back_what_it_explains_and_nothing_else(tmp_path: Path) -> None:
    needs_components()
    async with Webhook().listening() as webhook, alertmanager(tmp_path, webhook) as url:
        wrong = []
        for number, (source, target) in enumerate(HELD_BACK + NOT_HELD_BACK):
            # Each pair has a symbol of its own, so that they don't meet.
            pair = [_at(labels, number) for labels in (source, target)]
            await _post(url, pair)
        await asyncio.sleep(0.5)
        alerts_there = await ask(url, "/api/v2/alerts")
        held = {
            str(sorted(each["labels"].items())): bool(each["status"]["inhibitedBy"]) for each in alerts_there
        }
        for number, (source, target) in enumerate(HELD_BACK + NOT_HELD_BACK):
            is_held = held[str(sorted(_at(target, number).items()))]
            if is_held != (number < len(HELD_BACK)):
                wrong.append((source, target, is_held))
        assert wrong == []
        # `latched` alone is news.
        await _post(url, [halt("latched", "LATCHEDUSDT")])
        await webhook.wait("firing", "FeeddTradingHalted", 5, symbol="LATCHEDUSDT")
        told = {(notice.name, notice.labels.get("symbol")) for notice in webhook.notices}
        assert not told & {
            (_at(target, number)["alertname"], _at(target, number)["symbol"])
            for number, (source, target) in enumerate(HELD_BACK)
            if target["alertname"] != source["alertname"]
        }


def _at(labels: dict[str, str], number: int) -> dict[str, str]:
    return labels | {"symbol": f"{number}{labels['symbol']}"} if "symbol" in labels else labels


async def _post(url: str, alerts: list[dict[str, str]]) -> None:
    body: list[dict[str, Any]] = [
        {
            "labels": labels,
            "annotations": {
                "summary": "Trading is halted in a symbol, by feedd itself.",
                "description": f"{labels.get('symbol')} is halted, reason {labels.get('reason')}.",
            },
        }
        for labels in alerts
    ]
    async with aiohttp.ClientSession() as http, http.post(f"{url}/api/v2/alerts", json=body) as response:
        assert response.status == 200, await response.text()


async def test_page_of_many_symbols_is_one_page(tmp_path: Path) -> None:
    needs_components()
    symbols = [f"S{number}USDT" for number in range(50)]
    async with Webhook().listening() as webhook, alertmanager(tmp_path, webhook) as url:
        await _post(url, [halt("disconnected", symbol) for symbol in symbols])
        await webhook.wait("firing", "FeeddTradingHalted", 5)
        await asyncio.sleep(1.2)
        assert {notice.labels["symbol"] for notice in webhook.notices} == set(symbols)
        assert len({notice.at for notice in webhook.notices}) == 1
        assert len(webhook.pagerduty) == 1 and len(webhook.slack) == 1
        assert webhook.slack[0]["attachments"][0]["title"] == (
            "Trading is halted in a symbol, by feedd itself. Reason: disconnected. 50 firing."
        )
        assert "S7USDT is halted, reason disconnected." in webhook.slack[0]["attachments"][0]["text"]
        assert webhook.pagerduty[0]["payload"]["severity"] == "critical"
