from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from feedd.exchange.listener import ExchangeListener


@pytest.fixture
async def listener() -> AsyncIterator[ExchangeListener]:
    listener = ExchangeListener(asyncio.Protocol)
    yield listener
    listener.close()


async def connect(listener: ExchangeListener) -> None:
    host, _, port = listener.address.rpartition(":")
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.close()
    await writer.wait_closed()


async def test_listener_opens_on_a_free_port(listener: ExchangeListener) -> None:
    await listener.open("127.0.0.1", 0)
    assert listener.is_accepting
    await connect(listener)


async def test_listener_that_stops_accepting_refuses_and_reopens_its_port(
    listener: ExchangeListener,
) -> None:
    await listener.open("127.0.0.1", 0)
    address = listener.address
    listener.stop_accepting()
    assert not listener.is_accepting
    with pytest.raises(ConnectionRefusedError):
        await connect(listener)
    await listener.reopen()
    assert listener.address == address
    await connect(listener)


async def test_nobody_takes_the_port_while_nothing_is_accepted(listener: ExchangeListener) -> None:
    await listener.open("127.0.0.1", 0)
    listener.stop_accepting()
    port = int(listener.address.rpartition(":")[2])
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))


async def test_address_in_use_is_named(listener: ExchangeListener) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            await listener.open("127.0.0.1", port)
    assert not listener.is_accepting


async def test_any_address_is_reached_over_loopback(listener: ExchangeListener) -> None:
    await listener.open("0.0.0.0", 0)
    assert listener.address.startswith("127.0.0.1:")
    await connect(listener)


async def test_ipv6_address_stands_in_brackets(listener: ExchangeListener) -> None:
    try:
        await listener.open("::1", 0)
    except OSError:
        pytest.skip("there is no IPv6 loopback here")
    assert listener.address.startswith("[::1]:")
    await connect(listener)
