"""The list of harms: as long as was promised, and each fit to be judged."""

from __future__ import annotations

import pytest

from feedd.drill.case import Case, EnvFileEdit, InjectedFault, Rises, Scope
from feedd.drill.harms import CONNECTIONS, EVERYWHERE, EXCHANGE, HARMS, LATENESS, PEOPLE, SCHEMA, SILENCE
from feedd.model import Reason
from tests.drill.test_durations import LIMITS

BY_NAME = {case.name: case for case in HARMS}


def faults(case: Case) -> list[InjectedFault]:
    return [step for step in case.does if isinstance(step, InjectedFault)]


def test_there_are_forty_harms_at_least_and_each_must_halt() -> None:
    assert len(HARMS) >= 40
    assert all(case.is_harm for case in HARMS)


def test_every_reason_that_a_fault_can_bring_about_is_expected() -> None:
    beyond = {Reason.STARTING, Reason.LATCHED, Reason.STATIC_SOURCE, Reason.INTERNAL}
    assert {case.expected for case in HARMS} == set(Reason) - beyond


@pytest.mark.parametrize(
    ("cases", "reasons"),
    [
        (CONNECTIONS, {Reason.DISCONNECTED}),
        (SILENCE, {Reason.STALE}),
        (LATENESS, {Reason.LATENCY}),
        (SCHEMA, {Reason.SCHEMA}),
        (EXCHANGE, {Reason.EXCHANGE}),
        (PEOPLE, {Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE}),
    ],
)
def test_cases_of_a_kind_halt_for_their_reason(cases: tuple[Case, ...], reasons: set[Reason]) -> None:
    assert {case.expected for case in cases} == reasons


def test_whoever_is_disconnected_may_become_stale_as_well() -> None:
    assert all(
        Reason.STALE in case.also for case in HARMS if case.expected in (Reason.DISCONNECTED, Reason.EXCHANGE)
    )


def test_a_halt_for_staleness_has_at_least_as_long_as_the_symbol_may_be_silent() -> None:
    stale = [case for case in HARMS if case.expected is Reason.STALE]
    assert all(case.halt.of(LIMITS) > LIMITS.stale for case in stale)


def test_only_what_the_daemon_is_slow_to_retry_is_not_waited_for() -> None:
    assert {case.name for case in HARMS if case.is_slow} == {"http_403", "http_404", "http_451", "vanish"}


def test_a_pause_that_the_exchange_asks_for_has_the_daemon_to_itself() -> None:
    pausing = [case for case in HARMS if any("retry_after" in each.arguments for each in faults(case))]
    assert {case.name for case in pausing} == {
        "http_418_retry_after",
        "http_429_retry_after",
        "http_503_retry_after",
    }
    assert all(case.scope is Scope.ALONE for case in pausing)


def test_a_status_has_the_rest_side_to_itself_and_the_time_of_a_poll() -> None:
    for case in EXCHANGE:
        assert case.scope is Scope.VENUE
        assert case.halt.of(LIMITS) > LIMITS.status


def test_bad_messages_in_a_row_are_more_than_the_three_that_halt() -> None:
    in_a_row = [
        case
        for case in SCHEMA
        if any(each.stream is None and each.arguments.get("count") == 4 for each in faults(case))
    ]
    assert len(in_a_row) == 7
    for case in in_a_row:
        assert [proof.by for proof in case.proof if isinstance(proof, Rises)] == [4]


def test_what_concerns_all_symbols_comes_last() -> None:
    assert HARMS[-len(EVERYWHERE) :] == EVERYWHERE
    assert all(case.scope is Scope.ALL for case in (*PEOPLE, *EVERYWHERE))


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("kill_switch", b"A=1\nFLAG_TRADING_HALTED=1\n"),
        ("kill_switch_unclear", b"A=1\nFLAG_TRADING_HALTED=?\n"),
        ("kill_switch_in_a_wrong_file", b"A=1\nFLAG_TRADING_HALTED=1\nFEEDD_NO_SUCH_KEY=1\n"),
        ("env_file_gone", None),
        ("env_file_empty", b""),
        ("env_file_not_utf_8", b"\xff\xfe\x00FLAG"),
    ],
)
def test_env_file_becomes_what_the_case_says(name: str, after: bytes | None) -> None:
    [step] = BY_NAME[name].does
    assert isinstance(step, EnvFileEdit)
    assert step.edit(b"A=1\n") == after
