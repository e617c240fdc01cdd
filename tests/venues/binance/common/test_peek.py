"""The name of a frame's stream, before anything of it is decoded."""

from __future__ import annotations

import pytest

from feedd.venues.binance.common.peek import stream_in


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (b'{"stream":"btcusdt@trade","data":{}}', b"btcusdt@trade"),
        (b'{"stream":""}', b""),
        (b"{}", b""),
        (b"", b""),
    ],
)
def test_name_is_peeked_at_where_a_combined_frame_has_it(frame: bytes, name: bytes) -> None:
    assert stream_in(frame) == name
