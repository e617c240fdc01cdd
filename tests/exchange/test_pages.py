from __future__ import annotations

from feedd.exchange.fault_registry import FaultRegistry
from feedd.exchange.faults import FAULT_KINDS
from feedd.exchange.pages import describe, error_page, front_page, known_faults


def test_front_page_names_symbols_endpoints_and_faults() -> None:
    page = front_page(("BTCUSDT", "ETHUSDT"), ("time", "exchangeInfo"))
    assert "symbols: BTCUSDT, ETHUSDT\n" in page
    assert "GET /api/v3/exchangeInfo\n" in page
    assert all(f"\n  {name} " in page for name in FAULT_KINDS)
    assert "  status: a whole number from 400 to 599, else 503\n" in page
    assert "  status: a text like [A-Z][A-Z_]*\n" in page


def test_known_faults_tell_their_arguments() -> None:
    known = {fault["fault"]: fault for fault in known_faults()}
    assert known["delay"]["arguments"] == {"ms": {"expected": "a number from 0", "default": 1500}}
    assert known["status"]["arguments"] == {"status": {"expected": "a text like [A-Z][A-Z_]*"}}
    assert known["mute"]["stream"] and not known["reset"]["stream"]
    assert known["mute"]["lasting"] and not known["reset"]["lasting"]


def test_fault_that_is_on_is_described() -> None:
    registry = FaultRegistry(("BTCUSDT",))
    timed = registry.set("delay", 100.0, symbol="BTCUSDT", stream="trade", seconds=5, arguments={})
    assert describe(timed, 102.0) == {
        "id": 1,
        "fault": "delay",
        "symbol": "BTCUSDT",
        "stream": "trade",
        "seconds_left": 3.0,
        "hit": 0,
        "arguments": {"ms": 1500},
    }
    assert describe(registry.set("mute", 100.0, arguments={}), 102.0)["seconds_left"] is None


def test_error_page_is_html_and_asks_for_a_pause_only_where_told_to() -> None:
    page = error_page(503)
    assert (page.status, page.content_type, "Retry-After" in page.headers) == (503, "text/html", False)
    assert page.text == "<html><head><title>503</title></head><body><h1>503</h1></body></html>"
    assert error_page(429, 0).headers["Retry-After"] == "0"
