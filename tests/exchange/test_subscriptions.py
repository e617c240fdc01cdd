from __future__ import annotations

from dataclasses import dataclass

from feedd.exchange.messages import TimeUnit
from feedd.exchange.subscriptions import Subscriptions

MS, US = TimeUnit.MILLISECOND, TimeUnit.MICROSECOND


@dataclass(eq=False)
class Sink:
    unit: TimeUnit = MS


def test_names_split_into_symbol_and_kind() -> None:
    subscriptions: Subscriptions[Sink] = Subscriptions(("BTCUSDT", "测试X"))
    assert subscriptions.split("btcusdt@depth@100ms") == ("BTCUSDT", "depth@100ms")
    assert subscriptions.split("测试x@trade") == ("测试X", "trade")
    for name in ("BTCUSDT@trade", "ethusdt@trade", "btcusdt", "btcusdt@", "!miniTicker@arr"):
        assert subscriptions.split(name) is None
    assert subscriptions.symbols(["btcusdt@trade", "btcusdt@x", "ethusdt@trade"]) == {"BTCUSDT"}


def test_subscribers_are_those_who_subscribed_and_the_symbols_concerned_are_returned() -> None:
    subscriptions: Subscriptions[Sink] = Subscriptions(("A", "B"))
    one, two = Sink(), Sink(US)
    assert subscriptions.subscribe(one, ["a@trade", "b@trade", "zzz@trade"]) == {"A", "B"}
    assert subscriptions.subscribe(two, ["a@trade"]) == {"A"}
    assert list(subscriptions.subscribers("A", "trade")) == [one, two]
    assert subscriptions.watched("A") == {"trade": (MS, US)}
    assert subscriptions.subscribe(one, ["b@trade", "b@depth"]) == {"A", "B"}
    assert list(subscriptions.subscribers("A", "trade")) == [two]
    assert subscriptions.watched("B") == {"trade": (MS,), "depth": (MS,)}


def test_same_streams_again_change_nothing() -> None:
    subscriptions: Subscriptions[Sink] = Subscriptions(("A",))
    one = Sink()
    subscriptions.subscribe(one, ["a@trade"])
    assert subscriptions.subscribe(one, ["a@trade"]) == set()


def test_who_leaves_is_forgotten() -> None:
    subscriptions: Subscriptions[Sink] = Subscriptions(("A",))
    one = Sink()
    subscriptions.subscribe(one, ["a@trade"])
    assert subscriptions.subscribe(one, ()) == {"A"}
    assert subscriptions.subscribe(one, ()) == set()
    assert not subscriptions.subscribers("A", "trade")
    assert subscriptions.watched("A") == {}
