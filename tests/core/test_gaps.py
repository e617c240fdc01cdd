"""Skipped ids: pending, found, lost; and every one of them accounted for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.gaps import HOLES_PENDING_MAX, HOLES_REMEMBERED, IDS_PENDING_MAX, GapLedger, IdRanges, Loss


def holes(*found: tuple[int, int], most_holes: int = 10, most_ids: float = 1000) -> IdRanges:
    made = IdRanges(most_holes, most_ids)
    for hole in found:
        made.add(hole)
    return made


def fetched(*skipped: tuple[int, int]) -> GapLedger:
    missing = GapLedger()
    missing.is_fetched = True
    for hole in skipped:
        missing.skipped(*hole)
    return missing


@pytest.mark.parametrize(
    ("first", "last", "rest"),
    [
        (10, 14, [(20, 24)]),
        (10, 10, [(11, 14), (20, 24)]),
        (14, 14, [(10, 13), (20, 24)]),
        (12, 12, [(10, 11), (13, 14), (20, 24)]),
        (20, 23, [(10, 14), (24, 24)]),
        (9, 9, None),
        (9, 10, None),
        (14, 15, None),
        (15, 15, None),
        (14, 20, None),
        (25, 25, None),
    ],
)
def test_ids_fill_a_hole_if_all_of_them_are_missing(
    first: int, last: int, rest: list[tuple[int, int]] | None
) -> None:
    made = holes((10, 14), (20, 24))
    assert made.fill(first, last) is (rest is not None)
    assert list(made) == (rest or [(10, 14), (20, 24)])
    assert made.ids == sum(end - start + 1 for start, end in made)


@pytest.mark.parametrize(
    ("last", "taken", "rest"),
    [
        (9, [], [(10, 14), (20, 24)]),
        (10, [(10, 10)], [(11, 14), (20, 24)]),
        (14, [(10, 14)], [(20, 24)]),
        (17, [(10, 14)], [(20, 24)]),
        (22, [(10, 14), (20, 22)], [(23, 24)]),
        (99, [(10, 14), (20, 24)], []),
    ],
)
def test_what_is_not_above_an_id_can_be_taken_out(
    last: int, taken: list[tuple[int, int]], rest: list[tuple[int, int]]
) -> None:
    made = holes((10, 14), (20, 24))
    assert made.remove_up_to(last) == taken
    assert list(made) == rest


@pytest.mark.parametrize(
    ("most_holes", "most_ids", "surplus", "rest"),
    [
        (3, 30, [], [(10, 14), (20, 24), (30, 39)]),
        (2, 30, [(10, 14)], [(20, 24), (30, 39)]),
        (3, 18, [(10, 11)], [(12, 14), (20, 24), (30, 39)]),
        (3, 15, [(10, 14)], [(20, 24), (30, 39)]),
        (3, 12, [(10, 14), (20, 22)], [(23, 24), (30, 39)]),
        (2, 9, [(10, 14), (20, 24), (30, 30)], [(31, 39)]),
    ],
)
def test_surplus_is_the_oldest(
    most_holes: int, most_ids: int, surplus: list[tuple[int, int]], rest: list[tuple[int, int]]
) -> None:
    made = holes((10, 14), (20, 24), (30, 39), most_holes=most_holes, most_ids=most_ids)
    assert made.remove_surplus() == surplus
    assert list(made) == rest


def test_skipped_ids_are_lost_at_once_where_nobody_fetches_them() -> None:
    missing = GapLedger()
    missing.skipped(10, 14)
    assert (missing.lost, len(missing.pending), missing.has_new_gaps, missing.losses) == (5, 0, False, [])


def test_skipped_ids_are_pending_and_not_lost_while_they_are_fetched() -> None:
    missing = fetched((10, 14))
    assert (missing.lost, missing.pending.ids, missing.has_new_gaps, missing.losses) == (0, 5, True, [])


def test_fetched_id_is_counted_once_and_never_lost() -> None:
    missing = fetched((10, 12))
    assert [missing.fetched(number) for number in (9, 10, 10, 12, 13, 11)] == [
        False, True, False, True, False, True,
    ]  # fmt: skip
    assert (missing.lost, missing.backfilled, missing.pending.ids) == (0, 3, 0)


def test_id_that_came_late_is_neither_fetched_nor_lost() -> None:
    missing = fetched((10, 12))
    assert missing.came(11, 11)
    assert not missing.came(11, 11)
    assert not missing.fetched(11)
    assert (missing.lost, missing.backfilled, missing.pending.ids) == (0, 0, 2)


def test_lost_id_that_came_late_is_news_though_it_stays_lost() -> None:
    missing = fetched((10, 12))
    missing.give_up("no answer", 11)
    assert not missing.fetched(11)
    assert missing.came(11, 11)
    assert not missing.came(11, 11)
    assert (missing.lost, missing.pending.ids) == (2, 1)


def test_giving_up_says_what_is_lost_and_why() -> None:
    missing = fetched((10, 14), (20, 24))
    missing.give_up("no answer", 9)
    assert missing.losses == []
    missing.fetched(11)
    missing.give_up("no answer", 14)
    missing.give_up("no answer", 21)
    missing.give_up("no patience")
    assert missing.losses == [Loss(10, 21, 6, "no answer"), Loss(22, 24, 3, "no patience")]
    assert (missing.lost, missing.backfilled, missing.pending.ids) == (9, 1, 0)


def test_larger_hole_than_is_fetched_loses_its_older_part() -> None:
    missing = fetched((1, IDS_PENDING_MAX + 7))
    assert missing.losses == [Loss(1, 7, 7, "too much is missing")]
    assert (missing.lost, missing.pending.ids) == (7, IDS_PENDING_MAX)


def test_more_holes_than_are_kept_lose_the_oldest() -> None:
    missing = fetched(*((number, number) for number in range(0, 2 * HOLES_PENDING_MAX + 2, 2)))
    assert (missing.lost, len(missing.pending)) == (1, HOLES_PENDING_MAX)
    missing.skipped(10_000, 10_002)
    assert missing.came(10_001, 10_001)
    assert (missing.lost, len(missing.pending)) == (3, HOLES_PENDING_MAX)
    assert missing.losses == [Loss(0, 4, 3, "too much is missing")]


def test_only_the_latest_lost_holes_are_remembered() -> None:
    missing = GapLedger()
    for number in range(0, 2 * HOLES_REMEMBERED + 2, 2):
        missing.skipped(number, number)
    assert [missing.came(0, 0), missing.came(2, 2)] == [False, True]
    missing.skipped(10_000, 10_002)
    assert missing.came(10_001, 10_001)
    assert [missing.came(4, 4), missing.came(6, 6)] == [False, True]


def test_new_beginning_loses_what_is_pending_and_forgets_every_hole() -> None:
    missing = fetched((10, 12))
    missing.give_up("no answer", 10)
    missing.acknowledge_gaps()
    before = missing.pending
    missing.begin_anew("a wipe")
    assert (missing.lost, missing.has_new_gaps, missing.losses[-1]) == (3, True, Loss(11, 12, 2, "a wipe"))
    assert missing.pending is not before
    assert not missing.came(10, 10)
    assert not missing.came(11, 11)


def test_new_beginning_with_nothing_pending_is_no_news() -> None:
    missing = fetched()
    before = missing.pending
    missing.begin_anew("a wipe")
    assert (missing.lost, missing.has_new_gaps, missing.losses) == (0, False, [])
    assert missing.pending is not before


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("skip"), st.integers(1, 30)),
        st.tuples(st.sampled_from(("came", "fetched", "give up")), st.integers(0, 400)),
        st.tuples(st.sampled_from(("give up all", "turn", "begin anew")), st.just(0)),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_any_history_accounts_for_each_id_once_and_no_count_falls(actions: list[tuple[str, int]]) -> None:
    missing, next_id, skipped, late, handed_on = GapLedger(), 0, 0, 0, set[int]()
    for action, number in actions:
        before = missing.lost, missing.backfilled
        was_pending = any(first <= number <= last for first, last in missing.pending)
        match action:
            case "skip":
                missing.skipped(next_id, next_id + number - 1)
                next_id += number + 1
                skipped += number
            case "came" | "fetched":
                if action == "came":
                    is_news = missing.came(number, number)
                else:
                    is_news = missing.fetched(number)
                    assert is_news is was_pending
                late += action == "came" and was_pending
                assert not (is_news and number in handed_on)
                handed_on |= {number} if is_news else set()
            case "give up":
                missing.give_up("no answer", number)
            case "give up all":
                missing.give_up("no patience")
            case "turn":
                missing.is_fetched = not missing.is_fetched
            case _:
                missing.begin_anew("a wipe")
        assert missing.lost >= before[0]
        assert missing.backfilled >= before[1]
        assert missing.lost + missing.backfilled + late + missing.pending.ids == skipped


def test_losses_are_told_once() -> None:
    ledger = GapLedger()
    ledger.fetch(True)
    ledger.skipped(5, 7)
    ledger.give_up("nobody has them")
    assert [(loss.first, loss.last, loss.ids) for loss in ledger.take_losses()] == [(5, 7, 3)]
    assert ledger.take_losses() == []


def test_new_gap_is_new_until_it_is_acknowledged() -> None:
    ledger = GapLedger()
    ledger.fetch(True)
    seen = [ledger.has_new_gaps]
    ledger.skipped(5, 7)
    seen.append(ledger.has_new_gaps)
    ledger.acknowledge_gaps()
    seen.append(ledger.has_new_gaps)
    assert seen == [False, True, False]
