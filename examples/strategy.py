"""Buys what rises: three prices in a row, each above the last. Run `make run`, then this."""

import asyncio
import sys
from collections import deque
from decimal import Decimal

import feedd


async def trade(url: str, symbol: str) -> None:
    async with feedd.connect(url, symbols=[symbol], streams=["trade"]) as feed:

        @feed.on_halt
        async def cancel_orders(gate: feedd.GateView) -> None:
            print(f"{gate.symbol} halted ({', '.join(gate.reasons)}): every order is cancelled", flush=True)

        await feed.wait_open(symbol)
        prices: deque[Decimal] = deque(maxlen=3)
        async for event in feed:
            match event:
                case feedd.Missed():
                    print(f"missed {event.count or 'some'} of {event.stream}: begin anew", flush=True)
                    prices.clear()
                case feedd.Trade():
                    prices.append(event.price)
                    if is_rising(prices) and feed.gate(symbol).is_open:
                        print(f"buy {symbol} at {event.price}", flush=True)
                case _:
                    pass


def is_rising(prices: deque[Decimal]) -> bool:
    return len(prices) == 3 and prices[0] < prices[1] < prices[2]


if __name__ == "__main__":
    asyncio.run(trade(*(sys.argv[1:] or ["http://127.0.0.1:9745", "BTCUSDT"])))
