"""Where a feedd answers, and what it takes to be let in."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from yarl import URL

from feedd._version import __version__

DIAL_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 0.5
_CLOSING: Final = aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS)
_TLS_GOODBYE_SECONDS: Final = 0.1
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0

Socket = aiohttp.ClientWebSocketResponse[bool]


@dataclass(frozen=True, slots=True)
class Address:
    """A daemon's address. Its text has no password in it."""

    url: URL
    """http(s), without credentials."""
    headers: Mapping[str, str] = field(repr=False)
    tls: ssl.SSLContext | aiohttp.Fingerprint | bool = True

    @classmethod
    def parse(
        cls, url: str, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> Address:
        """Read an http(s) or ws(s) URL; `user:password@` in it becomes basic auth. Raises ValueError."""
        parsed = URL(url)
        scheme = {"ws": "http", "wss": "https"}.get(parsed.scheme, parsed.scheme)
        if scheme not in ("http", "https") or not parsed.host:
            without_password = re.sub("//.*@", "//", url)
            raise ValueError(f"expected http(s)://host:port, found {without_password!r}")
        given = {"User-Agent": f"feedd-client/{__version__}", **(headers or {})}
        if parsed.user is not None:
            given["Authorization"] = aiohttp.encode_basic_auth(parsed.user, parsed.password or "")
        return cls(parsed.with_scheme(scheme).with_user(None), given, True if tls is None else tls)

    def __str__(self) -> str:
        return str(self.url)

    def at(self, path: str) -> URL:
        """Return the URL of a path of the daemon, such as `gate/events`."""
        return self.url.joinpath(*path.split("/"))

    async def dial(self, http: aiohttp.ClientSession, path: str, allow_static: bool) -> Socket:
        """Open a WebSocket at that path. Raises ConnectionError, which says why it can't be had."""
        url = self.at(path)
        query = {"allow": "static"} if allow_static else {}
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                return await http.ws_connect(
                    url.with_query(query),
                    headers=self.headers,
                    ssl=self.tls,
                    timeout=_CLOSING,
                    decode_text=False,
                )
        except TimeoutError:
            raise ConnectionError(f"no answer from {url} in {DIAL_SECONDS:g} s") from None
        except aiohttp.WSServerHandshakeError as error:
            raise ConnectionError(f"{url} answers {error.status} {error.message}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(f"can't connect to {url}: {error}") from None


async def close_session(http: aiohttp.ClientSession, address: Address) -> None:
    """Close a session for good; over TLS the last goodbyes take a moment, before the event loop may end."""
    await http.close()
    if address.url.scheme == "https":
        await asyncio.sleep(_TLS_GOODBYE_SECONDS)


async def hang_up(socket: Socket) -> None:
    """Close a connection, politely if the other side still answers."""
    try:
        async with asyncio.timeout(2 * CLOSE_SECONDS):
            await socket.close()
    except TimeoutError:
        pass  # it has been cut


class Pauses:
    """How long to wait before the next attempt: longer each time, and not all clients at once."""

    def __init__(self) -> None:
        self._pause = _FIRST_PAUSE

    def next(self) -> float:
        """Return the next pause in seconds."""
        pause = self._pause
        self._pause = min(2 * pause, _LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin anew, after a connection that was good."""
        self._pause = _FIRST_PAUSE
