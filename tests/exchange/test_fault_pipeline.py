from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.exchange.fault_pipeline import FaultPipeline
from feedd.exchange.fault_registry import AnyFault, FaultRegistry
from feedd.exchange.messages import MarketMessage, Opcode, TimeUnit

MS, US = TimeUnit.MILLISECOND, TimeUnit.MICROSECOND


def trade(id: int, symbol: str = "BTCUSDT", kind: str = "trade") -> MarketMessage:
    return MarketMessage(
        symbol, kind, {MS: orjson.dumps({"e": "trade", "E": 1000 + id, "s": symbol, "t": id, "p": "1"})}
    )


def ids(messages: list[MarketMessage]) -> list[int]:
    return [orjson.loads(message.payloads[MS])["t"] for message in messages]


class Rig:
    """A board and what it does to the messages."""

    def __init__(self) -> None:
        self.registry = FaultRegistry(("BTCUSDT", "ETHUSDT"))
        self.pipeline = FaultPipeline(self.registry)

    def set(self, name: str, **options: Any) -> AnyFault:
        known = {key: options.pop(key) for key in ("symbol", "stream", "seconds") if key in options}
        return self.registry.set(name, 0.0, **known, arguments=options)

    def send(self, *messages: MarketMessage, now: float = 0.0) -> list[MarketMessage]:
        sent = self.pipeline.release_due(now)
        for message in messages:
            sent += self.pipeline.process(message, now)
        return sent


def test_without_faults_messages_pass_as_they_are() -> None:
    message = trade(1)
    assert Rig().send(message) == [message]


@pytest.mark.parametrize(
    "name", ["mute", "delay", "reorder", "garbage", "unknown_field", "wrong_symbol", "duplicate"]
)
def test_fault_of_one_symbol_leaves_the_others_alone(name: str) -> None:
    rig = Rig()
    rig.set(name, symbol="ETHUSDT")
    message = trade(1)
    assert rig.send(message) == [message]
    assert rig.send(other := trade(1, "ETHUSDT")) != [other]


def test_mute_silences_the_symbol_or_one_stream() -> None:
    rig = Rig()
    fault = rig.set("mute", symbol="BTCUSDT", stream="trade")
    assert rig.send(trade(1)) == []
    assert ids(rig.send(trade(1, kind="aggTrade"))) == [1]
    assert fault.hit == 1


def test_status_break_silences_and_halt_does_not() -> None:
    rig = Rig()
    rig.set("status", symbol="BTCUSDT", status="BREAK")
    assert rig.send(trade(1)) == []
    rig.set("status", symbol="BTCUSDT", status="HALT")
    assert ids(rig.send(trade(1))) == [1]


def test_status_cancel_only_silences_candles() -> None:
    rig = Rig()
    rig.set("status", status="CANCEL_ONLY")
    assert rig.send(trade(1, kind="kline_1s")) == []
    assert ids(rig.send(trade(1))) == [1]


def test_gap_leaves_out_the_next_messages_and_no_more() -> None:
    rig = Rig()
    rig.pipeline.drop_next("BTCUSDT", "trade", 2)
    sent = rig.send(*(trade(id) for id in range(1, 6)), trade(9, "ETHUSDT"), trade(9, kind="aggTrade"))
    assert ids(sent) == [3, 4, 5, 9, 9]
    assert rig.send(message := trade(6)) == [message]


def test_only_streams_that_number_their_messages_are_numbered() -> None:
    numbered = [
        kind for kind in ("trade", "aggTrade", "depth", "depth@100ms") if FaultPipeline.is_numbered(kind)
    ]
    assert numbered == ["trade", "aggTrade", "depth", "depth@100ms"]
    assert not any(FaultPipeline.is_numbered(kind) for kind in ("bookTicker", "kline_1s", "depth5"))


def test_duplicate_sends_the_same_twice() -> None:
    rig = Rig()
    rig.set("duplicate", every=2)
    sent = rig.send(*(trade(id) for id in range(1, 5)))
    assert ids(sent) == [1, 2, 2, 3, 4, 4]
    assert sent[1] == sent[2]


def test_reorder_swaps_neighbours_within_each_stream() -> None:
    rig = Rig()
    rig.set("reorder")
    sent = rig.send(trade(1), trade(51, "ETHUSDT"), trade(2), trade(52, "ETHUSDT"), trade(3), trade(4))
    assert ids(sent) == [2, 1, 52, 51, 4, 3]


def test_reorder_loses_nothing_when_it_ends() -> None:
    rig = Rig()
    rig.set("reorder", seconds=1)
    assert ids(rig.send(trade(1), trade(2), trade(3))) == [2, 1]
    rig.registry.expire(1.0)
    assert ids(rig.send(trade(4), now=1.0)) == [3, 4]


def test_reorder_that_is_cleared_lets_go_of_what_it_holds() -> None:
    rig = Rig()
    fault = rig.set("reorder")
    assert rig.send(trade(1)) == []
    rig.registry.clear(fault.id)
    rig.pipeline.release_held_by(fault, 0.1)
    assert rig.pipeline.next_due == 0.1
    assert ids(rig.send(trade(2), now=0.2)) == [1, 2]


def test_reorder_of_so_many_ends_by_itself() -> None:
    rig = Rig()
    rig.set("reorder", count=1)
    assert rig.send(trade(1)) == []
    rig.registry.expire(0.0)
    assert ids(rig.send(*(trade(id) for id in range(2, 6)))) == [2, 1, 3, 4, 5]


