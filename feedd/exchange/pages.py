"""What the exchange shows: its front page, its faults as JSON, and HTML for HTTP errors. Does no I/O."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import orjson
from aiohttp import web

from feedd._version import __version__
from feedd.exchange.fault_registry import AnyFault, expectation
from feedd.exchange.faults import FAULT_KINDS, FaultKind


def front_page(symbols: tuple[str, ...], endpoints: tuple[str, ...]) -> str:
    """List all streams, endpoints and faults as plain text."""
    lines = [
        f"feedd exchange {__version__}: speaks Binance spot, and fails on demand",
        "",
        f"symbols: {', '.join(symbols)}",
        "",
        "streams",
        "  /ws/<stream>                raw payloads, e.g. /ws/btcusdt@trade",
        "  /stream?streams=<a>/<b>     combined; live SUBSCRIBE works on both",
        "  trade aggTrade bookTicker depth[@100ms] depth<5|10|20>[@100ms] kline_<interval>",
        "  miniTicker ticker ticker_<1h|4h|1d> avgPrice referencePrice",
        "",
        "REST",
        *(f"  GET /api/v3/{name}" for name in endpoints),
        "",
        "faults",
        "  GET /faults                 those that are on, and those there are",
        '  POST /faults                {"fault": "mute", "symbol": "BTCUSDT", "seconds": 30}',
        "  DELETE /faults[/<id>]       end all or one of them",
        "",
        *(line for kind in FAULT_KINDS.values() for line in _help(kind)),
    ]
    return "\n".join(lines) + "\n"


def _help(kind: type[FaultKind]) -> list[str]:
    lines = [f"  {kind.name:<16}{summary(kind)}"]
    for field in dataclasses.fields(kind):
        default = (
            "" if field.default is dataclasses.MISSING else f", else {orjson.dumps(field.default).decode()}"
        )
        lines.append(f"  {'':<16}  {field.name}: {expectation(kind, field.name)}{default}")
    return lines


def summary(kind: type[FaultKind]) -> str:
    """Return the line that says what a fault does."""
    return (kind.__doc__ or "").partition("\n")[0]


def describe(fault: AnyFault, now: float) -> dict[str, Any]:
    """Describe an active fault for JSON: what was set, what it has hit, how long it still lasts."""
    return {
        "id": fault.id,
        "fault": fault.kind.name,
        "symbol": fault.symbol,
        "stream": fault.stream,
        "seconds_left": None if math.isinf(fault.until) else max(fault.until - now, 0.0),
        "hit": fault.hit,
        "arguments": dataclasses.asdict(fault.kind),
    }


def known_faults() -> list[dict[str, Any]]:
    """Describe the kinds of fault for JSON, each with its arguments."""
    return [
        {
            "fault": name,
            "summary": summary(kind),
            "lasting": kind.is_lasting,
            "stream": kind.has_stream,
            "arguments": {field.name: _argument(kind, field) for field in dataclasses.fields(kind)},
        }
        for name, kind in FAULT_KINDS.items()
    ]


def error_page(status: int, retry_after: int | None = None) -> web.Response:
    """Answer with an HTML page, as the proxies in front of Binance answer an error."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
    return web.Response(status=status, headers=headers, text=body, content_type="text/html")


def _argument(kind: type[FaultKind], field: dataclasses.Field[Any]) -> dict[str, Any]:
    argument: dict[str, Any] = {"expected": expectation(kind, field.name)}
    if field.default is not dataclasses.MISSING:
        argument["default"] = field.default
    return argument
