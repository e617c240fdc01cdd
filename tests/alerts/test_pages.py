"""Faults page, everyday events don't, and every panel shows something: on the real stack."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.alerts import drills
from tests.alerts.drills import PAGE_WITHIN, PAGED, PAGED_BESIDES, WAYS, Outcome
from tests.alerts.panels import broken, panels
from tests.alerts.shipped import DASHBOARDS, alerts
from tests.alerts.stack import Notice, needs_components

# The drills take about 70 s side by side, and the first test pays for them.
pytestmark = pytest.mark.timeout(240)

BOARDS = ("feedd-overview", "feedd-daemon")
RUN_SECONDS = 90.0
"""More than the drill takes: a query may find its data anywhere in it."""
SPOILT = {
    "Gate": ("feedd_trading_halted", "feedd_trading_haltet"),
    "Halts by reason": ("sum by (reason)", "sum by reason"),
    "Connections": ("symbol=~", "symbl=~"),
}
"""Panels to break on purpose: a misspelt metric, a syntax error, a label that doesn't exist."""


@dataclass(frozen=True)
class Drilled:
    """What came of all drills."""

    halts: Outcome
    troubles: Outcome
    benign: Outcome
    broken: dict[str, list[str]]
    """Per dashboard, the queries without an answer; `spoilt` is the one that was broken on purpose."""


def board(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DASHBOARDS / "dashboards" / f"{name}.json").read_text("utf-8"))
    return content


def spoilt() -> dict[str, Any]:
    """Return the overview with some panels broken."""
    content = board("feedd-overview")
    for panel in panels(content):
        if panel["title"] in SPOILT:
            target = panel["targets"][0]
            target["expr"] = target["expr"].replace(*SPOILT[panel["title"]])
    return content


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Drilled:
    needs_components()
    folder: Path = tmp_path_factory.mktemp("drills")
    found: dict[str, list[str]] = {}

    async def look(url: str) -> None:
        for name, content in [(name, board(name)) for name in BOARDS] + [("spoilt", spoilt())]:
            found[name] = await broken(url, content, RUN_SECONDS, rate_interval="2s")

    async def run() -> tuple[Outcome, Outcome, Outcome]:
        return await asyncio.gather(
            drills.halts(folder / "halts"),
            drills.troubles(folder / "troubles", look),
            drills.benign(folder / "benign"),
        )

    halts, troubles, benign = asyncio.run(run())
    return Drilled(halts, troubles, benign, found)


def fired(notices: list[Notice]) -> list[tuple[str, str, str]]:
    """Return name, symbol and reason (or stream) of what fired, each alert once."""
    return sorted(
        {
            (
                notice.name,
                notice.labels.get("symbol", ""),
                notice.labels.get("reason", notice.labels.get("stream", "")),
            )
            for notice in notices
            if notice.status == "firing"
        }
    )


def test_every_fault_pages_and_every_page_ends(drilled: Drilled) -> None:
    assert drilled.halts.missing == []
    assert drilled.troubles.missing == []


def test_pages_come_in_time(drilled: Drilled, capsys: pytest.CaptureFixture[str]) -> None:
    rows = drilled.halts.rows + drilled.troubles.rows
    with capsys.disabled():
        print("\n\nFrom fault to page; compressed: every wait of rules and routes a twentieth.")
        for row in rows:
            bound = f"<= {row.bound:4.1f}" if row.way in PAGE_WITHIN else "      -"
            print(f"  {row.fault:26} {row.page:26} {row.way:11} {row.seconds:6.2f} s  {bound}")
    assert [row for row in rows if row.seconds > row.bound] == []
    assert len(drilled.halts.rows) == len(WAYS) * (len(drills.HALT_FAULTS) + 2)


