"""Which feeds run: one for each group of symbols and route, and a change touches only what it is about."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from feedd.config.resolve import resolve
from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.core.gate import GateChange
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolState
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import DisconnectReason, Reason, RotateWindow
from feedd.sources.live.live_feed import ConnectionPolicy
from feedd.sources.options import SourceOptions
from feedd.sources.rest.pollers import ClockTiming
from feedd.sources.supervisor import (
    SAMPLES,
    FeedSupervisor,
    Group,
    LivePlan,
    StaticPlan,
    groups_for,
    plans_for,
    policy_for,
)
from feedd.venues.binance.spot.tables import SPOT
from feedd.venues.venue import Route
from tests.running import STALE_AFTER, SYMBOLS, EnvFile, Running, running, running_on, settings_for
from tests.support.routes import MARKET, PUBLIC, RouteFront, put_in_place_of_spot, routed

HIT, OTHER = SYMBOLS
LIVE = {"FLAG_REALTIME": "1", "FEEDD_SYMBOLS": "BTCUSDT,ETHUSDT"}
STATIC = {"FLAG_REALTIME": "0", "FEEDD_SYMBOLS": "SPY,QQQ"}
BOTH_ROUTES = "trade,bookTicker"
IN_TIME = 0.2
"""How late a busy machine may be, in seconds."""
EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=100.0)


def settings(base: dict[str, str], **more: str) -> Settings:
    return resolve(None, {}, base | more).settings


# --- plans


def test_live_plan_has_the_venues_addresses_and_the_streams_that_are_wanted() -> None:
    streams = tuple(SPOT.parse_stream(name) for name in ("trade", "depth@100ms"))
    assert plans_for(settings(LIVE, FEEDD_STREAMS="trade,depth@100ms")) == {
        "": LivePlan(SPOT.name, Route("", SPOT.ws_urls, streams), SPOT)
    }


def test_addresses_of_the_settings_take_the_place_of_the_venues() -> None:
    wanted = settings(LIVE, FEEDD_WS_URL="ws://127.0.0.1:1", FEEDD_REST_URL="http://127.0.0.1:2")
    (plan,) = plans_for(wanted).values()
    assert isinstance(plan, LivePlan)
    assert plan.route.ws_urls == ("ws://127.0.0.1:1",)
    assert plan.venue.rest_url == "http://127.0.0.1:2"


def test_static_plan_is_of_the_samples_unless_a_path_is_set(tmp_path: Path) -> None:
    assert plans_for(settings(STATIC, FEEDD_CSV_MINUTES="5", FEEDD_CSV_SPEED="20")) == {
        "": StaticPlan(SAMPLES, False, 5.0, 20.0)
    }
    (plan,) = plans_for(settings(STATIC, FEEDD_CSV_PATH=str(tmp_path))).values()
    assert isinstance(plan, StaticPlan)
    assert plan.path == tmp_path
    assert (SAMPLES / "SPY.csv").is_file()


def test_single_file_may_be_of_the_only_symbol() -> None:
    (plan,) = plans_for(settings(STATIC, FEEDD_SYMBOLS="SPY")).values()
    assert isinstance(plan, StaticPlan)
    assert plan.is_only_symbol


def test_plan_is_the_same_for_settings_that_say_nothing_about_feeds() -> None:
    louder = settings(LIVE, FEEDD_STALE_AFTER_SECONDS="3", FEEDD_REDUNDANCY="2")
    assert plans_for(louder) == plans_for(settings(LIVE))
    assert plans_for(settings(LIVE, FEEDD_STREAMS="trade")) != plans_for(settings(LIVE))


def test_routed_venue_has_a_plan_for_each_route_that_has_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = routed(market="/market", public="/public")
    put_in_place_of_spot(venue, monkeypatch)
    plans = plans_for(settings(LIVE, FEEDD_STREAMS="bookTicker,trade,aggTrade"))
    assert list(plans) == [MARKET, PUBLIC]
    found = {}
    for name, plan in plans.items():
        assert isinstance(plan, LivePlan)
        found[name] = (plan.route.ws_urls, [stream.name for stream in plan.route.streams])
    assert found == {
        MARKET: (tuple(url + "/market" for url in SPOT.ws_urls), ["trade", "aggTrade"]),
        PUBLIC: (tuple(url + "/public" for url in SPOT.ws_urls), ["bookTicker"]),
    }
    assert list(plans_for(settings(LIVE, FEEDD_STREAMS="trade"))) == [MARKET]


def test_change_of_one_routes_streams_leaves_the_plan_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place_of_spot(routed(market="", public=""), monkeypatch)
    before = plans_for(settings(LIVE, FEEDD_STREAMS="trade,bookTicker"))
    after = plans_for(settings(LIVE, FEEDD_STREAMS="trade,bookTicker,depth@100ms"))
    assert after[MARKET] == before[MARKET]
    assert after[PUBLIC] != before[PUBLIC]


@pytest.mark.parametrize(
    ("keys", "policy"),
    [
        ({}, ConnectionPolicy(1, 23.0 * 3600.0, None)),
        ({"FEEDD_REDUNDANCY": "2"}, ConnectionPolicy(2, 23.0 * 3600.0, None)),
        ({"FEEDD_ROTATE_AFTER_HOURS": "1.5"}, ConnectionPolicy(1, 5400.0, None)),
        (
            {"FEEDD_ROTATE_WINDOW": "03:00-04:30"},
            ConnectionPolicy(1, 23.0 * 3600.0, RotateWindow(180, 270)),
        ),
    ],
)
def test_policy_is_what_the_settings_say(keys: dict[str, str], policy: ConnectionPolicy) -> None:
    assert policy_for(settings(LIVE, **keys)) == policy


# --- groups


@pytest.mark.parametrize(
    ("size", "symbols", "running_groups", "groups"),
    [
        (1, "A,B,C", [], [("A",), ("B",), ("C",)]),
        (2, "A,B,C", [], [("A", "B"), ("C",)]),
        (5, "A,B,C", [], [("A", "B", "C")]),
        # what runs and can stay does
        (2, "A,B,C", [("B", "C")], [("B", "C"), ("A",)]),
        (2, "A,B,C,D", [("A", "B"), ("C",)], [("A", "B"), ("C",), ("D",)]),
        (1, "A,B", [("B",), ("A",)], [("B",), ("A",)]),
        # a symbol that goes ends its group, whose others are packed anew
        (2, "A,C,D", [("A", "B"), ("C", "D")], [("C", "D"), ("A",)]),
        (3, "A,B", [("A", "B", "C")], [("A", "B")]),
        (1, "B", [("A",), ("B",)], [("B",)]),
        # a lower size ends the groups that are too big, a higher one leaves those there are
        (1, "A,B", [("A", "B")], [("A",), ("B",)]),
        (4, "A,B,C", [("A",), ("B",)], [("A",), ("B",), ("C",)]),
    ],
)
def test_symbols_are_packed_and_what_runs_stays(
    size: int, symbols: str, running_groups: list[Group], groups: list[Group]
) -> None:
    wanted = settings(LIVE, FEEDD_SYMBOLS=symbols, FEEDD_SYMBOLS_PER_CONNECTION=str(size))
    assert groups_for(wanted, running_groups) == groups


def test_symbols_of_files_are_never_packed() -> None:
    wanted = settings(STATIC, FEEDD_SYMBOLS_PER_CONNECTION="5")
    assert groups_for(wanted, []) == [("SPY",), ("QQQ",)]


# --- a supervisor of its own


@dataclass(slots=True)
class Supervised:
    """A supervisor, the state that it works on, and what comes of it."""

    state: DaemonState
    supervisor: FeedSupervisor
    announced: list[tuple[str, GateChange]] = field(default_factory=list)
    delivered: list[tuple[str, bytes]] = field(default_factory=list)
    has_news: asyncio.Event = field(default_factory=asyncio.Event)

    async def change(self, new: Settings) -> None:
        """Do with other settings what the daemon does."""
        await self.supervisor.end_outdated(new)
        self.state.apply_settings(new, time.monotonic())
        self.supervisor.begin(new)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was announced or delivered makes a condition true."""
        async with asyncio.timeout(10.0):
            while not condition():
                self.has_news.clear()
                await self.has_news.wait()


