"""What each page of a running daemon answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

from feedd.config.settings import Settings
from feedd.daemon import DaemonTiming
from feedd.exchange import Exchange, ExchangeSettings
from feedd.outputs.http.handlers import ScrapeLimits
from feedd.outputs.http.server import HttpLimits
from tests.outputs.http.test_server import static_settings
from tests.running import LATENCY_LIMIT, RESUME_AFTER, SYMBOLS, Running, running, settings_for

EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=20.0)
HIT, OTHER = SYMBOLS


async def test_gate_answers_200_while_open_and_503_with_the_reason_while_halted() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        status, answer = await feedd.get_json(f"/gate?symbol={HIT}")
        assert status == 200
        assert answer == {
            "symbol": HIT,
            "halted": False,
            "source": "realtime",
            "reasons": [],
            "since": answer["since"],
        }
        assert datetime.fromisoformat(answer["since"]).tzinfo is not None
        exchange.set_fault("reset", symbol=HIT)
        await feedd.until(lambda feedd: feedd.symbol_state(HIT).gate.halted)
        assert (await feedd.get_json(f"/gate?symbol={HIT.lower()}"))[0] == 503
        assert (await feedd.get_json(f"/gate?symbol={OTHER}"))[0] == 200
        status, answer = await feedd.get_json("/gate")
        assert status == 503
        assert answer["halted"] is True
        assert answer["reasons"] == ["disconnected"]
        assert {name: gate["halted"] for name, gate in answer["symbols"].items()} == {HIT: True, OTHER: False}


async def test_unknown_symbol_is_404_and_bad_query_400() -> None:
    async with running(static_settings()) as feedd:
        status, answer = await feedd.get_json("/gate?symbol=DOGEUSDT")
        assert (status, answer) == (404, {"error": "symbol 'DOGEUSDT' is not configured"})
        assert await feedd.get("/gate?allow=everything") == (
            400,
            "allow: expected static, found 'everything'\n",
        )


async def test_static_source_is_closed_to_who_did_not_ask_for_it() -> None:
    async with running(static_settings()) as feedd:
        _, answer = await feedd.get_json(f"/gate?symbol={HIT}")
        assert (answer["source"], answer["reasons"]) == ("static", ["starting", "static_source"])
        _, answer = await feedd.get_json(f"/gate?symbol={HIT}&allow=static")
        assert (answer["source"], answer["reasons"]) == ("static", ["starting"])


async def test_ready_names_what_is_not() -> None:
    async with Exchange(EXCHANGE) as exchange:
        exchange.set_fault("http", symbol=HIT, status=503)
        async with running(settings_for(exchange)) as feedd:
            await feedd.until_open(OTHER)
            await feedd.until(lambda feedd: feedd.symbol_state(HIT).backoff_seconds > 0)
            assert await feedd.get("/-/ready") == (503, f"{HIT}: starting, disconnected\n")
            exchange.clear_faults()
            await feedd.until_open()
            assert await feedd.get("/-/ready") == (200, "ready\n")


async def test_kill_switch_halts_but_does_not_unready() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange, FLAG_TRADING_HALTED="1")) as feedd,
    ):
        await feedd.until(lambda feedd: not feedd.daemon.state.unready())
        assert (await feedd.get("/-/ready"))[0] == 200
        _, answer = await feedd.get_json("/gate")
        assert answer["reasons"] == ["kill_switch"]


async def test_healthy_while_the_supervisor_makes_progress() -> None:
    async with running(static_settings()) as feedd:
        assert await feedd.get("/-/healthy") == (200, "healthy\n")
    async with running(static_settings(), timing=DaemonTiming(stuck_after_seconds=-1.0)) as feedd:
        status, text = await feedd.get("/-/healthy")
        assert status == 503
        assert "supervisor" in text


async def test_metrics_come_in_the_format_that_is_accepted() -> None:
    async with running(static_settings()) as feedd:
        _, text = await feedd.get("/metrics")
        assert "# TYPE feedd_messages_total counter" in text
        _, text = await feedd.get("/metrics", Accept="application/openmetrics-text;version=1.0.0,*/*;q=0.1")
        assert "# TYPE feedd_messages counter" in text
        assert text.endswith("# EOF\n")


@asynccontextmanager
async def scraper_that_does_not_read(feedd: Running) -> AsyncIterator[asyncio.StreamReader]:
    """Ask for the metrics and read their first line only."""
    host, port = feedd.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: feedd\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    try:
        yield reader
    finally:
        writer.transport.abort()


def many_symbols() -> Settings:
    """More than the buffers of a connection hold of the metrics."""
    return static_settings(FEEDD_SYMBOLS=",".join(f"S{number}USDT" for number in range(800)))


async def scraped(feedd: Running) -> str:
    """Ask until there is room for one more scrape."""
    async with asyncio.timeout(10.0):
        while (answer := await feedd.get("/metrics"))[0] == 503:
            pass
    return answer[1]


def bounded(**limits: Any) -> DaemonTiming:
    """Return the times of a daemon that bears no more scrapes than that."""
    return DaemonTiming(http=HttpLimits(scrapes=ScrapeLimits(**limits)))


async def test_no_more_scrapes_at_once_than_messages_can_bear() -> None:
    async with running(many_symbols(), timing=bounded(at_once=2)) as feedd:
        async with scraper_that_does_not_read(feedd), scraper_that_does_not_read(feedd):
            assert await feedd.get("/metrics") == (503, "2 scrapes are under way, no more at once\n")
            assert (await feedd.get("/-/healthy"))[0] == 200
        assert len(await scraped(feedd)) > 5_000_000


async def test_scraper_that_does_not_read_loses_its_place() -> None:
    async with (
        running(many_symbols(), timing=bounded(at_once=1, seconds=3.0)) as feedd,
        scraper_that_does_not_read(feedd) as reader,
    ):
        await scraped(feedd)
        received = b"".join([piece async for piece in pieces(reader)])
        assert not received.endswith(b"0\r\n\r\n"), "a page that breaks off must not look complete"


async def pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with suppress(ConnectionResetError):
        while piece := await reader.read(65_536):
            yield piece


async def test_status_has_what_a_person_asks() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        await feedd.until(lambda feedd: feedd.daemon.state.clock.synced_at is not None)
        await feedd.until(lambda feedd: feedd.symbol_state(HIT).streams["btcusdt@trade"].messages > 0)
        _, status = await feedd.get_json("/status")
        assert status["source"] == "realtime"
        assert status["flags"] == {"realtime": True, "trading_halted": False, "readable": True}
        assert abs(status["clock"]["offset_seconds"]) < 0.1
        symbol = status["symbols"][HIT]
        assert symbol["connected"] is True
        assert symbol["streams"]["trade"]["messages"] > 0
        assert symbol["latency_seconds"]["total"]["p99"] < 1.0


async def test_status_says_where_live_data_comes_from_and_by_which_limits_it_is_judged() -> None:
    async with Exchange(EXCHANGE) as exchange:
        settings = settings_for(exchange, **{f"FEEDD_STALE_AFTER_SECONDS_{HIT}": "7"})
        async with running(settings) as feedd:
            _, status = await feedd.get_json("/status")
    assert status["endpoints"] == {"ws_urls": [exchange.ws_url], "rest_url": exchange.rest_url}
    assert status["exchange_status_seconds"] == settings.exchange_status_seconds
    assert status["symbols"][HIT]["limits"] == {
        "stale_after_seconds": 7.0,
        "latency_seconds": LATENCY_LIMIT,
        "resume_after_seconds": RESUME_AFTER,
        "resume": "auto",
    }


async def test_status_of_static_data_names_no_exchange() -> None:
    async with running(static_settings()) as feedd:
        _, status = await feedd.get_json("/status")
    assert status["endpoints"] is None


async def test_index_links_every_page() -> None:
    async with running(static_settings()) as feedd:
        _, text = await feedd.get("/")
        for path in ("/metrics", "/gate", "/gate/events", "/stream", "/status", "/-/ready", "/-/healthy"):
            assert f'href="{path}"' in text
        assert HIT in text
