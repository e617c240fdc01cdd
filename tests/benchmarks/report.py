"""The outcome as text: a page with every figure, and the table of bars that the README shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.benchmarks.figures import Bar, Section
from tests.benchmarks.machine import date_text, machine_text, versions_text

BEGIN, END = "<!-- benchmarks: written by make bench -->", "<!-- benchmarks end -->"


def page(sections: Sequence[Section], rounds: int, seconds: float) -> str:
    """Return the whole page."""
    return "\n".join([*_head(sections, rounds, seconds), *(_section(section) for section in sections)])


def summary(sections: Sequence[Section], rounds: int) -> str:
    """Return the part that the README shows."""
    return (
        f"{_bars(sections)}\n\n{_circumstances(sections, rounds)}\n{machine_text()}; {versions_text()}.\n\n"
    )


def write_into(readme: Path, text: str) -> None:
    """Put the text between the marks of a page."""
    before, mark, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"{readme}: expected the marks {BEGIN!r} and {END!r}")
    readme.write_text(f"{before}{mark}\n{text}{end}{after}")


def _head(sections: Sequence[Section], rounds: int, seconds: float) -> Iterable[str]:
    yield "# Measured"
    yield ""
    yield "Written by `make bench`; what was tried on the way, and did not help, is in [tried.md](tried.md)."
    yield ""
    yield "![CPU per message in a flood, and every figure as a share of its limit](results.svg)"
    yield ""
    yield _circumstances(sections, rounds)
    yield f"It took {seconds / 60:.1f} minutes."
    yield ""
    yield f"- Machine: {machine_text()}"
    yield f"- Versions: {versions_text()}"
    yield (
        "- Every client runs in a process of its own on one core, server, consumers and scraper on the other "
        "one. Where messages come at a rate, a process of idle priority keeps the clients' core from falling "
        "asleep. Clients take turns in random order; a ratio is always of two figures of the same round. "
        "Figures are medians of the rounds, with the range in brackets."
    )
    yield "- Again: `make bench`, or a part of it: `make bench ONLY=flood`."
    yield ""
    yield _bars(sections)
    yield ""


def _circumstances(sections: Sequence[Section], rounds: int) -> str:
    shares = [section.others_busy for section in sections]
    return (
        f"{date_text()}, {rounds} rounds. Other programs took {min(shares):.0%} to {max(shares):.0%} of the "
        "machine meanwhile."
    )


def _bars(sections: Iterable[Section]) -> str:
    rows = [_row(bar) for section in sections for bar in section.bars]
    return "\n".join(["| what | bar | measured | |", "|---|---|---|---|", *rows])


def _row(bar: Bar) -> str:
    verdict = "kept" if bar.holds else "**missed**"
    return f"| {bar.series.name} | {bar.text} | {bar.series.text} | {verdict} |"


def _section(section: Section) -> str:
    lines = [f"## {section.title}", "", section.about, ""]
    if section.series:
        lines += ["| what | median (range) |", "|---|---|"]
        lines += [f"| {series.name} | {series.text} |" for series in section.series]
    lines += ["", f"Other programs took {section.others_busy:.0%} of the machine meanwhile.", ""]
    if section.failures:
        lines += ["Failed:", "", *(f"- {failure}" for failure in section.failures), ""]
    return "\n".join(lines)
