"""The rules for a consumer: five messages a second, and an answer to every ping within a minute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feedd.outputs.ws.client_limits import ClientLimits, ClientRules

RULES = ClientRules()


def test_sixth_message_within_a_second_is_one_too_many() -> None:
    client_limits = ClientLimits(RULES)
    assert all(client_limits.may_speak(10.0 + number * 0.1) for number in range(5))
    assert not client_limits.may_speak(10.99)


def test_second_later_it_may_speak_again() -> None:
    client_limits = ClientLimits(RULES)
    for number in range(5):
        client_limits.may_speak(10.0 + number * 0.1)
    assert client_limits.may_speak(11.0)
    assert not client_limits.may_speak(11.05)


def test_ping_without_an_answer_for_a_minute_is_silence() -> None:
    client_limits = ClientLimits(RULES)
    assert not client_limits.is_silent(1000.0)
    client_limits.pinged(b"1", 20.0)
    client_limits.pinged(b"2", 40.0)
    assert not client_limits.is_silent(20.0 + RULES.pong_seconds - 0.1)
    assert client_limits.is_silent(20.0 + RULES.pong_seconds)


def test_pong_answers_its_ping_and_those_before_it() -> None:
    client_limits = ClientLimits(RULES)
    for number, at in ((b"1", 20.0), (b"2", 40.0), (b"3", 60.0)):
        client_limits.pinged(number, at)
    client_limits.ponged(b"2")
    assert not client_limits.is_silent(60.0 + RULES.pong_seconds - 0.1)
    assert client_limits.is_silent(60.0 + RULES.pong_seconds)


def test_pong_that_copies_no_ping_answers_none() -> None:
    client_limits = ClientLimits(RULES)
    client_limits.pinged(b"1", 20.0)
    client_limits.ponged(b"")
    assert client_limits.is_silent(20.0 + RULES.pong_seconds)


@given(st.lists(st.floats(0.0, 2.0), max_size=60))
def test_any_run_of_messages_passes_as_a_sliding_window_says(pauses: list[float]) -> None:
    client_limits, now, said = ClientLimits(RULES), 100.0, list[float]()
    for pause in pauses:
        now += pause
        expected = sum(at > now - 1.0 for at in said) < RULES.messages_per_second
        assert client_limits.may_speak(now) == expected
        said.append(now)
