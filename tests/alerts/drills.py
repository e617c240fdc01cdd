"""Drills on the real stack: faults that must page, and everyday events that must not.

Each drill is one run of daemons, a Prometheus and an Alertmanager; they go on side by side, because most of
their time is waiting. What came of them is returned for the tests to judge.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from feedd.exchange import Exchange, ExchangeSettings
from tests.alerts.stack import Daemon, Notice, Target, Webhook, alertmanager, ask, free_port, prometheus

PAGE_WITHIN = {"direct": 1.0, "prometheus": 15.0}
"""Seconds from where feedd can know of a fault until a person is told, by the way that the news takes."""
RESOLVED_WITHIN = 75.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: how long a fault took to page."""

    fault: str
    page: str
    way: str
    seconds: float
    bound: float


@dataclass(slots=True)
class Outcome:
    """What came of a drill."""

    rows: list[Row] = field(default_factory=list)
    notices: dict[str, list[Notice]] = field(default_factory=dict)
    """What the webhooks got."""
    inhibited: set[tuple[str, str]] = field(default_factory=set)
    """Alerts, as name and symbol, that Prometheus raised and Alertmanager held back."""
    missing: list[str] = field(default_factory=list)
    """Pages and endings that never came."""
    evidence: dict[str, float] = field(default_factory=dict)
    """What shows that the drill was one: what Prometheus saw of it."""
    tokens: set[str] = field(default_factory=set)
    pagerduty: list[dict[str, object]] = field(default_factory=list)
    slack: list[dict[str, object]] = field(default_factory=list)


async def ready(url: str, targets: int) -> None:
    """Wait until Prometheus has scraped so many targets."""
    async with asyncio.timeout(30):
        while True:
            answer = await ask(url, "/api/v1/query", query="sum(up)")
            if [float(each["value"][1]) for each in answer["data"]["result"]] == [targets]:
                return
            await asyncio.sleep(0.1)


def live(exchange: Exchange, *symbols: str, **settings: str) -> dict[str, str]:
    """Return the settings of a daemon on live data; what isn't named is as shipped."""
    return {
        "FLAG_REALTIME": "1",
        "FEEDD_SYMBOLS": ",".join(symbols),
        "FEEDD_WS_URL": exchange.ws_url,
        "FEEDD_REST_URL": exchange.rest_url,
    } | settings


# --- halts, with everything as shipped


@dataclass(frozen=True, slots=True)
class HaltFault:
    """A fault of one symbol that halts it."""

    symbol: str
    reason: str
    begin: Callable[[Exchange], object]
    known_after: float
    """Seconds that must pass before anybody can know."""


def cut_off(exchange: Exchange) -> None:
    exchange.set_fault("refuse", symbol="DOWNUSDT")
    exchange.set_fault("reset", symbol="DOWNUSDT")


HALT_FAULTS = (
    HaltFault("DOWNUSDT", "disconnected", cut_off, 0.0),
    HaltFault("MUTEUSDT", "stale", lambda exchange: exchange.set_fault("mute", symbol="MUTEUSDT"), 10.0),
    HaltFault(
        # Held back for 1.5 s, and then three of ten in a second.
        "LATEUSDT",
        "latency",
        lambda exchange: exchange.set_fault("delay", symbol="LATEUSDT", ms=1500),
        2.0,
    ),
    HaltFault("BADUSDT", "schema", lambda exchange: exchange.set_fault("garbage", symbol="BADUSDT"), 0.5),
)
WAYS = tuple(PAGE_WITHIN)
HELD_BACK = {("FeeddDisconnected", "DOWNUSDT"), ("FeeddFeedStale", "MUTEUSDT")}
"""Symptoms that Prometheus sees too, and that must not page beside the halt."""


