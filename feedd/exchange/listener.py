"""The listening socket, which can stop accepting for a while without losing its address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

# A thousand clients may come at the same moment.
_BACKLOG = 1024


class ExchangeListener:
    """Accepts connections; while it has stopped accepting, the kernel refuses them."""

    def __init__(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._protocol = protocol
        self._server: asyncio.Server | None = None
        self._bound: socket.socket | None = None
        self._host = ""
        self._port = 0

    @property
    def is_accepting(self) -> bool:
        """Whether connections are accepted."""
        return self._server is not None

    @property
    def address(self) -> str:
        """The address as it stands in a URL; any-address sockets are reached over loopback."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        return f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"

    async def open(self, host: str, port: int) -> None:
        """Bind an address and listen on it; port 0 is any that is free.

        Raises:
            OSError: the address can't be listened on.
        """
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = infos[0]
        # A socket that is bound but does not listen keeps the port ours while nothing is accepted.
        self._bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._bound.bind(address)
            self._host, self._port = self._bound.getsockname()[:2]
            await self.reopen()
        except OSError as error:
            self.close()
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error

    async def reopen(self) -> None:
        """Accept connections again, on the address that was bound."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol, self._host, self._port, reuse_address=True, backlog=_BACKLOG
        )

    def stop_accepting(self) -> None:
        """Close the listening socket, so that new connections are refused; open ones stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def close(self) -> None:
        """Stop accepting, and release the address."""
        self.stop_accepting()
        if self._bound is not None:
            self._bound.close()
            self._bound = None
