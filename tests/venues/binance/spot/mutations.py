"""`make mutations`: a million damaged real frames through decoding and a session, each one accounted for.

The frames are those of the embedded exchange's market, and of a recorded session where there is one. Every
frame must end as a message, a repetition, a notice of shutdown or a control reply, or be counted as invalid
under a reason; and nothing may raise. The same seed damages the same frames in the same way.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from random import Random
from typing import Any, Final

import orjson

from feedd.core.connection_set import ConnectionRecord
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolLimits, SymbolState
from feedd.core.venue_clock import VenueClock
from feedd.errors import DecodeError
from feedd.exchange.market import Market
from feedd.exchange.messages import TimeUnit, envelope
from feedd.model import Reason, ResumePolicy, Subscription
from feedd.sources.live.demux import Demultiplexer
from feedd.sources.symbol_pipeline import SymbolPipeline
from feedd.venues.binance.common.control_replies import ControlReply, Drifted, ServerShutdown
from feedd.venues.binance.spot.decode import SpotDecoder
from feedd.venues.binance.spot.streams import STREAMS as STREAM_NAMES
from feedd.venues.binance.spot.tables import SPOT
from feedd.venues.venue import Decoder
from tests.venues.binance.spot.recording import RECORDED, recorded_frames

START: Final = 1_795_000_000
SECONDS_IN_A_PASS: Final = 5
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")
SECONDS_PER_FRAME: Final = 0.01
RAW_SHARE: Final = 0.2
"""How many frames come as a raw stream has them, without the envelope."""

Json = Any
Damage = Callable[[Random, bytes], bytes]

NUMBERS: Final = (
    b"0", b"-0", b"-1", b"1.5", b"1e5", b"1E400", b"-1e-400", b"00", b"+1", b".5", b"5.", b"0x10", b"1_000",
    b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616",
    b"1" * 400, b"NaN", b"Infinity", b"-Infinity",
)  # fmt: skip
STRINGS: Final = (
    b"", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\x00", b"\x1f", b"\x7f",
    b"\\ud800", b"\\udc00\\ud800", b"\\ud83d\\ude00", b"\\u0000", b"\\x41", b"\\", b"\\u12", b"\xef\xbb\xbf",
    b"NaN", b"1,5", b" 1", b"trade", b"BTCUSDT", b"btcusdt@trade", b"\xf0\x9f\x98\x80",
)  # fmt: skip
TOKENS: Final = (b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"null", b"true", b" ", b"\n", b"e", b"-")
VALUES: Final[tuple[Json, ...]] = (
    None, True, False, 0, -1, 1.5, 2**53, 2**63 - 1, 2**64 - 1, "", "0", "x", "trade", "1s", "BTCUSDT",
    [], {}, [[]], [None], ["1"], ["1", "2", "3"], {"e": "trade"}, {"k": {}}, [{"s": "BTCUSDT"}],
)  # fmt: skip
KEYS: Final = (
    *"eEsStTpqPQubBaAUkfLlmMnx",
    "stream",
    "data",
    "result",
    "error",
    "id",
    "code",
    "msg",
    "event",
    "é",
    "",
)
NEWS: Final[tuple[Json, ...]] = (
    {"e": "serverShutdown", "E": START * 1000},
    {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": START * 1000}},
    {"result": None, "id": 1},
    {"error": {"code": 2, "msg": "Invalid request"}, "id": 2},
    {"code": 3, "msg": "Invalid JSON"},
    {"e": "somethingNew", "s": "BTCUSDT"},
    {"stream": "btcusdt@somethingNew", "data": {}},
    {"stream": "solusdt@trade", "data": {"e": "trade"}},
)  # fmt: skip


# --- damage to bytes


def _span(random: Random, frame: bytes, longest: int) -> tuple[int, int]:
    start = random.randrange(len(frame) + 1)
    return start, min(len(frame), start + random.randrange(longest + 1))


def _flip_bits(random: Random, frame: bytes) -> bytes:
    damaged = bytearray(frame)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def _write_over(random: Random, frame: bytes) -> bytes:
    start, end = _span(random, frame, 8)
    return frame[:start] + random.randbytes(end - start) + frame[end:]


def _cut_out(random: Random, frame: bytes) -> bytes:
    start, end = _span(random, frame, 20)
    return frame[:start] + frame[end:]


def _insert(random: Random, frame: bytes) -> bytes:
    start = random.randrange(len(frame) + 1)
    what = random.choice((random.choice(TOKENS), random.choice(STRINGS), random.randbytes(3)))
    return frame[:start] + what + frame[start:]


def _truncate(random: Random, frame: bytes) -> bytes:
    return frame[: random.randrange(len(frame))]


def _behead(random: Random, frame: bytes) -> bytes:
    return frame[random.randrange(1, len(frame)) :]


def _repeat_slice(random: Random, frame: bytes) -> bytes:
    start, end = _span(random, frame, 60)
    return frame[:end] + frame[start:end] * random.choice((1, 1, 5)) + frame[end:]


def _swap_slices(random: Random, frame: bytes) -> bytes:
    one, two, three = sorted(random.randrange(len(frame) + 1) for _ in range(3))
    return frame[:one] + frame[two:three] + frame[one:two] + frame[three:]


def _say_twice(random: Random, frame: bytes) -> bytes:
    return frame + random.choice((b"", b"\n", b",")) + frame


def _change_a_number(random: Random, frame: bytes) -> bytes:
    digits = [place for place, byte in enumerate(frame) if 48 <= byte <= 57 and frame[place - 1] in b":,["]
    if not digits:
        return _insert(random, frame)
    start = end = random.choice(digits)
    while end < len(frame) and frame[end] in b"0123456789.":
        end += 1
    return frame[:start] + random.choice(NUMBERS) + frame[end:]


def _change_a_string(random: Random, frame: bytes) -> bytes:
    quotes = [place for place, byte in enumerate(frame) if byte == 34]
    if len(quotes) < 2:
        return _insert(random, frame)
    first = random.randrange(len(quotes) - 1)
    start, end = quotes[first] + 1, quotes[first + 1]
    return frame[:start] + random.choice(STRINGS) + frame[end:]


def _pad(random: Random, frame: bytes) -> bytes:
    blank = random.choice((b" ", b"\n", b"\t\r", b"\xc2\xa0", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"\x0b"))
    return random.choice((blank + frame, frame + blank, blank.join((b"", *frame.partition(b","), b""))))


def _encode_otherwise(random: Random, frame: bytes) -> bytes:
    text = frame.decode("latin-1")
    return text.encode(random.choice(("utf-16", "utf-32", "utf-7", "utf-8-sig", "cp037")))


def _put_nothing(random: Random, _: bytes) -> bytes:
    return random.choice(
        (b"", b" ", b"{}", b"[]", b"null", b"0", b'""', b"\x00", b"\xef\xbb\xbf", b"{", b'{"')
    )


def _put_noise(random: Random, _: bytes) -> bytes:
    return random.randbytes(random.randrange(1, 300))


def _nest_deeply(random: Random, frame: bytes) -> bytes:
    depth = random.choice((10, 500, 1_030, 20_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"data":', b"}"), (b'{"k":', b"}")))
    return random.choice(
        (
            opening * depth + frame + closing * depth,
            opening * depth,
            frame.replace(b":", b":" + opening * depth, 1),
            frame[:-1] + b',"zz":' + opening * depth + b"1" + closing * depth + b"}",
        )
    )


def _blow_up_a_string(random: Random, frame: bytes) -> bytes:
    start = frame.find(b'"', random.randrange(len(frame))) + 1
    filling = random.choice((b"9", b"x", b"\\u0041", "é".encode()))
    return frame[:start] + filling * random.choice((1_000, 30_000)) + frame[start:]


# --- damage to JSON


Places = list[tuple[Any, Any]]


def _places(content: Json, found: Places) -> Places:
    """List every value: what holds it, and its key or index there."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        found.append((content, key))
        if isinstance(value, dict | list):
            _places(value, found)
    return found