async def halts(folder: Path) -> Outcome:
    """Halt symbols and the desk, with two daemons on one exchange: one that posts, and one that leaves it."""
    outcome = Outcome()
    symbols = (*(fault.symbol for fault in HALT_FAULTS), "FINEUSDT")
    async with AsyncExitStack() as stack:
        exchange = await stack.enter_async_context(Exchange(ExchangeSettings(symbols=symbols)))
        webhooks, daemons, urls, alerts = {}, {}, [], ""
        for way in WAYS:
            webhooks[way] = await stack.enter_async_context(Webhook().listening())
            alerts = await stack.enter_async_context(alertmanager(folder / way, webhooks[way]))
            posts = {"FEEDD_ALERTMANAGER_URL": alerts} if way == "direct" else {}
            daemons[way] = Daemon(folder / way, **live(exchange, *symbols), **posts)
            await stack.enter_async_context(daemons[way].running())
            urls.append(
                await stack.enter_async_context(prometheus(folder / way, alerts, [daemons[way].target]))
            )
        for url in urls:
            await ready(url, 1)
        await _halt_symbols(exchange, webhooks, daemons, alerts, outcome)
        await asyncio.gather(
            _resume(exchange, webhooks, daemons, outcome), _lose_the_flags(webhooks, daemons, outcome)
        )
        for way, webhook in webhooks.items():
            outcome.notices[way] = webhook.notices
            outcome.tokens |= webhook.tokens
            outcome.pagerduty += webhook.pagerduty
            outcome.slack += webhook.slack
    return outcome


async def _halt_symbols(
    exchange: Exchange,
    webhooks: dict[str, Webhook],
    daemons: dict[str, Daemon],
    alertmanager_url: str,
    outcome: Outcome,
) -> None:
    began = {}
    for fault in HALT_FAULTS:
        began[fault.symbol] = time.monotonic()
        fault.begin(exchange)
    switched = time.monotonic()
    for daemon in daemons.values():
        daemon.save(FLAG_TRADING_HALTED="1")
    waits = []
    for way, webhook in webhooks.items():
        waits.append(_paged(outcome, webhook, way, "kill switch", switched, 0.0, "FeeddKillSwitch"))
        waits += [
            _paged(
                outcome,
                webhook,
                way,
                fault.reason,
                began[fault.symbol],
                fault.known_after,
                "FeeddTradingHalted",
                symbol=fault.symbol,
                reason=fault.reason,
            )
            for fault in HALT_FAULTS
        ]
    await asyncio.gather(*waits)
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while not outcome.inhibited >= HELD_BACK:
                outcome.inhibited |= await _inhibited(alertmanager_url)
                await asyncio.sleep(0.1)


async def _inhibited(alertmanager_url: str) -> set[tuple[str, str]]:
    return {
        (alert["labels"]["alertname"], alert["labels"]["symbol"])
        for alert in await ask(alertmanager_url, "/api/v2/alerts", active="false")
        if alert["status"]["inhibitedBy"]
    }


async def _resume(
    exchange: Exchange, webhooks: dict[str, Webhook], daemons: dict[str, Daemon], outcome: Outcome
) -> None:
    exchange.clear_faults()
    for daemon in daemons.values():
        daemon.save(FLAG_TRADING_HALTED="0")
    for webhook in webhooks.values():
        await _over(outcome, webhook, "FeeddKillSwitch")
        for fault in HALT_FAULTS:
            await _over(outcome, webhook, "FeeddTradingHalted", symbol=fault.symbol, reason=fault.reason)


async def _lose_the_flags(webhooks: dict[str, Webhook], daemons: dict[str, Daemon], outcome: Outcome) -> None:
    await asyncio.sleep(1.0)  # the kill switch is taken back just now, and that is to be read first
    lost = time.monotonic()
    for daemon in daemons.values():
        daemon.env_file.rename(daemon.env_file.with_suffix(".away"))
    await asyncio.gather(
        *(
            # Gone for a second, and looked at twice a second.
            _paged(outcome, webhook, way, "env-file gone", lost, 1.5, "FeeddFlagsUnreadable")
            for way, webhook in webhooks.items()
        )
    )
    for daemon in daemons.values():
        daemon.save()
    for webhook in webhooks.values():
        await _over(outcome, webhook, "FeeddFlagsUnreadable")