@pytest.mark.parametrize("way", WAYS)
def test_halt_pages_once_with_its_labels_and_nothing_else_does(drilled: Drilled, way: str) -> None:
    notices = drilled.halts.notices[way]
    critical = [notice for notice in notices if notice.receiver == "critical"]
    halts = [("FeeddTradingHalted", fault.symbol, fault.reason) for fault in drills.HALT_FAULTS]
    assert fired(critical) == sorted(
        [*halts, ("FeeddKillSwitch", "", "kill_switch"), ("FeeddFlagsUnreadable", "", "flags_unreadable")]
    )
    for name, symbol, reason in fired(critical):
        labels = {"alertname": name, "severity": "critical", "reason": reason}
        expected = labels | ({"symbol": symbol} if symbol else {})
        about = [notice for notice in critical if notice.is_about(name, **expected)]
        assert {json.dumps(notice.labels, sort_keys=True) for notice in about} == {
            json.dumps(expected, sort_keys=True)
        }
        assert [notice.status for notice in about] == ["firing", "resolved"], f"{name} {symbol}: paged twice"
        assert about[0].annotations.keys() == {"summary", "description", "runbook_url"}
    # What was lost meanwhile is news of its own; a symbol that was merely late lost nothing.
    warnings = fired([notice for notice in notices if notice.receiver == "warning"])
    lost = {("FeeddMessagesLost", symbol, "trade") for symbol in ("DOWNUSDT", "MUTEUSDT", "BADUSDT")}
    assert set(warnings) <= lost


def test_start_of_a_halt_is_the_daemons_and_not_prometheuss(drilled: Drilled) -> None:
    starts = {}
    for way in WAYS:
        [notice, *_] = [
            notice
            for notice in drilled.halts.notices[way]
            if notice.is_about("FeeddTradingHalted", symbol="MUTEUSDT", reason="stale")
        ]
        starts[way] = notice.starts_at
    # Both daemons lost the symbol at the same moment; Prometheus learnt of it with a scrape.
    assert starts["direct"] <= starts["prometheus"]


def test_symptoms_beneath_a_halt_are_held_back(drilled: Drilled) -> None:
    assert drilled.halts.inhibited >= drills.HELD_BACK


def test_every_receiver_is_told_with_its_secret_from_its_file(drilled: Drilled) -> None:
    assert drilled.halts.tokens == {"Bearer put-the-token-of-your-webhook-here"}
    assert drilled.halts.pagerduty and drilled.halts.slack
    assert {str(event["routing_key"]) for event in drilled.halts.pagerduty} == {
        "put-the-routing-key-of-a-PagerDuty-Events-API-v2-integration-here"
    }


@pytest.mark.parametrize(("name", "labels"), PAGED, ids=[name for name, _ in PAGED])
def test_page_of_a_fault_has_its_labels_and_texts(
    drilled: Drilled, name: str, labels: dict[str, str]
) -> None:
    notices = drilled.troubles.notices["compressed"]
    first, *_ = [notice for notice in notices if notice.is_about(name, **labels)]
    assert first.status == "firing"
    assert first.receiver == labels["severity"]
    assert first.labels["job"] == "feedd" and first.labels["instance"].startswith("localhost:")
    assert first.annotations["summary"] == alerts()[name].annotations["summary"]
    assert "<no value>" not in first.annotations["description"]
    assert "{{" not in first.annotations["description"]


def test_nothing_else_pages(drilled: Drilled) -> None:
    expected = PAGED + PAGED_BESIDES
    unexpected = [
        notice.labels
        for notice in drilled.troubles.notices["compressed"]
        if not any(notice.is_about(name, **labels) for name, labels in expected)
    ]
    # The same fault, seen by the other daemons that watch the symbol.
    assert [labels for labels in unexpected if labels.get("symbol") not in ("NEWUSDT", "BADUSDT")] == []


def test_ten_minutes_of_everyday_page_nobody(drilled: Drilled) -> None:
    assert drilled.benign.notices["benign"] == []
    evidence = drilled.benign.evidence
    assert evidence["starts"] == 2
    assert evidence["rotations"] >= 4
    assert evidence["scrapes missed"] >= 2
    assert evidence["longest silence"] > 20
    assert evidence["halts on static data"] == 1
    assert evidence["pages of the rules"] == 0


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_of_a_dashboard_finds_data(drilled: Drilled, name: str) -> None:
    assert drilled.broken[name] == []


def test_broken_panels_are_found(drilled: Drilled) -> None:
    found = {line.partition(":")[0] for line in drilled.broken["spoilt"]}
    assert found == set(SPOILT)


def test_every_alert_that_a_fault_can_cause_was_drilled(drilled: Drilled) -> None:
    drilled_names = {row.page for row in drilled.halts.rows + drilled.troubles.rows}
    drilled_names |= {name for name, _ in drilled.halts.inhibited}
    # No target at all is nobody's fault but Prometheus's; the others need more than the daemon does today.
    assert set(alerts()) - drilled_names == {
        "FeeddAbsent",
        "FeeddConnectFailing",
        "FeeddConnectBudgetLow",
        "FeeddConsumersDropped",
    }