def _set_a_value(random: Random, content: Json) -> Json:
    holder, key = random.choice(_places(content, []))
    holder[key] = random.choice(VALUES)
    return content


def _change_a_type(random: Random, content: Json) -> Json:
    holder, key = random.choice(_places(content, []))
    value = holder[key]
    changes: tuple[Json, ...] = (str(value), [value], {"value": value}, None, bool(value))
    holder[key] = random.choice(changes if isinstance(value, str | dict | list) else (*changes, value + 0.5))
    return content


def _swap_values(random: Random, content: Json) -> Json:
    places = _places(content, [])
    (one, first), (other, second) = random.choice(places), random.choice(places)
    # One inside the other would make a ring.
    if not any(isinstance(each, dict | list) for each in (one[first], other[second])):
        one[first], other[second] = other[second], one[first]
    return content


def _of_an_object(content: Json, random: Random) -> tuple[dict[str, Json], str]:
    holder, key = random.choice([each for each in _places(content, []) if isinstance(each[0], dict)])
    return holder, key


def _rename_a_key(random: Random, content: Json) -> Json:
    holder, key = _of_an_object(content, random)
    holder[random.choice((*KEYS, key.upper(), key.lower(), f" {key}"))] = holder.pop(key)
    return content


def _drop_a_key(random: Random, content: Json) -> Json:
    holder, key = _of_an_object(content, random)
    del holder[key]
    return content


