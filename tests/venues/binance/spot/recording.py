"""A recorded session of the real exchange, which is no part of the project: who asks for it may get none."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from feedd.model import Subscription
from feedd.venues.binance.spot.tables import SPOT

RECORDING: Final = Path(__file__).parents[5] / "shared/data/binance-spot-2021-10-12.ws.txt"
_SYMBOLS = ("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")
_STREAMS = ("depth@100ms", "bookTicker", "kline_1m", "aggTrade")

RECORDED: Final = {
    subscription.wire_name: subscription
    for subscription in (
        Subscription(symbol, SPOT.parse_stream(stream)) for symbol in _SYMBOLS for stream in _STREAMS
    )
}
"""What the session was subscribed to, by its name on the wire."""


def recorded_frames() -> list[bytes]:
    """Return the text frames of the session in order; none if it is not on this machine."""
    lines = RECORDING.read_bytes().splitlines() if RECORDING.exists() else []
    return [frame for _, _, frame in (line.partition(b": ") for line in lines) if frame.startswith(b"{")]
