"""The table that an operator reads."""

from __future__ import annotations

from dataclasses import replace

from feedd.drill.case import Case, fault
from feedd.drill.judgement import Outcome
from feedd.drill.table import ReportTable, listing, summary
from feedd.model import Reason

HARM = Case(name="mute", does=(fault("mute"),), expected=Reason.STALE)
ODDITY = Case(name="duplicate_trades", does=(fault("duplicate", stream="trade", count=3),))
CASES = (HARM, ODDITY)
RIGHT = Outcome(HARM, "BTCUSDT", (Reason.STALE,), 1.234, 0.5, ())
WRONG = Outcome(
    ODDITY, "ETHUSDT", (Reason.SCHEMA, Reason.STALE), None, None, ("halted for schema", "no sign of it")
)


def test_columns_stand_beneath_each_other() -> None:
    table = ReportTable(CASES)
    assert [table.heading(), table.row(RIGHT), table.row(WRONG)] == [
        "FAULT             EXPECTED  SEEN                    HALT    RESUME  VERDICT",
        "mute              stale     stale                   1.23    0.50    right",
        "duplicate_trades  -         schema, stale           -       -       "
        "WRONG on ETHUSDT: halted for schema; no sign of it",
    ]


def test_case_that_had_to_be_tried_again_says_so() -> None:
    assert (
        ReportTable(CASES)
        .row(replace(RIGHT, tries=2))
        .endswith("  right (try 2: before, the machine stood still)")
    )


def test_list_says_what_is_done() -> None:
    assert listing(CASES) == [
        "mute              stale  mute",
        "duplicate_trades  -      duplicate on trade (count=3)",
    ]


def test_summary_counts_harms_and_oddities_apart() -> None:
    assert summary([RIGHT, RIGHT, WRONG]) == "harms: 2 of 2 right, harmless: 0 of 1 right"
