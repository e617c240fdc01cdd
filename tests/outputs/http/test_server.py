"""The HTTP side of a running daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import aiohttp
import pytest

from feedd.config.settings import Settings, resolve
from feedd.daemon import DaemonTiming
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import ConsumerDisconnect
from feedd.outputs.http.handlers import ScrapeLimits
from feedd.outputs.http.server import HttpLimits
from feedd.outputs.table import OutputTiming
from tests.outputs.relaying import gate_events_of
from tests.running import (
    LATENCY_LIMIT,
    RESUME_AFTER,
    SYMBOLS,
    GateListener,
    Running,
    running,
    settings_for,
)

EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=20.0)
HIT, OTHER = SYMBOLS


def static_settings(**more: str) -> Settings:
    return resolve(
        None, {}, {"FEEDD_LISTEN": "127.0.0.1:0", "FEEDD_SYMBOLS": ",".join(SYMBOLS)} | more
    ).settings


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


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/gate", "/gate/events", "/ws", "/status", "/-/ready", "/-/healthy"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_over_http_changes_state(path: str, method: str) -> None:
    async with running(static_settings()) as feedd, feedd.http.request(method, feedd.url + path) as response:
        assert response.status == 405


async def test_taken_port_is_an_error_at_start() -> None:
    async with running(static_settings()) as feedd:
        port = feedd.url.rpartition(":")[2]
        with pytest.raises(OSError, match="address already in use"):
            async with running(static_settings(FEEDD_LISTEN=f"127.0.0.1:{port}")):
                pass


async def test_gate_events_tell_the_state_then_changes_then_heartbeats() -> None:
    timing = DaemonTiming(outputs=OutputTiming(heartbeat_seconds=0.1))
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange), timing=timing) as feedd:
        await feedd.until_open()
        async with feedd.listening() as listener:
            exchange.set_fault("reset", symbol=HIT)
            halted = await listener.wait(HIT, lambda event: event["halted"])
            opened = await listener.wait(HIT, lambda event: not event["halted"])
            assert listener.heard[0].event == {
                "type": "state",
                "source": "realtime",
                "at": listener.heard[0].event["at"],
                "symbols": listener.heard[0].event["symbols"],
            }
            assert listener.heard[0].event["symbols"][HIT]["halted"] is False
            assert halted.event["added"] == halted.event["reasons"] == ["disconnected"]
            assert opened.event["removed"] == ["disconnected"]
            assert listener.heartbeats > 3


async def test_gate_events_of_a_static_source_depend_on_who_asks() -> None:
    async with running(static_settings()) as feedd:
        async with feedd.listening() as listener:
            await feedd.until(lambda _: bool(listener.heard))
            assert listener.heard[0].event["symbols"][HIT]["reasons"] == ["starting", "static_source"]
        async with feedd.listening("?allow=static") as listener:
            await feedd.until(lambda _: bool(listener.heard))
            assert listener.heard[0].event["symbols"][HIT]["reasons"] == ["starting"]


async def test_listener_that_never_reads_is_let_go_and_costs_the_others_nothing() -> None:
    symbols = ",".join(f"S{number}USDT" for number in range(200))  # so that an event has some 20 kB
    settings = static_settings(FEEDD_SYMBOLS=symbols, FEEDD_CONSUMER_QUEUE_BYTES="100000")
    async with running(settings) as feedd, feedd.listening() as good:
        consumers = feedd.daemon.consumers.counts
        writer = await _listen_without_reading(feedd)
        await feedd.until(lambda _: consumers.connected == 2)
        while not consumers.disconnects[ConsumerDisconnect.SLOW]:
            await _told_once_more(feedd, good)
        await feedd.until(lambda _: consumers.connected == 1)
        assert consumers.messages_dropped > 0
        await _told_once_more(feedd, good)
        writer.transport.abort()


async def _told_once_more(feedd: Running, listener: GateListener) -> None:
    heard = len(listener.heard)
    gate_events_of(feedd).send_state()
    await feedd.until(lambda _: len(listener.heard) > heard)


async def _listen_without_reading(feedd: Running) -> asyncio.StreamWriter:
    host, _, port = feedd.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=64)
    writer.write(
        b"GET /gate/events HTTP/1.1\r\nHost: feedd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    return writer


async def test_consumers_beyond_the_limit_are_refused_and_counted() -> None:
    async with running(static_settings(FEEDD_CONSUMERS_MAX="1")) as feedd, feedd.listening():
        await feedd.until(lambda feedd: feedd.daemon.consumers.counts.connected == 1)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await feedd.http.ws_connect(f"{feedd.url}/gate/events")
        assert refused.value.status == 503
        assert feedd.daemon.consumers.counts.disconnects[ConsumerDisconnect.LIMIT] == 1


async def test_stopping_closes_listeners_with_1001() -> None:
    async with aiohttp.ClientSession() as http:
        async with running(static_settings()) as feedd:
            socket = await http.ws_connect(f"{feedd.url}/gate/events")
            await socket.receive()
            closing = asyncio.create_task(_read_to_the_end(socket))
        assert await closing == 1001


async def _read_to_the_end(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async for _ in socket:
        pass
    return socket.close_code