def test_delay_holds_back_and_keeps_order_when_it_shrinks() -> None:
    rig = Rig()
    rig.set("delay", ms=1500)
    assert rig.send(trade(1), trade(2), now=0.0) == []
    rig.set("delay", ms=100)
    assert rig.send(trade(3), now=1.0) == []
    assert rig.pipeline.next_due == 1.5
    assert rig.send(now=1.4) == []
    assert ids(rig.send(trade(4), now=1.5)) == [1, 2, 3]
    assert ids(rig.send(now=1.6)) == [4]


def test_delay_leaves_event_times_true() -> None:
    rig = Rig()
    rig.set("delay", ms=500)
    message = trade(1)
    rig.send(message, now=0.0)
    assert rig.send(now=0.5) == [message]


def test_delay_that_is_over_lets_nothing_overtake() -> None:
    rig = Rig()
    rig.set("delay", ms=1000, seconds=1)
    rig.send(trade(1), now=0.9)
    rig.registry.expire(1.0)
    assert rig.send(trade(2), now=1.1) == []
    assert ids(rig.send(trade(3), now=2.0)) == [1, 2, 3]


def test_cleared_delay_releases_at_once_in_order() -> None:
    rig = Rig()
    fault = rig.set("delay", ms=1000, symbol="BTCUSDT")
    rig.set("delay", ms=1000, symbol="ETHUSDT")
    rig.send(trade(1), trade(2), trade(51, "ETHUSDT"), now=0.0)
    rig.registry.clear(fault.id)
    rig.pipeline.release_held_by(fault, 0.2)
    assert ids(rig.send(trade(3), trade(52, "ETHUSDT"), now=0.2)) == [1, 2, 3]
    assert ids(rig.send(now=1.2)) == [51, 52]


def test_latency_spike_holds_everything_until_it_ends() -> None:
    rig = Rig()
    rig.set("latency_spike", seconds=2)
    assert rig.send(trade(1), now=0.0) == rig.send(trade(2), now=1.9) == []
    rig.registry.expire(2.0)
    assert ids(rig.send(trade(3), now=2.0)) == [1, 2, 3]


def test_clearing_another_fault_releases_nothing() -> None:
    rig = Rig()
    rig.set("delay", ms=1000)
    mute = rig.set("mute", symbol="ETHUSDT")
    rig.send(trade(1))
    rig.registry.clear(mute.id)
    rig.pipeline.release_held_by(mute, 0.1)
    assert rig.send(now=0.1) == []


def test_garbage_replaces_or_is_added() -> None:
    rig = Rig()
    rig.set("garbage", mode="binary", every=2)
    assert [message.corrupt is None for message in rig.send(trade(1), trade(2))] == [True, False]
    rig.set("garbage", mode="binary", add=True)
    spoilt, good = rig.send(trade(3))
    assert good == trade(3)
    assert spoilt.corrupt is not None
    assert spoilt.corrupt(b"{}") == (Opcode.BINARY, b"{}")


def test_unknown_event_comes_besides_the_good_one() -> None:
    rig = Rig()
    rig.set("unknown_event")
    unknown, good = rig.send(trade(1))
    assert good == trade(1)
    assert unknown.label == "btcusdt@somethingNew"
    assert orjson.loads(unknown.payloads[MS]) == {"e": "somethingNew", "E": 1001, "s": "BTCUSDT"}
    assert unknown.stream == good.stream


def test_fields_are_changed_in_every_unit() -> None:
    rig = Rig()
    rig.set("drop_field", field="p")
    rig.set("clock_skew", ms=2)
    document = {"e": "trade", "E": 5000, "p": "1"}
    message = MarketMessage("BTCUSDT", "trade", {MS: orjson.dumps(document), US: orjson.dumps(document)})
    (sent,) = rig.send(message)
    assert sent.payloads == {MS: b'{"e":"trade","E":5002}', US: b'{"e":"trade","E":7000}'}


def test_skew_of_rest_alone_leaves_event_times() -> None:
    rig = Rig()
    rig.set("clock_skew", ms=2, events=False)
    assert rig.send(trade(1)) == [trade(1)]


def test_field_that_is_not_there_is_no_hit() -> None:
    rig = Rig()
    fault = rig.set("drop_field", field="nothing", count=1)
    assert rig.send(trade(1)) == [trade(1)]
    assert fault.hit == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.sampled_from(["BTCUSDT", "ETHUSDT"])),
            st.tuples(st.just("delay"), st.integers(0, 300)),
            st.tuples(st.just("spike"), st.integers(1, 300)),
            st.tuples(st.just("clear"), st.just(0)),
            st.tuples(st.just("wait"), st.integers(1, 200)),
        ),
        max_size=60,
    )
)
def test_whatever_is_delayed_arrives_once_and_in_order(steps: list[tuple[str, Any]]) -> None:
    rig = Rig()
    now = 0.0
    told: dict[str, int] = {"BTCUSDT": 0, "ETHUSDT": 0}
    sent: list[MarketMessage] = []
    for step, value in steps:
        rig.registry.expire(now)
        match step:
            case "send":
                told[value] += 1
                sent += rig.send(trade(told[value], value), now=now)
            case "delay":
                rig.registry.set("delay", now, arguments={"ms": value})
            case "spike":
                rig.registry.set("latency_spike", now, seconds=value / 1000, arguments={})
            case "clear":
                for fault in rig.registry.active():
                    rig.registry.clear(fault.id)
                    rig.pipeline.release_held_by(fault, now)
            case _:
                now += value / 1000
                sent += rig.send(now=now)
    sent += rig.send(now=now + 1000)
    for symbol, count in told.items():
        assert ids([message for message in sent if message.symbol == symbol]) == list(range(1, count + 1))