@asynccontextmanager
async def supervising(initial: Settings, options: SourceOptions | None = None) -> AsyncIterator[Supervised]:
    """Run the feeds of these settings until the end."""
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:

        def deliver(stream_state: StreamState, raw: bytes) -> None:
            made.delivered.append((stream_state.symbol, raw))
            made.has_news.set()

        def announce(symbol_state: SymbolState, change: GateChange) -> None:
            made.announced.append((symbol_state.symbol, change))
            made.has_news.set()

        state = DaemonState(initial, time.monotonic(), time.time())
        supervisor = FeedSupervisor(
            state,
            http,
            tasks,
            deliver,
            announce,
            deliver_backfill=deliver,
            in_use=lambda _: False,
            options=options,
        )
        made = Supervised(state, supervisor)
        supervisor.begin(initial)
        yield made
        await supervisor.stop()


def feeds() -> dict[str, asyncio.Task[object]]:
    """Return the feeds that run in this loop, by their name."""
    return {task.get_name(): task for task in asyncio.all_tasks() if task.get_name().startswith("feed ")}


def names(*symbols: str, route: str = "") -> set[str]:
    return {f"feed {route} {symbol}" for symbol in symbols}


async def test_there_is_a_feed_for_each_symbol_and_each_ends_with_a_close_frame() -> None:
    async with Exchange(EXCHANGE) as exchange:
        async with supervising(settings_for(exchange)) as made:
            assert feeds().keys() == names(HIT, OTHER)
            await made.until(lambda: {symbol for symbol, _ in made.delivered} == {HIT, OTHER})
        assert feeds() == {}
        await exchange.wait_until(lambda: exchange.stats.close_codes == {1001: 2})