async def _paged(
    outcome: Outcome,
    webhook: Webhook,
    way: str,
    fault: str,
    began: float,
    known_after: float,
    name: str,
    **labels: str,
) -> None:
    bound = known_after + PAGE_WITHIN[way]
    try:
        # Longer than allowed, so that the table shows by how much it was too late.
        notice = await webhook.wait("firing", name, bound + 15.0, **labels)
    except TimeoutError:
        outcome.missing.append(f"{name} for {fault}, {way}: no page")
        return
    outcome.rows.append(Row(fault, name, way, notice.at - began, bound))


async def _over(outcome: Outcome, webhook: Webhook, name: str, **labels: str) -> None:
    try:
        await webhook.wait("resolved", name, RESOLVED_WITHIN, **labels)
    except TimeoutError:
        outcome.missing.append(f"{name} {labels}: not resolved")


# --- everything else that a fault can cause, with shorter waits

FACTOR = 20.0
"""The rules look back for minutes and wait for more: so many times less here, routes and scrapes too."""
PAGED = (
    ("FeeddHeartbeatSilent", {"symbol": "BEATUSDT", "stream": "kline_1s", "severity": "warning"}),
    ("FeeddLatencyHigh", {"symbol": "LATEUSDT", "severity": "warning"}),
    ("FeeddConnectionFlapping", {"symbol": "FLAPUSDT", "severity": "warning"}),
    ("FeeddMessagesLost", {"symbol": "LOSTUSDT", "stream": "trade", "severity": "warning"}),
    ("FeeddInvalidMessages", {"symbol": "BADUSDT", "reason": "bad_json", "severity": "warning"}),
    ("FeeddUnknownFields", {"symbol": "NEWUSDT", "severity": "warning"}),
    ("FeeddStuckStarting", {"symbol": "DUMBUSDT", "severity": "critical"}),
    ("FeeddReloadFailed", {"severity": "warning"}),
    ("FeeddClockUnsynchronised", {"severity": "warning"}),
    ("FeeddClockOffset", {"severity": "warning"}),
    ("FeeddStaticSource", {"severity": "critical"}),
    ("FeeddPagerFailing", {"severity": "warning"}),
    ("FeeddEventLoopLagging", {"severity": "warning"}),
    ("FeeddCrashLooping", {"severity": "critical"}),
    ("FeeddDown", {"severity": "critical"}),
)
"""What pages in this drill, with labels that it must have."""
PAGED_BESIDES = (
    ("FeeddTradingHalted", {"symbol": "FLAPUSDT", "reason": "disconnected"}),
    ("FeeddMessagesLost", {"symbol": "FLAPUSDT", "stream": "trade"}),
    ("FeeddTradingHalted", {"symbol": "TIMEUSDT", "reason": "latency"}),
)
"""What the same faults may page as well: a lost connection halts, and so does a clock that is put back."""
FEEDS = ("BEATUSDT", "LATEUSDT", "FLAPUSDT", "LOSTUSDT", "BADUSDT", "NEWUSDT", "DUMBUSDT")


