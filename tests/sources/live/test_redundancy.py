"""Two connections for good, to two exchanges: one of them dies under load, and nobody notices."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from feedd.config.resolve import resolve
from feedd.model import DisconnectReason
from tests.running import running
from tests.sources.live.test_make_before_break import Consumer

SYMBOLS = tuple(f"S{number}USDT" for number in range(10))
SPEED = 20.0
"""Times ten trades a second: 2,000 in all."""


@asynccontextmanager
async def exchange() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run an exchange as a process of its own. All of them have the same market, since the seed is one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "feedd", "exchange", "--listen", "127.0.0.1:0", "--seed", "7",
        "--symbols", ",".join(SYMBOLS), "--speed", str(SPEED),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        found = re.search(r"ws://(\S+)", line)
        assert found, line
        yield process, found[1]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_killed_exchange_costs_no_trade_and_halts_nothing_while_another_delivers() -> None:
    consumer = Consumer()
    async with exchange() as (doomed, first), exchange() as (_, second):
        arguments = {
            "FLAG_REALTIME": "1",
            "FEEDD_SYMBOLS": ",".join(SYMBOLS),
            "FEEDD_WS_URL": f"ws://{first},ws://{second}",
            "FEEDD_REST_URL": f"http://{second}",
            "FEEDD_LISTEN": "127.0.0.1:0",
            "FEEDD_REDUNDANCY": "2",
            "FEEDD_RESUME_AFTER_SECONDS": "0.5",
        }
        async with running(resolve(None, {}, arguments).settings, consumer) as feedd:
            await feedd.until_open()
            symbol_states = feedd.daemon.state.symbols.values()
            await feedd.until(
                lambda _: all(symbol_state.open_connections == 2 for symbol_state in symbol_states)
            )
            await feedd.until(lambda _: all(len(consumer.trades[name]) > 200 for name in SYMBOLS))

            doomed.send_signal(signal.SIGKILL)
            await feedd.until(
                lambda _: all(symbol_state.open_connections == 1 for symbol_state in symbol_states)
            )
            enough = {symbol: len(ids) + 200 for symbol, ids in consumer.trades.items()}
            await feedd.until(lambda _: all(len(consumer.trades[name]) > enough[name] for name in SYMBOLS))

            consumer.assert_complete()
            for symbol_state in symbol_states:
                assert sum(symbol_state.gate.halts.values()) == 0
                assert symbol_state.counts.disconnects[DisconnectReason.RESET] == 1
                trades = symbol_state.streams[f"{symbol_state.symbol.lower()}@trade"].sequence
                assert (trades.gaps, trades.duplicates, trades.resets) == (0, 0, 0)
