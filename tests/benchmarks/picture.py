"""The outcome as a picture: SVG, written by hand, in the reader's light or dark colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from tests.benchmarks.figures import Bar, Section, Series

WIDTH = 900
LEFT, RIGHT = 390, 130
ROW, THICK = 26, 14
SCALE_END = 1.5
"""Where the second panel ends: half above the limit."""

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-size: 16px; font-weight: 600 }
.label { text-anchor: end } .note { fill: #656d76 }
.kept { fill: #1a7f37 } .missed { fill: #cf222e } .other { fill: #8c959f } .ours { fill: #0969da }
.range { stroke: #1f2328; stroke-width: 1.5 } .limit { stroke: #656d76; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #8d96a0 } .range { stroke: #e6edf3 }
}
"""


def picture(sections: Sequence[Section]) -> str:
    """Draw what a message costs each client, and how near each bar is to its limit."""
    parts: list[str] = []
    height = 10
    flood = next((section.series for section in sections if section.name == "flood"), [])
    if flood:
        panel, height = _clients([series for series in flood if series.values], height)
        parts += panel
    bars = [bar for section in sections for bar in section.bars if bar.series.values]
    panel, height = _bars(bars, height)
    parts += panel
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _clients(clients: Sequence[Series], top: int) -> tuple[list[str], int]:
    parts = [_text(20, top + 18, "Flood: CPU per message, µs (less is better)", "title")]
    longest = max(max(series.values) for series in clients)
    for row, series in enumerate(clients):
        shares = [value / longest for value in (series.median, min(series.values), max(series.values))]
        kind = "ours" if series.name == "feedd" else "other"
        parts += _row(top + 34 + row * ROW, series.name, shares, kind, f"{series.median:.1f}")
    return parts, top + 34 + len(clients) * ROW + 16


def _bars(bars: Sequence[Bar], top: int) -> tuple[list[str], int]:
    first, last = top + 34, top + 34 + len(bars) * ROW
    limit = LEFT + (WIDTH - LEFT - RIGHT) / SCALE_END
    parts = [
        _text(20, top + 18, "Each figure as a share of its limit (left of the line is kept)", "title"),
        f'<line class="limit" x1="{limit:.1f}" x2="{limit:.1f}" y1="{first - 6}" y2="{last}"/>',
    ]
    for row, bar in enumerate(bars):
        values = (bar.series.median, min(bar.series.values), max(bar.series.values))
        shares = [min(_share(bar, value), SCALE_END) / SCALE_END for value in values]
        kind = "kept" if bar.holds else "missed"
        unit = "" if bar.series.unit == "x" else f" {bar.series.unit}"
        parts += _row(
            first + row * ROW, bar.series.name, shares, kind, f"{values[0]:.{bar.series.digits}f}{unit}"
        )
    return parts, last + 16


def _share(bar: Bar, value: float) -> float:
    return bar.limit / value if bar.at_least else value / bar.limit


def _row(top: int, label: str, shares: Sequence[float], kind: str, value: str) -> Iterable[str]:
    middle, *ends = (LEFT + share * (WIDTH - LEFT - RIGHT) for share in shares)
    centre = top + THICK / 2
    yield _text(LEFT - 10, top + THICK - 2, label, "label")
    yield f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{middle - LEFT:.1f}" height="{THICK}" rx="2"/>'
    yield f'<line class="range" x1="{min(ends):.1f}" x2="{max(ends):.1f}" y1="{centre}" y2="{centre}"/>'
    yield _text(max(middle, *ends) + 8, top + THICK - 2, value, "note")


def _text(left: float, top: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{left:.1f}" y="{top:.1f}">{escape(text)}</text>'
