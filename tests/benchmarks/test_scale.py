"""A hundred symbols start, are all cut at once, and recover. `make scale` does it with a thousand."""

from __future__ import annotations

from tests.benchmarks.scale import SYMBOLS_PER_BUDGET, measure

SYMBOLS = 100


async def test_all_symbols_recover_from_a_cut_within_the_budget_and_none_starves() -> None:
    figures = await measure(SYMBOLS, SYMBOLS, 0.0, 30.0, FEEDD_RESUME_AFTER_SECONDS="0.5")
    assert SYMBOLS > SYMBOLS_PER_BUDGET, "so that the scaling is part of what is shown"
    assert figures.start_attempts == SYMBOLS
    assert SYMBOLS <= figures.attempts <= figures.budget - figures.start_attempts
    assert figures.refusals == 0
    assert figures.halted_within < 1.0
    # The attempt comes within a second, the next candle too, and the one after it ends half a good second.
    assert len(figures.outages) == SYMBOLS
    assert max(figures.outages) < 6.0
    assert figures.memory < 150e6
