from __future__ import annotations

from feedd.exchange.clocks import Clocks


def test_clocks_tell_seconds_and_microseconds() -> None:
    clocks = Clocks(monotonic=lambda: 12.5, wall=lambda: 1_795_000_000.25)
    assert clocks.now() == 12.5
    assert clocks.wall_now() == 1_795_000_000_250_000
