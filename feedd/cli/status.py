"""`feedd status`: what a running daemon knows, as a table that a person can read."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson

from feedd.client.address import Address
from feedd.errors import UnavailableError

WATCH_SECONDS = 1.0
_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
_CLEAR_SCREEN = "\x1b[H\x1b[2J"
_HEADINGS = ("SYMBOL", "GATE", "AGE", "FEED", "MESSAGES", "MISSED", "P50", "P99", "HALTS", "WHY")


async def show_status(daemon: Address, *, as_json: bool, watch: bool) -> int:
    """Print the status once, or every second. Returns 0. Raises UnavailableError when no daemon answers."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as http:
        while True:
            body = await fetch_status(http, daemon)
            text = body.decode() if as_json else render(orjson.loads(body))
            if watch and sys.stdout.isatty():
                text = _CLEAR_SCREEN + text
            print(text, end="", flush=True)
            if not watch:
                return 0
            await asyncio.sleep(WATCH_SECONDS)


async def fetch_status(http: aiohttp.ClientSession, daemon: Address) -> bytes:
    """Return what `/status` says. Raises UnavailableError, which says why there is nothing."""
    try:
        async with http.get(daemon.at("status"), headers=daemon.headers, ssl=daemon.tls) as response:
            response.raise_for_status()
            return await response.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise UnavailableError(f"no daemon answers at {daemon}: {_why(error)}") from error


def _why(error: Exception) -> str:
    match error:
        case aiohttp.ClientResponseError(status=401):
            return "401, it wants credentials (--credentials)"
        case aiohttp.ServerFingerprintMismatch():
            return "it shows another certificate than its web config's (reload it after a renewal)"
        case _:
            return str(error) or type(error).__name__


def render(status: dict[str, Any]) -> str:
    """Return the status as lines for a person."""
    flags, is_static = status["flags"], status["source"] == "static"
    lines = [
        f"feedd {status['version']}  source {status['source']}  up {_duration(status['uptime_seconds'])}"
        f"  {'ready' if status['ready'] else 'NOT READY'}",
        f"{_clock(status['clock'])}"
        f"  loop lag p99 {_milliseconds(status['event_loop_lag_seconds']['p99'])}"
        f"  consumers {status['consumers']['connected']}",
    ]
    if not flags["realtime"]:
        lines.append("FLAG_REALTIME is off: static data, not production")
    if flags["trading_halted"]:
        lines.append("KILL SWITCH is on: trading is halted in every symbol")
    rows = [_row(name, symbol, is_static) for name, symbol in status["symbols"].items()]
    return "\n".join([*lines, "", *_table([_HEADINGS, *rows])]) + "\n"


def _clock(clock: dict[str, Any]) -> str:
    if clock["error_seconds"] is None:
        return "clock offset not measured"
    return f"clock offset {_milliseconds(clock['offset_seconds'])} ±{_milliseconds(clock['error_seconds'])}"


def _row(name: str, symbol: dict[str, Any], is_static: bool) -> tuple[str, ...]:
    streams, total = symbol["streams"].values(), symbol["latency_seconds"]["total"]
    return (
        name,
        "halted" if symbol["halted"] else "open (static)" if is_static else "open",
        f"{symbol['staleness_seconds']:.1f}s",
        symbol["standing"],
        str(sum(stream["messages"] for stream in streams)),
        str(sum(stream["missed"] for stream in streams)),
        _milliseconds(total["p50"]),
        _milliseconds(total["p99"]),
        str(sum(symbol["halts"].values())),
        "; ".join(filter(None, [", ".join(symbol["reasons"]), symbol["why"]])) or "-",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _milliseconds(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds * 1000:.1f}ms"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02}:{minutes:02}:{rest:02}"
