"""Halts on their way to Alertmanager: to a server that shows what was posted, and to the real one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from feedd._version import __version__
from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.model import Reason, Source
from feedd.outputs import alertmanager as module
from feedd.outputs.alertmanager import ALERTS_IN_A_POST, Pager, PagerTiming
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.output import Phase
from tests.alerts.stack import Webhook, alertmanager, ask, needs_components, until

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HIT, OTHER = SYMBOLS


@dataclass
class Post:
    """What came in one request."""

    at: float
    alerts: list[dict[str, Any]]


@dataclass
class Peer:
    """Stands in for Alertmanager: remembers what is posted, and answers as it is told."""

    status: int = 200
    hangs: bool = False
    posts: list[Post] = field(default_factory=list)
    agents: set[str | None] = field(default_factory=set)
    refused: list[Post] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/json"
        assert "Accept" not in request.headers
        self.agents.add(request.headers.get("User-Agent"))
        post = Post(time.monotonic(), orjson.loads(await request.read()))
        if self.hangs or self.status != 200:
            self.refused.append(post)
        else:
            self.posts.append(post)
        if self.hangs:
            await asyncio.sleep(60)
        headers = {"Location": "/elsewhere"} if self.status == 302 else None
        return web.Response(status=self.status, text="no" * 500, headers=headers)

    @property
    def news(self) -> list[list[dict[str, Any]]]:
        """What was taken, without the posts that only tried the way."""
        return [post.alerts for post in self.posts if post.alerts]


@asynccontextmanager
async def listening(peer: Peer, port: int = 0) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.post("/prefix/api/v2/alerts", peer.take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/prefix"
    finally:
        await runner.cleanup()


def state_for(url: str | None, symbols: tuple[str, ...] = SYMBOLS) -> DaemonState:
    """Return the state of a daemon on live data with every gate open."""
    state = DaemonState(
        Settings(symbols=symbols, realtime=True, alertmanager_url=url, resume_after_seconds=0.0),
        time.monotonic(),
        time.time(),
    )
    for symbol_state in state.symbols.values():
        symbol_state.gate.began(time.monotonic())
        symbol_state.gate.changes.clear()
    return state


@dataclass
class Bench:
    """A pager that runs, and the state it reads."""

    state: DaemonState
    pager: Pager

    def halt(self, reason: Reason, symbol: str = HIT) -> None:
        self.state.symbols[symbol].gate.trip(reason, time.monotonic())
        self.tell()

    def lift(self, reason: Reason, symbol: str = HIT) -> None:
        gate = self.state.symbols[symbol].gate
        gate.clear(reason, time.monotonic())
        gate.good(time.monotonic())
        self.tell()

    def turn(self, **settings: Any) -> None:
        """Change settings as the daemon does."""
        old = self.state.settings
        self.state.settings = replace(old, **settings)
        self.pager.apply_settings(old, self.state.settings)

    def tell(self) -> None:
        """Hand the changes on as the daemon does."""
        for symbol_state in self.state.symbols.values():
            changes, symbol_state.gate.changes = symbol_state.gate.changes, []
            for change in changes:
                self.pager.gate_changed(symbol_state, change)


HURRIED = PagerTiming(resend=0.3, valid=1.2, end_after=0.15)


@asynccontextmanager
async def paging(state: DaemonState, timing: PagerTiming | None = None) -> AsyncIterator[Bench]:
    pager = Pager(state, timing)
    task = asyncio.create_task(pager.run())
    try:
        yield Bench(state, pager)
    finally:
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)


def reading(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def test_halt_is_posted_at_once_with_its_labels_and_times() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url)) as bench:
        await until(lambda: bool(peer.posts))
        halted_at, halted_wall = time.monotonic(), time.time()
        bench.halt(Reason.STALE)
        await until(lambda: bool(peer.news))
        assert peer.posts[-1].at - halted_at < 0.2
        [alert] = peer.news[0]
        assert alert["labels"] == {
            "alertname": "FeeddTradingHalted",
            "severity": "critical",
            "symbol": HIT,
            "reason": "stale",
        }
        assert alert["annotations"] == {
            "summary": "Trading is halted in a symbol, by feedd itself.",
            "description": f"{HIT} is halted, reason stale.",
            "runbook_url": "https://feedd.example/runbook.md#feeddtradinghalted",
        }
        assert reading(alert["startsAt"]) == pytest.approx(halted_wall, abs=0.05)
        assert reading(alert["endsAt"]) == pytest.approx(halted_wall + PagerTiming().valid, abs=1)
        assert bench.pager.failures == 0


async def test_posts_say_who_posts_and_are_counted() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url)) as bench:
        await until(lambda: bool(peer.posts))
        assert peer.agents == {f"feedd/{__version__}"}
        await until(lambda: bench.pager.posts == len(peer.posts))
        lines = [row.write(ClockReading.now()) for _, rows in bench.pager.metrics() for row in rows]
        assert lines == [f"feedd_pager_posts_total {bench.pager.posts}\n", "feedd_pager_failures_total 0\n"]


def test_stop_that_was_asked_for_wakes_nobody() -> None:
    bench = Bench(state := state_for("http://127.0.0.1:9"), Pager(state))
    bench.pager.phase_changed(Phase.READY)
    bench.halt(Reason.STALE, OTHER)
    bench.pager.phase_changed(Phase.STOPPING)
    bench.halt(Reason.DISCONNECTED)
    assert [halt.symbol for halt in bench.pager._alerts] == [OTHER]


async def test_link_leads_to_where_the_runbook_is_published() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url)) as bench:
        bench.turn(runbook_url="https://wiki/feedd")
        bench.halt(Reason.STALE)
        await until(lambda: bool(peer.news))
        assert peer.news[0][0]["annotations"]["runbook_url"] == "https://wiki/feedd#feeddtradinghalted"


async def test_end_is_posted_with_its_time_once_prometheus_has_seen_it_too() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url), HURRIED) as bench:
        bench.halt(Reason.DISCONNECTED)
        await until(lambda: bool(peer.news))
        lifted_at, lifted_wall = time.monotonic(), time.time()
        bench.lift(Reason.DISCONNECTED)
        await until(lambda: reading(peer.news[-1][0]["endsAt"]) <= time.time())
        assert peer.posts[-1].at - lifted_at >= HURRIED.end_after
        assert reading(peer.news[-1][0]["endsAt"]) == pytest.approx(lifted_wall, abs=0.05)
        assert peer.news[-1][0]["startsAt"] == peer.news[0][0]["startsAt"]
        taken = len(peer.news)
        await until(lambda: len(peer.posts) >= taken + 2)
        assert len(peer.news) == taken, "told once"


async def test_what_halts_anew_before_its_end_was_told_is_the_same_page() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url), HURRIED) as bench:
        bench.halt(Reason.LATENCY)
        await until(lambda: bool(peer.news))
        bench.lift(Reason.LATENCY)
        bench.halt(Reason.LATENCY)
        await until(lambda: len(peer.news) >= 4)  # posted again and again: longer than an end is put off
        assert {alerts[0]["startsAt"] for alerts in peer.news} == {peer.news[0][0]["startsAt"]}
        assert all(reading(alerts[0]["endsAt"]) > time.time() for alerts in peer.news[-1:])


async def test_halt_that_is_over_before_anybody_could_post_it_is_posted_nevertheless() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url), HURRIED) as bench:
        await until(lambda: bool(peer.posts))
        bench.halt(Reason.SCHEMA)
        bench.lift(Reason.SCHEMA)
        await until(lambda: len(peer.news) == 2)
        first, last = (alerts[0] for alerts in peer.news)
        assert reading(first["endsAt"]) > reading(first["startsAt"]) + 1
        assert reading(last["endsAt"]) == pytest.approx(reading(last["startsAt"]), abs=0.05)


async def test_active_halt_is_sent_again_and_again_with_a_later_end() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url), HURRIED) as bench:
        bench.halt(Reason.EXCHANGE)
        await until(lambda: len(peer.news) >= 3)
        ends = [reading(alerts[0]["endsAt"]) for alerts in peer.news]
        assert ends == sorted(set(ends))
        assert ends[2] - ends[1] == pytest.approx(HURRIED.resend, abs=0.15)


async def test_kill_switch_is_one_alert_for_all_symbols_and_ends_with_the_last() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url), HURRIED) as bench:
        bench.state.set_kill_switch(True, time.monotonic())
        bench.tell()
        await until(lambda: bool(peer.news))
        assert [alert["labels"] for alert in peer.news[0]] == [
            {"alertname": "FeeddKillSwitch", "severity": "critical", "reason": "kill_switch"}
        ]
        bench.state.set_kill_switch(False, time.monotonic())
        bench.tell()
        await until(lambda: reading(peer.news[-1][0]["endsAt"]) <= time.time())


async def test_unreadable_flags_are_one_alert_for_all_symbols() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url)) as bench:
        bench.state.set_flags_unreadable(True, time.monotonic())
        bench.tell()
        await until(lambda: bool(peer.news))
        assert [alert["labels"] for alert in peer.news[0]] == [
            {"alertname": "FeeddFlagsUnreadable", "severity": "critical", "reason": "flags_unreadable"}
        ]


async def test_halts_that_hold_when_the_daemon_starts_are_posted_without_being_told_of() -> None:
    peer = Peer()
    async with listening(peer) as url:
        state = state_for(url)
        state.set_kill_switch(True, time.monotonic())
        state.symbols[OTHER].gate.trip(Reason.STALE, time.monotonic())
        async with paging(state):
            await until(lambda: bool(peer.news))
            names = {alert["labels"]["alertname"] for alert in peer.news[0]}
            assert names == {"FeeddKillSwitch", "FeeddTradingHalted"}


async def test_starting_pages_nobody() -> None:
    peer = Peer()
    async with listening(peer) as url:
        state = DaemonState(
            Settings(symbols=SYMBOLS, realtime=True, alertmanager_url=url), time.monotonic(), time.time()
        )
        async with paging(state, HURRIED) as bench:
            bench.tell()
            await until(lambda: len(peer.posts) >= 3)
            assert peer.news == []


async def test_static_data_pages_nobody_but_the_kill_switch_does() -> None:
    peer = Peer()
    async with listening(peer) as url:
        state = state_for(url)
        state.source = Source.STATIC
        async with paging(state) as bench:
            bench.halt(Reason.STALE)
            bench.state.set_kill_switch(True, time.monotonic())
            bench.tell()
            await until(lambda: bool(peer.news))
            assert [alert["labels"]["alertname"] for alerts in peer.news for alert in alerts] == [
                "FeeddKillSwitch"
            ]


async def test_halts_end_when_their_symbol_or_their_source_goes() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url), HURRIED) as bench:
        bench.halt(Reason.STALE, HIT)
        bench.halt(Reason.STALE, OTHER)
        await until(lambda: bool(peer.news))

        def ended() -> set[str]:
            alerts = [alert for alerts in peer.news for alert in alerts]
            return {alert["labels"]["symbol"] for alert in alerts if reading(alert["endsAt"]) <= time.time()}

        del bench.state.symbols[HIT]
        await until(lambda: ended() == {HIT})
        bench.state.source = Source.STATIC
        await until(lambda: ended() == {HIT, OTHER})


async def test_alertmanager_that_is_down_gets_the_newest_state_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "feedd")
    peer = Peer()
    async with listening(peer) as url:
        port = int(url.split(":")[2].split("/")[0])
    async with paging(state_for(url), HURRIED) as bench:
        bench.halt(Reason.STALE, HIT)
        bench.halt(Reason.DISCONNECTED, OTHER)
        await until(lambda: bench.pager.failures >= 3)
        bench.lift(Reason.STALE, HIT)
        await until(lambda: len(bench.pager._alerts) == 1)
        async with listening(peer, port):
            await until(lambda: bool(peer.news))
            assert [alert["labels"]["symbol"] for alerts in peer.news for alert in alerts] == [OTHER]
            await until(lambda: len(peer.posts) >= 2)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2, "once per change, not once per attempt"
    assert told[0].startswith("Alertmanager can't be told of halts")
    assert told[1] == "Alertmanager takes halts"


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
async def test_any_answer_but_200_is_a_failure_and_tried_again(status: int) -> None:
    peer = Peer(status=status)
    async with listening(peer) as url, paging(state_for(url)) as bench:
        bench.halt(Reason.STALE)
        await until(lambda: bench.pager.failures >= 2)
        assert bench.pager.posts == 0
        peer.status = 200
        await until(lambda: bool(peer.news))


async def test_alertmanager_that_hangs_costs_the_feed_nothing() -> None:
    peer = Peer(hangs=True)
    symbols = tuple(f"S{number}USDT" for number in range(200))
    async with listening(peer) as url, paging(state_for(url, symbols), PagerTiming(timeout=0.3)) as bench:
        await until(lambda: bool(peer.refused))
        began = time.perf_counter()
        for symbol in symbols:
            bench.state.symbols[symbol].gate.trip(Reason.STALE, time.monotonic())
            change = bench.state.symbols[symbol].gate.changes.pop()
            bench.pager.gate_changed(bench.state.symbols[symbol], change)
        assert (time.perf_counter() - began) / len(symbols) < 0.0005
        await until(lambda: bench.pager.failures >= 1)
        peer.hangs = False
        await until(lambda: sum(map(len, peer.news)) == len(symbols))


async def test_what_waits_is_bounded_by_the_halts_there_are() -> None:
    peer = Peer(status=500)
    async with listening(peer) as url, paging(state_for(url), HURRIED) as bench:
        for _ in range(500):
            bench.halt(Reason.STALE)
            bench.lift(Reason.STALE)
        bench.halt(Reason.STALE)
        await until(lambda: bench.pager.failures >= 2)
        assert len(bench.pager._alerts) == 1
        peer.status = 200
        await until(lambda: bool(peer.news))
        assert len(peer.news[0]) == 1


async def test_many_halts_go_in_several_posts() -> None:
    peer = Peer()
    symbols = tuple(f"S{number}USDT" for number in range(2 * ALERTS_IN_A_POST + 1))
    async with listening(peer) as url, paging(state_for(url, symbols)) as bench:
        await until(lambda: bool(peer.posts))
        for symbol in symbols:
            bench.state.symbols[symbol].gate.trip(Reason.DISCONNECTED, time.monotonic())
        bench.tell()
        await until(lambda: sum(map(len, peer.news)) == len(symbols))
        assert [len(alerts) for alerts in peer.news] == [ALERTS_IN_A_POST, ALERTS_IN_A_POST, 1]


async def test_way_is_tried_while_there_is_nothing_to_tell() -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url), HURRIED) as bench:
        await until(lambda: len(peer.posts) >= 3)
        assert peer.news == []
        peer.status = 503
        await until(lambda: bench.pager.failures >= 1)


async def test_address_can_change_while_running() -> None:
    peers = Peer(), Peer()
    async with (
        listening(peers[0]) as first,
        listening(peers[1]) as second,
        paging(state_for(None), HURRIED) as bench,
    ):
        bench.halt(Reason.STALE)
        for url, peer in ((first, peers[0]), (second, peers[1])):
            bench.turn(alertmanager_url=url)
            await until(lambda peer=peer: bool(peer.news))  # type: ignore[misc]  # peer is a Peer
        taken = len(peers[0].posts)
        bench.turn(alertmanager_url=None)
        bench.halt(Reason.LATENCY)
        await asyncio.sleep(2 * HURRIED.resend)
        assert len(peers[0].posts) == taken
        assert "latency" not in str(peers[1].news)


async def test_bug_is_contained_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Peer()
    async with listening(peer) as url, paging(state_for(url), PagerTiming(longest_pause=0.05)) as bench:
        await until(lambda: bool(peer.posts))
        with monkeypatch.context() as broken:
            broken.setattr(module, "rfc3339", lambda wall: 1 / 0)
            bench.halt(Reason.STALE)
            await until(lambda: bench.pager.failures >= 2)
        await until(lambda: bool(peer.news))
    assert "ZeroDivisionError" in caplog.text


async def test_real_alertmanager_pages_and_resolves_and_prometheus_adds_to_the_same_alert(
    tmp_path: Path,
) -> None:
    needs_components()
    async with (
        Webhook().listening() as webhook,
        alertmanager(tmp_path, webhook) as url,
        paging(state_for(url), HURRIED) as bench,
    ):
        await until(lambda: bench.pager.posts > 0)
        halted_at, halted_wall = time.monotonic(), time.time()
        bench.halt(Reason.STALE)
        notice = await webhook.wait("firing", "FeeddTradingHalted", 5, symbol=HIT, reason="stale")
        assert notice.at - halted_at <= 1.0
        assert notice.receiver == "critical"
        assert notice.starts_at.timestamp() == pytest.approx(halted_wall, abs=0.05)
        await post_as_prometheus(url, notice.labels)
        [alert] = await ask(url, "/api/v2/alerts")
        assert alert["labels"] == notice.labels
        lifted_wall = time.time()
        bench.lift(Reason.STALE)
        over = await webhook.wait("resolved", "FeeddTradingHalted", 5, symbol=HIT, reason="stale")
        assert over.starts_at == notice.starts_at
        assert over.ends_at.timestamp() == pytest.approx(lifted_wall, abs=0.05)
        assert [each.status for each in webhook.notices] == ["firing", "resolved"]


async def post_as_prometheus(url: str, labels: dict[str, str]) -> None:
    """Post the alert as Prometheus does when it has noticed it some seconds later."""
    now = time.time()
    stamps = {
        key: datetime.fromtimestamp(at).astimezone().isoformat()
        for key, at in {"startsAt": now, "endsAt": now + 240}.items()
    }
    alert = {"labels": labels, "annotations": {"summary": "as the rule words it"}, **stamps}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{url}/api/v2/alerts", json=[alert]) as response,
    ):
        assert response.status == 200
