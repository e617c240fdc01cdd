"""What live streams have skipped is fetched over REST: each message once, marked, and counted apart."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from feedd.core.backfill_queue import BackfillTiming
from feedd.core.budgets import ConnectBudget, WeightBudget
from feedd.core.gaps import GapLedger
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolLimits, SymbolState
from feedd.core.venue_clock import VenueClock
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import Reason, ResumePolicy
from feedd.sources.options import SourceOptions
from feedd.sources.rest.backfill import Backfill
from feedd.sources.symbol_pipeline import SymbolPipeline
from feedd.venues.binance.common.frame import Frame
from feedd.venues.binance.spot.payloads import Payload
from feedd.venues.binance.spot.tables import SPOT
from tests.running import SYMBOLS, EnvFile, Running, running, running_on, settings_for
from tests.venues.binance.spot.frames import EVENT_TIME, combined, frame

HIT, OTHER = SYMBOLS
EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=100.0)
STREAMS = "trade,aggTrade,bookTicker,kline_1s"
ENDPOINTS = {"trade": "historicalTrades", "aggTrade": "aggTrades"}
IDS = {"trade": "t", "aggTrade": "a"}


HASTE = BackfillTiming(settle=0.1, first_retry=0.05)
"""What is missing is asked for sooner than operators would want it."""
WEIGHT_PER_MINUTE, USED_MAX = 1200, 4800
"""What feedd takes of spot's 6000, and where it stands back."""


@dataclass(slots=True)
class Consumer:
    """Takes what is handed on, as a strategy would, and remembers the ids of HIT by stream."""

    live: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    backfilled: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    raw: list[bytes] = field(default_factory=list)

    def take(self, stream_state: StreamState, raw: bytes) -> None:
        if stream_state.symbol == HIT and stream_state.stream.name in IDS:
            message = orjson.loads(raw)
            assert "backfill" not in message
            self.live[stream_state.stream.name].append(message["data"][IDS[stream_state.stream.name]])

    def accept_backfill(self, stream_state: StreamState, raw: bytes) -> None:
        message = orjson.loads(raw)
        assert message["backfill"] is True
        assert message["stream"] == stream_state.wire_name
        self.backfilled[stream_state.stream.name].append(message["data"][IDS[stream_state.stream.name]])
        self.raw.append(raw)

    def assert_complete(self, stream: str) -> None:
        ids = sorted(self.live[stream] + self.backfilled[stream])
        assert ids == list(range(ids[0], ids[0] + len(ids)))


@asynccontextmanager
async def backfilling(
    exchange: Exchange, timing: BackfillTiming = HASTE, **more: str
) -> AsyncIterator[tuple[Running, Consumer]]:
    """Run a daemon that fetches what is missing, until all gates are open."""
    consumer = Consumer()
    settings = settings_for(exchange, FEEDD_BACKFILL="1", FEEDD_STREAMS=STREAMS, **more)
    options = SourceOptions(backfill=timing)
    async with running(settings, consumer.take, consumer.accept_backfill, sources=options) as feedd:
        await feedd.until_counting()
        yield feedd, consumer


def stream_state_of(feedd: Running, stream: str = "trade", symbol: str = HIT) -> StreamState:
    return feedd.symbol_state(symbol).streams[f"{symbol.lower()}@{stream}"]


def missing_in(feedd: Running, stream: str = "trade") -> GapLedger:
    return stream_state_of(feedd, stream).sequence.ledger


