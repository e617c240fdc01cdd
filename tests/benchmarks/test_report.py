"""What becomes of figures: medians, verdicts, tables, the picture and the README."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks.figures import Bar, Rounds, Section, Series
from tests.benchmarks.picture import picture
from tests.benchmarks.processes import RunFailed
from tests.benchmarks.report import BEGIN, END, page, summary, write_into

RATIO = Series("ratio", [1.9, 1.5, 1.7], "x", digits=2)


def test_series_tells_median_and_range() -> None:
    assert RATIO.text == "1.70 x (1.50 to 1.90)"
    assert Series("lines", [127153], "", digits=0).text == "127,153 (127,153 to 127,153)"
    assert Series("nothing", [], "ms").text == "no figure"


@pytest.mark.parametrize(
    ("bar", "holds", "text"),
    [
        (Bar(RATIO, 1.7), True, "≤ 1.7 x"),
        (Bar(RATIO, 1.6), False, "≤ 1.6 x"),
        (Bar(RATIO, 1.7, at_least=True), True, "≥ 1.7 x"),
        (Bar(RATIO, 3.0, at_least=True), False, "≥ 3 x"),
        (Bar(Series("start", [250.0], "ms", digits=0), 400.0), True, "≤ 400 ms"),
        (Bar(Series("start", [], "ms", digits=0), 400.0), False, "≤ 400 ms"),
    ],
)
def test_bar_is_kept_by_the_median(bar: Bar, holds: bool, text: str) -> None:
    assert (bar.holds, bar.text) == (holds, text)


def test_rounds_compare_only_figures_of_the_same_round() -> None:
    ours, theirs = iter([10.0, 40.0, 60.0]), iter([5.0, None, 20.0])

    def take() -> dict[str, float]:
        cost = next(theirs)
        if cost is None:
            raise RunFailed("broke")
        return {"cost": cost}

    rounds = Rounds("test", {"ours": lambda: {"cost": next(ours)}, "theirs": take}, count=3)
    assert rounds.series("ours", "ours", "cost", "us", scale=0.1).values == [1.0, 4.0, 6.0]
    assert rounds.ratios("ratio", "ours", "theirs", "cost").values == [2.0, 3.0]
    assert rounds.differences("more", "ours", "theirs", "cost", "us", 0.5).values == [2.5, 20.0]
    assert rounds.failures == ["theirs: broke"]


def section() -> Section:
    made = Section("flood", "Flood", "What was done.", [Bar(RATIO, 1.6)], others_busy=0.25)
    made.series = [Series("feedd", [3.0, 4.0], "us"), Series("a < b", [6.0], "us")]
    made.failures = ["ccxt: gone"]
    return made


def test_page_tells_all() -> None:
    text = page([section()], rounds=3, seconds=90.0)
    assert "| ratio | ≤ 1.6 x | 1.70 x (1.50 to 1.90) | **missed** |" in text
    assert "| feedd | 3.5 us (3.0 to 4.0) |" in text
    assert "- ccxt: gone" in text
    assert "3 rounds. Other programs took 25% to 25% of the machine" in text
    assert "It took 1.5 minutes." in text


def test_summary_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_into(readme, summary([section()], rounds=3))
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| what |") and text.endswith(f"{END}\nafter\n")
    assert "old" not in text


def test_summary_needs_its_place(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("no marks\n")
    with pytest.raises(ValueError, match="expected the marks"):
        write_into(readme, "text")


def test_picture_shows_each_client_and_each_bar() -> None:
    drawn = ElementTree.fromstring(picture([section()]))
    texts = [element.text for element in drawn.iter() if element.tag.endswith("text")]
    assert {"feedd", "a < b", "ratio", "3.5", "1.70"} <= set(texts)
    kinds = [element.get("class") for element in drawn.iter() if element.tag.endswith("rect")]
    assert kinds == ["ours", "other", "missed"]