def _add_a_key(random: Random, content: Json) -> Json:
    holder, _ = _of_an_object(content, random)
    holder[random.choice((*KEYS, "zz"))] = random.choice(VALUES)
    return content


def _shuffle_keys(random: Random, content: Json) -> Json:
    holder, _ = _of_an_object(content, random)
    items = list(holder.items())
    random.shuffle(items)
    holder.clear()
    holder.update(items)
    return content


def _move_a_number(random: Random, content: Json) -> Json:
    numbers = [
        (holder, key) for holder, key in _places(content, []) if type(holder[key]) is int and holder[key] >= 0
    ]
    if numbers:
        holder, key = random.choice(numbers)
        holder[key] = max(0, min(2**63 - 1, holder[key] + random.choice((-1000, -1, 1, 2, 1000, 10**9))))
    return content


def _wrap(random: Random, content: Json) -> Json:
    return random.choice(([content], {"data": content}, {"stream": "btcusdt@trade", "data": content}, [[]]))


def _put_news(random: Random, _: Json) -> Json:
    return random.choice(NEWS)


def _on_json(change: Callable[[Random, Json], Json]) -> Damage:
    return lambda random, frame: orjson.dumps(change(random, orjson.loads(frame)))


def _repeat_a_key(random: Random, frame: bytes) -> bytes:
    key, value = random.choice(KEYS), orjson.dumps(random.choice(VALUES))
    place = random.choice((frame.find(b"{") + 1, frame.find(b"{", 1) + 1, len(frame) - 1))
    comma_after = b"," if place < len(frame) - 1 else b""
    comma_before = b"" if comma_after else b","
    return frame[:place] + comma_before + orjson.dumps(key) + b":" + value + comma_after + frame[place:]


def _leave(_: Random, frame: bytes) -> bytes:
    return frame


DAMAGES: Final[dict[str, tuple[int, Damage]]] = {
    "none": (4, _leave),
    "bits flipped": (12, _flip_bits),
    "bytes written over": (6, _write_over),
    "bytes cut out": (6, _cut_out),
    "bytes inserted": (8, _insert),
    "end lost": (5, _truncate),
    "beginning lost": (2, _behead),
    "slice repeated": (4, _repeat_slice),
    "slices swapped": (3, _swap_slices),
    "said twice": (1, _say_twice),
    "number changed": (8, _change_a_number),
    "string changed": (8, _change_a_string),
    "blanks and marks": (3, _pad),
    "other encoding": (1, _encode_otherwise),
    "nearly nothing": (2, _put_nothing),
    "noise": (1, _put_noise),
    "deep nesting": (1, _nest_deeply),
    "giant string": (1, _blow_up_a_string),
    "value set": (8, _on_json(_set_a_value)),
    "type changed": (8, _on_json(_change_a_type)),
    "values swapped": (4, _on_json(_swap_values)),
    "number moved": (6, _on_json(_move_a_number)),
    "key renamed": (5, _on_json(_rename_a_key)),
    "key dropped": (5, _on_json(_drop_a_key)),
    "key added": (5, _on_json(_add_a_key)),
    "key repeated": (4, _repeat_a_key),
    "keys shuffled": (3, _on_json(_shuffle_keys)),
    "wrapped": (2, _on_json(_wrap)),
    "other news": (3, _on_json(_put_news)),
}
"""Each kind of damage, and how often it is done in relation to the others."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One frame, what was done to it, and whose connection it comes on."""

    symbol: str
    damage: str
    frame: bytes


Frames = list[tuple[str, bytes]]
"""Frames in the order in which they came, each with its symbol."""


