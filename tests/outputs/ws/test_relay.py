"""The relay of a running daemon: Binance's streams, answers and rules, and what feedd adds to them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.daemon import DaemonTiming
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import ConsumerDisconnect, Reason, Source
from feedd.outputs.output import OutputFailures
from feedd.outputs.ws.client_limits import ClientRules
from feedd.outputs.ws.consumer import Consumer, ConsumerRegistry
from feedd.outputs.ws.relay import Relay
from feedd.sources.symbol_pipeline import SymbolPipeline
from feedd.venues.binance.common.stream_protocol import STREAMS_MAX
from feedd.venues.binance.spot.tables import SPOT
from tests.exchange.raw import CLOSE, PING, PONG, TEXT
from tests.exchange.tap import Tap
from tests.outputs.relaying import (
    OTHER_TRADES,
    TRADES,
    Sent,
    dialled,
    is_run_of,
    listening,
    raw_listener,
    relay_of,
)
from tests.running import SYMBOLS, EnvFile, Running, running, running_on, settings_for
from tests.test_daemon import BARS
from tests.venues.binance.spot.frames import frame

EXCHANGE = ExchangeSettings(symbols=(*SYMBOLS, "SOLUSDT"), rate=50.0)
HIT, OTHER = SYMBOLS


def counted(feedd: Running, reason: ConsumerDisconnect) -> int:
    return feedd.daemon.consumers.counts.disconnects[reason]


def logged(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [getattr(record, "fields", {}) for record in caplog.records if message in record.message]


async def until_heard(tap: Tap, count: int = 20) -> None:
    await tap.until(lambda: len(tap.texts) >= count, timeout=10.0)


@asynccontextmanager
async def serving(sent: Sent | None = None, **more: Any) -> AsyncIterator[Running]:
    """Run a daemon on an exchange with which nothing is wrong."""
    deliver = None if sent is None else sent.deliver
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange), deliver, **more) as feedd:
        yield feedd


@asynccontextmanager
async def opened(feedd: Running, path: str) -> AsyncIterator[Tap]:
    """Listen from when the gates are open."""
    await feedd.until_open()
    async with listening(feedd, path) as tap:
        yield tap


# --- what is passed on


async def test_combined_stream_has_the_exchange_s_very_bytes() -> None:
    sent = Sent()
    async with serving(sent) as feedd:
        async with listening(feedd, f"/stream?streams={TRADES}/btcusdt@bookTicker&name=desk") as tap:
            await until_heard(tap, 100)
        both = [frame.decode() for name in (TRADES, "btcusdt@bookTicker") for frame in sent.frames[name]]
        assert set(tap.texts) <= set(both)
        for name in (TRADES, "btcusdt@bookTicker"):
            received = [text for text in tap.texts if text.startswith(f'{{"stream":"{name}"')]
            assert is_run_of(received, [frame.decode() for frame in sent.frames[name]])


@pytest.mark.parametrize("path", [f"/ws/{TRADES}", "/ws/btcusdt%40trade", f"/ws/{TRADES}/"])
async def test_raw_stream_has_the_payload_s_very_bytes(path: str) -> None:
    sent = Sent()
    async with serving(sent) as feedd:
        async with listening(feedd, path) as tap:
            await until_heard(tap)
        assert is_run_of(tap.texts, sent.payloads(TRADES))


async def test_symbols_keep_their_order_side_by_side() -> None:
    sent = Sent()
    async with serving(sent) as feedd:
        async with listening(feedd, f"/stream?streams={TRADES}%2F{OTHER_TRADES}") as tap:
            await until_heard(tap, 60)
        for name in (TRADES, OTHER_TRADES):
            received = [text for text in tap.texts if name in text]
            assert is_run_of(received, [frame.decode() for frame in sent.frames[name]])


async def test_repetitions_of_the_exchange_are_not_passed_on() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        exchange.set_fault("duplicate", symbol=HIT, seconds=5.0)
        async with listening(feedd, f"/ws/{TRADES}") as tap:
            stream_state = feedd.symbol_state().streams[TRADES]
            await feedd.until(lambda _: stream_state.sequence.duplicates > 10)
            await until_heard(tap)
        numbers = [trade["t"] for trade in tap.messages]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


# --- what can be asked


async def test_streams_are_subscribed_listed_and_given_up_live() -> None:
    async with serving() as feedd:
        await feedd.until_open()
        async with listening(feedd, "/stream") as tap:
            assert await tap.ask(method="SUBSCRIBE", params=[TRADES], id=1) == {"result": None, "id": 1}
            await tap.next_data(TRADES)
            assert await tap.ask(method="LIST_SUBSCRIPTIONS", id="a") == {"result": [TRADES], "id": "a"}
            assert await tap.ask(method="UNSUBSCRIBE", params=[TRADES], id=2) == {"result": None, "id": 2}
            after = len(tap.data(TRADES))
            assert await tap.ask(method="SUBSCRIBE", params=[OTHER_TRADES], id=3) == {"result": None, "id": 3}
            for _ in range(5):
                await tap.next_data(OTHER_TRADES)
            assert len(tap.data(TRADES)) == after


async def test_form_of_messages_can_be_changed_live() -> None:
    async with serving() as feedd:
        await feedd.until_open()
        async with listening(feedd, f"/ws/{TRADES}") as tap:
            assert await tap.ask(method="GET_PROPERTY", params=["combined"], id=1) == {
                "result": False,
                "id": 1,
            }
            assert not tap.data(TRADES)
            answer = await tap.ask(method="SET_PROPERTY", params=["combined", True], id=2)
            assert answer == {"result": None, "id": 2}
            at = tap.messages.index(answer)
            await tap.next_data(TRADES)
            assert all("data" not in message for message in tap.messages[:at])
            assert all("data" in message for message in tap.messages[at + 1 :])


async def test_broken_requests_draw_binance_s_errors_and_end_nothing() -> None:
    async with serving() as feedd, listening(feedd, "/ws") as tap:
        await tap.socket.send_str("{")
        error = {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 2"}
        assert await tap.answer() == {"error": error, "id": None}
        answer = await tap.ask(method="SHOUT", id=1)
        assert answer["error"]["code"] == 2
        assert await tap.ask(method="LIST_SUBSCRIPTIONS", id=2) == {"result": [], "id": 2}


async def test_stream_that_is_not_configured_is_refused_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as feedd:
        async with listening(feedd, "/stream") as tap:
            for request_id in (1, 2):
                answer = await tap.ask(method="SUBSCRIBE", params=[TRADES, "btcusdt@depth"], id=request_id)
                error = {"code": 2, "msg": "Invalid request: invalid stream"}
                assert answer == {"error": error, "id": request_id}
            assert await tap.ask(method="LIST_SUBSCRIPTIONS", id=3) == {"result": [], "id": 3}
        assert logged(caplog, "was refused a stream") == [{"stream": "btcusdt@depth"}]


@pytest.mark.parametrize("name", ["BTCUSDT@trade", "dogeusdt@trade", "btcusdt@trades", "!ticker@arr"])
async def test_name_that_is_none_of_the_daemon_s_is_no_stream(name: str) -> None:
    async with serving() as feedd, listening(feedd, "/ws") as tap:
        answer = await tap.ask(method="SUBSCRIBE", params=[name], id=1)
        assert answer["error"]["msg"] == "Invalid request: invalid stream"


async def test_handshake_takes_any_name_as_binance_does_and_says_so_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as feedd:
        async with listening(feedd, f"/stream?streams=btcusdt@depth/{TRADES}/0") as tap:
            await tap.next_data(TRADES)
            answer = await tap.ask(method="LIST_SUBSCRIPTIONS", id=1)
            assert answer["result"] == ["btcusdt@depth", TRADES, "0"]
        assert logged(caplog, "stream that is not configured") == [{"stream": "btcusdt@depth"}]


async def test_log_of_unknown_streams_does_not_grow_without_end(caplog: pytest.LogCaptureFixture) -> None:
    names = "/".join(f"s{number}@trade" for number in range(200))
    async with serving() as feedd:
        for _ in range(2):
            async with listening(feedd, f"/stream?streams={names}"):
                pass
        assert len(logged(caplog, "stream that is not configured")) == 50


# --- Binance's rules


async def test_more_than_five_messages_a_second_end_with_1008() -> None:
    async with serving() as feedd:
        async with listening(feedd, "/ws") as tap:
            for number in range(3):
                await tap.socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
                await tap.socket.ping()
            assert await tap.until_over() == 1008
        assert counted(feedd, ConsumerDisconnect.PROTOCOL_ERROR) == 1


async def test_stream_too_many_ends_with_1008() -> None:
    names = "/".join(f"{number}@t" for number in range(STREAMS_MAX + 1))
    async with serving() as feedd, listening(feedd, f"/stream?streams={names}") as tap:
        assert await tap.until_over() == 1008
        assert tap.messages == [{"error": {"code": 4, "msg": "Too many subscriptions"}, "id": None}]


async def test_ping_is_answered_with_its_payload() -> None:
    async with serving() as feedd, raw_listener(feedd, f"/ws/{TRADES}") as client:
        client.send(PING, b"are you there")
        assert await client.receive_until(PONG) == b"are you there"


HASTY_PINGS = DaemonTiming(
    consumers=ClientRules(messages_per_second=100, ping_seconds=0.05, pong_seconds=0.3)
)


async def test_consumer_that_answers_no_ping_is_gone() -> None:
    async with serving(timing=HASTY_PINGS) as feedd:
        async with raw_listener(feedd, f"/ws/{TRADES}") as client:
            assert (await client.receive_until(PING)).isdigit()
            client.send(PONG, b"which answers nothing")
            assert await client.receive_until(CLOSE) == b"\x03\xf0Pong timeout"
        await feedd.until(lambda feedd: counted(feedd, ConsumerDisconnect.PROTOCOL_ERROR) == 1)


async def test_consumer_that_answers_its_pings_stays() -> None:
    async with (
        serving(timing=HASTY_PINGS) as feedd,
        listening(feedd, f"/ws/{TRADES}") as tap,
    ):  # aiohttp answers them
        await tap.until(lambda: len(tap.texts) > 60)
        assert not tap.is_over


async def test_message_larger_than_64_kb_ends_with_1009() -> None:
    async with serving() as feedd:
        async with listening(feedd, "/ws") as tap:
            await tap.socket.send_str("x" * 65 * 1024)
            assert await tap.until_over() == 1009
        await feedd.until(lambda feedd: counted(feedd, ConsumerDisconnect.PROTOCOL_ERROR) == 1)


async def test_compression_is_never_agreed_on() -> None:
    async with serving() as feedd, listening(feedd, f"/ws/{TRADES}", compress=15) as tap:
        assert tap.socket.compress == 0
        await until_heard(tap, 3)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "onhalt=close",
            "query: expected streams, timeUnit, on_halt, allow, backfill, name, found 'onhalt'\n",
        ),
        ("on_halt=yes", "on_halt: expected close, found 'yes'\n"),
        ("backfill=yes", "backfill: expected 1, found 'yes'\n"),
        ("allow=all", "allow: expected static, found 'all'\n"),
        (
            "timeUnit=MICROSECOND",
            "timeUnit: expected millisecond, which is what feedd asks for, found 'MICROSECOND'\n",
        ),
        ("streams=a%00b", "streams: expected names of streams, found what is no text\n"),
    ],
)
async def test_wish_that_can_t_be_granted_is_refused(query: str, text: str) -> None:
    async with serving() as feedd:
        assert await feedd.get(f"/stream?{query}") == (400, text)


@pytest.mark.parametrize("unit", ["millisecond", "MILLISECOND"])
async def test_milliseconds_may_be_asked_for(unit: str) -> None:
    async with serving() as feedd, listening(feedd, f"/stream?streams={TRADES}&timeUnit={unit}") as tap:
        await tap.next_data()


@pytest.mark.parametrize("path", ["/stream", "/ws", f"/ws/{TRADES}"])
async def test_what_is_no_handshake_is_refused(path: str) -> None:
    async with serving() as feedd:
        assert (await feedd.get(path))[0] == 400
        for method in ("HEAD", "POST", "PUT", "DELETE"):
            async with feedd.http.request(method, feedd.url + path) as response:
                assert response.status == 405


# --- halts


async def test_halt_ends_those_who_asked_for_it_and_no_others() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        async with (
            listening(feedd, f"/ws/{TRADES}?on_halt=close") as tap,
            listening(feedd, f"/ws/{OTHER_TRADES}?on_halt=close") as other,
            listening(feedd, f"/ws/{TRADES}") as patient,
        ):
            await until_heard(tap, 3)
            exchange.set_fault("mute", symbol=HIT, seconds=2.0)
            assert await tap.until_over() == 1013
            assert feedd.symbol_state().gate.reasons == (Reason.STALE,)
            count = len(patient.texts)
            await patient.until(lambda: len(patient.texts) > count, timeout=10.0)
            assert not other.is_over
        assert counted(feedd, ConsumerDisconnect.HALT) == 1


async def test_who_asked_to_hear_no_halted_symbol_is_not_let_in_to_one() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange, FLAG_TRADING_HALTED="1")) as feedd,
    ):
        await feedd.until(lambda feedd: feedd.symbol_state().gate.reasons == (Reason.KILL_SWITCH,))
        assert await feedd.get(f"/ws/{TRADES}?on_halt=close") == (503, "BTCUSDT is halted: kill_switch\n")
        unknown = (404, "symbol 'DOGEUSDT' is not configured\n")
        assert await feedd.get("/ws/dogeusdt@trade?on_halt=close") == unknown
        async with raw_listener(feedd, "/ws?on_halt=close") as client:
            client.send(TEXT, orjson.dumps({"method": "SUBSCRIBE", "params": [TRADES], "id": 1}))
            assert await client.receive_until(CLOSE) == b"\x03\xf5BTCUSDT is halted: kill_switch"


# --- static data


async def test_static_data_is_only_for_who_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / f"{HIT}.csv").write_text(BARS)
    settings = {"FLAG_REALTIME": "0", "FEEDD_CSV_PATH": str(tmp_path), "FEEDD_CSV_SPEED": "600"}
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange, **settings)) as feedd:
        status, text = await feedd.get("/stream?streams=btcusdt@kline_1m")
        assert (status, text.split(":")[0]) == (503, "the source is static data, not the market's")
        assert counted(feedd, ConsumerDisconnect.STATIC_SOURCE) == 1
        async with listening(feedd, "/stream?streams=btcusdt@kline_1m&allow=static") as tap:
            await until_heard(tap, 3)
            assert all(message["source"] == "static" for message in tap.messages)
            answer = await tap.ask(method="SUBSCRIBE", params=["btcusdt@aggTrade"], id=1)
            assert answer == {"result": None, "id": 1}, "which streams files hold is not known beforehand"


async def test_switch_to_static_data_ends_those_who_did_not_ask_for_it(tmp_path: Path) -> None:
    for symbol in SYMBOLS:
        (tmp_path / f"{symbol}.csv").write_text(BARS)
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        env_file.set(FEEDD_CSV_PATH=str(tmp_path), FEEDD_CSV_SPEED="600")
        async with (
            running_on(env_file.path) as feedd,
            listening(feedd, f"/stream?streams={TRADES}/btcusdt@kline_1m") as live,
            listening(feedd, f"/stream?streams={TRADES}/btcusdt@kline_1m&allow=static") as any_source,
        ):
            await until_heard(live)
            env_file.set(FLAG_REALTIME="0")
            assert await live.until_over() == 1013
            await any_source.next_data("btcusdt@kline_1m")
            assert feedd.daemon.state.source is Source.STATIC
            assert not any("source" in message for message in live.messages)
            assert counted(feedd, ConsumerDisconnect.STATIC_SOURCE) == 1


# --- a daemon that changes and stops


async def test_symbols_come_and_go_under_their_listeners(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with (
            running_on(env_file.path) as feedd,
            listening(feedd, f"/stream?streams={TRADES}/{OTHER_TRADES}/solusdt@trade") as tap,
            opened(feedd, f"/stream?streams={TRADES}&on_halt=close") as strict,
        ):
            await tap.next_data(TRADES)
            await tap.next_data(OTHER_TRADES)
            env_file.set(FEEDD_SYMBOLS=f"{OTHER},SOLUSDT")
            await tap.next_data("solusdt@trade")
            assert await strict.until_over() == 1013
            count = len(tap.data(TRADES))
            for _ in range(5):
                await tap.next_data(OTHER_TRADES)
            assert len(tap.data(TRADES)) == count
            assert logged(caplog, "listeners hear no more") == [{"stream": TRADES}]
            env_file.set(FEEDD_SYMBOLS=",".join(SYMBOLS))
            await tap.next_data(TRADES)


async def test_stop_closes_with_1001_after_the_last_message() -> None:
    sent = Sent()
    async with aiohttp.ClientSession() as http, Exchange(EXCHANGE) as exchange:
        async with running(settings_for(exchange), sent.deliver) as feedd:
            tap = Tap(await http.ws_connect(f"{feedd.url}/stream?streams={TRADES}"))
            silent = await http.ws_connect(f"{feedd.url}/ws/{TRADES}")
            await until_heard(tap)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 3.0
        assert await tap.until_over() == 1001
        assert is_run_of(tap.texts, [frame.decode() for frame in sent.frames[TRADES]])
        assert tap.texts[-1] == sent.frames[TRADES][-1].decode()
        await silent.close()


def put_down(feedd: Running, count: int) -> list[str]:
    """Hand so many messages to the relay, before it can write any; returns their payloads."""
    stream_state = feedd.symbol_state().streams["btcusdt@kline_1s"]
    payloads = [f'{{"number":{number}}}' for number in range(count)]
    for payload in payloads:
        relay_of(feedd).deliver(
            stream_state, f'{{"stream":"{stream_state.wire_name}","data":{payload}}}'.encode()
        )
    return payloads


async def test_what_is_put_down_for_consumers_is_written_before_the_daemon_stops() -> None:
    async with serving() as feedd, listening(feedd, "/ws/btcusdt@kline_1s") as tap:
        payloads = put_down(feedd, 100)
        relay_of(feedd).flush()
        feedd.daemon.consumers.stop()
        assert await tap.until_over() == 1001
        assert tap.texts[-100:] == payloads


async def test_what_is_put_down_is_written_in_the_form_that_held_when_it_came() -> None:
    async with serving() as feedd, listening(feedd, "/ws/btcusdt@kline_1s") as tap:
        (listener,) = relay_of(feedd)._listeners.values()
        payloads = put_down(feedd, 100)
        relay_of(feedd)._handle_text(listener, b'{"method":"SET_PROPERTY","params":["combined",true],"id":1}')
        answer = '{"result":null,"id":1}'
        await tap.until(lambda: answer in tap.texts)
        at = tap.texts.index(answer)
        assert tap.texts[at - 100 : at] == payloads


async def test_symbol_that_is_taken_away_is_no_open_gate() -> None:
    async with serving() as feedd, opened(feedd, f"/ws/{TRADES}?on_halt=close") as tap:
        state, old = feedd.daemon.state, feedd.daemon.state.settings
        state.apply_settings(replace(old, symbols=(OTHER,)), 0.0)
        relay_of(feedd).apply_settings(old, state.settings)
        assert await tap.until_over() == 1013


# --- who is there


async def test_status_shows_each_consumer_by_its_name() -> None:
    async with serving() as feedd:
        async with (
            listening(feedd, f"/stream?streams={TRADES}&name=momentum") as tap,
            listening(feedd, f"/ws/{TRADES}", headers={"User-Agent": "bot/1.0"}),
            feedd.listening(),
        ):
            await until_heard(tap)
            _, status = await feedd.get_json("/status")
            first, second, third = status["consumers"]["present"]
            assert (first["name"], first["path"], first["streams"]) == ("momentum", "/stream", 1)
            assert first["delivered"] >= 20
            assert (first["waiting_messages"], first["waiting_bytes"], first["behind_seconds"]) == (0, 0, 0.0)
            assert (first["address"], first["connected_seconds"] > 0) == ("127.0.0.1", True)
            assert (second["name"], third["path"], third["streams"]) == ("bot/1.0", "/gate/events", 0)
        await feedd.until(lambda feedd: feedd.daemon.consumers.counts.connected == 0)
        assert (await feedd.get_json("/status"))[1]["consumers"]["present"] == []


async def test_name_that_is_no_text_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "feedd")
    async with serving() as feedd:
        async with dialled(feedd) as client:
            client.writer.write(
                b"GET /ws HTTP/1.1\r\nHost: feedd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"User-Agent: \xff\xfe" + b"x" * 500 + b"\r\n\r\n"
            )
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            _, status = await feedd.get_json("/status")
            (consumer,) = status["consumers"]["present"]
            assert consumer["name"] == "??" + "x" * 78
        async with listening(feedd, "/ws?name=a%0Ab%20c"):
            _, status = await feedd.get_json("/status")
            assert "a?b c" in [consumer["name"] for consumer in status["consumers"]["present"]]


async def test_places_are_limited_whatever_is_listened_to() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange, FEEDD_CONSUMERS_MAX="2")) as feedd,
        feedd.listening(),
    ):
        async with listening(feedd, f"/ws/{TRADES}"):
            await feedd.until(lambda feedd: feedd.daemon.consumers.counts.connected == 2)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await feedd.http.ws_connect(f"{feedd.url}/ws/{TRADES}")
            assert refused.value.status == 503
            assert counted(feedd, ConsumerDisconnect.LIMIT) == 1
        await feedd.until(lambda feedd: feedd.daemon.consumers.counts.connected == 1)
        async with listening(feedd, f"/ws/{TRADES}") as tap:
            await until_heard(tap, 1)


async def test_bug_in_the_relay_halts_no_symbol(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as feedd:
        await feedd.until_open()

        def fail(_: object) -> bytes:
            raise RuntimeError("a bug")

        async with listening(feedd, f"/ws/{TRADES}") as tap, listening(feedd, f"/ws/{OTHER_TRADES}") as other:
            await until_heard(other, 1)
            monkeypatch.setattr("feedd.outputs.ws.fanout.raw_form", fail)
            assert await tap.until_over() == 1008
            monkeypatch.undo()
            monkeypatch.setattr("feedd.outputs.ws.relay.parse_request", fail)
            async with listening(feedd, "/ws") as asking:
                await asking.socket.send_str("{}")
                assert await asking.until_over() == 1008
        assert not feedd.symbol_state().gate.halted
        assert len(logged(caplog, "a bug was contained")) >= 2


def no_loop() -> asyncio.AbstractEventLoop:
    """Fail as a fan-out does that can't ask for its turn."""
    raise RuntimeError("a bug")