class Troubles:
    """The faults of this drill, each with its own course in time."""

    def __init__(self, exchange: Exchange, clocks: Exchange, webhook: Webhook, alerts: str, outcome: Outcome):
        self._exchange = exchange
        self._clocks = clocks
        self._webhook = webhook
        self._alerts = alerts
        self._outcome = outcome

    async def of_feeds(self, daemon: Daemon, silence: int) -> None:
        """Let streams be silent, late, broken, drifting and lossy, all at once."""
        exchange, at = self._exchange, time.monotonic()
        faults = [
            exchange.set_fault("mute", symbol="BEATUSDT", stream="kline_1s"),
            exchange.set_fault("delay", symbol="LATEUSDT", stream="kline_1s", ms=1500),
            exchange.set_fault("unknown_field", symbol="NEWUSDT"),
        ]
        exchange.set_fault("gap", symbol="LOSTUSDT", stream="trade", count=3)
        exchange.set_fault("garbage", symbol="BADUSDT", add=True, count=1)
        daemon.save(FEEDD_SYMBOLS="")
        await asyncio.gather(
            self._flap(at),
            self._paged("garbage, one frame", at, "FeeddInvalidMessages", symbol="BADUSDT"),
            self._paged("gap", at, "FeeddMessagesLost", symbol="LOSTUSDT"),
            self._paged("unknown_field", at, "FeeddUnknownFields", symbol="NEWUSDT"),
            self._paged("mute kline_1s", at, "FeeddHeartbeatSilent", symbol="BEATUSDT"),
            self._paged("delay kline_1s", at, "FeeddLatencyHigh", symbol="LATEUSDT"),
            self._paged("mute, from the start", at, "FeeddStuckStarting", symbol="DUMBUSDT"),
            self._paged("bad env-file", at, "FeeddReloadFailed"),
        )
        for fault in faults:
            exchange.clear_fault(fault)
        exchange.clear_fault(silence)
        daemon.save(FEEDD_SYMBOLS=",".join(FEEDS))
        for name in (
            "FeeddInvalidMessages",
            "FeeddMessagesLost",
            "FeeddUnknownFields",
            "FeeddHeartbeatSilent",
            "FeeddLatencyHigh",
            "FeeddStuckStarting",
            "FeeddReloadFailed",
            "FeeddConnectionFlapping",
        ):
            await _over(self._outcome, self._webhook, name)

    async def _flap(self, at: float) -> None:
        connects = self._exchange.stats.connects_by_symbol
        for _ in range(3):
            had = connects["FLAPUSDT"]
            self._exchange.set_fault("reset", symbol="FLAPUSDT")
            await self._exchange.wait_connected("FLAPUSDT", had + 1)
            await asyncio.sleep(1.0)
        await self._paged("reset, three times", at, "FeeddConnectionFlapping")

    async def of_clocks(self) -> None:
        """Let the venue's clock be out of reach at first, then be wrong, then right."""
        at = time.monotonic()
        await self._paged("rest_http, from the start", at, "FeeddClockUnsynchronised")
        at = time.monotonic()
        for fault in self._clocks.faults.active():
            if fault.kind.name == "rest_http":
                self._clocks.clear_fault(fault)
        await self._paged("clock_skew", at, "FeeddClockOffset")
        self._clocks.clear_faults()
        await _over(self._outcome, self._webhook, "FeeddClockUnsynchronised")
        await _over(self._outcome, self._webhook, "FeeddClockOffset")

    async def of_settings(self, daemon: Daemon) -> None:
        """Let a production daemon run on static data, and post to where no Alertmanager is."""
        at = time.monotonic()
        await asyncio.gather(
            self._paged("FLAG_REALTIME=0", at, "FeeddStaticSource"),
            self._paged("Alertmanager refuses", at, "FeeddPagerFailing"),
        )
        daemon.save(FLAG_REALTIME="1", FEEDD_ALERTMANAGER_URL=self._alerts)
        await _over(self._outcome, self._webhook, "FeeddStaticSource")
        await _over(self._outcome, self._webhook, "FeeddPagerFailing")

    async def of_the_process(self, daemon: Daemon) -> None:
        """Let a daemon hang again and again, then crash again and again, then stay down."""
        at = time.monotonic()
        async with _hanging(daemon):
            await self._paged("SIGSTOP, 0.3 s of each", at, "FeeddEventLoopLagging")
        at = time.monotonic()
        for _ in range(3):
            await daemon.stop(signal.SIGKILL)
            await daemon.start()
            await asyncio.sleep(1.0)
        await self._paged("SIGKILL, three times", at, "FeeddCrashLooping")
        at = time.monotonic()
        await daemon.stop(signal.SIGKILL)
        await self._paged("SIGKILL", at, "FeeddDown")
        await daemon.start()
        for name in ("FeeddDown", "FeeddEventLoopLagging", "FeeddCrashLooping"):
            await _over(self._outcome, self._webhook, name)

    async def _paged(self, fault: str, began: float, name: str, **labels: str) -> None:
        try:
            notice = await self._webhook.wait("firing", name, 45.0, **labels)
        except TimeoutError:
            self._outcome.missing.append(f"{name} for {fault}: no page")
            return
        self._outcome.rows.append(Row(fault, name, "compressed", notice.at - began, 45.0))


