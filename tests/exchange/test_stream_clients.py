"""The rules, over real sockets: what a client sees that keeps them, and one that doesn't."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from feedd.exchange import Exchange, ExchangeSettings
from tests.exchange.raw import CLOSE, PING, PONG, TEXT, connect
from tests.exchange.tap import tap

BUSY = ExchangeSettings(symbols=("BTCUSDT", "ETHUSDT"), rate=200)


async def test_combined_and_raw_connections_get_the_same_payloads(session: aiohttp.ClientSession) -> None:
    async with (
        Exchange(BUSY) as exchange,
        tap(session, exchange, "btcusdt@trade") as combined,
        tap(session, exchange, path="/ws/btcusdt@trade") as raw,
    ):
        await raw.until(lambda: len(raw.texts) > 5)
        await combined.until(lambda: raw.messages[5] in combined.data())
        assert {message["stream"] for message in combined.messages} == {"btcusdt@trade"}
        assert raw.texts[0].startswith('{"e":"trade","E":')


async def test_payload_bytes_are_the_same_in_both_shapes(session: aiohttp.ClientSession) -> None:
    async with (
        Exchange(BUSY) as exchange,
        tap(session, exchange, path="/ws/btcusdt@trade") as raw,
        tap(session, exchange, "btcusdt@trade") as combined,
    ):
        await combined.until(lambda: len(combined.texts) > 5)
        text = combined.texts[5].removeprefix('{"stream":"btcusdt@trade","data":').removesuffix("}")
        await raw.until(lambda: text in raw.texts)


async def test_url_encoded_streams_are_accepted(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange:
        url = exchange.ws_url + "/stream?streams=btcusdt%40trade%2Fethusdt%40trade"
        async with session.ws_connect(url) as socket:
            await socket.receive_json()
            assert exchange.open_connections("BTCUSDT") == exchange.open_connections("ETHUSDT") == 1


async def test_microseconds_are_sent_where_asked_for(session: aiohttp.ClientSession) -> None:
    async with (
        Exchange(BUSY) as exchange,
        tap(session, exchange, "btcusdt@trade") as coarse,
        tap(session, exchange, path="/stream?streams=btcusdt@trade&timeUnit=MICROSECOND") as fine,
    ):
        trade = await fine.next_data()
        await coarse.until(lambda: any(each["t"] == trade["t"] for each in coarse.data()))
        (same,) = [each for each in coarse.data() if each["t"] == trade["t"]]
        assert (trade["E"] // 1000, trade["T"] // 1000) == (same["E"], same["T"])


async def test_streams_can_be_added_listed_and_taken_away_live(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, path="/stream") as client:
        ok = {"result": None, "id": 1}
        assert await client.ask(method="SUBSCRIBE", params=["btcusdt@trade", "ethusdt@trade"], id=1) == ok
        await client.next_data("btcusdt@trade")
        await client.next_data("ethusdt@trade")
        assert await client.ask(method="UNSUBSCRIBE", params=["btcusdt@trade"], id=1) == ok
        count = len(client.data("btcusdt@trade"))
        await client.next_data("ethusdt@trade")
        assert len(client.data("btcusdt@trade")) == count
        listed = await client.ask(method="LIST_SUBSCRIPTIONS", id=2)
        assert listed == {"result": ["ethusdt@trade"], "id": 2}
        assert exchange.open_connections("BTCUSDT") == 0


async def test_shape_can_be_changed_live(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, path="/ws/btcusdt@trade") as client:
        await client.until(lambda: bool(client.texts))
        assert "stream" not in client.messages[0]
        await client.ask(method="SET_PROPERTY", params=["combined", True], id=1)
        await client.next_data("btcusdt@trade")


async def test_unknown_but_well_formed_names_are_accepted_and_never_deliver(
    session: aiohttp.ClientSession,
) -> None:
    async with (
        Exchange(BUSY) as exchange,
        tap(session, exchange, "BTCUSDT@trade", "xrpusdt@trade", "ethusdt@nonsense") as client,
        tap(session, exchange, "btcusdt@trade") as other,
    ):
        answer = await client.ask(method="SUBSCRIBE", params=["btcusdt@never"], id=1)
        assert answer == {"result": None, "id": 1}
        await other.until(lambda: len(other.texts) > 10)
        assert client.data() == []


@pytest.mark.parametrize("kind", [PING, PONG, TEXT])
async def test_sixth_frame_within_a_second_is_too_many(kind: int) -> None:
    async with Exchange() as exchange, connect(exchange) as client:
        for _ in range(6):
            client.send(kind, b'{"method":"LIST_SUBSCRIPTIONS","id":1}')
        assert await client.receive_until(CLOSE) == b"\x03\xf0Too many requests"
        assert exchange.stats.cuts == {"inbound_limit": 1}


async def test_five_frames_a_second_are_no_trouble() -> None:
    settings = ExchangeSettings(rate=0)
    async with Exchange(settings) as exchange, connect(exchange, "/ws") as client:
        for number in range(5):
            client.send(PING, str(number).encode())
        assert [await client.receive() for _ in range(5)] == [(PONG, b"%d" % number) for number in range(5)]


async def test_stream_too_many_draws_error_4_and_a_close() -> None:
    settings = ExchangeSettings(streams_max=1, rate=0)
    async with Exchange(settings) as exchange, connect(exchange, "/ws/btcusdt@trade") as client:
        client.send(TEXT, b'{"method":"SUBSCRIBE","params":["btcusdt@depth"],"id":3}')
        assert orjson.loads(await client.receive_until(TEXT))["error"]["code"] == 4
        assert await client.receive() == (CLOSE, b"\x03\xf0Invalid request")


async def test_stream_too_many_in_the_url_draws_the_same() -> None:
    settings = ExchangeSettings(streams_max=1, rate=0)
    async with Exchange(settings) as exchange, connect(exchange, "/ws/btcusdt@trade/btcusdt@depth") as client:
        assert orjson.loads(await client.receive_until(TEXT))["error"]["code"] == 4
        assert await client.receive() == (CLOSE, b"\x03\xf0Invalid request")
        assert exchange.stats.cuts == {"streams_limit": 1}


async def test_client_that_answers_its_pings_lives(session: aiohttp.ClientSession) -> None:
    settings = ExchangeSettings(ping_interval=0.21, pong_deadline=0.3)
    async with Exchange(settings) as exchange, tap(session, exchange, "btcusdt@trade") as client:
        await exchange.wait_until(lambda: exchange.stats.pongs >= 3)
        assert not client.is_over


async def test_ping_carries_the_time_of_day_in_milliseconds() -> None:
    settings = ExchangeSettings(ping_interval=0.05)
    async with Exchange(settings, wall=lambda: 1_795_000_000.25) as exchange, connect(exchange) as client:
        assert await client.receive_until(PING) == b"1795000000250"


@pytest.mark.parametrize("payload", [None, b"", b"something else"])
async def test_ping_without_the_pong_it_asks_for_ends_the_connection(payload: bytes | None) -> None:
    settings = ExchangeSettings(ping_interval=0.2, pong_deadline=0.3, rate=0)
    async with Exchange(settings) as exchange, connect(exchange) as client:
        await client.receive_until(PING)
        if payload is not None:
            client.send(PONG, payload)
        assert await client.receive_until(CLOSE) == b"\x03\xf0Pong timeout"
        assert exchange.stats.cuts == {"pong_timeout": 1}
        assert exchange.stats.odd_pongs == (payload is not None)


async def test_connection_ends_with_its_lifetime(session: aiohttp.ClientSession) -> None:
    settings = ExchangeSettings(lifetime=0.2)
    async with Exchange(settings) as exchange, tap(session, exchange, "btcusdt@trade") as client:
        assert await client.until_over() == 1001
        assert exchange.stats.cuts == {"lifetime": 1}
        assert not any("serverShutdown" in text for text in client.texts)


async def test_notice_comes_before_the_end_where_settings_say_so(session: aiohttp.ClientSession) -> None:
    settings = ExchangeSettings(lifetime=0.3, shutdown_notice=0.2)
    async with Exchange(settings) as exchange, tap(session, exchange, "btcusdt@trade") as client:
        assert await client.until_over() == 1001
        notices = [message for message in client.messages if message["stream"] == "!serverShutdown"]
        assert [notice["data"]["e"] for notice in notices] == ["serverShutdown"]


async def test_attempts_beyond_the_limit_are_429_with_the_seconds_to_wait(
    session: aiohttp.ClientSession,
) -> None:
    settings = ExchangeSettings(connects_max=2, connects_window=100)
    async with Exchange(settings, clock=lambda: 50.0) as exchange:
        for _ in range(2):
            async with session.ws_connect(exchange.ws_url + "/ws"):
                pass
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(exchange.ws_url + "/ws")
        headers: Any = caught.value.headers
        assert (caught.value.status, headers["Retry-After"]) == (429, "100")
        assert exchange.stats.refusals == {"connect_limit": 1}
        assert (exchange.stats.attempts, exchange.stats.connects) == (3, 2)


async def test_client_that_does_not_read_is_cut_and_stalls_nobody(session: aiohttp.ClientSession) -> None:
    settings = ExchangeSettings(rate=500, buffer_max=20_000)
    async with Exchange(settings) as exchange, tap(session, exchange, "btcusdt@trade") as client:
        async with connect(exchange, "/ws/btcusdt@bookTicker") as lazy:
            lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
            # Kernels buffer megabytes; big messages fill them sooner.
            exchange.set_fault("garbage", stream="btcusdt@bookTicker", mode="too_big", size=200_000)
            await client.until(lambda: len(client.texts) > 100)
            await exchange.wait_until(lambda: exchange.stats.cuts["slow"] == 1)
        ids = [trade["t"] for trade in client.data()]
        assert len(ids) > 100
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert not client.is_over


async def test_clients_close_code_is_seen_and_given_back() -> None:
    settings = ExchangeSettings(rate=0)
    async with Exchange(settings) as exchange, connect(exchange) as client:
        client.send(CLOSE, b"\x0f\xa0bye")
        assert await client.receive_until(CLOSE) == b"\x0f\xa0"
        assert await client.reader.read() == b""
        await exchange.wait_disconnected("BTCUSDT")
        assert exchange.stats.close_codes == {4000: 1}


async def test_client_that_is_gone_without_a_word_is_forgotten() -> None:
    async with Exchange() as exchange:
        async with connect(exchange):
            await exchange.wait_connected("BTCUSDT")
        await exchange.wait_disconnected("BTCUSDT")
        assert exchange.stats.close_codes == {}


async def test_client_that_closes_without_reading_on_is_let_go(session: aiohttp.ClientSession) -> None:
    async with (
        Exchange(BUSY) as exchange,
        tap(session, exchange, "btcusdt@trade") as witness,
        connect(exchange) as client,
    ):
        await exchange.wait_connected("BTCUSDT", connects=2)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        exchange.set_fault("garbage", mode="too_big", count=3)
        await witness.until(lambda: len([text for text in witness.texts if len(text) > 10**6]) == 3)
        client.send(CLOSE, b"\x03\xe8")
        await exchange.wait_until(lambda: exchange.open_connections() == 1)
        # Longer than the exchange holds on to what it can't send.
        await asyncio.sleep(0.5)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(3 * 5 * 1024 * 1024)


async def test_plain_request_for_a_stream_is_no_handshake(session: aiohttp.ClientSession) -> None:
    async with Exchange() as exchange, session.get(exchange.rest_url + "/ws/btcusdt@trade") as response:
        assert response.status == 400


async def test_many_connections_get_every_message_once(session: aiohttp.ClientSession) -> None:
    async with Exchange(ExchangeSettings(rate=500)) as exchange:
        clients = [await session.ws_connect(exchange.ws_url + "/ws/btcusdt@trade") for _ in range(50)]
        first = [[await client.receive_json() for _ in range(100)] for client in clients]
        for trades in first:
            ids = [trade["t"] for trade in trades]
            assert ids == list(range(ids[0], ids[0] + 100))
        await asyncio.gather(*(client.close() for client in clients))
