"""The status table: what a person reads at a glance."""

from __future__ import annotations

import re
import time

import aiohttp
import pytest

from feedd.cli.daemon_address import by_url
from feedd.cli.status import render, show_status
from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.errors import UnavailableError
from feedd.exchange import Exchange, ExchangeSettings
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.json_views import status
from tests.running import SYMBOLS, running, settings_for


def rendered(settings: Settings) -> str:
    state = DaemonState(settings, time.monotonic() - 90_061, time.time())
    return render(status(state, ClockReading.now()))


def test_halted_symbol_shows_why() -> None:
    lines = rendered(Settings(realtime=True, symbols=("BTCUSDT",))).splitlines()
    assert lines[0].endswith("source realtime  up 1d 01:01:01  NOT READY")
    assert lines[-2].split() == [
        "SYMBOL", "GATE", "AGE", "FEED", "MESSAGES", "MISSED", "P50", "P99", "HALTS", "WHY",
    ]  # fmt: skip
    assert lines[-1].startswith("BTCUSDT  halted")
    assert lines[-1].endswith("starting; no connection, next attempt in 0 s")
    assert " down " in lines[-1]


def test_static_source_and_kill_switch_are_said_loudly() -> None:
    text = rendered(Settings(trading_halted=True))
    assert "FLAG_REALTIME is off: static data, not production" in text
    assert "KILL SWITCH is on" in text


def test_static_row_needs_no_connection_and_its_gate_is_open_to_few() -> None:
    state = DaemonState(Settings(), time.monotonic(), time.time())
    session = state.symbols["BTCUSDT"]
    session.begin((), measures_latency=False, now=time.monotonic())
    session.gate.good(time.monotonic())
    text = render(status(state, ClockReading.now()))
    assert re.search(r"^BTCUSDT +open \(static\) +0\.0s +live ", text, re.MULTILINE)
    assert "clock offset not measured" in text


def test_unknown_latency_is_no_number() -> None:
    assert " ?  " in rendered(Settings(realtime=True))


async def test_running_daemon_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        Exchange(ExchangeSettings(symbols=SYMBOLS)) as exchange,
        running(settings_for(exchange)) as feedd,
    ):
        await feedd.until_open()
        assert await show_status(by_url(feedd.url, None, None), as_json=False, watch=False) == 0
    printed = capsys.readouterr().out
    assert printed.count(" open ") == printed.count(" live ") == len(SYMBOLS)


async def test_address_where_no_daemon_answers_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"no daemon answers at http://127\.0\.0\.1:9"):
        await show_status(by_url("http://127.0.0.1:9", None, None), as_json=False, watch=False)


async def test_address_of_something_else_is_named() -> None:
    async with Exchange(ExchangeSettings()) as exchange, aiohttp.ClientSession():
        with pytest.raises(UnavailableError, match="404"):
            await show_status(by_url(exchange.rest_url, None, None), as_json=True, watch=False)
