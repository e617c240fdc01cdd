"""Gate events: every change of a gate, at once, to whoever listens, and a sign of life in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from feedd.daemon import DaemonTiming
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import ConsumerDisconnect
from feedd.outputs.table import OutputTiming
from tests.outputs.http.test_server import static_settings
from tests.outputs.relaying import gate_events_of
from tests.running import SYMBOLS, GateListener, Running, running, settings_for

EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=20.0)
HIT, OTHER = SYMBOLS


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


async def test_state_is_sent_anew_where_symbols_or_source_are_others_and_only_there() -> None:
    async with running(static_settings()) as feedd, feedd.listening() as listener:
        await feedd.until(lambda _: len(listener.heard) == 1)
        old, events = feedd.daemon.state.settings, gate_events_of(feedd)
        events.apply_settings(old, replace(old, latency_limit_seconds=3.0))
        events.apply_settings(old, replace(old, symbols=(OTHER,)))
        events.apply_settings(old, replace(old, realtime=True))
        await feedd.until(lambda _: len(listener.heard) == 3)
        assert [heard.event["type"] for heard in listener.heard] == ["state"] * 3


async def test_only_who_listens_now_is_sent_anything() -> None:
    async with running(static_settings()) as feedd:
        async with feedd.listening() as gone:
            await feedd.until(lambda _: len(gone.heard) == 1)
        await feedd.until(lambda feedd: feedd.daemon.consumers.counts.connected == 0)
        async with feedd.listening("?allow=static") as listener:
            await feedd.until(lambda _: len(listener.heard) == 1)
            gate_events_of(feedd).send_state()
            await feedd.until(lambda _: len(listener.heard) == 2)
        assert len(gone.heard) == 1