async def test_packed_symbols_share_a_feed() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        supervising(settings_for(exchange, FEEDD_SYMBOLS_PER_CONNECTION="2")) as made,
    ):
        assert feeds().keys() == names(f"{HIT} {OTHER}")
        await made.until(lambda: {symbol for symbol, _ in made.delivered} == {HIT, OTHER})
        assert exchange.stats.connects == 1


async def test_settings_that_are_not_about_feeds_leave_them_all_alone() -> None:
    async with Exchange(EXCHANGE) as exchange, supervising(settings_for(exchange)) as made:
        before = feeds()
        await made.change(
            settings_for(exchange, FEEDD_STALE_AFTER_SECONDS="3", FEEDD_RESUME_AFTER_SECONDS="9")
        )
        assert feeds() == before
        assert made.state.symbols[HIT].stale_after == 3.0


async def test_lower_limit_of_silence_counts_at_once() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        supervising(settings_for(exchange, FEEDD_STALE_AFTER_SECONDS="60")) as made,
    ):
        await made.until(lambda: not made.state.symbols[HIT].gate.halted)
        exchange.set_fault("mute", symbol=HIT)
        await made.change(settings_for(exchange, FEEDD_STALE_AFTER_SECONDS="0.2"))
        await made.until(lambda: Reason.STALE in made.state.symbols[HIT].gate.active)


async def test_symbols_come_and_go_without_touching_the_others() -> None:
    market = ExchangeSettings(symbols=("A", "B", "C"), rate=100.0)
    async with Exchange(market) as exchange, supervising(settings_for(exchange, FEEDD_SYMBOLS="A,B")) as made:
        before = feeds()
        await exchange.wait_connected("A")
        new = settings_for(exchange, FEEDD_SYMBOLS="B,C")
        await made.supervisor.end_outdated(new)
        assert before["feed  A"].done(), "nothing of it delivers any more when the state changes"
        assert not before["feed  B"].done()
        made.state.apply_settings(new, time.monotonic())
        made.supervisor.begin(new)
        assert feeds().keys() == names("B", "C")
        assert feeds()["feed  B"] is before["feed  B"]
        await exchange.wait_disconnected("A")
        await exchange.wait_connected("C")


async def test_other_streams_end_every_feed_and_begin_them_anew() -> None:
    async with Exchange(EXCHANGE) as exchange, supervising(settings_for(exchange)) as made:
        await made.until(lambda: not made.state.symbols[HIT].gate.halted)
        before = feeds()
        made.announced.clear()
        await made.change(settings_for(exchange, FEEDD_STREAMS="aggTrade"))
        assert feeds().keys() == before.keys()
        assert not set(feeds().values()) & set(before.values())
        of_hit = [change for symbol, change in made.announced if symbol == HIT]
        assert [(change.added, change.removed) for change in of_hit] == [((Reason.STARTING,), ())]
        await made.until(lambda: not made.state.symbols[HIT].gate.halted)
        assert made.state.symbols[HIT].streams[f"{HIT.lower()}@aggTrade"].messages


async def test_policy_reaches_the_feeds_that_run() -> None:
    async with Exchange(EXCHANGE) as exchange, supervising(settings_for(exchange)) as made:
        await exchange.wait_connected(HIT)
        before = feeds()
        await made.change(settings_for(exchange, FEEDD_REDUNDANCY="2"))
        await exchange.wait_until(lambda: exchange.open_connections(HIT) == 2)
        assert feeds() == before


