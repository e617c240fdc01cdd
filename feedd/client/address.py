"""A daemon's address, and what every connection of a client to it has in common."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from yarl import URL

from feedd._version import __version__
from feedd.core.backoff import Backoff

DIAL_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 0.5
_CLOSE_TIMEOUT: Final = aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS)
_TLS_CLOSE_SECONDS: Final = 0.1
FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 5.0

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
        all_headers = {"User-Agent": f"feedd-client/{__version__}", **(headers or {})}
        if parsed.user is not None:
            all_headers["Authorization"] = aiohttp.encode_basic_auth(parsed.user, parsed.password or "")
        return cls(parsed.with_scheme(scheme).with_user(None), all_headers, True if tls is None else tls)

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
                    timeout=_CLOSE_TIMEOUT,
                    decode_text=False,
                )
        except TimeoutError:
            raise ConnectionError(f"no answer from {url} in {DIAL_SECONDS:g} s") from None
        except aiohttp.WSServerHandshakeError as error:
            raise ConnectionError(f"{url} answers {error.status} {error.message}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(f"can't connect to {url}: {error}") from None


async def close_session(http: aiohttp.ClientSession, address: Address) -> None:
    """Close a session for good; over TLS its closing takes a moment, before the event loop may end."""
    await http.close()
    if address.url.scheme == "https":
        await asyncio.sleep(_TLS_CLOSE_SECONDS)


async def close_socket(socket: Socket) -> None:
    """Close a connection, with a closing handshake if the other side still answers."""
    try:
        async with asyncio.timeout(2 * CLOSE_SECONDS):
            await socket.close()
    except TimeoutError:
        pass  # aiohttp has cut it


def new_backoff() -> Backoff:
    """Return the delays between a client's attempts to connect: one good message makes them begin anew."""
    return Backoff(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, healthy_after=0.0)
