"""The frames that the daemon writes, read by the letter of RFC 6455, 5.2."""

from __future__ import annotations

import pytest

from feedd.outputs.ws.frame_writer import ping_frame, pong_frame, text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000])
def test_text_frame_tells_its_length_in_the_shortest_form(size: int) -> None:
    frame = text_frame(b"x" * size)
    assert frame[0] == 0x81
    length, start = frame[1], 2
    if length == 126:
        start = 4
    elif length == 127:
        start = 10
    told = length if start == 2 else int.from_bytes(frame[2:start])
    assert (told, frame[start:]) == (size, b"x" * size)
    assert start == (2 if size < 126 else 4 if size < 65_536 else 10)


def test_pings_and_pongs_carry_their_payload() -> None:
    assert ping_frame(b"1795000000123") == b"\x89\x0d1795000000123"
    assert pong_frame(b"") == b"\x8a\x00"
