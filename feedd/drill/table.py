"""The drill's report: its table, line by line, and its summary. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from feedd.drill.case import Case
from feedd.drill.judgement import Outcome

_SEEN_WIDTH = 22


class ReportTable:
    """The table of outcomes; all columns but the last have a fixed width."""

    def __init__(self, cases: Sequence[Case]) -> None:
        names = max((len(case.name) for case in cases), default=0)
        reasons = max((len(case.expected or "") for case in cases), default=0)
        self._widths = (max(names, len("FAULT")), max(reasons, len("EXPECTED")), _SEEN_WIDTH, 6, 6)

    def heading(self) -> str:
        """Return the headings."""
        return self._line("FAULT", "EXPECTED", "SEEN", "HALT", "RESUME", "VERDICT")

    def row(self, outcome: Outcome) -> str:
        """Return one case's line."""
        verdict = "right"
        if not outcome.is_right:
            verdict = f"WRONG on {outcome.symbol}: {'; '.join(outcome.problems)}"
        if outcome.tries > 1:
            verdict += f" (try {outcome.tries}: before, the machine stood still)"
        return self._line(
            outcome.case.name,
            outcome.case.expected or "-",
            ", ".join(outcome.reasons) or "-",
            _seconds(outcome.halted_after),
            _seconds(outcome.resumed_after),
            verdict,
        )

    def _line(self, *cells: str) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths, strict=False)]
        return "  ".join([*padded, cells[-1]])


def listing(cases: Sequence[Case]) -> list[str]:
    """Return a line for each case: its name, the expected reason, its steps."""
    names = max((len(case.name) for case in cases), default=0)
    reasons = max((len(case.expected or "") for case in cases), default=0)
    return [f"{case.name:<{names}}  {case.expected or '-':<{reasons}}  {case}" for case in cases]


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return how many harms and how many harmless oddities came out right."""
    parts = []
    for word, is_harm in (("harms", True), ("harmless", False)):
        of_kind = [outcome for outcome in outcomes if outcome.case.is_harm is is_harm]
        right = sum(outcome.is_right for outcome in of_kind)
        parts.append(f"{word}: {right} of {len(of_kind)} right")
    return ", ".join(parts)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
