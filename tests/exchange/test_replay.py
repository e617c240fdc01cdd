from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from feedd.errors import SettingsError
from feedd.exchange.messages import MarketMessage, TimeUnit
from feedd.exchange.replay import RecordedSession, Replay, read_session

SESSION = Path(__file__).parents[2] / ".." / "shared" / "data" / "binance-spot-2021-10-12.ws.txt"
needs_session = pytest.mark.skipif(
    not SESSION.exists(), reason="the recorded session ../shared/data is absent"
)

MS = (TimeUnit.MILLISECOND,)
SECOND = 1_000_000
START = 1_795_000_000 * SECOND + 123_400

# Received 0.5 s, 1.0 s and 1.2 s after the connect, by a clock that ran 5 ms (and once 2 ms) behind.
SMALL = """wss://host/stream?streams=abc@depth/abc@trade/xyz@trade <-> 100.0
100.5: {"stream":"abc@depth","data":{"e":"depthUpdate","E":100505,"s":"ABC","U":1,"u":2}}

wss://host/api/v3/depth -> 100.6: {"bids":[]}
101.0: {"stream":"abc@bookTicker","data":{"u":3,"s":"ABC"}}
101.2: {"stream":"abc@depth","data":{"e":"depthUpdate","E":101202,"s":"ABC","U":3,"u":3}}
"""


def read(tmp_path: Path, text: str) -> RecordedSession:
    path = tmp_path / "session.txt"
    path.write_text(text, encoding="utf-8")
    return read_session(path)


def payload(message: MarketMessage, unit: TimeUnit = TimeUnit.MILLISECOND) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(message.payloads[unit])
    return document


def watch(
    replay: Replay, now: int, symbol: str = "ABC", kinds: tuple[str, ...] = ("depth", "bookTicker")
) -> None:
    replay.watch(symbol, dict.fromkeys(kinds, MS))
    assert replay.next_due(now) == now
    assert replay.advance(now) == []


def play(replay: Replay, since: int, until: int) -> list[tuple[int, MarketMessage]]:
    """Advance whenever something is due; return what came, each with its time since `since`."""
    played = []
    while (due := replay.next_due(since)) is not None and due <= until:
        played += [(due - since, message) for message in replay.advance(due)]
    return played


def test_symbols_are_those_asked_for_and_those_that_spoke(tmp_path: Path) -> None:
    assert read(tmp_path, SMALL).symbols == ("ABC", "XYZ")


def test_messages_come_with_their_own_gaps(tmp_path: Path) -> None:
    replay = Replay(read(tmp_path, SMALL), speed=1)
    watch(replay, START)
    assert [at for at, _ in play(replay, START, START + 9 * SECOND)] == [500_000, 1_000_000, 1_200_000]
    assert replay.next_due(START) is None


def test_twice_the_speed_halves_the_gaps(tmp_path: Path) -> None:
    replay = Replay(read(tmp_path, SMALL), speed=2)
    watch(replay, START)
    assert [at for at, _ in play(replay, START, START + 9 * SECOND)] == [250_000, 500_000, 600_000]


