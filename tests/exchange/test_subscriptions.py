from __future__ import annotations

from dataclasses import dataclass

from feedd.exchange.messages import TimeUnit
from feedd.exchange.subscriptions import Hub

MS, US = TimeUnit.MILLISECOND, TimeUnit.MICROSECOND


@dataclass(eq=False)
class Listener:
    unit: TimeUnit = MS


def test_names_split_into_symbol_and_kind() -> None:
    hub: Hub[Listener] = Hub(("BTCUSDT", "测试X"))
    assert hub.split("btcusdt@depth@100ms") == ("BTCUSDT", "depth@100ms")
    assert hub.split("测试x@trade") == ("测试X", "trade")
    for name in ("BTCUSDT@trade", "ethusdt@trade", "btcusdt", "btcusdt@", "!miniTicker@arr"):
        assert hub.split(name) is None
    assert hub.symbols(["btcusdt@trade", "btcusdt@x", "ethusdt@trade"]) == {"BTCUSDT"}


def test_audience_is_who_subscribed_and_changes_are_told_by_symbol() -> None:
    hub: Hub[Listener] = Hub(("A", "B"))
    one, two = Listener(), Listener(US)
    assert hub.subscribe(one, ["a@trade", "b@trade", "zzz@trade"]) == {"A", "B"}
    assert hub.subscribe(two, ["a@trade"]) == {"A"}
    assert list(hub.audience("A", "trade")) == [one, two]
    assert hub.watched("A") == {"trade": (MS, US)}
    assert hub.subscribe(one, ["b@trade", "b@depth"]) == {"A", "B"}
    assert list(hub.audience("A", "trade")) == [two]
    assert hub.watched("B") == {"trade": (MS,), "depth": (MS,)}


def test_same_streams_again_change_nothing() -> None:
    hub: Hub[Listener] = Hub(("A",))
    one = Listener()
    hub.subscribe(one, ["a@trade"])
    assert hub.subscribe(one, ["a@trade"]) == set()


def test_who_leaves_is_forgotten() -> None:
    hub: Hub[Listener] = Hub(("A",))
    one = Listener()
    hub.subscribe(one, ["a@trade"])
    assert hub.subscribe(one, ()) == {"A"}
    assert hub.subscribe(one, ()) == set()
    assert not hub.audience("A", "trade")
    assert hub.watched("A") == {}