def lost(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return what the log says of losses."""
    records = [record for record in caplog.records if record.getMessage() == "missed messages are lost"]
    return [vars(record)["fields"] for record in records]


@pytest.mark.parametrize("stream", ["trade", "aggTrade"])
async def test_gap_is_fetched_handed_on_once_marked_and_counted_apart(stream: str) -> None:
    async with Exchange(EXCHANGE) as exchange, backfilling(exchange) as (feedd, consumer):
        exchange.set_fault("gap", symbol=HIT, stream=stream, count=7)
        await feedd.until(lambda _: missing_in(feedd, stream).backfilled == 7)
        stream_state = stream_state_of(feedd, stream)
        assert (
            stream_state.sequence.gaps,
            stream_state.sequence.missed,
            stream_state.sequence.duplicates,
        ) == (1, 0, 0)
        assert stream_state.messages == len(consumer.live[stream])
        assert len(consumer.backfilled[stream]) == 7
        consumer.assert_complete(stream)
        assert exchange.stats.requests[ENDPOINTS[stream]] == 1
        _, page = await feedd.get("/metrics")
        labels = f'{{symbol="{HIT}",stream="{stream}"}}'
        assert f"feedd_backfilled_messages_total{labels} 7\n" in page
        assert f"feedd_missed_messages_total{labels} 0\n" in page
        _, status = await feedd.get_json("/status")
        shown = status["symbols"][HIT]["streams"][stream]
        assert (shown["missed"], shown["backfilled"], shown["pending"]) == (0, 7, 0)
        assert sum(feedd.symbol_state(HIT).gate.halts.values()) == 0


async def test_trades_of_an_outage_are_recovered_after_reconnecting() -> None:
    async with Exchange(EXCHANGE) as exchange, backfilling(exchange) as (feedd, consumer):
        exchange.set_fault("refuse", symbol=HIT, seconds=3.0)
        exchange.set_fault("reset", symbol=HIT)
        await feedd.until(lambda _: feedd.symbol_state(HIT).gate.halts[Reason.DISCONNECTED] == 1)
        await feedd.until_open(HIT)
        for stream in IDS:
            await feedd.until(partial(_has_all, stream))
            assert missing_in(feedd, stream).backfilled > 100
            assert stream_state_of(feedd, stream).sequence.missed == 0
            consumer.assert_complete(stream)


def _has_all(stream: str, feedd: Running) -> bool:
    missing = missing_in(feedd, stream)
    return missing.backfilled > 0 and not missing.pending


@pytest.mark.parametrize(
    ("status", "retry_after", "tries"),
    [(429, 1, 2), (418, 1, 2), (500, None, 5), (404, None, 1), (403, None, 1)],
)
async def test_what_the_exchange_does_not_answer_is_lost_after_the_tries_and_live_data_goes_on(
    status: int,
    retry_after: int | None,
    tries: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    timing = replace(HASTE, tries_max=tries) if retry_after else HASTE  # each of them takes a second
    async with Exchange(EXCHANGE) as exchange, backfilling(exchange, timing) as (feedd, consumer):
        exchange.set_fault("rest_http", status=status, retry_after=retry_after)
        exchange.set_fault("gap", symbol=HIT, stream="trade", count=5)
        trades = stream_state_of(feedd)
        await feedd.until(lambda _: len(trades.sequence.ledger.pending) == 1)
        before = trades.messages
        assert trades.sequence.missed == 0
        budget = feedd.daemon.state.connect_budget
        if retry_after:
            await feedd.until(lambda _: budget.remaining(time.monotonic()) == 0)
        await feedd.until(lambda _: trades.sequence.missed == 5)
        assert exchange.stats.requests["historicalTrades"] == tries
        assert trades.messages > before
        assert consumer.backfilled == {}
        assert (trades.sequence.ledger.backfilled, len(trades.sequence.ledger.pending)) == (0, 0)
        assert all(
            sum(symbol_state.gate.halts.values()) == 0 for symbol_state in feedd.daemon.state.symbols.values()
        )
        await feedd.until(lambda _: bool(lost(caplog)))
        (told,) = lost(caplog)
        assert (told["symbol"], told["stream"], told["messages"]) == (HIT, "trade", 5)
        assert told["last"] - told["first"] == 4
        assert told["first"] not in consumer.live["trade"]
        assert f" {status} " in told["why"]


async def test_exchange_that_answers_again_in_time_costs_nothing() -> None:
    async with Exchange(EXCHANGE) as exchange, backfilling(exchange) as (feedd, consumer):
        exchange.set_fault("rest_http", status=500)
        exchange.set_fault("gap", symbol=HIT, stream="trade", count=5)
        await exchange.stats.wait_until(lambda: exchange.stats.requests["historicalTrades"] == 2, timeout=5.0)
        exchange.clear_faults()
        await feedd.until(lambda _: missing_in(feedd).backfilled == 5)
        assert stream_state_of(feedd).sequence.missed == 0
        consumer.assert_complete("trade")


async def test_what_the_stream_brings_late_is_not_asked_for() -> None:
    async with Exchange(EXCHANGE) as exchange, backfilling(exchange) as (feedd, consumer):
        exchange.set_fault("reorder", symbol=HIT, stream="trade", count=5, every=3)
        trades = stream_state_of(feedd)
        await feedd.until(lambda _: trades.sequence.gaps == 5)
        enough = trades.messages + 30
        await feedd.until(lambda _: trades.messages > enough)
        consumer.assert_complete("trade")
        assert exchange.stats.requests["historicalTrades"] == 0
        missing = trades.sequence.ledger
        assert (missing.lost, missing.backfilled, len(missing.pending)) == (0, 0, 0)


async def test_whoever_comes_first_is_handed_on_and_the_other_is_not() -> None:
    timing = replace(HASTE, settle=0.0)
    async with Exchange(EXCHANGE) as exchange, backfilling(exchange, timing) as (feedd, consumer):
        exchange.set_fault("reorder", symbol=HIT, stream="trade", count=100, every=2)
        trades = stream_state_of(feedd)
        await feedd.until(lambda _: trades.sequence.gaps == 100)
        await feedd.until(lambda _: not trades.sequence.ledger.pending)
        await feedd.until(lambda _: trades.sequence.duplicates == trades.sequence.ledger.backfilled)
        assert trades.sequence.ledger.backfilled == len(consumer.raw)
        assert trades.sequence.missed == 0
        consumer.assert_complete("trade")


async def test_wiped_ids_are_a_reset_for_which_nothing_is_fetched() -> None:
    async with Exchange(EXCHANGE) as exchange, backfilling(exchange) as (feedd, consumer):
        exchange.set_fault("id_reset", symbol=HIT)
        trades = stream_state_of(feedd)
        await feedd.until(lambda _: trades.sequence.resets == 1)
        enough = trades.messages + 30
        await feedd.until(lambda _: trades.messages > enough)
        assert exchange.stats.requests["historicalTrades"] + exchange.stats.requests["aggTrades"] == 0
        assert (trades.sequence.gaps, trades.sequence.missed, consumer.raw) == (0, 0, [])


async def test_wiped_ids_end_the_search_for_those_of_before(caplog: pytest.LogCaptureFixture) -> None:
    async with Exchange(EXCHANGE) as exchange, backfilling(exchange) as (feedd, consumer):
        exchange.set_fault("rest_http", status=500)
        exchange.set_fault("gap", symbol=HIT, stream="trade", count=5)
        trades = stream_state_of(feedd)
        await exchange.stats.wait_until(lambda: exchange.stats.requests["historicalTrades"] == 1, timeout=5.0)
        exchange.set_fault("id_reset", symbol=HIT)
        await feedd.until(lambda _: trades.sequence.resets == 1)
        assert trades.sequence.missed == 5
        await feedd.until(lambda _: bool(lost(caplog)))
        assert [(told["messages"], told["why"]) for told in lost(caplog)] == [(5, "the ids began anew")]
        asked = exchange.stats.requests["historicalTrades"]
        exchange.clear_faults()
        exchange.set_fault("gap", symbol=HIT, stream="trade", count=4)
        await feedd.until(lambda _: trades.sequence.ledger.backfilled == 4)
        assert exchange.stats.requests["historicalTrades"] == asked + 1
        assert all(number < 10_000 for number in consumer.backfilled["trade"])


async def test_ten_thousand_come_within_the_weight_limit_while_live_data_goes_on() -> None:
    market = ExchangeSettings(symbols=(HIT,), rate=2000.0, weight_per_minute=WEIGHT_PER_MINUTE)
    async with Exchange(market) as exchange, backfilling(exchange, FEEDD_SYMBOLS=HIT) as (feedd, consumer):
        exchange.set_fault("gap", symbol=HIT, stream="trade", count=10_000)
        await feedd.until(lambda _: missing_in(feedd).backfilled == 10_000, timeout=20.0)
        assert exchange.stats.requests["historicalTrades"] == 10
        assert stream_state_of(feedd).sequence.missed == 0
        consumer.assert_complete("trade")
        assert sum(feedd.symbol_state(HIT).gate.halts.values()) == 0


async def test_flips_and_another_address_act_while_running(tmp_path: Path) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path, sources=SourceOptions(backfill=HASTE)) as feedd:
            await feedd.until_counting()
            missing = missing_in(feedd)
            exchange.set_fault("gap", symbol=HIT, stream="trade", count=3)
            await feedd.until(lambda _: missing.lost == 3)

            env_file.set(FEEDD_BACKFILL="1", FEEDD_REST_URL="http://127.0.0.1:9")
            await feedd.until(lambda _: missing.is_fetched)
            exchange.set_fault("gap", symbol=HIT, stream="trade", count=4)
            await feedd.until(lambda _: missing.pending.ids == 4)
            env_file.set(FEEDD_REST_URL=exchange.rest_url)
            await feedd.until(lambda _: missing.backfilled == 4)

            env_file.set(FEEDD_REST_URL="http://127.0.0.1:9")
            await feedd.until(lambda feedd: feedd.daemon.state.settings.rest_url == "http://127.0.0.1:9")
            exchange.set_fault("gap", symbol=HIT, stream="trade", count=5)
            await feedd.until(lambda _: missing.pending.ids == 5)
            env_file.set(FEEDD_BACKFILL="0")
            await feedd.until(lambda _: not missing.is_fetched)
            assert (missing.lost, missing.backfilled, missing.pending.ids) == (8, 4, 0)
            assert feedd.symbol_state(HIT).counts.connects == 1


async def test_removed_symbol_is_searched_for_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        env_file.set(FEEDD_BACKFILL="1")
        async with running_on(env_file.path, sources=SourceOptions(backfill=HASTE)) as feedd:
            await feedd.until_counting()
            exchange.set_fault("rest_http", status=500)
            for symbol in SYMBOLS:
                exchange.set_fault("gap", symbol=symbol, stream="trade", count=3)
            missing = {symbol: stream_state_of(feedd, symbol=symbol).sequence.ledger for symbol in SYMBOLS}
            await feedd.until(lambda _: all(each.pending.ids == 3 for each in missing.values()))
            env_file.set(FEEDD_SYMBOLS=OTHER)
            await feedd.until(lambda feedd: list(feedd.daemon.state.symbols) == [OTHER])
            exchange.clear_faults()
            await feedd.until(lambda _: missing[OTHER].backfilled == 3)
            assert (missing[HIT].lost, missing[HIT].backfilled) == (3, 0)
            assert [(told["symbol"], told["messages"]) for told in lost(caplog)] == [(HIT, 3)]


async def test_stopping_waits_for_no_answer_and_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    async with Exchange(EXCHANGE) as exchange:
        async with backfilling(exchange) as (feedd, _):
            exchange.set_fault("rest_http", status=500)
            exchange.set_fault("gap", symbol=HIT, stream="trade", count=5)
            await feedd.until(lambda _: missing_in(feedd).pending.ids == 5)
            began = time.monotonic()
        assert time.monotonic() - began < 1.0
        assert [(told["symbol"], told["messages"]) for told in lost(caplog)] == [(HIT, 5)]


async def test_bug_while_handing_on_halts_its_symbol_alone_and_is_healed() -> None:
    options = SourceOptions(backfill=replace(HASTE, after_bug=0.2))

    def broken(stream_state: StreamState, raw: bytes) -> None:
        raise ZeroDivisionError("a bug in an output")

    settings = {"FEEDD_BACKFILL": "1"}
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange, **settings), None, broken, sources=options) as feedd,
    ):
        await feedd.until_counting()
        exchange.set_fault("gap", symbol=HIT, stream="trade", count=5)
        await feedd.until(lambda feedd: Reason.INTERNAL in feedd.symbol_state(HIT).gate.active)
        await feedd.until_open(HIT)
        missing = missing_in(feedd)
        assert (missing.lost, missing.backfilled, missing.pending.ids) == (4, 1, 0)
        assert sum(feedd.symbol_state(OTHER).gate.halts.values()) == 0
        assert feedd.symbol_state(HIT).counts.connects == 1


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Bench:
    """One session with a hole from 11 to 13 in its trades, a worker, and a REST side that says anything."""

    def __init__(self, http: aiohttp.ClientSession, weights: WeightBudget | None) -> None:
        limits = SymbolLimits(stale_after=10.0, latency=1.0, resume_after=5.0, resume=ResumePolicy.AUTO)
        clock = VenueClock(time.monotonic(), time.time())
        streams = [SPOT.parse_stream("trade")]
        self.symbol_state = SymbolState("BTCUSDT", streams, limits, clock, time.monotonic())
        self.stream_state = self.symbol_state.streams["btcusdt@trade"]
        self.ledger = self.stream_state.sequence.ledger
        self.connects = ConnectBudget(240)
        self.backfill = Backfill(http, self.connects, timing=HASTE, weights=weights)
        self.handed_on: list[bytes] = []
        self.pipeline = SymbolPipeline(
            self.symbol_state,
            lambda *_: None,
            lambda *_: None,
            note_missing=self.backfill.note,
            deliver_backfill=lambda _, raw: self.handed_on.append(raw),
        )
        self.asked: list[dict[str, str]] = []
        self.answers: list[Answer] = []

    def lose(self) -> None:
        """Take trade 10, then trade 14."""
        self.take(10)
        self.take(14)

    def take(self, number: int) -> None:
        message: Frame[Payload] = frame("trade", t=number, E=EVENT_TIME + number)
        stream_state = self.pipeline.symbol_state.streams[message.stream]
        self.pipeline.accept(stream_state, message.data, combined("trade", t=number), time.monotonic())

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        return await self.answers.pop(0)(request)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5.0):
            while not condition():  # noqa: ASYNC110  # counts change without an event
                await asyncio.sleep(0.005)


@asynccontextmanager
async def bench(weights: WeightBudget | None = None) -> AsyncIterator[Bench]:
    async with aiohttp.ClientSession() as http:
        made = Bench(http, weights)
        app = web.Application()
        app.router.add_get("/api/v3/historicalTrades", made.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        task = asyncio.create_task(made.backfill.run())
        try:
            made.backfill.apply_settings(SPOT.at((), site.name), {"BTCUSDT": made.pipeline})
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            made.pipeline.stop()
            await runner.cleanup()


def old(*numbers: int, **changes: object) -> Answer:
    """Answer with these trades."""
    trade = {"price": "1.5", "qty": "2", "time": EVENT_TIME, "isBuyerMaker": True, "isBestMatch": True}
    return says(orjson.dumps([{"id": number, **trade, **changes} for number in numbers]))


def says(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers, content_type="application/json")

    return answer


async def test_hole_is_asked_for_by_its_first_id_and_size() -> None:
    async with bench() as made:
        made.answers = [old(11, 12, 13)]
        made.lose()
        await made.until(lambda: made.ledger.backfilled == 3)
        assert made.asked == [{"symbol": "BTCUSDT", "fromId": "11", "limit": "3"}]
        assert made.handed_on[0] == (
            b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1795000000123,"s":"BTCUSDT","t":11,"p":"1.5",'
            b'"q":"2","T":1795000000123,"m":true,"M":true},"backfill":true}'
        )


async def test_what_was_fetched_proves_nothing_about_now() -> None:
    async with bench() as made:
        made.answers = [old(11, 12, 13)]
        made.lose()
        symbol_state, gate = made.symbol_state, made.symbol_state.gate
        before = (
            symbol_state.last_message_at,
            gate.reasons,
            gate.since,
            made.stream_state.messages,
            made.stream_state.last_at,
        )
        counts = [
            sum(each.counts) for each in (symbol_state.exchange_latency, symbol_state.processing_latency)
        ]
        await made.until(lambda: len(made.handed_on) == 3)
        after = (
            symbol_state.last_message_at,
            gate.reasons,
            gate.since,
            made.stream_state.messages,
            made.stream_state.last_at,
        )
        assert after == before
        assert [
            sum(each.counts) for each in (symbol_state.exchange_latency, symbol_state.processing_latency)
        ] == counts


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (says(b"<html>"), "malformed"),
        (says(b'{"code":-1121,"msg":"Invalid symbol."}'), "Expected `array`"),
        (old(11, 12, 13, price=1.5), "$[0].price"),
        (old(11, 12, 13, time=1_795_000_000_123_000), "$[0].time"),
        (old(11, 13, 12), "an id above 13 expected, found 12"),
        (old(9, 10, 11), "an id above 10 expected, found 9"),
        (says(b"[]", status=400), "400 Bad Request"),
    ],
)
async def test_answer_that_is_of_no_use_is_lost_at_once_and_nothing_of_it_handed_on(
    answer: Answer, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench() as made:
        made.answers = [answer]
        made.lose()
        reasons = made.symbol_state.gate.reasons
        await made.until(lambda: made.ledger.lost == 3)
        await made.until(lambda: bool(lost(caplog)))
        (told,) = lost(caplog)
        assert (told["first"], told["last"], told["messages"]) == (11, 13, 3)
        assert why in told["why"]
        assert (made.handed_on, len(made.asked)) == ([], 1)
        assert made.symbol_state.gate.reasons == reasons
        assert sum(made.symbol_state.counts.invalid.values()) == 0


async def test_answer_that_ends_too_soon_is_asked_for_again_from_there() -> None:
    async with bench() as made:
        made.answers = [says(b"[]"), old(11, 12), old(13)]
        made.lose()
        await made.until(lambda: made.ledger.backfilled == 3)
        assert [question["fromId"] for question in made.asked] == ["11", "11", "13"]
        assert made.ledger.lost == 0


async def test_id_that_the_exchange_passes_over_does_not_exist(caplog: pytest.LogCaptureFixture) -> None:
    async with bench() as made:
        made.answers = [old(11, 13, 14)]
        made.lose()
        await made.until(lambda: made.ledger.lost == 1)
        await made.until(lambda: bool(lost(caplog)))
        (told,) = lost(caplog)
        assert (told["first"], told["last"], told["why"]) == (12, 12, "the exchange has no such ids")
        assert (made.ledger.backfilled, len(made.handed_on), len(made.asked)) == (2, 2, 1)


async def test_message_that_came_while_it_was_asked_for_is_not_repeated() -> None:
    async with bench() as made:
        answer = old(11, 12, 13)

        async def late(request: web.Request) -> web.StreamResponse:
            made.take(12)
            return await answer(request)

        made.answers = [late]
        made.lose()
        await made.until(lambda: made.ledger.backfilled == 2)
        assert [orjson.loads(raw)["data"]["t"] for raw in made.handed_on] == [11, 13]
        assert (made.stream_state.messages, made.ledger.lost) == (3, 0)


@pytest.mark.parametrize("answer", [old(11, 12, 13), says(b"no"), says(b"", status=500)])
async def test_answer_that_comes_after_the_ids_began_anew_is_thrown_away(answer: Answer) -> None:
    async with bench() as made:

        async def late(request: web.Request) -> web.StreamResponse:
            made.stream_state.sequence.forget()
            made.take(10)
            made.take(14)  # the same ids are missing again, but they are others
            return await answer(request)

        made.answers = [late, old(11, 12, 13)]
        made.lose()
        await made.until(lambda: made.ledger.backfilled == 3)
        assert (made.ledger.lost, len(made.handed_on), len(made.asked)) == (3, 3, 2)


@pytest.mark.parametrize(
    ("status", "headers", "pause"),
    [(429, {}, 60.0), (418, {}, 120.0), (429, {"Retry-After": "7"}, 7.0), (503, {"Retry-After": "9"}, 9.0)],
)
async def test_pause_that_the_exchange_asks_for_holds_everybody_back(
    status: int, headers: dict[str, str], pause: float
) -> None:
    async with bench() as made:
        made.answers = [says(b"", status, headers)]
        made.lose()
        await made.until(lambda: made.connects.remaining(time.monotonic()) == 0)
        assert made.connects.hold_left(time.monotonic()) == pytest.approx(pause, abs=1.0)
        assert made.ledger.pending.ids == 3


async def test_pause_that_was_asked_for_at_a_handshake_holds_back_as_well() -> None:
    async with bench() as made:
        made.answers = [old(11, 12, 13)]
        made.connects.hold(0.5, time.monotonic())
        held_until = time.monotonic() + 0.5
        made.lose()
        await made.until(lambda: made.ledger.backfilled == 3)
        assert time.monotonic() >= held_until


async def test_address_that_is_nearly_at_its_limit_is_left_alone_for_a_minute() -> None:
    async with bench(WeightBudget(WEIGHT_PER_MINUTE, USED_MAX, minute=0.6)) as made:
        made.answers = [says(b"[]", 200, {"X-MBX-USED-WEIGHT-1M": str(USED_MAX)}), old(11, 12, 13)]
        made.lose()
        await made.until(lambda: len(made.asked) == 1)
        asked_at = time.monotonic()
        await made.until(lambda: made.ledger.backfilled == 3)
        assert time.monotonic() - asked_at > 0.5  # the next try would have been due long before
        assert made.connects.remaining(time.monotonic()) == 240


@pytest.mark.parametrize("path", ["/stream?streams=btcusdt@trade", "/ws/btcusdt@trade?"])
async def test_consumer_that_asks_for_it_gets_what_was_missed_and_nobody_else(path: str) -> None:
    async with Exchange(EXCHANGE) as exchange:
        settings = settings_for(exchange, FEEDD_STREAMS=STREAMS, FEEDD_BACKFILL="1")
        async with running(settings) as feedd:
            await feedd.until_counting()
            async with (
                feedd.http.ws_connect(f"{feedd.url}{path}&backfill=1") as asking,
                feedd.http.ws_connect(f"{feedd.url}{path}") as other,
            ):
                exchange.set_fault("gap", symbol=HIT, stream="trade", count=3)
                marked: list[int] = []
                async for message in asking:
                    content = orjson.loads(message.data)
                    if content.get("backfill"):
                        marked.append(content["data"]["t"])
                        if len(marked) == 3:
                            break
                assert marked == list(range(marked[0], marked[0] + 3))
                live: list[int] = []
                async for message in other:
                    content = orjson.loads(message.data)
                    assert "backfill" not in content
                    live.append(content.get("data", content)["t"])
                    if live[-1] > marked[-1] + 5:
                        break
                assert not set(marked) & set(live)