async def test_static_mode_plays_files_and_asks_no_venue() -> None:
    async with Exchange(EXCHANGE) as exchange:
        static = settings_for(exchange, FLAG_REALTIME="0", FEEDD_SYMBOLS="SPY,QQQ", FEEDD_CSV_SPEED="0")
        async with supervising(static) as made:
            assert feeds().keys() == names("SPY", "QQQ")
            assert not made.state.symbols["SPY"].is_live, "from the beginning on"
            await made.until(lambda: {symbol for symbol, _ in made.delivered} == {"SPY", "QQQ"})
            assert not made.state.symbols["SPY"].is_live
            made.supervisor.doubt_clock()
        assert (exchange.stats.attempts, exchange.stats.requests.total()) == (0, 0)


async def test_switch_to_files_ends_the_live_feeds_and_the_questions_to_the_venue() -> None:
    market = ExchangeSettings(symbols=("SPY", "QQQ"), rate=100.0)
    keys = {"FEEDD_SYMBOLS": "SPY,QQQ", "FEEDD_EXCHANGE_STATUS_SECONDS": "0.1"}
    async with Exchange(market) as exchange, supervising(settings_for(exchange, **keys)) as made:
        await exchange.wait_until(lambda: exchange.stats.requests["exchangeInfo"] > 0)
        before = feeds()
        await made.change(settings_for(exchange, FLAG_REALTIME="0", **keys))
        assert all(task.done() for task in before.values())
        await exchange.wait_disconnected("SPY")
        await made.until(lambda: not made.state.symbols["SPY"].gate.halted)
        assert not made.state.symbols["SPY"].is_live
        asked = exchange.stats.requests.total()
        await asyncio.sleep(0.3)
        assert exchange.stats.requests.total() <= asked + 1, "but for one that was on its way"


async def test_doubt_of_the_clock_has_the_venue_asked_anew() -> None:
    options = SourceOptions(clock=ClockTiming(at_most_every=0.05))
    async with Exchange(EXCHANGE) as exchange, supervising(settings_for(exchange), options) as made:
        await made.until(lambda: made.state.clock.error_at(time.monotonic()) < math.inf)
        asked = exchange.stats.requests["time"]
        made.supervisor.doubt_clock()
        await exchange.wait_until(lambda: exchange.stats.requests["time"] > asked)


async def test_usual_gap_of_the_streams_is_learned_while_they_are_watched() -> None:
    async with Exchange(EXCHANGE) as exchange, supervising(settings_for(exchange)) as made:
        watching = asyncio.create_task(made.supervisor.watch_for_mute_streams())
        await made.until(lambda: made.state.symbols[HIT].mean_interval is not None)
        await made.until(lambda: made.state.symbols[OTHER].mean_interval is not None)
        assert not watching.done()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


# --- a venue with two routes


@pytest.fixture
def one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spot has two routes, both of them at the address without a path."""
    put_in_place_of_spot(routed(market="", public=""), monkeypatch)


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spot has two routes, each with a path of its own."""
    put_in_place_of_spot(routed(market="/market", public="/public"), monkeypatch)


@asynccontextmanager
async def behind_a_front(**more: str) -> AsyncIterator[tuple[Exchange, RouteFront, Settings]]:
    async with Exchange(EXCHANGE) as exchange, RouteFront(exchange.ws_url) as front:
        keys = {"FEEDD_STREAMS": BOTH_ROUTES, "FEEDD_WS_URL": front.url}
        yield exchange, front, settings_for(exchange, **keys | more)


def stale_routes(feedd: Running, symbol: str = HIT) -> list[str]:
    now = time.monotonic()
    routes = feedd.symbol_state(symbol).routes
    return [name for name, route in routes.items() if route.staleness.is_stale(now)]


@pytest.mark.usefixtures("one_address")
async def test_there_is_a_feed_for_each_symbol_and_route() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        supervising(settings_for(exchange, FEEDD_STREAMS=BOTH_ROUTES)) as made,
    ):
        assert feeds().keys() == names(HIT, OTHER, route=MARKET) | names(HIT, OTHER, route=PUBLIC)
        assert list(made.state.symbols[HIT].routes) == [MARKET, PUBLIC]
        await exchange.wait_until(lambda: exchange.stats.connects == 4)
        await made.until(lambda: not made.state.symbols[HIT].gate.halted)


