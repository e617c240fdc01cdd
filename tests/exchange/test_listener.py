from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from feedd.exchange.listener import Door


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door(asyncio.Protocol)
    yield door
    door.close()


async def knock(door: Door) -> None:
    host, _, port = door.address.rpartition(":")
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.close()
    await writer.wait_closed()


async def test_door_opens_on_a_free_port(door: Door) -> None:
    await door.open("127.0.0.1", 0)
    assert door.is_open
    await knock(door)


async def test_shut_door_refuses_and_opens_on_the_same_port(door: Door) -> None:
    await door.open("127.0.0.1", 0)
    address = door.address
    door.shut()
    assert not door.is_open
    with pytest.raises(ConnectionRefusedError):
        await knock(door)
    await door.open_again()
    assert door.address == address
    await knock(door)


async def test_nobody_takes_the_port_while_the_door_is_shut(door: Door) -> None:
    await door.open("127.0.0.1", 0)
    door.shut()
    port = int(door.address.rpartition(":")[2])
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))


async def test_address_in_use_is_named(door: Door) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            await door.open("127.0.0.1", port)
    assert not door.is_open


async def test_any_address_is_reached_over_loopback(door: Door) -> None:
    await door.open("0.0.0.0", 0)
    assert door.address.startswith("127.0.0.1:")
    await knock(door)


async def test_ipv6_address_stands_in_brackets(door: Door) -> None:
    try:
        await door.open("::1", 0)
    except OSError:
        pytest.skip("there is no IPv6 loopback here")
    assert door.address.startswith("[::1]:")
    await knock(door)
