from __future__ import annotations

from feedd.exchange import ExchangeSettings
from feedd.exchange.rules import Action, ConnectionRules, ConnectLimit, WeightLimit, WeightUsage

SETTINGS = ExchangeSettings(ping_interval=20, pong_deadline=60, lifetime=1000, shutdown_notice=30)


def make_rules(settings: ExchangeSettings = SETTINGS) -> ConnectionRules:
    return ConnectionRules(settings, opened=100.0)


def test_five_frames_a_second_are_heard_and_the_sixth_is_not() -> None:
    rules = make_rules()
    assert [rules.admit_inbound(100 + tenth / 10) for tenth in range(6)] == [True] * 5 + [False]


def test_steady_talk_within_the_limit_may_go_on_for_ever() -> None:
    rules = make_rules()
    assert all(rules.admit_inbound(100 + quarter / 4) for quarter in range(1000))


def test_burst_across_a_second_boundary_is_still_a_burst() -> None:
    rules = make_rules()
    times = [100.9, 100.95, 100.99, 101.0, 101.05, 101.1]
    assert [rules.admit_inbound(time) for time in times] == [True] * 5 + [False]


def test_ping_is_due_every_interval() -> None:
    rules = make_rules()
    assert rules.due == 120
    assert rules.next_action(119.9) is None
    assert rules.next_action(120) is Action.PING
    rules.note_ping(b"1", 120)
    rules.accept_pong(b"1")
    assert rules.next_action(139.9) is None
    assert rules.next_action(140) is Action.PING


def test_ping_without_a_pong_ends_the_connection_at_the_deadline() -> None:
    rules = make_rules()
    for time in (120, 140, 160):
        rules.note_ping(str(time).encode(), time)
    assert rules.next_action(179.9) is None
    assert rules.next_action(180) is Action.PONG_TIMEOUT


def test_pong_that_copies_no_ping_saves_nothing() -> None:
    rules = make_rules()
    rules.note_ping(b"120", 120)
    assert not rules.accept_pong(b"")
    assert not rules.accept_pong(b"other")
    rules.note_ping(b"170", 170)
    assert rules.next_action(180) is Action.PONG_TIMEOUT


def test_pong_to_the_newest_ping_answers_the_older_ones() -> None:
    rules = make_rules()
    for time in (120, 140, 160):
        rules.note_ping(str(time).encode(), time)
    assert rules.accept_pong(b"160")
    rules.note_ping(b"175", 175)
    assert rules.next_action(180) is None
    assert not rules.accept_pong(b"140")


def test_pong_to_an_older_ping_leaves_the_newer_ones_open() -> None:
    rules = make_rules()
    for time in (120, 140, 185):
        rules.note_ping(str(time).encode(), time)
    assert rules.accept_pong(b"120")
    assert rules.next_action(199.9) is None
    assert rules.next_action(200) is Action.PONG_TIMEOUT


def test_lifetime_ends_after_one_notice() -> None:
    rules = make_rules(ExchangeSettings(ping_interval=5000, lifetime=1000, shutdown_notice=30))
    assert rules.due == 1070
    assert rules.next_action(1070) is Action.NOTICE
    assert rules.next_action(1070) is None
    assert rules.due == 1100
    assert rules.next_action(1100) is Action.LIFETIME


def test_lifetime_ends_without_a_notice_if_none_is_set() -> None:
    rules = make_rules(ExchangeSettings(ping_interval=5000, lifetime=1000))
    assert rules.next_action(1099.9) is None
    assert rules.next_action(1100) is Action.LIFETIME


def test_attempts_beyond_the_limit_wait_for_the_window() -> None:
    limit = ConnectLimit(3, 300.0)
    assert [limit.attempt("a", now) for now in (0, 10, 20)] == [None] * 3
    assert limit.attempt("a", 30.5) == 270
    assert limit.attempt("a", 300) == 10


def test_refused_attempts_count_too() -> None:
    limit = ConnectLimit(2, 300.0)
    for now in (0, 1, 2, 3):
        limit.attempt("a", now)
    assert limit.attempt("a", 301) == 1
    assert limit.attempt("a", 700) is None


def test_each_address_has_its_own_limit_and_is_forgotten() -> None:
    limit = ConnectLimit(1, 300.0)
    assert limit.attempt("a", 0) is None
    assert limit.attempt("b", 0) is None
    assert limit.attempt("a", 1) is not None
    assert limit.attempt("a", 302) is None


def test_weight_is_counted_by_clock_minute_and_address() -> None:
    limit = WeightLimit(40)
    assert limit.spend("a", 20, 60.0) == WeightUsage(20, None)
    assert limit.spend("a", 20, 61.0) == WeightUsage(40, None)
    assert limit.spend("b", 1, 61.0) == WeightUsage(1, None)
    assert limit.spend("a", 1, 90.5) == WeightUsage(41, 30)
    assert limit.spend("a", 1, 119.99) == WeightUsage(42, 1)
    assert limit.spend("a", 1, 120.0) == WeightUsage(1, None)
