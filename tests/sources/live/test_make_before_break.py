"""A connection is replaced under full load: every trade once, in order, and the gate never closes."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import pytest

from feedd.core.stream_state import StreamState
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import DisconnectReason
from tests.running import SYMBOLS as TWO_SYMBOLS
from tests.running import EnvFile, Running, running, running_on, settings_for

SYMBOLS = tuple(f"S{number}USDT" for number in range(10))
RATE = 200.0
"""Trades a second and symbol: 2,000 in all."""
REPLACEMENTS = 200


class _Trade(msgspec.Struct):
    t: int


class _Frame(msgspec.Struct):
    data: _Trade


_FRAME = msgspec.json.Decoder(_Frame)


@dataclass(slots=True)
class Consumer:
    """Takes what the daemon hands on, as a strategy would, and remembers the trades."""

    trades: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def __call__(self, stream_state: StreamState, raw: bytes) -> None:
        if stream_state.stream.name == "trade":
            self.trades[stream_state.symbol].append(_FRAME.decode(raw).data.t)

    def assert_complete(self) -> None:
        for symbol, ids in self.trades.items():
            assert ids == list(range(ids[0], ids[0] + len(ids))), symbol
        assert len(self.trades) == len(SYMBOLS)


class MostConnections:
    """The most connections that a symbol has had at once, by the exchange's own count."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.most = 0

    def look(self) -> bool:
        counts = (self._exchange.open_connections(symbol) for symbol in SYMBOLS)
        self.most = max(self.most, *counts)
        return True


def _replaced(feedd: Running, reason: DisconnectReason) -> int:
    return sum(
        symbol_state.counts.disconnects[reason] for symbol_state in feedd.daemon.state.symbols.values()
    )


def _settings(**more: str) -> dict[str, str]:
    return {"FEEDD_SYMBOLS": ",".join(SYMBOLS), "FEEDD_CONNECT_BUDGET": "300", **more}


@pytest.mark.parametrize(
    ("reason", "rules", "settings"),
    [
        (DisconnectReason.ROTATION, {}, {"FEEDD_ROTATE_AFTER_HOURS": str(0.3 / 3600)}),
        (DisconnectReason.SERVER_SHUTDOWN, {"lifetime": 5.3, "shutdown_notice": 5.0}, {}),
    ],
    ids=["rotation", "server_shutdown"],
)
async def test_200_replacements_under_2000_trades_a_second_lose_repeat_and_halt_nothing(
    reason: DisconnectReason, rules: dict[str, float], settings: dict[str, str]
) -> None:
    consumer = Consumer()
    market = ExchangeSettings(symbols=SYMBOLS, rate=RATE, connects_max=1000, **rules)  # type: ignore[arg-type]
    async with (
        Exchange(market) as exchange,
        running(settings_for(exchange, **_settings(), **settings), consumer) as feedd,
    ):
        await feedd.until_open()
        connections = MostConnections(exchange)
        await feedd.until(
            lambda _: connections.look() and _replaced(feedd, reason) >= REPLACEMENTS, timeout=60.0
        )
        assert connections.most == 2
        consumer.assert_complete()
        for symbol_state in feedd.daemon.state.symbols.values():
            assert not symbol_state.gate.halted
            assert sum(symbol_state.gate.halts.values()) == 0
            trades = symbol_state.streams[f"{symbol_state.symbol.lower()}@trade"].sequence
            assert (trades.gaps, trades.duplicates, trades.resets) == (0, 0, 0)
            assert trades.copies > 0
            others = sum(symbol_state.counts.disconnects.values()) - symbol_state.counts.disconnects[reason]
            assert others == 0


async def test_quiet_market_is_no_frozen_connection() -> None:
    market = ExchangeSettings(symbols=SYMBOLS[:1], rate=100.0)
    async with (
        Exchange(market) as exchange,
        running(settings_for(exchange, FEEDD_SYMBOLS=SYMBOLS[0])) as feedd,
    ):
        await feedd.until_open()
        symbol_state = feedd.symbol_state(SYMBOLS[0])
        exchange.set_fault("mute", symbol=SYMBOLS[0], seconds=0.8)
        await feedd.until(lambda _: symbol_state.open_connections == 2)
        # Both deliver again, so neither was frozen: the elder goes, since its life is shorter.
        await feedd.until(lambda _: symbol_state.counts.disconnects[DisconnectReason.ROTATION] == 1)
        assert symbol_state.counts.disconnects[DisconnectReason.STALLED] == 0
        assert sum(symbol_state.gate.halts.values()) == 0


async def test_second_connection_in_a_silent_market_is_not_tried_again_and_again() -> None:
    market = ExchangeSettings(symbols=SYMBOLS[:1], rate=100.0)
    async with (
        Exchange(market) as exchange,
        running(settings_for(exchange, FEEDD_SYMBOLS=SYMBOLS[0])) as feedd,
    ):
        await feedd.until_open()
        symbol_state = feedd.symbol_state(SYMBOLS[0])
        for _ in range(3):
            exchange.set_fault("mute", symbol=SYMBOLS[0], seconds=0.8)
            await feedd.until(lambda _: symbol_state.age(time.monotonic()) > 0.7)
            await feedd.until(lambda _: symbol_state.age(time.monotonic()) < 0.3)
            await feedd.until(lambda _: symbol_state.open_connections == 1)
        assert symbol_state.counts.connects == 2


async def test_redundancy_follows_the_settings_while_running(tmp_path: Path) -> None:
    market = ExchangeSettings(symbols=TWO_SYMBOLS, rate=20.0)
    async with Exchange(market) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            for redundancy in (2, 1, 2):
                env_file.set(FEEDD_REDUNDANCY=str(redundancy))
                await feedd.until(partial(_has_connections, exchange, redundancy))
            for symbol_state in feedd.daemon.state.symbols.values():
                assert sum(symbol_state.gate.halts.values()) == 0
                assert symbol_state.counts.disconnects[DisconnectReason.ROTATION] == 1


def _has_connections(exchange: Exchange, count: int, feedd: Running) -> bool:
    return all(exchange.open_connections(symbol) == count for symbol in feedd.daemon.state.symbols)