@pytest.mark.usefixtures("one_address")
async def test_packing_is_by_route() -> None:
    async with Exchange(EXCHANGE) as exchange:
        packed = settings_for(exchange, FEEDD_STREAMS=BOTH_ROUTES, FEEDD_SYMBOLS_PER_CONNECTION="2")
        async with supervising(packed) as made:
            both = f"{HIT} {OTHER}"
            assert feeds().keys() == names(both, route=MARKET) | names(both, route=PUBLIC)
            await made.until(lambda: {symbol for symbol, _ in made.delivered} == {HIT, OTHER})
            await exchange.wait_until(lambda: exchange.stats.connects == 2)


@pytest.mark.usefixtures("one_address")
async def test_change_of_one_routes_streams_leaves_the_feeds_of_the_other_alone() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        supervising(settings_for(exchange, FEEDD_STREAMS=BOTH_ROUTES)) as made,
    ):
        await exchange.wait_until(lambda: exchange.stats.connects == 4)
        before = feeds()
        await made.change(settings_for(exchange, FEEDD_STREAMS="trade,bookTicker,depth@100ms"))
        after = feeds()
        assert after.keys() == before.keys()
        kept = {name for name, task in after.items() if before[name] is task}
        assert kept == names(HIT, OTHER, route=MARKET)
        await made.until(lambda: not made.state.symbols[HIT].gate.halted)


@pytest.mark.usefixtures("two_addresses")
async def test_each_route_is_asked_at_its_own_address_for_its_own_streams() -> None:
    async with behind_a_front() as (_, front, wanted), running(wanted) as feedd:
        await feedd.until_counting()
        await feedd.until(lambda _: front.asked == {MARKET: 2, PUBLIC: 2})
        assert {target.partition("@")[2] for target in (front.targets[MARKET],)} == {"trade"}
        assert {target.partition("@")[2] for target in (front.targets[PUBLIC],)} == {"bookTicker"}
        for symbol in SYMBOLS:
            assert feedd.symbol_state(symbol).counts.connects == 2
            assert feedd.symbol_state(symbol).open_connections == 2


@pytest.mark.usefixtures("two_addresses")
async def test_symbol_is_connected_only_when_both_routes_are() -> None:
    async with behind_a_front() as (_, front, wanted):
        front.hold(PUBLIC)
        async with running(wanted) as feedd:
            symbol_state = feedd.symbol_state(HIT)
            await feedd.until(lambda _: symbol_state.routes[MARKET].staleness.last_at is not None)
            assert not symbol_state.is_connected
            assert [name for name, route in symbol_state.routes.items() if route.is_connected] == [MARKET]
            front.let_in(PUBLIC)
            await feedd.until(lambda _: symbol_state.is_connected)
            await feedd.until_open()
            assert [route.open_connections for route in symbol_state.routes.values()] == [1, 1]


@pytest.mark.usefixtures("two_addresses")
async def test_symbol_does_not_open_before_both_routes_are_connected() -> None:
    async with behind_a_front() as (_, front, wanted):
        front.hold(PUBLIC)
        async with running(wanted) as feedd:
            trades = feedd.symbol_state(HIT).streams[f"{HIT.lower()}@trade"]
            await feedd.until(lambda _: trades.messages > 3)
            assert feedd.symbol_state(HIT).gate.halted
            front.let_in(PUBLIC)
            await feedd.until_open()


@pytest.mark.usefixtures("one_address")
async def test_symbol_does_not_open_before_both_routes_have_delivered() -> None:
    async with Exchange(EXCHANGE) as exchange:
        mute = exchange.set_fault("mute", symbol=HIT, stream="bookTicker")
        async with running(settings_for(exchange, FEEDD_STREAMS=BOTH_ROUTES)) as feedd:
            trades = feedd.symbol_state(HIT).streams[f"{HIT.lower()}@trade"]
            await feedd.until(lambda _: trades.messages > 3)
            await feedd.until_open(OTHER)
            assert feedd.symbol_state(HIT).gate.halted
            exchange.clear_fault(mute)
            await feedd.until_open(HIT)


