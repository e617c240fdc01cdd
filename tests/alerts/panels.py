"""What a dashboard's panels ask, put to a real Prometheus as Grafana would."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import orjson

STEP_SECONDS = 1.0
VARIABLES = {
    "$instance": ".+",
    "$symbol": ".+",
    "$__rate_interval": "20s",
    "$__interval": "5s",
    "$__range": "10m",
}
"""What Grafana puts in at the shipped scrape interval, with everything selected."""


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(panel: dict[str, Any]) -> list[str]:
    """Return what a panel asks."""
    return [target["expr"] for target in panel["targets"]]


def substituted(expr: str, rate_interval: str = VARIABLES["$__rate_interval"]) -> str:
    """Return the expression as Grafana sends it."""
    for name, value in (VARIABLES | {"$__rate_interval": rate_interval}).items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


async def broken(url: str, board: dict[str, Any], seconds: float, rate_interval: str) -> list[str]:
    """Return the queries of a dashboard that failed or found nothing in the last so many seconds."""
    end = time.time()
    annotation = board["annotations"]["list"][0]
    asked = [("the alerts' annotation", annotation["expr"])]
    asked += [(panel["title"], expr) for panel in panels(board) for expr in expressions(panel)]
    found = []
    async with aiohttp.ClientSession() as http:
        for title, expr in asked:
            query: dict[str, str | float] = {
                "query": substituted(expr, rate_interval),
                "start": end - seconds,
                "end": end,
                "step": STEP_SECONDS,
            }
            async with http.get(f"{url}/api/v1/query_range", params=query) as response:
                answer = orjson.loads(await response.read())
            if answer["status"] != "success":
                found.append(f"{title}: {answer['error']}: {expr}")
            elif not any(_numbers(series) for series in answer["data"]["result"]):
                found.append(f"{title}: no data: {expr}")
    return found


def _numbers(series: dict[str, Any]) -> list[float]:
    """Return a series' values, without those that Grafana can't draw."""
    values = [float(value) for _, value in series["values"]]
    return [value for value in values if value == value]
