"""A strategy's feed on a running daemon and a running market."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

import pytest

import feedd
from feedd.client import Feed, GateView, MarketEvent, Missed
from feedd.client.address import Address
from feedd.client.decode import Decoder
from feedd.client.gate_store import SILENCE_SECONDS
from feedd.config.resolve import resolve
from feedd.exchange import Exchange, ExchangeSettings
from tests.client.proxy import Proxy
from tests.running import SYMBOLS, Running, running, settings_for

HIT, OTHER = SYMBOLS
RATE = 50.0
AnyEvent = TypeVar("AnyEvent")


@dataclass(frozen=True, slots=True)
class Chain:
    exchange: Exchange
    feedd: Running
    proxy: Proxy

    @property
    def url(self) -> str:
        return self.proxy.url


@asynccontextmanager
async def chain() -> AsyncIterator[Chain]:
    """Run an exchange, a daemon whose gates are open, and one address for both."""
    async with (
        Exchange(ExchangeSettings(symbols=SYMBOLS, rate=RATE)) as exchange,
        running(settings_for(exchange)) as daemon,
        Proxy(daemon.url, exchange.ws_url) as proxy,
    ):
        await daemon.until_open()
        yield Chain(exchange, daemon, proxy)


async def first(feed: Feed[Decimal], condition: Callable[[object], bool]) -> MarketEvent[Decimal] | Missed:
    async with asyncio.timeout(10.0):
        async for event in feed:
            if condition(event):
                return event
    raise AssertionError("the feed has ended")


def is_a(kind: type) -> Callable[[object], bool]:
    return lambda event: isinstance(event, kind)


async def until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110  # a memory answers; nobody tells when
            await asyncio.sleep(0.005)


async def test_events_come_with_decimal_prices_in_the_markets_order() -> None:
    async with chain() as here, feedd.connect(here.url, SYMBOLS) as feed:
        assert (await feed.wait_open(HIT)).is_open
        trades: dict[str, list[feedd.Trade[Decimal]]] = {symbol: [] for symbol in SYMBOLS}
        kinds = set()
        async for event in feed:
            kinds.add(type(event))
            if isinstance(event, feedd.Trade):
                assert isinstance(event.price, Decimal)
                trades[event.symbol].append(event)
            if all(len(found) >= 20 for found in trades.values()) and len(kinds) == 3:
                break
        assert kinds == {feedd.Trade, feedd.BookTicker, feedd.Kline}
        for found in trades.values():
            ids = [trade.trade_id for trade in found]
            assert ids == list(range(ids[0], ids[0] + len(ids)))


async def test_prices_are_texts_where_that_is_asked_for() -> None:
    async with chain() as here, feedd.connect(here.url, [HIT], streams=["trade"], numbers=str) as feed:
        async for event in feed:
            assert isinstance(event, feedd.Trade)
            assert isinstance(event.price, str)
            break


async def test_gate_halts_and_reopens_with_the_daemons() -> None:
    async with chain() as here, feedd.connect(here.url, SYMBOLS, streams=()) as feed:
        halts: list[GateView] = []
        feed.on_halt(halts.append)
        await feed.wait_open(HIT)
        await feed.wait_open(OTHER.lower())
        here.exchange.set_fault("reset", symbol=HIT)
        await until(lambda: not feed.gate(HIT).is_open)
        assert feed.gate(HIT) == GateView(HIT, ("disconnected",))
        assert feed.gate(OTHER).is_open
        await feed.wait_open(HIT)
        assert [(halt.symbol, halt.reasons) for halt in halts] == [(HIT, ("disconnected",))]


async def test_callbacks_may_be_coroutines_and_one_that_fails_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with chain() as here, feedd.connect(here.url, [HIT]) as feed:
        called: list[str] = []

        @feed.on_halt
        def fail(gate: GateView) -> None:
            raise RuntimeError("no brakes")

        @feed.on_halt
        async def fail_later(gate: GateView) -> None:
            raise RuntimeError("no brakes later")

        @feed.on_halt
        async def cancel_orders(gate: GateView) -> None:
            await asyncio.sleep(0)
            called.append(gate.symbol)

        await feed.wait_open(HIT)
        here.feedd.daemon.state.set_kill_switch(True, time.monotonic())
        here.exchange.set_fault("reset", symbol=HIT)
        await until(lambda: called == [HIT])
        failures = [record for record in caplog.records if record.getMessage() == "a halt callback failed"]
        assert [str(record.exc_info[1]) for record in failures if record.exc_info] == [
            "no brakes",
            "no brakes later",
        ]


async def test_lost_market_data_halts_and_the_return_says_what_was_missed() -> None:
    async with chain() as here, feedd.connect(here.url, [HIT], streams=["trade"]) as feed:
        halts: list[GateView] = []
        feed.on_halt(halts.append)
        await feed.wait_open(HIT)
        before = await first(feed, is_a(feedd.Trade))
        assert isinstance(before, feedd.Trade)
        here.proxy.is_refusing.add("/stream")
        await here.proxy.cut("/stream")
        await until(lambda: feed.gate(HIT).reasons == ("no_stream",))
        assert [halt.reasons for halt in halts] == [("no_stream",)]
        newest = before.trade_id
        while not feed._events.empty():
            waiting = await anext(feed)
            newest = waiting.trade_id if isinstance(waiting, feedd.Trade) else newest
        await asyncio.sleep(0.3)  # the market goes on meanwhile
        here.proxy.is_refusing.clear()
        await feed.wait_open(HIT)
        missed = await first(feed, lambda event: isinstance(event, Missed) and event.stream == "trade")
        after = await anext(feed)
        assert isinstance(missed, Missed)
        assert isinstance(after, feedd.Trade)
        assert (missed.first, missed.last) == (newest + 1, after.trade_id - 1)
        assert missed.seconds > 0.3


async def test_gap_in_the_markets_ids_comes_before_the_next_message() -> None:
    async with chain() as here, feedd.connect(here.url, [HIT], streams=["trade"]) as feed:
        before = await first(feed, is_a(feedd.Trade))
        here.exchange.set_fault("gap", symbol=HIT, stream="trade", count=3)
        missed = await first(feed, is_a(Missed))
        assert isinstance(before, feedd.Trade)
        assert isinstance(missed, Missed)
        assert (missed.count, missed.seconds) == (3, 0.0)
        after = await anext(feed)
        assert isinstance(after, feedd.Trade)
        assert missed.last == after.trade_id - 1


@pytest.mark.parametrize("harm", ["is_refusing", "is_hanging"])
async def test_lost_gates_halt_at_once_and_come_back(harm: str) -> None:
    async with chain() as here, feedd.connect(here.url, [HIT], streams=()) as feed:
        await feed.wait_open(HIT)
        getattr(here.proxy, harm).add("/gate/events")
        began = time.monotonic()
        await here.proxy.cut("/gate/events")
        await until(lambda: feed.gate(HIT).reasons == ("unreachable",))
        assert time.monotonic() - began < 0.5
        getattr(here.proxy, harm).clear()
        await feed.wait_open(HIT)


async def test_silent_daemon_halts_within_2_seconds_and_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async with chain() as here, feedd.connect(here.url, [HIT], streams=["trade"]) as feed:
        halts: list[tuple[GateView, float]] = []
        feed.on_halt(lambda gate: halts.append((gate, time.monotonic())))
        await feed.wait_open(HIT)
        # The daemon lives in this event loop, so it can't be stopped; but it can forget who listens.
        monkeypatch.setattr(
            here.feedd.daemon.outputs["gate_events"], "_listeners", {False: set(), True: set()}
        )
        began = time.monotonic()
        await until(lambda: not feed.gate(HIT).is_open)
        assert time.monotonic() - began < SILENCE_SECONDS + 0.1
        await until(lambda: bool(halts))
        assert halts[0][0].reasons[0] == "silent"
        assert halts[0][1] - began < SILENCE_SECONDS + 0.2
        await feed.wait_open(HIT)
        # It takes the market data's connection for dead as well, though that one had not been closed.
        missed = await first(feed, is_a(Missed))
        assert isinstance(missed, Missed)
        assert missed.seconds > 0


async def test_strategy_that_does_not_keep_up_is_halted_until_it_does() -> None:
    decoder = Decoder((HIT,), ("trade",), Decimal)
    async with (
        chain() as here,
        Feed(Address.parse(here.url), (HIT,), decoder, allow_static=False, events_waiting_max=5) as feed,
    ):
        halts: list[GateView] = []
        feed.on_halt(halts.append)
        await feed.wait_open(HIT)
        await until(lambda: feed.gate(HIT).reasons == ("lagging",))
        await until(lambda: [halt.reasons for halt in halts] == [("lagging",)])
        ids = []
        async for event in feed:
            assert isinstance(event, feedd.Trade)
            ids.append(event.trade_id)
            if len(ids) == 50:
                break
        assert ids == list(range(ids[0], ids[0] + 50))
        assert len(halts) == 1


async def test_unknown_symbol_is_closed_and_others_can_be_asked_for() -> None:
    async with chain() as here, feedd.connect(here.url, ["DOGEUSDT"], streams=()) as feed:
        await until(lambda: feed.gate("DOGEUSDT").reasons == ("unknown_symbol",))
        assert feed.gate(HIT).is_open
        with pytest.raises(ValueError, match=f"expected one of DOGEUSDT, found '{HIT}'"):
            await feed.wait_open(HIT)


async def test_static_data_is_closed_unless_it_is_asked_for() -> None:
    settings = {"FEEDD_SYMBOLS": "SPY", "FEEDD_LISTEN": "127.0.0.1:0", "FEEDD_RESUME_AFTER_SECONDS": "0.1"}
    async with (
        running(resolve(None, {}, settings | {"FEEDD_CSV_SPEED": "600"}).settings) as daemon,
        feedd.connect(daemon.url, ["SPY"], streams=()) as live,
        feedd.connect(daemon.url, ["SPY"], streams=(), allow_static=True) as anything,
    ):
        await anything.wait_open("SPY")
        await until(lambda: live.gate("SPY").reasons == ("static_source",))


async def test_daemon_that_is_not_there_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "feedd.client")
    async with feedd.connect("http://desk:secret@127.0.0.1:9", [HIT]) as feed:
        assert feed.gate(HIT).reasons == ("unreachable", "no_stream")
        await until(lambda: len(caplog.records) == 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await feed.wait_open(HIT)
    lines = [record.getMessage() for record in caplog.records]
    assert any(
        "no gates from feedd: can't connect to http://127.0.0.1:9/gate/events" in line for line in lines
    )
    assert any(
        "no market data from feedd: can't connect to http://127.0.0.1:9/stream" in line for line in lines
    )
    assert len(lines) == 2  # an attempt that fails like the one before it is no news
    assert "secret" not in caplog.text


async def test_streams_that_are_refused_keep_the_gate_closed_and_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with chain() as here, feedd.connect(here.url, ["BTC USDT"], streams=["trade"]) as feed:
        await until(lambda: "says 'Invalid request: invalid stream' to btc usdt@trade" in caplog.text)
        assert feed.gate("BTC USDT").reasons[-1] == "no_stream"


async def test_credentials_and_headers_are_sent() -> None:
    async with chain() as here:
        url = here.url.replace("http://", "http://desk:p%40ss@")
        async with feedd.connect(url, [HIT], streams=(), headers={"X-Desk": "7"}) as feed:
            await feed.wait_open(HIT)
            assert here.proxy.headers["Authorization"] == "Basic ZGVzazpwQHNz"
            assert here.proxy.headers["X-Desk"] == "7"


async def test_closing_ends_the_iteration_and_whoever_waits() -> None:
    async with chain() as here:
        async with feedd.connect(here.url, [HIT, "DOGEUSDT"], streams=["trade"]) as feed:
            halts: list[GateView] = []
            feed.on_halt(halts.append)
            await feed.wait_open(HIT)
            waiting = asyncio.create_task(feed.wait_open("DOGEUSDT"))
            iterating = asyncio.create_task(_count(feed))
            await asyncio.sleep(0.1)
        assert await iterating > 0
        with pytest.raises(feedd.FeedClosedError):
            await waiting
        assert feed.gate(HIT).reasons == ("closed",)
        assert [event async for event in feed] == []
        assert halts == []


async def _count(feed: Feed[Decimal]) -> int:
    return len([event async for event in feed])


async def test_bug_in_the_client_halts_and_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    async with chain() as here, feedd.connect(here.url, [HIT], streams=["trade"]) as feed:
        halts: list[GateView] = []
        feed.on_halt(halts.append)
        await feed.wait_open(HIT)
        monkeypatch.setattr(feed._gap_tracker, "gap_before", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            async for _ in feed:
                pass
        assert [halt.reasons for halt in halts] == [("closed",)]
        assert not feed.gate(HIT).is_open


@pytest.mark.parametrize(
    ("symbols", "streams", "complaint"),
    [
        ("BTCUSDT", ["trade"], "expected a list of symbols, found the text 'BTCUSDT'"),
        ([HIT], "trade", "expected a list of streams, found the text 'trade'"),
        ([], ["trade"], "expected at least one symbol"),
        ([HIT], ["trades"], "found 'trades'"),
    ],
)
def test_what_can_not_be_is_refused_at_once(symbols: list[str], streams: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        feedd.connect("http://127.0.0.1:9745", symbols, streams=streams)