@asynccontextmanager
async def _hanging(daemon: Daemon) -> AsyncIterator[None]:
    async def hang() -> None:
        while True:
            daemon.send(signal.SIGSTOP)
            try:
                await asyncio.sleep(0.3)
            finally:
                daemon.send(signal.SIGCONT)
            await asyncio.sleep(0.7)

    task = asyncio.create_task(hang())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def troubles(folder: Path, look: Callable[[str], Awaitable[None]]) -> Outcome:
    """Cause every other alert that a fault can cause; `look` is shown the Prometheus that saw it all."""
    outcome = Outcome()
    async with (
        Webhook().listening() as webhook,
        alertmanager(folder, webhook, FACTOR) as alerts,
        Exchange(ExchangeSettings(symbols=FEEDS)) as exchange,
        Exchange(ExchangeSettings(symbols=("TIMEUSDT",))) as clocks,
    ):
        silence = exchange.set_fault("mute", symbol="DUMBUSDT")
        clocks.set_fault("rest_http")
        clocks.set_fault("clock_skew", ms=5000)
        feeds = Daemon(
            folder / "feeds",
            **live(exchange, *FEEDS, FEEDD_ALERTMANAGER_URL=alerts),
            FEEDD_STALE_AFTER_SECONDS="2",
            # So that it isn't stale but only silent from the start.
            FEEDD_STALE_AFTER_SECONDS_DUMBUSDT="600",
        )
        timed = Daemon(folder / "timed", **live(clocks, "TIMEUSDT"))
        static = Daemon(
            folder / "static",
            **live(exchange, "NEWUSDT")
            | {"FLAG_REALTIME": "0", "FEEDD_ALERTMANAGER_URL": f"http://127.0.0.1:{free_port()}"},
        )
        shaky = Daemon(folder / "shaky", **live(exchange, "BADUSDT"))
        daemons = (feeds, timed, static, shaky)
        async with AsyncExitStack() as stack:
            for daemon in daemons:
                await stack.enter_async_context(daemon.running(is_open=daemon in (timed, shaky)))
            url = await stack.enter_async_context(
                prometheus(folder, alerts, [daemon.target for daemon in daemons], FACTOR)
            )
            await ready(url, len(daemons))
            course = Troubles(exchange, clocks, webhook, alerts, outcome)
            await asyncio.gather(
                course.of_feeds(feeds, silence.id),
                course.of_clocks(),
                course.of_settings(static),
                course.of_the_process(shaky),
            )
            await look(url)
            outcome.notices["compressed"] = webhook.notices
    return outcome


# --- what must not page

BENIGN_FACTOR = 10.0
BENIGN_SECONDS = 60.0
"""Ten minutes at this factor."""
MANY, FEW = ("BTCUSDT", "ETHUSDT"), ("THINUSDT", "MUMUSDT")


