"""picows: a combined stream, read frame by frame."""

from __future__ import annotations

import asyncio
import json

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.relay_clients.report import Report, read_order

ORDER = read_order()


class Listener(WSListener):
    """Reports each trade."""

    def __init__(self) -> None:
        self.report = Report(ORDER.trades)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            trade = json.loads(frame.get_payload_as_bytes())["data"]
            if self.report.add(trade["t"], trade["p"], trade["q"]):
                transport.disconnect()


async def main() -> None:
    transport, _ = await ws_connect(Listener, f"{ORDER.relay}/stream?streams=btcusdt@trade")
    await transport.wait_disconnected()


asyncio.run(main())
