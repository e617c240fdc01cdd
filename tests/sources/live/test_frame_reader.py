"""Text frames are cut out just as aiohttp's own reader would read them, however they are sent and split."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from hypothesis import example, given
from hypothesis import strategies as st

from feedd.sources.live.frame_reader import FrameReader

MOST_BYTES = 200_000
TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0
FIN = 0x80
NOT_READING = SimpleNamespace(_reading_paused=True)
"""A connection that is paused already: nothing here pauses it."""


class Queue(WebSocketDataQueue):
    """Takes the messages that aiohttp reads."""

    def __init__(self, messages: list[tuple[WSMsgType, Any]]) -> None:
        self.loop = asyncio.new_event_loop()
        super().__init__(NOT_READING, 2**30, loop=self.loop)  # type: ignore[arg-type]  # all that it needs
        self.loop.close()
        self.messages = messages

    def feed_data(self, message: Any, size: int) -> None:
        self.messages.append((message.type, bytes(message.data) if size else message.data))


class Read:
    """What came of feeding a reader."""

    def __init__(self, direct: bool) -> None:
        self.messages: list[tuple[WSMsgType, Any]] = []
        self.bugs: list[Exception] = []
        self.queue = Queue(self.messages)
        self.reader: Any = WebSocketReader(self.queue, MOST_BYTES, False, False)
        if direct:
            self.reader = FrameReader(self.reader, monotonic=lambda: 5.0)
            self.reader.take, self.reader.fail = self.take, self.bugs.append

    def take(self, payload: bytes, read_at: float) -> None:
        assert read_at == 5.0
        self.messages.append((WSMsgType.TEXT, payload))

    def feed(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            if self.reader.feed_data(piece)[0]:
                self.messages.append((WSMsgType.ERROR, str(self.queue.exception())))
                return


def frame(first: int, payload: bytes, mask: bytes = b"") -> bytes:
    """Return one frame, in the shortest form."""
    size, flag = len(payload), 0x80 if mask else 0
    if size < 126:
        head = bytes([first, flag | size])
    elif size < 2**16:
        head = struct.pack("!BBH", first, flag | 126, size)
    else:
        head = struct.pack("!BBQ", first, flag | 127, size)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)) if mask else payload
    return head + mask + masked


def parts(payload: bytes, kind: int) -> bytes:
    """Return a message in three parts, with a ping between two of them."""
    third = len(payload) // 3
    return b"".join(
        [
            frame(kind, payload[:third]),
            frame(CONTINUATION, payload[third : 2 * third]),
            frame(FIN | PING, b"between"),
            frame(FIN | CONTINUATION, payload[2 * third :]),
        ]
    )


def split(data: bytes, at: Iterable[int]) -> list[bytes]:
    cuts = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(cuts) if end > start]


sizes = st.one_of(st.integers(0, 200), st.sampled_from([125, 126, 127, 65_535, 65_536, MOST_BYTES + 1]))
payloads = sizes.map(lambda size: b"x" * size)
small = st.binary(max_size=125)
frames = st.one_of(
    payloads.map(lambda payload: frame(FIN | TEXT, payload)),
    payloads.map(lambda payload: frame(FIN | TEXT, payload)),
    payloads.map(lambda payload: frame(FIN | BINARY, payload)),
    small.map(lambda payload: frame(FIN | PING, payload)),
    small.map(lambda payload: frame(FIN | PONG, payload)),
    st.just(frame(FIN | CLOSE, struct.pack("!H", 1001) + b"going")),
    payloads.map(lambda payload: frame(FIN | TEXT, payload, mask=b"mask")),
    payloads.map(lambda payload: parts(payload, TEXT)),
    payloads.map(lambda payload: parts(payload, BINARY)),
    st.just(frame(TEXT, b"a part that nothing follows")),
    st.binary(min_size=1, max_size=20),
)


@given(
    st.lists(frames, max_size=8).map(b"".join),
    st.lists(st.integers(0, 3000), max_size=6),
)
@example(frame(FIN | TEXT, b""), [1])
@example(frame(FIN | TEXT, b"x") + frame(FIN | TEXT, b"y"), [1, 2, 3, 4])
@example(frame(FIN | TEXT, b"x" * 300), [1, 2, 3, 4, 100])
@example(parts(b"abcdef", TEXT) + frame(FIN | TEXT, b"after"), [5, 12])
@example(frame(TEXT, b"a part") + frame(FIN | TEXT, b"which must not come here"), [])
def test_every_message_is_the_one_that_aiohttp_reads(data: bytes, cuts: list[int]) -> None:
    ours, theirs = Read(direct=True), Read(direct=False)
    ours.feed(split(data, cuts))
    theirs.feed([data])
    assert ours.messages == theirs.messages
    assert not ours.bugs


@pytest.mark.parametrize("direct", [True, False])
def test_data_that_came_before_anybody_listened_is_left_to_aiohttp(direct: bool) -> None:
    read = Read(direct)
    if direct:
        read.reader.take = None
    read.feed([frame(FIN | TEXT, b"early"), frame(TEXT, b"in ")])
    if direct:
        read.reader.take = read.take
    read.feed([frame(FIN | CONTINUATION, b"parts"), frame(FIN | TEXT, b"late")])
    assert read.messages == [(WSMsgType.TEXT, text) for text in (b"early", b"in parts", b"late")]


def test_bug_in_the_taking_is_told_and_raises_nothing() -> None:
    read = Read(direct=True)
    bug = ZeroDivisionError()

    def broken(payload: bytes, read_at: float) -> None:
        raise bug

    read.reader.take = broken
    read.reader.data_received(frame(FIN | TEXT, b"one"))
    assert read.bugs == [bug]


def test_nothing_is_read_after_the_protocol_was_broken() -> None:
    read = Read(direct=True)
    read.reader.data_received(b"\xff\xff" + frame(FIN | TEXT, b"more"))
    read.reader.data_received(frame(FIN | TEXT, b"and more"))
    assert read.messages == []
    assert read.queue.exception() is not None
