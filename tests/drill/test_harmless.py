"""The list of harmless oddities: each proves that it was there, and stays below what halts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from feedd.drill.case import Case, EnvFileEdit, InjectedFault, Rises, Scope
from feedd.drill.durations import Span
from feedd.drill.harmless import CONSUMERS, HARMLESS, HEALED, NEIGHBOURS, PEOPLE
from tests.drill.test_durations import LIMITS


def with_fault(*names: str) -> Iterator[tuple[Case, InjectedFault]]:
    """List the faults of these names that hit the symbol that is judged."""
    for case in HARMLESS:
        for step in case.does:
            if isinstance(step, InjectedFault) and step.name in names and case.scope is not Scope.OTHERS:
                yield case, step


def test_there_are_twenty_five_at_least_and_none_may_halt() -> None:
    assert len(HARMLESS) >= 25
    assert not any(case.is_harm for case in HARMLESS)


@pytest.mark.parametrize("case", HARMLESS, ids=lambda case: case.name)
def test_each_must_prove_that_it_was_there(case: Case) -> None:
    assert case.proof


def test_silence_of_all_of_a_symbols_streams_is_shorter_than_staleness() -> None:
    held = [case.hold.of(LIMITS) for case, mute in with_fault("mute") if mute.stream is None]
    assert held
    assert all(0 < hold < LIMITS.stale for hold in held)


def test_one_stream_may_be_silent_for_longer_than_staleness_while_another_is_not() -> None:
    longer = [
        (case, mute)
        for case, mute in with_fault("mute")
        if mute.stream and case.hold.of(LIMITS) > LIMITS.stale
    ]
    assert {mute.stream for _, mute in longer} == {"trade", "bookTicker", "kline_1s"}
    for case, mute in longer:
        [sibling] = [dict(proof.labels)["stream"] for proof in case.proof if isinstance(proof, Rises)]
        assert sibling != mute.stream


def test_delay_of_all_of_a_symbols_streams_is_below_the_latency_limit() -> None:
    delays = [
        cast(Span, each.arguments["ms"]).of(LIMITS) for _, each in with_fault("delay") if each.stream is None
    ]
    assert delays
    assert all(0 < delay < LIMITS.latency for delay in delays)


def test_exchange_whose_clock_is_behind_is_behind_by_less_than_the_latency_limit() -> None:
    skews = [cast(Span, each.arguments["ms"]).of(LIMITS) for _, each in with_fault("clock_skew")]
    assert min(skews) > -LIMITS.latency
    assert max(skews) > LIMITS.latency


def test_bad_messages_are_single_or_stand_between_good_ones() -> None:
    bad = list(with_fault("garbage", "drop_field", "wrong_type", "wrong_symbol"))
    assert len(bad) == 8
    for _, each in bad:
        assert each.arguments["count"] == 1 or (each.arguments["add"] and each.arguments["every"] == 10)


def test_rest_failures_have_the_rest_side_to_themselves_and_the_time_of_a_poll() -> None:
    failing = list(with_fault("rest_http"))
    assert len(failing) == 3
    for case, each in failing:
        assert case.scope is (Scope.ALONE if each.arguments["retry_after"] else Scope.VENUE)
        assert case.proven.of(LIMITS) > LIMITS.status


def test_neighbours_are_hit_and_the_symbol_itself_is_not() -> None:
    assert {case.scope for case in NEIGHBOURS} == {Scope.OTHERS}


def test_edits_of_the_env_file_only_add_to_it() -> None:
    for case in PEOPLE:
        [step] = case.does
        assert isinstance(step, EnvFileEdit)
        after = step.edit(b"A=1\n")
        assert after is not None and after.startswith(b"A=1\nFEEDD_") and after.endswith(b"\n")


def test_loads_must_let_data_go_on() -> None:
    for case in CONSUMERS:
        assert any(
            isinstance(proof, Rises) and proof.series == "feedd_messages_total" for proof in case.proof
        )


def test_what_a_second_connection_heals_is_part_of_the_list() -> None:
    assert HARMLESS[-len(HEALED) :] == HEALED