@pytest.mark.parametrize(("stream", "route"), [("bookTicker", PUBLIC), ("trade", MARKET)])
@pytest.mark.usefixtures("one_address")
async def test_symbol_is_stale_when_one_route_falls_silent_though_the_other_goes_on(
    stream: str, route: str
) -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange, FEEDD_STREAMS=BOTH_ROUTES)) as feedd,
    ):
        await feedd.until_counting()
        symbol_state = feedd.symbol_state(HIT)
        await feedd.until(lambda _: symbol_state.is_connected)
        mute = exchange.set_fault("mute", symbol=HIT, stream=stream)
        await feedd.until(lambda _: Reason.STALE in symbol_state.gate.active)
        assert stale_routes(feedd) == [route]
        (going_on,) = {MARKET, PUBLIC} - {route}
        silence = symbol_state.routes[route].staleness.age(time.monotonic())
        assert STALE_AFTER <= silence < STALE_AFTER + IN_TIME
        assert symbol_state.routes[going_on].staleness.age(time.monotonic()) < STALE_AFTER / 2.0
        assert symbol_state.is_connected, "its connection lives, it only says nothing"
        assert symbol_state.age(time.monotonic()) >= silence

        before = symbol_state.routes[going_on].staleness.last_at
        await feedd.until(lambda _: symbol_state.routes[going_on].staleness.last_at != before)
        assert Reason.STALE in symbol_state.gate.causes, "the other route vouches for nothing"
        assert not feedd.symbol_state(OTHER).gate.halted

        exchange.clear_fault(mute)
        await feedd.until_open(HIT)
        assert symbol_state.gate.halts[Reason.STALE] == 1
        assert stale_routes(feedd) == []


@pytest.mark.parametrize("route", [MARKET, PUBLIC])
@pytest.mark.usefixtures("two_addresses")
async def test_symbol_is_disconnected_while_one_routes_connection_is_down(route: str) -> None:
    async with behind_a_front() as (_, front, wanted), running(wanted) as feedd:
        await feedd.until_counting()
        symbol_state = feedd.symbol_state(HIT)
        await feedd.until(lambda _: symbol_state.is_connected)
        (going_on,) = {MARKET, PUBLIC} - {route}
        front.hold(route)
        await front.cut(route)
        await feedd.until(lambda _: not symbol_state.routes[route].is_connected)
        assert not symbol_state.is_connected
        assert Reason.DISCONNECTED in symbol_state.gate.active
        assert symbol_state.routes[going_on].is_connected
        assert symbol_state.counts.disconnects[DisconnectReason.SERVER_CLOSE] == 1

        before = symbol_state.routes[going_on].staleness.last_at
        await feedd.until(lambda _: symbol_state.routes[going_on].staleness.last_at != before)
        assert Reason.DISCONNECTED in symbol_state.gate.causes, "which the other's messages don't mend"

        asked = front.asked[going_on]
        front.let_in(route)
        await feedd.until(lambda _: symbol_state.is_connected)
        await feedd.until_open(HIT)
        assert front.asked[going_on] == asked, "only what was lost is dialled again"


@pytest.mark.usefixtures("one_address")
async def test_status_counts_both_routes_connections() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange, FEEDD_STREAMS=BOTH_ROUTES)) as feedd,
    ):
        await feedd.until_counting()
        await feedd.until(lambda _: feedd.symbol_state(HIT).open_connections == 2)
        _, status = await feedd.get_json("/status")
        shown = status["symbols"][HIT]
        assert (shown["connected"], shown["connections"]) == (True, 2)


@pytest.mark.usefixtures("one_address")
async def test_route_that_is_not_wanted_any_more_is_not_waited_for(tmp_path: Path) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        env_file.set(FEEDD_STREAMS=BOTH_ROUTES)
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            env_file.set(FEEDD_STREAMS="trade")
            await feedd.until(lambda _: feedd.daemon.state.settings.streams == ("trade",))
            assert list(feedd.symbol_state(HIT).routes) == [MARKET]
            await feedd.until_open(timeout=5.0)
            assert stale_routes(feedd) == []


@pytest.mark.usefixtures("one_address")
async def test_route_that_is_wanted_in_addition_is_waited_for(tmp_path: Path) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        env_file.set(FEEDD_STREAMS="trade")
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            env_file.set(FEEDD_STREAMS=BOTH_ROUTES)
            symbol_state = feedd.symbol_state(HIT)
            await feedd.until(lambda _: list(symbol_state.routes) == [MARKET, PUBLIC])
            await feedd.until(lambda _: symbol_state.is_connected)
            await feedd.until_open()
            await feedd.until(lambda _: symbol_state.routes[PUBLIC].staleness.last_at is not None)
            assert not symbol_state.gate.halted
