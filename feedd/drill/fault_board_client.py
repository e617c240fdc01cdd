"""A client of the fault board of the exchange that a daemon watches, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson

from feedd.drill.case import InjectedFault
from feedd.drill.durations import DurationLimits
from feedd.errors import FeeddError, NotDrillableError, UnavailableError

FORGOTTEN_SECONDS: Final = 120.0
"""After so long a fault ends by itself, should the drill be killed before it clears it."""

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)


class BoardError(FeeddError):
    """The exchange refuses a fault: the text says why."""


@dataclass(frozen=True, slots=True)
class PostedFault:
    """A fault that was set."""

    id: int
    is_lasting: bool
    """It stays until it is cleared."""
    ends_at: float | None
    """When it ends by itself (monotonic seconds); None where it is to be cleared, or was over at once."""


class FaultBoardClient:
    """Sets and clears faults."""

    def __init__(self, http: aiohttp.ClientSession, url: str, known: Mapping[str, bool]) -> None:
        """Use the board at `url`, which is `known` to have these faults; True for those that last."""
        self._http = http
        self._url = url
        self._known = known

    async def post(
        self, fault: InjectedFault, symbol: str | None, stream: str | None, limits: DurationLimits
    ) -> PostedFault:
        """Set a fault for a symbol, or for all, and for a stream, or for all.

        Raises:
            BoardError: the exchange refuses it.
            UnavailableError: it doesn't answer.
        """
        is_lasting = self._known.get(fault.name, True)
        seconds = None if fault.seconds is None else fault.seconds.of(limits)
        body = fault.body(limits) | {"symbol": symbol, "stream": stream}
        if is_lasting:
            body["seconds"] = FORGOTTEN_SECONDS if seconds is None else seconds
        posted_at = time.monotonic()
        status, answer = await self._request("POST", "/faults", orjson.dumps(body))
        if status != 200:
            raise BoardError(f"{fault}: {answer.get('error')}")
        ends_at = None if seconds is None else posted_at + seconds
        return PostedFault(answer["id"], is_lasting and seconds is None, ends_at)

    async def hits(self, posted: list[PostedFault]) -> int:
        """Add up what those of these faults have hit that are still active."""
        _, answer = await self._request("GET", "/faults")
        ids = {each.id for each in posted}
        return sum(fault["hit"] for fault in answer["active"] if fault["id"] in ids)

    async def clear(self, posted: PostedFault) -> bool:
        """Clear a fault; False if it was over."""
        status, _ = await self._request("DELETE", f"/faults/{posted.id}")
        return status == 200

    async def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        try:
            async with self._http.request(method, self._url + path, data=body, timeout=_TIMEOUT) as response:
                return response.status, orjson.loads(await response.read())
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnavailableError(f"the exchange at {self._url} doesn't answer: {error!r}") from error


async def find_fault_board(http: aiohttp.ClientSession, rest_url: str) -> FaultBoardClient:
    """Find the fault board behind a daemon's exchange.

    Raises:
        NotDrillableError: there is none, or somebody else is using it.
    """
    try:
        async with http.get(f"{rest_url}/faults", timeout=_TIMEOUT) as response:
            answer = orjson.loads(await response.read())
        known = {fault["fault"]: bool(fault["lasting"]) for fault in answer["known"]}
        active = [fault["fault"] for fault in answer["active"]]
    except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
        raise NotDrillableError(
            f"{rest_url} is no embedded exchange: it has no fault board. A drill breaks the exchange "
            "that the daemon watches; let it watch one of `feedd exchange`, or drill without --against"
        ) from error
    if active:
        raise NotDrillableError(
            f"faults are on at {rest_url}: {', '.join(active)}. Take them back (curl -X DELETE "
            f"{rest_url}/faults), or wait for whoever set them"
        )
    return FaultBoardClient(http, rest_url, known)
