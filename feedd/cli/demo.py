"""The whole chain on loopback: the embedded exchange, and a daemon that watches three of its symbols."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from feedd import logs
from feedd.config.resolve import resolve
from feedd.daemon import Daemon
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import LogFormat, LogLevel

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


async def run_demo(
    stop: asyncio.Event, report: Callable[[str], None], listen: str, exchange_port: int
) -> None:
    """Run until `stop` is set, reporting the URLs to open once the daemon listens.

    Raises:
        SettingsError: `listen` is no address.
        OSError: a port is taken.
    """
    logs.set_up(LogLevel.INFO, LogFormat.TEXT)
    exchange = Exchange(ExchangeSettings(symbols=SYMBOLS))
    await exchange.start(port=exchange_port)
    try:
        arguments = {
            "FLAG_REALTIME": "1",
            "FEEDD_LISTEN": listen,
            "FEEDD_SYMBOLS": ",".join(SYMBOLS),
            "FEEDD_WS_URL": exchange.ws_url,
            "FEEDD_REST_URL": exchange.rest_url,
        }
        daemon = Daemon(resolve(None, {}, arguments).settings)
        running = asyncio.create_task(daemon.run(stop))
        listening = asyncio.create_task(daemon.listening())
        await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            report(_welcome(f"http://{listening.result()}", exchange.rest_url))
        listening.cancel()
        await running
    finally:
        await exchange.stop()


def _welcome(daemon_url: str, exchange_url: str) -> str:
    return f"""
feedd watches {", ".join(SYMBOLS)} of an embedded exchange. Open:
  {daemon_url}/          all pages
  {daemon_url}/metrics   for Prometheus
  {daemon_url}/gate      may we trade?
  {exchange_url}/        the exchange and its fault board
See it halt and resume:
  curl -d '{{"fault": "mute", "symbol": "BTCUSDT", "seconds": 15}}' {exchange_url}/faults
Watch it: {sys.argv[0]} status --url {daemon_url} --watch      Stop it: Ctrl-C
"""
