"""The parts of a case, and what all cases together cover."""

from __future__ import annotations

import pytest

from feedd.drill import CASES
from feedd.drill.case import EACH, Case, Hits, HttpLoad, InjectedFault, Late, Scope, fault, rises, shows
from feedd.drill.durations import Span
from feedd.drill.metrics_snapshot import MetricsSnapshot
from feedd.exchange.fault_registry import FaultRegistry
from feedd.exchange.faults import FAULT_KINDS
from feedd.model import ConnectFailure, InvalidReason
from tests.drill.test_durations import LIMITS


def test_each_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exchange_takes_the_faults(case: Case) -> None:
    for step in case.does:
        if isinstance(step, InjectedFault):
            body = step.body(LIMITS)
            stream = "trade" if step.stream == EACH else step.stream
            seconds = None if step.seconds is None else step.seconds.of(LIMITS)
            name = str(body.pop("fault"))
            FaultRegistry(("BTCUSDT",)).set(
                name, 0.0, symbol="BTCUSDT", stream=stream, seconds=seconds, arguments=body
            )


def test_every_fault_of_the_exchange_is_drilled() -> None:
    drilled = {step.name for case in CASES for step in case.does if isinstance(step, InjectedFault)}
    assert drilled == set(FAULT_KINDS)


def test_every_load_is_drilled() -> None:
    assert {step for case in CASES for step in case.does if isinstance(step, HttpLoad)} == set(HttpLoad)


def test_every_count_that_a_fault_can_move_is_asked_for() -> None:
    texts = " ".join(str(proof) for case in CASES for proof in case.proof)
    beyond = {ConnectFailure.DNS, ConnectFailure.TLS, ConnectFailure.PROTOCOL}
    for reason in (*InvalidReason, *(set(ConnectFailure) - beyond)):
        assert f'reason="{reason}"' in texts


def test_fault_is_told_in_the_units_of_the_board() -> None:
    assert fault("delay", ms=Span(latency=1.5)).body(LIMITS) == {"fault": "delay", "ms": 1500}
    assert fault("early_close", after=Span(resume=0.5), code=1001).body(LIMITS) == {
        "fault": "early_close",
        "after": 2.5,
        "code": 1001,
    }


def test_case_is_told_in_words() -> None:
    case = Case(
        name="both",
        does=(fault("mute", stream="trade"), fault("delay", ms=Span(seconds=1, stale=2)), HttpLoad.SCRAPES),
    )
    assert str(case) == (
        "mute on trade + delay (ms=1 x seconds + 2 x stale) + many scrapes of /metrics at once"
    )


def test_streams_of_fault_and_proof_are_needed() -> None:
    case = Case(
        name="both",
        does=(fault("mute", stream="trade"), fault("mute", stream=EACH), fault("reset")),
        proof=(rises("feedd_messages_total", stream="bookTicker"), shows("feedd_kill_switch", 0), Hits(1)),
    )
    assert case.streams == {"trade", "bookTicker"}


def test_only_one_of_several_symbols_is_touched_unless_it_is_said() -> None:
    everyone = {case.name for case in CASES if case.scope in (Scope.ALL, Scope.OTHERS)}
    assert "close_1001" not in everyone
    assert {"everything_reset", "kill_switch", "others_reset"} <= everyone


NOTHING = MetricsSnapshot({})


def snapshot(name: str, value: float, **labels: str) -> MetricsSnapshot:
    return MetricsSnapshot({(name, frozenset(labels.items())): value})


def test_counter_proves_by_rising() -> None:
    proof = rises("feedd_gaps_total", 2, stream="trade")
    before = snapshot("feedd_gaps_total", 5.0, stream="trade")
    assert not proof.holds(before, snapshot("feedd_gaps_total", 6.0, stream="trade"), 0, LIMITS)
    assert not proof.holds(before, snapshot("feedd_gaps_total", 9.0, stream="depth"), 0, LIMITS)
    assert proof.holds(before, snapshot("feedd_gaps_total", 7.0, stream="trade"), 0, LIMITS)
    assert str(proof) == 'feedd_gaps_total{stream="trade"} rises by 2'


def test_gauge_proves_by_its_value() -> None:
    proof = shows("feedd_kill_switch", 1)
    assert not proof.holds(NOTHING, snapshot("feedd_kill_switch", 0.0), 0, LIMITS)
    assert proof.holds(NOTHING, snapshot("feedd_kill_switch", 1.0), 0, LIMITS)
    assert str(proof) == "feedd_kill_switch is 1"


def test_late_message_proves_by_its_bucket() -> None:
    def latencies(in_time: float, late: float) -> MetricsSnapshot:
        name = "feedd_exchange_latency_seconds"
        bounds = {"0.1": in_time, "1.0": in_time, "+Inf": in_time + late}
        buckets = {(f"{name}_bucket", frozenset({("le", bound)})): count for bound, count in bounds.items()}
        return MetricsSnapshot({**buckets, (f"{name}_count", frozenset()): in_time + late})

    proof = Late(Span(latency=1))
    assert not proof.holds(latencies(5, 1), latencies(9, 1), 0, LIMITS)
    assert proof.holds(latencies(5, 1), latencies(5, 2), 0, LIMITS)
    assert str(proof) == "feedd_exchange_latency_seconds counts a late message"


def test_fault_proves_by_what_it_hit() -> None:
    assert not Hits(2).holds(NOTHING, NOTHING, 1, LIMITS)
    assert Hits(2).holds(NOTHING, NOTHING, 2, LIMITS)
    assert str(Hits(2)) == "the fault hits 2"