async def test_bug_on_the_fast_path_costs_its_symbol_nothing_and_those_who_miss_it_their_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as feedd, opened(feedd, f"/ws/{TRADES}") as tap:
        async with listening(feedd, f"/ws/{OTHER_TRADES}") as other:
            await until_heard(tap, 3)
            relay, stream_state = relay_of(feedd), feedd.symbol_state().streams[TRADES]
            await feedd.until(lambda _: not relay._fanout._is_scheduled)
            with monkeypatch.context() as broken:
                broken.setattr(asyncio, "get_running_loop", no_loop)
                relay.deliver(stream_state, b'{"stream":"btcusdt@trade","data":{}}')
            assert await tap.until_over() == 1008
            count = len(other.texts)
            await until_heard(other, count + 3)
        assert not feedd.symbol_state().gate.halted
        _, page = await feedd.get("/metrics")
        assert 'feedd_output_failures_total{output="relay"} 1\n' in page
        [bug] = logged(caplog, "a bug was contained")
        assert (bug["output"], bug["doing"]) == ("relay", "deliver")


@pytest.mark.parametrize("is_backfill", [False, True])
async def test_pipeline_goes_on_when_the_fan_out_fails(
    monkeypatch: pytest.MonkeyPatch, is_backfill: bool
) -> None:
    state = DaemonState(Settings(realtime=True), time.monotonic(), time.time())
    failures = OutputFailures()
    relay = Relay(state, ConsumerRegistry(state.settings), failures)
    symbol_state, consumer = state.symbols[HIT], Unserved()
    pipeline = SymbolPipeline(
        symbol_state, relay.deliver, lambda *_: None, deliver_backfill=relay.deliver_backfill
    )
    pipeline.begin([SPOT.parse_stream("trade")], measures_latency=False)
    pipeline.connected()
    (relay._backfill if is_backfill else relay._fanout).tune(consumer, (TRADES,), combined=True)
    message, stream_state = frame("trade"), symbol_state.streams[TRADES]
    with monkeypatch.context() as broken:
        broken.setattr(asyncio, "get_running_loop", no_loop)
        if is_backfill:
            pipeline.accept_backfill(stream_state, b"{}")
        else:
            pipeline.accept(stream_state, message.data, b"{}", time.monotonic())
            assert not symbol_state.gate.halted
    pipeline.stop()
    assert failures.counts == {"relay": 1}
    assert Reason.INTERNAL not in symbol_state.gate.active


class Unserved:
    """A consumer that is told nothing in these tests."""

    def send(self, frame: bytes) -> None:
        raise AssertionError(frame)

    def end(self, reason: ConsumerDisconnect, text: str = "") -> None:
        raise AssertionError(reason)


async def test_source_that_changes_during_a_handshake_lets_in_nobody_who_did_not_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as feedd:
        await feedd.until_open()
        admit, state, relay = feedd.daemon.consumers.admit, feedd.daemon.state, relay_of(feedd)

        async def switch(request: web.Request) -> Consumer:
            consumer, old = await admit(request), state.settings
            state.apply_settings(replace(old, realtime=False), time.monotonic())
            relay.apply_settings(old, state.settings)
            return consumer

        monkeypatch.setattr(feedd.daemon.consumers, "admit", switch)
        async with listening(feedd, f"/ws/{TRADES}") as tap:
            assert await tap.until_over() == 1013
            assert tap.texts == []
        assert counted(feedd, ConsumerDisconnect.STATIC_SOURCE) == 1
