"""The gate: what closes it, what alone opens it again, and what it tells of that."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from feedd.core.gate import AUTOMATIC, GATED, LATCHING, PROMPT, Gate, GateChange
from feedd.model import Reason, ResumePolicy
from tests.core.replay import became_active, replayed

RESUME_AFTER = 5.0
CAUSES = sorted(AUTOMATIC | PROMPT)
automatic = pytest.mark.parametrize("reason", sorted(AUTOMATIC))
prompt = pytest.mark.parametrize("reason", sorted(PROMPT))


def fresh_gate(policy: ResumePolicy = ResumePolicy.AUTO) -> Gate:
    return Gate(RESUME_AFTER, policy, now=0.0)


def open_gate(policy: ResumePolicy = ResumePolicy.AUTO) -> Gate:
    """A gate that was opened at second 1, and whose owner has told of it."""
    gate = fresh_gate(policy)
    gate.good(1.0)
    gate.changes.clear()
    return gate


def test_every_reason_but_that_of_the_asker_can_be_held() -> None:
    assert set(GATED) == set(Reason) - {Reason.STATIC_SOURCE}
    assert set(GATED) == AUTOMATIC | PROMPT | {Reason.STARTING, Reason.LATCHED}


def test_new_gate_is_halted_for_starting() -> None:
    gate = fresh_gate()
    assert (gate.halted, gate.reasons, gate.since) == (True, (Reason.STARTING,), 0.0)
    assert (gate.changes, set(gate.halts.values())) == ([], {0})


def test_first_good_message_opens_the_gate() -> None:
    gate = fresh_gate()
    gate.good(2.0)
    assert (gate.halted, gate.reasons, gate.since) == (False, (), 2.0)
    assert gate.changes == [GateChange(2.0, added=(), removed=(Reason.STARTING,), reasons=())]


def test_good_messages_at_an_open_gate_change_nothing() -> None:
    gate = open_gate()
    gate.good(3.0)
    gate.bad()
    gate.good(4.0)
    assert (gate.changes, gate.since) == ([], 1.0)


def test_starting_ends_with_a_message_that_is_not_good() -> None:
    gate = fresh_gate()
    gate.trip(Reason.LATENCY, 2.0)
    gate.began(2.0)
    gate.began(2.0)
    assert gate.reasons == (Reason.LATENCY,)
    assert replayed(gate.changes) == {Reason.LATENCY}


@pytest.mark.parametrize("reason", CAUSES)
def test_cause_halts_at_once_and_is_told_once(reason: Reason) -> None:
    gate = open_gate()
    gate.trip(reason, 7.0)
    gate.trip(reason, 8.0)
    assert (gate.halted, gate.since, gate.active, gate.halts[reason]) == (True, 7.0, {reason: 7.0}, 1)
    assert gate.changes == [GateChange(7.0, added=(reason,), removed=(), reasons=(reason,))]


@automatic
def test_automatic_reason_outlives_its_cause(reason: Reason) -> None:
    gate = open_gate()
    gate.trip(reason, 2.0)
    gate.clear(reason, 3.0)
    assert (gate.reasons, gate.causes) == ((reason,), set())


@automatic
def test_automatic_reason_lifts_after_a_spell_of_good_data(reason: Reason) -> None:
    gate = open_gate()
    gate.trip(reason, 2.0)
    gate.clear(reason, 3.0)
    gate.good(10.0)
    gate.good(10.0 + RESUME_AFTER - 0.001)
    assert gate.reasons == (reason,)
    gate.good(10.0 + RESUME_AFTER)
    assert (gate.halted, gate.since) == (False, 10.0 + RESUME_AFTER)


@automatic
def test_automatic_reason_stays_while_its_cause_lasts(reason: Reason) -> None:
    gate = open_gate()
    gate.trip(reason, 2.0)
    for second in range(3, 100):
        gate.good(float(second))
    assert gate.reasons == (reason,)


@automatic
def test_good_data_before_the_cause_has_ended_does_not_count(reason: Reason) -> None:
    gate = open_gate()
    gate.trip(reason, 2.0)
    gate.good(3.0)
    gate.clear(reason, 9.0)
    gate.good(9.0)
    assert gate.reasons == (reason,)


def test_bad_message_begins_the_spell_anew() -> None:
    gate = open_gate()
    gate.trip(Reason.STALE, 2.0)
    gate.clear(Reason.STALE, 3.0)
    gate.good(3.0)
    gate.bad()
    gate.good(7.0)
    gate.good(8.0)
    assert gate.reasons == (Reason.STALE,)
    gate.good(12.0)
    assert not gate.halted


def test_second_automatic_cause_holds_the_first_reason_too() -> None:
    gate = open_gate()
    gate.trip(Reason.DISCONNECTED, 2.0)
    gate.trip(Reason.STALE, 3.0)
    gate.clear(Reason.DISCONNECTED, 4.0)
    gate.good(4.0)
    gate.good(20.0)
    assert gate.reasons == (Reason.DISCONNECTED, Reason.STALE)


def test_resume_after_nothing_lifts_with_the_first_good_message() -> None:
    gate = Gate(0.0, ResumePolicy.AUTO, now=0.0)
    gate.trip(Reason.STALE, 1.0)
    gate.clear(Reason.STALE, 2.0)
    gate.good(2.0)
    assert not gate.halted


@prompt
def test_prompt_reason_lifts_with_its_cause_while_the_data_is_good(reason: Reason) -> None:
    gate = open_gate()
    gate.trip(reason, 2.0)
    gate.clear(reason, 3.0)
    assert (gate.reasons, gate.since) == ((), 3.0)


@prompt
def test_prompt_reason_waits_for_the_first_message(reason: Reason) -> None:
    gate = fresh_gate()
    gate.trip(reason, 1.0)
    gate.clear(reason, 2.0)
    assert gate.reasons == tuple(sorted((reason, Reason.STARTING), key=GATED.index))
    gate.good(3.0)
    assert not gate.halted


@prompt
def test_prompt_reason_waits_for_good_data(reason: Reason) -> None:
    gate = open_gate()
    gate.trip(reason, 2.0)
    gate.trip(Reason.STALE, 3.0)
    gate.clear(reason, 4.0)
    assert reason in gate.active
    gate.clear(Reason.STALE, 5.0)
    gate.good(5.0)
    assert gate.reasons == (Reason.STALE,)


@prompt
def test_prompt_reason_stays_while_its_cause_lasts(reason: Reason) -> None:
    gate = open_gate()
    gate.trip(reason, 2.0)
    gate.good(3.0)
    gate.good(60.0)
    assert gate.reasons == (reason,)


@pytest.mark.parametrize("reason", CAUSES)
def test_clearing_what_was_not_active_changes_nothing(reason: Reason) -> None:
    gate = open_gate()
    gate.clear(reason, 2.0)
    assert (gate.changes, gate.reasons) == ([], ())


def test_halt_counts_each_time_a_reason_becomes_active() -> None:
    gate = open_gate()
    for second in (10.0, 20.0):
        gate.trip(Reason.KILL_SWITCH, second)
        gate.clear(Reason.KILL_SWITCH, second + 1.0)
    assert gate.halts == dict.fromkeys(GATED, 0) | {Reason.KILL_SWITCH: 2}


def test_since_is_kept_while_reasons_come_and_go() -> None:
    gate = open_gate()
    gate.trip(Reason.KILL_SWITCH, 2.0)
    gate.trip(Reason.EXCHANGE, 3.0)
    gate.clear(Reason.KILL_SWITCH, 4.0)
    assert (gate.since, gate.active) == (2.0, {Reason.EXCHANGE: 3.0})


def test_reasons_are_listed_in_the_order_of_their_definition() -> None:
    gate = open_gate()
    for reason in reversed(CAUSES):
        gate.trip(reason, 2.0)
    assert gate.reasons == tuple(reason for reason in Reason if reason in CAUSES)


@pytest.mark.parametrize("reason", sorted(LATCHING))
def test_manual_policy_latches_and_lifts_only_when_re_armed(reason: Reason) -> None:
    gate = open_gate(ResumePolicy.MANUAL)
    gate.trip(reason, 2.0)
    assert set(gate.reasons) == {reason, Reason.LATCHED}
    assert gate.rearm(3.0) == (reason,)
    gate.clear(reason, 4.0)
    gate.good(4.0)
    gate.good(60.0)
    assert gate.reasons == (Reason.LATCHED,)
    assert gate.rearm(61.0) == ()
    assert (gate.halted, gate.since) == (False, 61.0)


def test_re_arm_is_refused_until_the_data_has_proved_itself() -> None:
    gate = open_gate(ResumePolicy.MANUAL)
    gate.trip(Reason.STALE, 2.0)
    gate.clear(Reason.STALE, 3.0)
    gate.good(3.0)
    assert gate.rearm(4.0) == (Reason.STALE,)
    assert gate.reasons == (Reason.STALE, Reason.LATCHED)


@pytest.mark.parametrize("reason", [Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE])
def test_flags_never_latch_and_never_forbid_to_re_arm(reason: Reason) -> None:
    gate = open_gate(ResumePolicy.MANUAL)
    gate.trip(reason, 2.0)
    assert (gate.rearm(3.0), gate.reasons) == ((), (reason,))


def test_re_arm_of_an_open_gate_changes_nothing() -> None:
    gate = open_gate(ResumePolicy.MANUAL)
    assert (gate.rearm(2.0), gate.changes) == ((), [])


def test_policy_that_latches_no_more_lets_a_latched_halt_go() -> None:
    gate = open_gate(ResumePolicy.MANUAL)
    gate.trip(Reason.STALE, 2.0)
    gate.apply_policy(2.0, ResumePolicy.AUTO, 3.0)
    assert (gate.reasons, gate.resume_after) == ((Reason.STALE,), 2.0)
    gate.clear(Reason.STALE, 4.0)
    gate.good(4.0)
    gate.good(6.0)
    assert not gate.halted


def test_policy_that_still_latches_keeps_a_latched_halt() -> None:
    gate = open_gate(ResumePolicy.MANUAL)
    gate.trip(Reason.STALE, 2.0)
    gate.apply_policy(RESUME_AFTER, ResumePolicy.MANUAL, 3.0)
    assert gate.reasons == (Reason.STALE, Reason.LATCHED)


@pytest.mark.parametrize("policy", ResumePolicy)
def test_other_policy_tells_nothing_at_an_open_gate(policy: ResumePolicy) -> None:
    gate = open_gate()
    gate.apply_policy(RESUME_AFTER, policy, 3.0)
    gate.trip(Reason.STALE, 4.0)
    assert [change.at for change in gate.changes] == [4.0]
    assert (Reason.LATCHED in gate.active) is (policy is ResumePolicy.MANUAL)


def test_each_latch_is_told_and_counted_once() -> None:
    gate = open_gate(ResumePolicy.MANUAL)
    gate.trip(Reason.STALE, 2.0)
    gate.trip(Reason.DISCONNECTED, 3.0)
    assert [change.added for change in gate.changes] == [
        (Reason.STALE, Reason.LATCHED),
        (Reason.DISCONNECTED,),
    ]
    assert gate.halts[Reason.LATCHED] == 1


def test_restart_of_an_open_gate_waits_for_the_first_message() -> None:
    gate = open_gate()
    gate.restart(2.0)
    assert (gate.reasons, gate.since, gate.halts[Reason.STARTING]) == ((Reason.STARTING,), 2.0, 0)
    gate.good(3.0)
    assert not gate.halted


def test_restart_of_a_new_gate_changes_nothing() -> None:
    gate = fresh_gate()
    gate.restart(2.0)
    assert (gate.changes, gate.active) == ([], {Reason.STARTING: 0.0})


@pytest.mark.parametrize("reason", sorted(LATCHING))
def test_restart_ends_what_the_old_data_showed_without_opening(reason: Reason) -> None:
    gate = open_gate()
    gate.trip(reason, 2.0)
    gate.restart(3.0)
    assert gate.changes[1:] == [GateChange(3.0, (Reason.STARTING,), (reason,), (Reason.STARTING,))]
    assert (gate.causes, gate.since) == (set(), 2.0)


def test_restart_keeps_what_a_person_decided() -> None:
    gate = open_gate(ResumePolicy.MANUAL)
    for reason in (Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE, Reason.STALE):
        gate.trip(reason, 2.0)
    gate.restart(3.0)
    kept = {Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE}
    assert gate.causes == kept
    assert set(gate.reasons) == kept | {Reason.LATCHED, Reason.STARTING}


class GateMachine(RuleBasedStateMachine):
    """Any story of a gate, held against what the design promises of it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.gate = fresh_gate()
        self.causes: set[Reason] = set()
        self.goods: list[float] = []
        """When good messages came since the last trouble."""
        self.told = 0

    @rule(policy=st.sampled_from(ResumePolicy))
    def choose_policy(self, policy: ResumePolicy) -> None:
        self.gate.apply_policy(RESUME_AFTER, policy, self.now)
        assert self.removed() <= {Reason.LATCHED}

    @rule(seconds=st.sampled_from((0.125, 1.0, RESUME_AFTER - 0.125, RESUME_AFTER, 60.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(reason=st.sampled_from(CAUSES))
    def trip(self, reason: Reason) -> None:
        self.gate.trip(reason, self.now)
        self.causes.add(reason)
        if reason in AUTOMATIC:
            self.goods.clear()
        assert reason in self.gate.active
        assert self.removed() == set()

    @rule(reason=st.sampled_from(CAUSES))
    def clear(self, reason: Reason) -> None:
        self.gate.clear(reason, self.now)
        self.causes.discard(reason)
        assert self.removed() <= {reason} & PROMPT

    @rule()
    def bad(self) -> None:
        self.gate.bad()
        self.goods.clear()
        assert self.removed() == set()

    @rule()
    def restart(self) -> None:
        self.gate.restart(self.now)
        self.causes -= LATCHING
        self.goods.clear()
        assert self.removed() <= LATCHING
        assert Reason.STARTING in self.gate.active

    @rule()
    def began(self) -> None:
        self.gate.began(self.now)
        assert self.removed() <= {Reason.STARTING}

    @rule()
    def good(self) -> None:
        self.goods.append(self.now)
        self.gate.good(self.now)
        removed = self.removed()
        assert Reason.STARTING not in self.gate.active
        assert removed <= AUTOMATIC | PROMPT | {Reason.STARTING}
        if removed & AUTOMATIC:
            assert self.now - self.goods[0] >= RESUME_AFTER
        if not self.causes & AUTOMATIC:
            assert not self.gate.active.keys() & (PROMPT - self.causes)

    @rule()
    def rearm(self) -> None:
        was_latched = Reason.LATCHED in self.gate.active
        blocking = self.gate.rearm(self.now)
        assert set(blocking) == self.gate.active.keys() & LATCHING
        assert self.removed() == ({Reason.LATCHED} if was_latched and not blocking else set())

    def removed(self) -> set[Reason]:
        """Return what was lifted since the last look."""
        news, self.told = self.gate.changes[self.told :], len(self.gate.changes)
        assert {change.at for change in news} <= {self.now}
        return {reason for change in news for reason in change.removed}

    @invariant()
    def causes_are_active(self) -> None:
        assert self.gate.causes == self.causes
        assert self.causes <= self.gate.active.keys()
        assert self.gate.halted is bool(self.gate.active)

    @invariant()
    def changes_tell_the_whole_story(self) -> None:
        assert replayed(self.gate.changes) == self.gate.active.keys() == set(self.gate.reasons)
        assert became_active(self.gate.changes) == Counter(self.gate.halts)

    def teardown(self) -> None:
        # Nothing keeps a gate closed for ever once its causes are gone and a person has re-armed it.
        for reason in sorted(self.causes):
            self.clear(reason)
        self.good()
        self.now += RESUME_AFTER
        self.good()
        self.rearm()
        assert not self.gate.halted


test_any_story_keeps_the_promises = GateMachine.TestCase


@given(
    st.lists(st.sampled_from(CAUSES)),
    st.lists(st.tuples(st.floats(0.0, 100.0), st.booleans(), st.sampled_from(CAUSES))),
)
def test_any_silence_lifts_neither_an_automatic_reason_nor_starting(
    before: list[Reason], events: list[tuple[float, bool, Reason]]
) -> None:
    gate = fresh_gate()
    for reason in before:
        gate.trip(reason, 0.0)
    now = 0.0
    for seconds, trips, reason in events:
        now += seconds
        held = gate.active.keys() & (AUTOMATIC | {Reason.STARTING})
        (gate.trip if trips else gate.clear)(reason, now)
        assert held <= gate.active.keys()


def test_changes_are_taken_once() -> None:
    gate = Gate(5.0, ResumePolicy.AUTO, 0.0)
    gate.trip(Reason.STALE, 1.0)
    assert [change.added for change in gate.take_changes()] == [(Reason.STALE,)]
    assert gate.take_changes() == []