def passes() -> Iterator[Frames]:
    """Yield real frames for ever: some seconds of each of the market's streams, and the recorded session."""
    market = Market(SYMBOLS, seed=1, rate=20.0)
    for symbol in SYMBOLS:
        market.watch(symbol, dict.fromkeys(STREAM_NAMES, (TimeUnit.MILLISECOND,)))
    market.advance(START * 1_000_000)
    recorded = [
        (RECORDED[orjson.loads(frame)["stream"]].symbol, frame)
        for frame in recorded_frames()
        if frame.startswith(b'{"stream"')
    ]
    for second in count(START + SECONDS_IN_A_PASS, SECONDS_IN_A_PASS):
        of_market = [
            (message.symbol, envelope(message.stream, message.payloads[TimeUnit.MILLISECOND]))
            for message in market.advance(second * 1_000_000)
        ]
        yield of_market + recorded


def mutations(frames: Frames, random: Random) -> Iterator[Mutation]:
    """Damage each frame in one way."""
    pool = [name for name, (often, _) in DAMAGES.items() for _ in range(often)]
    for symbol, frame in frames:
        content = frame
        if random.random() < RAW_SHARE:
            content = frame[frame.find(b'"data":') + len(b'"data":') : -1]
        damage = random.choice(pool)
        yield Mutation(symbol, damage, DAMAGES[damage][1](random, content))


# --- what becomes of them


OpenDecoder = Callable[[Iterable[Subscription]], Decoder]


class Line:
    """One symbol's way in, from bytes to its session: all of its feed but the socket."""

    def __init__(
        self, symbol: str, subscriptions: list[Subscription], open_decoder: OpenDecoder = SPOT.decoder
    ) -> None:
        streams = [subscription.stream for subscription in subscriptions]
        limits = SymbolLimits(10.0, 1.0, 5.0, ResumePolicy.AUTO)
        self._now = 0.0
        self._symbol_state = SymbolState(symbol, streams, limits, VenueClock(0.0, START), now=0.0)
        self._pipeline = SymbolPipeline(self._symbol_state, self._deliver, lambda *_: None, lambda: self._now)
        self._pipeline.connected()
        self._demultiplexer = Demultiplexer(
            open_decoder, [self._pipeline], streams, self._leaving, lambda: self._now
        )
        self._link = ConnectionRecord("", 0.0, 0.0)
        self._demultiplexer.opened(self._link)
        self._decoder = SpotDecoder(subscriptions)
        self._delivered = self._shutdowns = 0
        self.taken = self.aside = 0

    def take(self, frame: bytes) -> str:
        """Take a frame; returns what became of it. Raises AssertionError if that was not counted once."""
        self._now += SECONDS_PER_FRAME
        self.taken += 1
        try:
            message = self._decoder.decode(frame)
        except DecodeError as error:
            before = self._symbol_state.counts.invalid[error.reason]
            self._pass_in(frame)
            assert self._symbol_state.counts.invalid[error.reason] == before + 1
            return f"invalid, {error.reason}"
        match message:
            case ServerShutdown():
                before = self._shutdowns
                self._pass_in(frame)
                assert self._shutdowns == before + 1
                self.aside += 1
                return "notice of shutdown"
            case ControlReply():
                self._pass_in(frame)
                self.aside += 1
                return "control reply"
            case Drifted():
                is_news = self._is_news(message.frame.stream, frame)
                return "message with unknown fields" if is_news else "repetition"
            case _:
                return "message" if self._is_news(message.stream, frame) else "repetition"

    def _is_news(self, stream: str, frame: bytes) -> bool:
        sequence = self._symbol_state.streams[stream].sequence
        delivered, repetitions = self._delivered, sequence.duplicates
        self._pass_in(frame)
        counted = (self._delivered - delivered, sequence.duplicates - repetitions)
        assert counted in ((1, 0), (0, 1))
        return counted == (1, 0)

    def _pass_in(self, frame: bytes) -> None:
        self._demultiplexer.accept(self._link, frame, self._now)
        assert Reason.INTERNAL not in self._symbol_state.gate.causes, "a bug was contained"

    def _deliver(self, stream_state: StreamState, frame: bytes) -> None:
        self._delivered += 1

    def _leaving(self, link: ConnectionRecord) -> None:
        self._shutdowns += 1

    def counts(self) -> Counter[str]:
        """Return what the session's counts, which are exported, say of all that was taken."""
        counts = Counter(
            {f"invalid, {reason}": count for reason, count in self._symbol_state.counts.invalid.items()}
        )
        for stream_state in self._symbol_state.streams.values():
            counts += Counter(message=stream_state.messages, repetition=stream_state.sequence.duplicates)
        return counts

    def begin_anew(self) -> None:
        """Forget which ids have been."""
        self._pipeline.rebuilt()

    def stop(self) -> None:
        self._demultiplexer.stop()
        self._pipeline.stop()


