"""The way of a message to its listeners: in order, built once, and never in the way of the market."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable

import pytest

from feedd.model import ConsumerDisconnect
from feedd.outputs.ws.fanout import TURN_WRITES, TURNS_PENDING, Fanout
from feedd.outputs.ws.frame_writer import text_frame

NAME, OTHER = "btcusdt@trade", "btcusdt@bookTicker"


def combined(number: int, name: str = NAME) -> bytes:
    return b'{"stream":"%b","data":{"t":%d}}' % (name.encode(), number)


def raw(number: int) -> bytes:
    return b'{"t":%d}' % number


class Ear:
    """A listener that keeps what it is told."""

    def __init__(self, heard: list[tuple[Ear, bytes]] | None = None) -> None:
        self.frames: list[bytes] = []
        self.ends: list[tuple[ConsumerDisconnect, str]] = []
        self._heard = heard

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)
        if self._heard is not None:
            self._heard.append((self, frame))

    def end(self, reason: ConsumerDisconnect, text: str = "") -> None:
        self.ends.append((reason, text))


def tuned(fanout: Fanout, count: int, names: Iterable[str] = (NAME,), is_combined: bool = True) -> list[Ear]:
    ears = [Ear() for _ in range(count)]
    for ear in ears:
        fanout.tune(ear, names, is_combined)
    return ears


async def turns(fanout: Fanout) -> int:
    """Give the event loop turns until nothing is left to write; returns how many it took."""
    taken = 0
    while fanout._pending:
        await asyncio.sleep(0)
        taken += 1
    return taken


async def test_each_form_is_built_once_however_many_listen() -> None:
    fanout = Fanout(lambda: None)
    wrapped, bare = tuned(fanout, 100), tuned(fanout, 100, is_combined=False)
    fanout.deliver(NAME, combined(1))
    fanout.flush()
    assert {id(ear.frames[0]) for ear in wrapped} == {id(wrapped[0].frames[0])}
    assert {id(ear.frames[0]) for ear in bare} == {id(bare[0].frames[0])}
    assert (wrapped[0].frames, bare[0].frames) == ([text_frame(combined(1))], [text_frame(raw(1))])


async def test_messages_of_all_streams_reach_each_listener_in_the_order_they_came() -> None:
    fanout = Fanout(lambda: None)
    ears = tuned(fanout, 100, (NAME, OTHER))
    sent = [(NAME if number % 3 else OTHER, number) for number in range(50)]
    for name, number in sent:
        fanout.deliver(name, combined(number, name))
    await turns(fanout)
    expected = [text_frame(combined(number, name)) for name, number in sent]
    assert all(ear.frames == expected for ear in ears)


async def test_nothing_is_written_while_the_market_is_read() -> None:
    fanout = Fanout(lambda: None)
    (ear,) = tuned(fanout, 1)
    fanout.deliver(NAME, combined(1))
    assert ear.frames == []
    await asyncio.sleep(0)
    assert ear.frames == [text_frame(combined(1))]


async def test_market_has_its_turn_between_a_few_writes() -> None:
    fanout = Fanout(lambda: None)
    heard: list[tuple[Ear, bytes]] = []
    for _ in range(10 * TURN_WRITES):
        fanout.tune(Ear(heard), (NAME,), combined=True)
    fanout.deliver(NAME, combined(1))
    for turn in range(1, 11):
        await asyncio.sleep(0)
        assert len(heard) == turn * TURN_WRITES


async def test_burst_for_one_listener_is_written_in_turns_too() -> None:
    fanout = Fanout(lambda: None)
    (ear,) = tuned(fanout, 1)
    for number in range(3 * TURN_WRITES):
        fanout.deliver(NAME, combined(number))
    await asyncio.sleep(0)
    assert len(ear.frames) == TURN_WRITES
    await turns(fanout)
    assert ear.frames == [text_frame(combined(number)) for number in range(3 * TURN_WRITES)]


async def test_market_waits_once_too_much_is_to_be_written() -> None:
    fanout = Fanout(lambda: None)
    (ear,) = tuned(fanout, 1)
    for number in range(5 * TURNS_PENDING):
        fanout.deliver(NAME, combined(number))
        assert fanout._turns_pending <= TURNS_PENDING
    assert len(ear.frames) == 4 * TURNS_PENDING
    await turns(fanout)
    assert ear.frames == [text_frame(combined(number)) for number in range(5 * TURNS_PENDING)]


async def test_message_that_nobody_wants_costs_nothing() -> None:
    fanout = Fanout(lambda: None)
    (ear,) = tuned(fanout, 1, (OTHER,))
    fanout.deliver(NAME, b"which is not even looked at")
    assert not fanout._pending
    assert list(fanout.names) == [OTHER]
    fanout.tune(ear, (), combined=True)
    assert list(fanout.names) == []


async def test_who_listens_is_settled_when_a_message_comes() -> None:
    fanout = Fanout(lambda: None)
    (early,) = tuned(fanout, 1)
    fanout.deliver(NAME, combined(1))
    (late,) = tuned(fanout, 1)
    fanout.deliver(NAME, combined(2))
    fanout.tune(early, (OTHER,), combined=True)
    fanout.deliver(NAME, combined(3))
    fanout.flush()
    assert early.frames == [text_frame(combined(number)) for number in (1, 2)]
    assert late.frames == [text_frame(combined(number)) for number in (2, 3)]


async def test_nothing_is_kept_of_a_message_once_it_is_written() -> None:
    fanout = Fanout(lambda: None)
    ears = tuned(fanout, 10)
    fanout.deliver(NAME, combined(1))
    await turns(fanout)
    gone = weakref.ref(ears.pop())
    for ear in (*ears, gone()):
        assert ear is not None
        fanout.tune(ear, (), combined=True)
    del ear
    assert gone() is None


async def test_form_can_be_changed() -> None:
    fanout = Fanout(lambda: None)
    (ear,) = tuned(fanout, 1)
    fanout.deliver(NAME, combined(1))
    fanout.flush()
    fanout.tune(ear, (NAME,), combined=False)
    fanout.deliver(NAME, combined(2))
    fanout.flush()
    assert ear.frames == [text_frame(combined(1)), text_frame(raw(2))]


async def test_bug_costs_those_it_met_their_connection_and_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Ear):
        def send(self, frame: bytes) -> None:
            raise RuntimeError("a bug")

    counted: list[bool] = []
    fanout = Fanout(lambda: counted.append(True))
    broken = Broken()
    fanout.tune(broken, (NAME,), combined=False)
    (ear,) = tuned(fanout, 1)
    for number in range(3):
        fanout.deliver(NAME, combined(number))
    await turns(fanout)
    assert ear.frames == [text_frame(combined(number)) for number in range(3)]
    assert broken.ends[0] == (ConsumerDisconnect.PROTOCOL_ERROR, "internal error")
    assert "a bug was contained" in caplog.records[0].message
    assert len(counted) == len(caplog.records) == 3
