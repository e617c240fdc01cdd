from __future__ import annotations

from random import Random

from feedd.exchange.book import LEVELS, Book, BookChanges


def make_book() -> Book:
    return Book(Random(7), best_bid=50_000, update_id=100)


def test_book_keeps_its_shape_however_it_trades() -> None:
    book = make_book()
    choices = Random(1)
    for _ in range(5000):
        book.trade(choices.randint(1, 10**7), is_bid=choices.random() < 0.5)
        assert sorted(book.bids, reverse=True) == [book.best_bid - level for level in range(LEVELS)]
        assert sorted(book.asks) == [book.best_ask + level for level in range(LEVELS)]
        assert min([*book.bids.values(), *book.asks.values()]) > 0


def test_price_stays_near_its_origin() -> None:
    book = make_book()
    for _ in range(200_000):
        book.trade(1, is_bid=True)
    assert 45_000 < book.best_bid < 55_000


def test_changes_applied_to_a_copy_give_the_book() -> None:
    book = make_book()
    bids, asks = dict(book.bids), dict(book.asks)
    changes = book.collect_changes()
    last = book.update_id
    for round_ in range(200):
        for _ in range(round_ % 5):
            book.trade(1000, is_bid=round_ % 2 == 0)
        taken, changes = changes, book.restart_collecting(changes)
        if not taken:
            continue
        assert taken.first == last + 1
        last = book.update_id
        apply(taken, bids, asks)
        assert (bids, asks) == (book.bids, book.asks)


def apply(changes: BookChanges, bids: dict[int, int], asks: dict[int, int]) -> None:
    for side, changed in ((bids, changes.bids), (asks, changes.asks)):
        side.update(changed)
        for price in [price for price, quantity in side.items() if not quantity]:
            del side[price]


def test_book_without_changes_has_nothing_to_tell() -> None:
    assert not make_book().collect_changes()


def test_collection_that_was_ended_stands_still() -> None:
    book = make_book()
    changes = book.collect_changes()
    book.stop_collecting(changes)
    book.trade(1, is_bid=True)
    assert not changes


def test_restarted_ids_begin_at_one_for_collections_too() -> None:
    book = make_book()
    changes = book.collect_changes()
    book.trade(1, is_bid=True)
    book.restart_ids()
    assert (changes.first, bool(changes)) == (1, False)
    book.trade(1, is_bid=True)
    assert 2 <= book.update_id <= 5