Outcomes = Counter[tuple[str, str]]
"""How often a damage had an outcome."""


def lines(open_decoder: OpenDecoder = SPOT.decoder) -> dict[str, Line]:
    """Return a line for each symbol that frames come from."""
    of_market = [Subscription(symbol, SPOT.parse_stream(name)) for symbol in SYMBOLS for name in STREAM_NAMES]
    by_symbol: dict[str, list[Subscription]] = {}
    for subscription in (*of_market, *RECORDED.values()):
        by_symbol.setdefault(subscription.symbol, []).append(subscription)
    return {symbol: Line(symbol, subscriptions, open_decoder) for symbol, subscriptions in by_symbol.items()}


async def prove(most: int, seed: int, open_decoder: OpenDecoder = SPOT.decoder) -> Outcomes:
    """Send so many damaged frames through. Raises AssertionError, naming the frame, where one is lost."""
    outcomes: Outcomes = Counter()
    random = Random(seed)
    by_symbol = lines(open_decoder)
    for frames in passes():
        for symbol in by_symbol.keys() - set(SYMBOLS):
            by_symbol[symbol].begin_anew()  # a recording knows no new ids
        for mutation in islice(mutations(frames, random), most - outcomes.total()):
            try:
                outcomes[mutation.damage, by_symbol[mutation.symbol].take(mutation.frame)] += 1
            except Exception as error:
                where = f"frame {outcomes.total()} of seed {seed}, {mutation.damage}"
                raise AssertionError(f"{where}: {mutation.frame[:2_000]!r}") from error
        if outcomes.total() == most:
            break
    for line in by_symbol.values():
        line.stop()
    _compare(outcomes, by_symbol.values())
    return outcomes


def _compare(outcomes: Outcomes, by_symbol: Iterable[Line]) -> None:
    """Hold what was seen of the frames against the sessions' own counts."""
    seen: Counter[str] = Counter()
    for (_, word), frames in outcomes.items():
        seen["message" if word.startswith("message") else word] += frames
    aside = seen.pop("notice of shutdown", 0) + seen.pop("control reply", 0)
    counted = sum((line.counts() for line in by_symbol), Counter[str]())
    assert seen == counted, f"seen {seen}, counted {counted}"
    assert counted.total() + aside == sum(line.taken for line in by_symbol)
    assert aside == sum(line.aside for line in by_symbol)


def table(outcomes: Outcomes) -> str:
    """Render how many frames had each outcome, and what became of each damage."""
    total = outcomes.total()
    by_outcome: Counter[str] = Counter()
    for (_, outcome), frames in outcomes.items():
        by_outcome[outcome] += frames
    rows = [f"{'outcome':<30}{'frames':>10}{'share':>9}"]
    rows += [
        f"{outcome:<30}{frames:>10}{frames / total:>9.2%}" for outcome, frames in by_outcome.most_common()
    ]
    rows += ["", f"{'damage':<30}{'frames':>10}{'invalid':>9}"]
    for damage in DAMAGES:
        frames = sum(number for (name, _), number in outcomes.items() if name == damage)
        refused = sum(
            number
            for (name, word), number in outcomes.items()
            if name == damage and word.startswith("invalid")
        )
        rows.append(f"{damage:<30}{frames:>10}{refused / max(frames, 1):>9.2%}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable()  # the first few bad frames of each symbol are logged; here all are meant
    began = time.monotonic()
    try:
        outcomes = asyncio.run(prove(arguments.frames, arguments.seed))
    except AssertionError as error:
        sys.exit(f"{error}\n{error.__cause__!r}")
    seconds = time.monotonic() - began
    source = "the market and the recorded session" if recorded_frames() else "the market"
    print(table(outcomes))
    print(f"\n{arguments.frames} frames of {source} in {seconds:.0f} s; none raised, all are accounted for")


if __name__ == "__main__":
    main()
