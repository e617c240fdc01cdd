"""The exchange as a whole: its life, every fault on a real socket, and the recorded session."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from feedd.errors import SettingsError
from feedd.exchange import Exchange, ExchangeSettings, FaultError, serve
from tests.exchange.raw import CLOSE, PING, PONG, TEXT, connect, dial
from tests.exchange.tap import Tap, tap

SESSION = Path(__file__).parents[2] / ".." / "shared" / "data" / "binance-spot-2021-10-12.ws.txt"
needs_session = pytest.mark.skipif(
    not SESSION.exists(), reason="the recorded session ../shared/data is absent"
)

# Pinged often, so that a test that waits for pongs knows that what was sent before them has arrived.
BUSY = ExchangeSettings(symbols=("BTCUSDT", "ETHUSDT"), rate=200, ping_interval=0.05, inbound_per_second=100)
BTC, ETH = "btcusdt@trade", "ethusdt@trade"


async def settle(exchange: Exchange) -> None:
    """Wait until the only client has read all that was sent: pings keep their place among the messages."""
    pongs = exchange.stats.pongs
    await exchange.wait_until(lambda: exchange.stats.pongs >= pongs + 2)


def ids(client: Tap, stream: str = BTC) -> list[int]:
    return [trade["t"] for trade in client.data(stream)]


def are_consecutive(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


# --- life


async def test_event_times_are_never_ahead_and_hardly_behind(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, session.ws_connect(f"{exchange.ws_url}/ws/{BTC}") as socket:
        for _ in range(100):
            event_time = (await socket.receive_json())["E"]
            assert 0 <= time.time() * 1000 - event_time < 1000


async def test_idle_market_is_not_advanced() -> None:
    readings = 0

    def wall() -> float:
        nonlocal readings
        readings += 1
        return time.time()

    async with Exchange(BUSY, wall=wall):
        await asyncio.sleep(0.1)
        assert readings < 5


async def test_stop_closes_clients_with_a_close_frame(session: aiohttp.ClientSession) -> None:
    async with AsyncExitStack() as clients:
        async with Exchange(BUSY) as exchange:
            readers = [await clients.enter_async_context(tap(session, exchange, BTC)) for _ in range(3)]
        assert [await reader.until_over() for reader in readers] == [1001] * 3
        assert exchange.stats.close_codes.total() == 3
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.ws_connect(exchange.ws_url + "/ws")


async def test_stop_takes_less_than_a_second_whatever_hangs() -> None:
    exchange = Exchange(BUSY)
    await exchange.start()
    async with AsyncExitStack() as clients:
        silent = await clients.enter_async_context(connect(exchange))
        vanished = await clients.enter_async_context(connect(exchange, "/ws/" + ETH))
        exchange.set_fault("vanish", symbol="ETHUSDT")
        hung = await clients.enter_async_context(dial(exchange))
        exchange.set_fault("hang")
        hung.writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        await exchange.wait_until(lambda: exchange.stats.refusals["hang"] == 1)
        idle = await clients.enter_async_context(dial(exchange))
        begin = time.monotonic()
        await exchange.stop()
        assert time.monotonic() - begin < 1
        for client in (silent, vanished, hung, idle):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                while True:
                    await client.reader.readexactly(1)


async def test_stop_does_not_wait_for_a_client_that_does_not_read(session: aiohttp.ClientSession) -> None:
    exchange = Exchange(BUSY)
    await exchange.start()
    async with connect(exchange) as client, tap(session, exchange, BTC) as witness:
        await exchange.wait_connected("BTCUSDT", connects=2)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        exchange.set_fault("garbage", mode="too_big", count=3)
        await witness.until(lambda: len([text for text in witness.texts if len(text) > 10**6]) == 3)
        await exchange.stop()
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        read = 0
        with suppress(ConnectionResetError):
            while chunk := await client.reader.read(2**20):
                read += len(chunk)
        assert read < 3 * 5 * 1024 * 1024


async def test_exchange_starts_on_a_given_address_and_names_one_in_use() -> None:
    async with Exchange() as exchange:
        port = int(exchange.ws_url.rpartition(":")[2])
        assert (exchange.ws_url, exchange.rest_url) == (f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}")
        other = Exchange()
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            await other.start("127.0.0.1", port)


async def test_serve_announces_and_runs_until_told_to_stop(session: aiohttp.ClientSession) -> None:
    announced: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(BUSY, "127.0.0.1", 0, announced.set_result, stop))
    exchange = await announced
    async with session.get(exchange.rest_url + "/api/v3/ping") as response:
        assert response.status == 200
    assert not serving.done()
    stop.set()
    await serving
    assert not exchange.is_listening


async def test_bug_in_the_market_ends_serving_and_is_raised() -> None:
    def broken() -> float:
        raise RuntimeError("a bug")

    exchange = Exchange(wall=broken)
    await exchange.start()
    await exchange.run_until(asyncio.Event())
    with pytest.raises(RuntimeError, match="a bug"):
        await exchange.stop()


async def test_waiting_for_a_connection_counts_reconnects(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange:
        with pytest.raises(TimeoutError):
            await exchange.wait_connected("BTCUSDT", timeout=0.01)
        for connects in (1, 2):
            async with tap(session, exchange, BTC):
                await exchange.wait_connected("BTCUSDT", connects)
                assert exchange.open_connections("ETHUSDT") == 0
            await exchange.wait_disconnected("BTCUSDT")


# --- faults of connections


async def test_reset_cuts_the_symbols_connections_and_no_others(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, connect(exchange) as hit, tap(session, exchange, ETH) as other:
        await exchange.wait_until(lambda: exchange.open_connections() == 2)
        fault = exchange.set_fault("reset", symbol="BTCUSDT")
        assert fault.hit == 1
        with pytest.raises(ConnectionResetError):
            await hit.reader.read()
        await other.next_data()
        assert exchange.stats.cuts == {"reset": 1}


async def test_close_sends_its_code_and_reason() -> None:
    async with Exchange(BUSY) as exchange, connect(exchange) as client:
        await exchange.wait_connected("BTCUSDT")
        assert exchange.set_fault("close", code=1012, reason="restart").hit == 1
        assert await client.receive_until(CLOSE) == b"\x03\xf4restart"
        client.send(CLOSE, b"\x03\xf4")
        await exchange.wait_until(lambda: exchange.stats.close_codes == {1012: 1})


async def test_close_hits_a_shared_connection_that_carries_the_symbol(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC, ETH) as client:
        await exchange.wait_connected("ETHUSDT")
        exchange.set_fault("close", symbol="ETHUSDT", code=1013)
        assert await client.until_over() == 1013


async def test_vanished_connection_is_silent_for_good_even_after_the_fault() -> None:
    settings = ExchangeSettings(rate=200, ping_interval=0.05)
    async with Exchange(settings) as exchange, connect(exchange) as client, connect(exchange) as witness:
        await client.receive_until(TEXT)
        fault = exchange.set_fault("vanish")
        assert fault.hit == 2
        exchange.clear_fault(fault)
        await witness.receive_until(TEXT)
        async with connect(exchange) as later:
            client.send(PING, b"are you there?")
            client.send(CLOSE, b"\x03\xe8")
            # What was on its way before the fault may still arrive; then nothing, while others are pinged.
            last = [frame async for frame in frames_until_quiet(client)]
            await later.receive_until(PING)
        assert PONG not in last
        assert CLOSE not in last
        assert exchange.stats.pings == 0
        assert not client.reader.at_eof()


async def frames_until_quiet(client: Any) -> Any:
    while True:
        try:
            async with asyncio.timeout(0.3):
                opcode, _ = await client.receive()
        except TimeoutError:
            return
        yield opcode


async def test_vanish_leaves_new_handshakes_without_an_answer() -> None:
    async with Exchange(BUSY) as exchange, dial(exchange) as client:
        fault = exchange.set_fault("vanish", symbol="BTCUSDT")
        client.writer.write(b"GET /ws/btcusdt@trade HTTP/1.1\r\nHost: x\r\n\r\n")
        await exchange.wait_until(lambda: exchange.stats.refusals["vanish"] == 1)
        exchange.clear_fault(fault)
        async with connect(exchange) as other:
            await other.receive_until(TEXT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.reader.read(1)


async def test_hang_never_answers_and_lets_go_of_who_gives_up() -> None:
    async with Exchange(BUSY) as exchange:
        exchange.set_fault("hang", symbol="BTCUSDT", seconds=30)
        async with dial(exchange) as client:
            client.writer.write(b"GET /ws/btcusdt@trade HTTP/1.1\r\nHost: x\r\n\r\n")
            await exchange.wait_until(lambda: exchange.stats.refusals["hang"] == 1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.reader.read(1)
        async with connect(exchange, "/ws/" + ETH) as other:
            await other.receive_until(TEXT)


async def test_refuse_of_all_closes_the_door_for_so_long(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        url = exchange.ws_url
        exchange.set_fault("refuse", seconds=0.3)
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.ws_connect(url + "/ws")
        await client.next_data()
        await exchange.wait_until(lambda: exchange.is_listening)
        assert exchange.ws_url == url
        async with session.ws_connect(url + "/ws"):
            pass


async def test_refuse_that_is_cleared_opens_the_door(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange:
        fault = exchange.set_fault("refuse", seconds=30)
        assert not exchange.is_listening
        exchange.clear_fault(fault)
        await exchange.wait_until(lambda: exchange.is_listening)
        async with session.ws_connect(exchange.ws_url + "/ws"):
            pass


async def test_refuse_of_one_symbol_resets_its_handshakes(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        fault = exchange.set_fault("refuse", symbol="BTCUSDT")
        with pytest.raises(aiohttp.ClientOSError):
            await session.ws_connect(f"{exchange.ws_url}/ws/{BTC}")
        assert fault.hit >= 1
        async with session.ws_connect(f"{exchange.ws_url}/ws/{ETH}"):
            pass
        await client.next_data()


async def test_http_answers_handshakes_with_a_status_and_html(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange:
        exchange.set_fault("http", symbol="BTCUSDT", status=429, retry_after=7)
        async with session.get(f"{exchange.rest_url}/ws/{BTC}") as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "7")
            assert response.content_type == "text/html"
        async with session.ws_connect(f"{exchange.ws_url}/ws/{ETH}"):
            pass


async def test_flap_closes_open_and_new_connections(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        await exchange.wait_connected("BTCUSDT")
        fault = exchange.set_fault("flap", symbol="BTCUSDT", code=1011)
        assert await client.until_over() == 1011
        async with tap(session, exchange, BTC) as again:
            assert await again.until_over() == 1011
        assert fault.hit == 2
        async with tap(session, exchange, path="/stream") as bare:
            await bare.ask(method="SUBSCRIBE", params=[BTC], id=1)
            assert await bare.until_over() == 1011
        async with tap(session, exchange, ETH) as other:
            await other.next_data()


async def test_early_close_lets_a_new_connection_live_a_little(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as before:
        await exchange.wait_connected("BTCUSDT")
        exchange.set_fault("early_close", symbol="BTCUSDT", after=0.2)
        async with tap(session, exchange, BTC) as client:
            await client.next_data()
            assert await client.until_over() == 1001
        assert not before.is_over


async def test_server_shutdown_is_told_in_each_connections_shape(session: aiohttp.ClientSession) -> None:
    async with (
        Exchange(BUSY) as exchange,
        tap(session, exchange, BTC) as combined,
        tap(session, exchange, path="/ws/" + BTC) as raw,
        tap(session, exchange, ETH) as other,
    ):
        await exchange.wait_until(lambda: exchange.open_connections() == 3)
        assert exchange.set_fault("server_shutdown", symbol="BTCUSDT").hit == 2
        for client in (combined, raw):
            await client.until(lambda client=client: "serverShutdown" in "".join(client.texts))  # type: ignore[misc]
        await other.next_data()
        (notice,) = [each for each in combined.messages if each["stream"] == "!serverShutdown"]
        (payload,) = [each for each in raw.messages if each["e"] == "serverShutdown"]
        # One after the other is told, so their times may be a millisecond apart.
        assert notice["data"].keys() == payload.keys() == {"e", "E"}
        for told in (notice["data"], payload):
            assert told["e"] == "serverShutdown"
            assert abs(told["E"] - time.time() * 1000) < 5000
        assert not any("serverShutdown" in text for text in other.texts)
        assert not combined.is_over


async def test_server_shutdown_cuts_after_a_while_if_told_to(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        await exchange.wait_connected("BTCUSDT")
        exchange.set_fault("server_shutdown", cut_after=0.1)
        assert await client.until_over() == 1001
        assert any("serverShutdown" in text for text in client.texts)


# --- faults of messages


async def test_mute_silences_a_symbol_that_goes_on_living(session: aiohttp.ClientSession) -> None:
    async with (
        Exchange(BUSY) as exchange,
        tap(session, exchange, BTC, ETH) as client,
    ):
        await client.next_data(BTC)
        fault = exchange.set_fault("mute", symbol="BTCUSDT")
        await settle(exchange)
        count = len(client.data(BTC))
        await client.next_data(ETH)
        await settle(exchange)
        assert len(client.data(BTC)) == count
        assert fault.hit > 0
        exchange.clear_fault(fault)
        await client.next_data(BTC)


async def test_mute_of_one_stream_leaves_the_others(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC, "btcusdt@aggTrade") as client:
        await client.next_data(BTC)
        exchange.set_fault("mute", stream=BTC)
        await settle(exchange)
        count = len(client.data(BTC))
        await client.next_data("btcusdt@aggTrade")
        assert len(client.data(BTC)) == count


async def test_mute_ends_after_its_seconds(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        await client.next_data()
        exchange.set_fault("mute", seconds=0.2)
        await client.until(lambda: not are_consecutive(ids(client)))
        missed = max(after - before for before, after in pairwise(ids(client)))
        assert missed == pytest.approx(0.2 * 200, rel=0.6)
        assert exchange.faults.active() == ()


async def test_delay_holds_data_back_with_true_event_times(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, session.ws_connect(f"{exchange.ws_url}/ws/{BTC}") as socket:
        await socket.receive_json()
        exchange.set_fault("delay", symbol="BTCUSDT", ms=400)
        latencies: list[float] = []
        numbers: list[int] = []
        while len(latencies) < 150:
            trade = await socket.receive_json()
            latencies.append(time.time() * 1000 - trade["E"])
            numbers.append(trade["t"])
        assert min(latencies[-50:]) >= 400
        assert are_consecutive(numbers)


async def test_latency_spike_catches_up_at_its_end(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        await client.next_data()
        exchange.set_fault("latency_spike", seconds=0.3)
        count = len(ids(client))
        await client.until(lambda: len(ids(client)) >= count + 50)
        assert are_consecutive(ids(client))


async def test_clock_skew_moves_event_times_and_rest(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, session.ws_connect(f"{exchange.ws_url}/ws/{BTC}") as socket:
        exchange.set_fault("clock_skew", ms=60_000)
        while (trade := await socket.receive_json())["E"] < time.time() * 1000 + 30_000:
            pass
        assert trade["T"] == trade["E"]
        async with session.get(exchange.rest_url + "/api/v3/time") as response:
            server_time = (await response.json())["serverTime"]
        assert abs(server_time - time.time() * 1000 - 60_000) < 5000


async def test_garbage_is_sent_in_the_place_of_good_messages(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, path="/ws/" + BTC) as client:
        await client.until(lambda: bool(client.texts))
        exchange.set_fault("garbage", count=3)
        await client.until(lambda: len(broken(client.texts)) == 3)
        await settle(exchange)
        assert len(broken(client.texts)) == 3


def broken(texts: list[str]) -> list[str]:
    return [text for text in texts if not is_json(text)]


def is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


async def test_garbage_can_be_binary_or_bigger_than_clients_take(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        exchange.set_fault("garbage", mode="binary", count=1)
        await client.until(lambda: bool(client.binaries))
        exchange.set_fault("garbage", mode="too_big", count=1)
        await client.until(lambda: any(len(text) > 5 * 1024 * 1024 for text in client.texts))


@pytest.mark.parametrize(
    ("name", "arguments", "is_hit"),
    [
        ("drop_field", {"field": "p"}, lambda trade: "p" not in trade),
        ("wrong_type", {"field": "q"}, lambda trade: trade["q"] == ["wrong type"]),
        ("unknown_field", {}, lambda trade: trade.get("zz") == "new"),
        ("wrong_symbol", {"to": "XRPUSDT"}, lambda trade: trade["s"] == "XRPUSDT"),
        ("unknown_event", {}, lambda trade: trade["e"] == "somethingNew"),
    ],
)
async def test_payloads_are_changed_for_the_symbol_only(
    session: aiohttp.ClientSession, name: str, arguments: dict[str, Any], is_hit: Any
) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC, ETH) as client:
        fault = exchange.set_fault(name, symbol="BTCUSDT", count=2, **arguments)
        await client.until(lambda: len([each for each in client.data() if is_hit(each)]) == 2)
        await settle(exchange)
        assert not any(is_hit(trade) for trade in client.data(ETH))
        assert len([each for each in client.data() if is_hit(each)]) == fault.hit == 2


async def test_unknown_event_comes_under_an_unknown_stream(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        exchange.set_fault("unknown_event", count=1)
        await client.next_data("btcusdt@somethingNew")
        await client.next_data(BTC)
        assert are_consecutive(ids(client))


async def test_gap_skips_so_many_ids_once(session: aiohttp.ClientSession) -> None:
    streams = (BTC, "btcusdt@aggTrade", "btcusdt@depth@100ms", "btcusdt@kline_1s")
    async with Exchange(BUSY) as exchange, tap(session, exchange, *streams) as client:
        for stream in streams[:3]:
            await client.next_data(stream)
        assert exchange.set_fault("gap", symbol="BTCUSDT", count=3).hit == 9
        await client.until(lambda: bool(depth_holes(client)))
        await settle(exchange)
        steps = Counter(after - before for before, after in pairwise(ids(client)))
        assert steps.keys() == {1, 4} and steps[4] == 1
        assert len(depth_holes(client)) == 1


def depth_holes(client: Tap) -> list[int]:
    updates = client.data("btcusdt@depth@100ms")
    return [after["U"] for before, after in pairwise(updates) if after["U"] != before["u"] + 1]


async def test_duplicate_sends_the_same_bytes_twice(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        exchange.set_fault("duplicate", count=2)
        await client.until(lambda: len(client.texts) - len(set(client.texts)) == 2)
        twice = [text for text, count in Counter(client.texts).items() if count == 2]
        assert all(client.texts[client.texts.index(text) + 1] == text for text in twice)


async def test_reorder_swaps_neighbours(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        await client.next_data()
        exchange.set_fault("reorder", count=1)
        await client.until(lambda: not are_consecutive(ids(client)))
        await settle(exchange)
        numbers = ids(client)
        assert are_consecutive(sorted(numbers))
        swapped = [at for at, number in enumerate(numbers) if number != numbers[0] + at]
        assert len(swapped) == 2 and swapped[1] == swapped[0] + 1


async def test_id_reset_starts_from_one_again(session: aiohttp.ClientSession) -> None:
    streams = (BTC, ETH, "btcusdt@depth@100ms")
    async with Exchange(BUSY) as exchange, tap(session, exchange, *streams) as client:
        await client.next_data(ETH)
        assert exchange.set_fault("id_reset", symbol="BTCUSDT").hit == 1
        await client.until(lambda: 1 in ids(client))
        await client.until(lambda: any(update["U"] == 1 for update in client.data("btcusdt@depth@100ms")))
        assert are_consecutive(ids(client, ETH))


@pytest.mark.parametrize(
    ("status", "trades", "candles"),
    [("BREAK", False, False), ("HALT", True, True), ("CANCEL_ONLY", True, False)],
)
async def test_status_is_told_and_silences_what_it_should(
    session: aiohttp.ClientSession, status: str, trades: bool, candles: bool
) -> None:
    streams = (BTC, ETH, "btcusdt@kline_1s", "ethusdt@kline_1s")
    async with Exchange(BUSY) as exchange, tap(session, exchange, *streams) as client:
        await client.next_data(ETH)
        exchange.set_fault("status", symbol="BTCUSDT", status=status)
        async with session.get(exchange.rest_url + "/api/v3/exchangeInfo") as response:
            told = {each["symbol"]: each["status"] for each in (await response.json())["symbols"]}
        assert told == {"BTCUSDT": status, "ETHUSDT": "TRADING"}
        await settle(exchange)
        before = (len(client.data(BTC)), len(client.data("btcusdt@kline_1s")))
        await client.next_data("ethusdt@kline_1s")
        await settle(exchange)
        after = (len(client.data(BTC)), len(client.data("btcusdt@kline_1s")))
        assert (after[0] > before[0], after[1] > before[1]) == (trades, candles)


async def test_clearing_all_faults_ends_each(session: aiohttp.ClientSession) -> None:
    async with Exchange(BUSY) as exchange, tap(session, exchange, BTC) as client:
        await client.next_data()
        faults = (exchange.set_fault("delay", ms=60_000), exchange.set_fault("mute", symbol="ETHUSDT"))
        await settle(exchange)
        count = len(client.data())
        assert exchange.clear_faults() == faults
        assert not exchange.clear_fault(faults[0].id)
        await client.until(lambda: len(client.data()) > count)
        assert are_consecutive(ids(client))


async def test_wrong_fault_is_refused_by_name() -> None:
    with pytest.raises(FaultError, match="fault: expected one of"):
        Exchange().set_fault("nonsense")


# --- the recorded session


@needs_session
async def test_four_clients_get_every_recorded_message_once(session: aiohttp.ClientSession) -> None:
    async with Exchange(ExchangeSettings(replay=SESSION, speed=0)) as exchange, AsyncExitStack() as clients:
        assert exchange.symbols == ("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")
        readers = [
            await clients.enter_async_context(tap(session, exchange, *recorded_streams(symbol)))
            for symbol in exchange.symbols
        ]
        await exchange.wait_until(lambda: exchange.open_connections() == 4)
        for reader, symbol in zip(readers, exchange.symbols, strict=True):
            wanted = sum(f'"{symbol.lower()}@' in line for line in recorded_lines())
            await reader.until(lambda reader=reader, wanted=wanted: len(reader.texts) >= wanted)  # type: ignore[misc]
        messages = [message for reader in readers for message in reader.messages]
        kinds = Counter(message["stream"].partition("@")[2] for message in messages)
        assert kinds == {"depth@100ms": 177, "bookTicker": 84, "aggTrade": 2, "kline_1m": 2}


@needs_session
async def test_recorded_session_resumes_for_who_comes_back(session: aiohttp.ClientSession) -> None:
    async with Exchange(ExchangeSettings(replay=SESSION, speed=20)) as exchange:
        update_ids: list[int] = []
        while len(update_ids) < 80:
            async with tap(session, exchange, "nknusdt@depth@100ms") as client:
                await client.until(lambda client=client: len(client.texts) >= 20)  # type: ignore[misc]
                await client.socket.close()
                await client.until_over()
                update_ids += [update["u"] for update in client.data()]
        assert len(set(update_ids)) == len(update_ids)
        assert update_ids == sorted(update_ids)


@needs_session
async def test_recorded_session_is_over_but_the_connection_lives(session: aiohttp.ClientSession) -> None:
    settings = ExchangeSettings(replay=SESSION, speed=0, ping_interval=0.05, inbound_per_second=100)
    async with Exchange(settings) as exchange, tap(session, exchange, "lrcbtc@aggTrade") as client:
        await client.next_data()
        await settle(exchange)
        assert len(client.texts) == 1
        assert not client.is_over


@needs_session
async def test_recorded_ids_cannot_be_reset() -> None:
    with pytest.raises(FaultError, match="id_reset needs the made-up market"):
        Exchange(ExchangeSettings(replay=SESSION)).set_fault("id_reset")


def recorded_streams(symbol: str) -> list[str]:
    return [f"{symbol.lower()}@{kind}" for kind in ("depth@100ms", "bookTicker", "kline_1m", "aggTrade")]


def recorded_lines() -> list[str]:
    return [line for line in SESSION.read_text(encoding="utf-8").splitlines() if '{"stream":' in line]


def test_session_that_is_missing_is_refused() -> None:
    with pytest.raises(SettingsError):
        Exchange(ExchangeSettings(replay=Path("no/such/session.txt")))