def test_speed_zero_sends_all_at_once_in_order(tmp_path: Path) -> None:
    replay = Replay(read(tmp_path, SMALL), speed=0)
    watch(replay, START)
    messages = replay.advance(START)
    assert [message.kind for message in messages] == ["depth", "bookTicker", "depth"]
    assert {payload(message).get("E") for message in messages} == {START // 1000, None}


def test_event_times_are_moved_so_that_the_smallest_latency_is_zero(tmp_path: Path) -> None:
    replay = Replay(read(tmp_path, SMALL), speed=1)
    watch(replay, START)
    latencies = [
        (START + at) // 1000 - event_time
        for at, message in play(replay, START, START + 9 * SECOND)
        if (event_time := payload(message).get("E"))
    ]
    assert latencies == [0, 3]


def test_only_times_are_changed(tmp_path: Path) -> None:
    replay = Replay(read(tmp_path, SMALL), speed=1)
    watch(replay, START)
    first, second, _ = [message for _, message in play(replay, START, START + 9 * SECOND)]
    moved = re.sub(rb'"E":\d+', b'"E":0', first.payloads[TimeUnit.MILLISECOND])
    assert moved == b'{"e":"depthUpdate","E":0,"s":"ABC","U":1,"u":2}'
    assert second.payloads[TimeUnit.MILLISECOND] == b'{"u":3,"s":"ABC"}'


def test_who_comes_back_goes_on_where_it_was(tmp_path: Path) -> None:
    replay = Replay(read(tmp_path, SMALL), speed=1)
    watch(replay, START)
    assert len(play(replay, START, START + 700_000)) == 1
    replay.watch("ABC", {})
    replay.advance(START + 700_000)
    assert replay.next_due(START) is None
    later = START + 60 * SECOND
    watch(replay, later)
    rest = play(replay, later, later + 9 * SECOND)
    assert [(at, message.kind) for at, message in rest] == [(300_000, "bookTicker"), (500_000, "depth")]
    assert payload(rest[1][1])["E"] == (later + 500_000) // 1000 - 3


def test_each_stream_has_its_own_beginning(tmp_path: Path) -> None:
    replay = Replay(read(tmp_path, SMALL), speed=1)
    watch(replay, START, kinds=("depth",))
    assert [message.kind for _, message in play(replay, START, START + 9 * SECOND)] == ["depth", "depth"]
    watch(replay, START + 10 * SECOND, kinds=("bookTicker",))
    assert [at for at, _ in play(replay, START, START + 19 * SECOND)] == [11 * SECOND]


def test_microseconds_are_told_to_those_who_asked(tmp_path: Path) -> None:
    replay = Replay(read(tmp_path, SMALL), speed=1)
    replay.watch("ABC", {"depth": (TimeUnit.MICROSECOND, TimeUnit.MILLISECOND)})
    replay.advance(START)
    _, message = play(replay, START, START + SECOND)[0]
    assert payload(message, TimeUnit.MICROSECOND)["E"] == 1000 * payload(message)["E"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no message"),
        ("wss://host/ws <-> 100.0\n", "no message"),
        ('100.5: {"stream":"a@b","data":{}}\n', '100.5: {"stream"'),
        (SMALL + "what is this\n", "what is this"),
        (SMALL + "101.3: {broken\n", "101.3: {broken"),
        (SMALL + '101.3: {"broken}\n', '{"broken}'),
        (SMALL + '101.3: {"e":"trade"}\n', '{"e":"trade"}'),
    ],
)
def test_file_that_is_no_session_is_refused(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert caught.value.problems[0].found.startswith(found)


def test_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("missing", "binary"):
        with pytest.raises(SettingsError, match=name):
            read_session(tmp_path / name)


@needs_session
def test_recorded_session_is_read_whole_and_byte_by_byte() -> None:
    recording = read_session(SESSION)
    text = SESSION.read_text(encoding="utf-8")
    assert recording.symbols == ("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")
    assert len(recording.messages) == 265
    assert all(message.payload.decode() in text for message in recording.messages)


@needs_session
def test_recorded_session_comes_out_once_with_latencies_from_zero() -> None:
    replay = Replay(read_session(SESSION), speed=1)
    kinds = ("depth@100ms", "bookTicker", "kline_1m", "aggTrade")
    for number, symbol in enumerate(replay.symbols):
        watch(replay, START + number * 40_000, symbol, kinds)
    played = play(replay, START, START + 60 * SECOND)
    assert Counter(message.kind for _, message in played) == {
        "depth@100ms": 177,
        "bookTicker": 84,
        "aggTrade": 2,
        "kline_1m": 2,
    }
    events = [(at, payload(message)) for at, message in played if "E" in payload(message)]
    latencies = [(START + at) // 1000 - document["E"] for at, document in events]
    assert min(latencies) in (0, 1)
    assert max(latencies) < 100
    for _, document in events:
        if document["e"] == "kline":
            assert document["k"]["T"] - document["k"]["t"] == 59_999
            assert document["k"]["t"] <= document["E"] <= document["k"]["T"]
        if document["e"] == "aggTrade":
            assert document["T"] == document["E"]


@needs_session
def test_aggregates_of_the_session_can_be_asked_for_once_they_were_played() -> None:
    replay = Replay(read_session(SESSION), speed=0)
    assert replay.aggregates("NKNUSDT", START, TimeUnit.MILLISECOND, None, 10) == []
    watch(replay, START, "NKNUSDT", ("aggTrade",))
    (message,) = replay.advance(START)
    told = payload(message)
    (asked,) = replay.aggregates("NKNUSDT", START, TimeUnit.MILLISECOND, told["a"], 10)
    assert asked == {field: told[field] for field in "apqflTmM"}
    assert replay.aggregates("NKNUSDT", START, TimeUnit.MILLISECOND, told["a"] + 1, 10) == []
    assert replay.trades("NKNUSDT", START, TimeUnit.MILLISECOND, None, 10) == []