class MissedScrapes:
    """Stands between Prometheus and a daemon, and sometimes lets nobody through."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.is_closed = False
        self.missed = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Target]:
        """Run for a while; yields what Prometheus is to scrape."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield Target(server.sockets[0].getsockname()[1], {})
        finally:
            self.close()
            server.close()

    def close(self) -> None:
        """Let nobody through, not even who is through already."""
        self.is_closed = True
        for writer in self._open:
            writer.close()

    def open(self) -> None:
        """Let everybody through."""
        self.is_closed = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_closed:
            self.missed += 1
            writer.close()
            return
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        ends = {writer, forth}
        self._open |= ends
        await asyncio.gather(_carry(reader, forth), _carry(back, writer))
        self._open -= ends


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def benign(folder: Path) -> Outcome:
    """Let ten minutes of everyday pass: nothing of it may page anybody."""
    outcome = Outcome()
    prices = folder / "prices"
    prices.mkdir(parents=True)
    (prices / "SPY.csv").write_text(_bars(seconds=20))
    async with (
        Webhook().listening() as webhook,
        alertmanager(folder, webhook, BENIGN_FACTOR) as alerts,
        Exchange(ExchangeSettings(symbols=MANY)) as busy,
        Exchange(ExchangeSettings(symbols=FEW, rate=0.0)) as quiet,
    ):
        posts = {"FEEDD_ALERTMANAGER_URL": alerts}
        lively = Daemon(folder / "lively", **live(busy, *MANY, FEEDD_ROTATE_AFTER_HOURS="0.001"), **posts)
        thin = Daemon(folder / "thin", **live(quiet, *FEW, FEEDD_STALE_AFTER_SECONDS_MUMUSDT="120"), **posts)
        test = Daemon(
            folder / "test",
            FLAG_REALTIME="0",
            FEEDD_SYMBOLS="SPY,QQQ",
            FEEDD_CSV_PATH=str(prices),
            FEEDD_STALE_AFTER_SECONDS="5",
            **posts,
        )
        scrapes = MissedScrapes(lively.port)
        async with (
            lively.running(),
            thin.running(),
            test.running(is_open=False),
            scrapes.running() as target,
            prometheus(
                folder,
                alerts,
                [target, thin.target, Target(test.port, {"environment": "test"})],
                BENIGN_FACTOR,
            ) as url,
        ):
            await ready(url, 3)
            quiet.set_fault("mute", symbol="MUMUSDT", seconds=30)
            ends_at = time.monotonic() + BENIGN_SECONDS
            await asyncio.sleep(3)
            await _restart(lively)
            await asyncio.sleep(6)
            scrapes.close()
            await asyncio.sleep(1.2)
            scrapes.open()
            await asyncio.sleep(6)
            # A deploy: restarted, with settings of its own.
            lively.settings |= {"FEEDD_LATENCY_LIMIT_SECONDS": "2", "FEEDD_SYMBOLS": "BTCUSDT"}
            lively.save()
            await _restart(lively)
            await asyncio.sleep(3)
            lively.save(FEEDD_SYMBOLS=",".join(MANY))
            await asyncio.sleep(ends_at - time.monotonic())
            outcome.notices["benign"] = webhook.notices
            outcome.evidence = await _evidence(url)
    return outcome


async def _evidence(url: str) -> dict[str, float]:
    """Return what Prometheus saw of the everyday events."""
    asked = {
        "starts": "max(changes(process_start_time_seconds[2m]))",
        "rotations": 'sum(max_over_time(feedd_disconnects_total{reason="rotation"}[2m]))',
        "scrapes missed": "max(count_over_time((up == 0)[2m:500ms]))",
        "longest silence": 'max(max_over_time(feedd_feed_staleness_seconds{symbol="MUMUSDT"}[2m]))',
        "halts on static data": 'max(max_over_time(feedd_trading_halted{environment="test"}[2m]))',
        "pages of the rules": 'count(ALERTS{alertstate="firing"}) or vector(0)',
    }
    answers = {name: await ask(url, "/api/v1/query", query=query) for name, query in asked.items()}
    return {name: float(each["data"]["result"][0]["value"][1]) for name, each in answers.items()}


async def _restart(daemon: Daemon) -> None:
    await daemon.stop()
    await daemon.start()


def _bars(seconds: int) -> str:
    """Return a recording that is over before the drill is."""
    lines = ["timestamp,open,high,low,close,volume"]
    lines += [f"2026-01-05T14:30:{second:02d}Z,1,1,1,1,10" for second in range(seconds)]
    return "\n".join(lines) + "\n"
