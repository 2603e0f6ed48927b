"""Charts as SVG text, drawn here so that a page needs nothing from anywhere. Colours come from the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10

_WIDTH, _LABEL, _ROW, _NUMBER = 800, 230, 24, 110
_PLOT = _WIDTH - _LABEL - _NUMBER


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a bar chart: its parts beside each other, and what is written behind them."""

    label: str
    parts: Sequence[float]
    text: str


@dataclass(frozen=True, slots=True)
class Range:
    """One line of a chart of ranges: seconds within which 50 and 95 of 100 ended."""

    label: str
    p50: float
    p95: float
    text: str


@dataclass(frozen=True, slots=True)
class Point:
    """One point of cost against quality; ``weight`` is what it stands for."""

    label: str
    x: float
    y: float
    weight: float


def bars(title: str, rows: Sequence[Bar], names: Sequence[str] = (), most: float = 0.0) -> str:
    """Horizontal bars, the longest (or ``most``) as wide as the plot; ``names`` of the parts make a legend."""
    most = most or max((sum(row.parts) for row in rows), default=0.0) or 1.0
    top = _ROW if names else 0
    shapes = [_legend(names)] if names else []
    for number, row in enumerate(rows):
        y, x = top + number * _ROW, float(_LABEL)
        shapes.append(_text(_LABEL - 8, y + 16, row.label, "end", width=30))
        for part, value in enumerate(row.parts):
            wide = max(0.0, value) / most * _PLOT
            shapes.append(f'<rect class="s{part}" x="{x:.1f}" y="{y + 4}" width="{wide:.1f}" height="16" rx="2"/>')
            x += wide
        shapes.append(_text(x + 6, y + 16, row.text))
    return _svg(title, top + len(rows) * _ROW + 4, shapes)


def ranges(title: str, rows: Sequence[Range]) -> str:
    """From p50 to p95 on a logarithmic scale of seconds: a millisecond and a minute are both to be seen."""
    known = [value for row in rows for value in (row.p50, row.p95) if value > 0]
    low = 10 ** _down(log10(min(known))) if known else 0.001
    high = max(10 ** -_down(-log10(max(known))) if known else 1.0, low * 10)

    def place(value: float) -> float:
        return _LABEL + max(0.0, (log10(max(value, low)) - log10(low)) / (log10(high) - log10(low))) * _PLOT

    shapes, height = [_legend(("p50", "p95"))], (len(rows) + 1) * _ROW
    tick = low
    while tick <= high * 1.001:
        x = place(tick)
        shapes.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_ROW}" y2="{height}"/>')
        shapes.append(_text(x, height + 16, _seconds(tick), "middle"))
        tick *= 10
    for number, row in enumerate(rows):
        y, from_x, to_x = (number + 1) * _ROW + 12, place(row.p50), place(row.p95)
        shapes.append(_text(_LABEL - 8, y + 4, row.label, "end", width=30))
        shapes.append(f'<line class="range" x1="{from_x:.1f}" x2="{to_x:.1f}" y1="{y}" y2="{y}"/>')
        shapes.append(f'<circle class="s0" cx="{from_x:.1f}" cy="{y}" r="5"/>')
        shapes.append(f'<circle class="s1" cx="{to_x:.1f}" cy="{y}" r="5"/>')
        shapes.append(_text(to_x + 10, y + 4, row.text))
    return _svg(title, height + 24, shapes)


def points(title: str, x_name: str, y_name: str, found: Sequence[Point]) -> str:
    """Points with their names; x from nothing to the dearest, y from 0 to 1."""
    left, height, most = 60, 260, max((point.x for point in found), default=0.0) or 1.0
    wide = _WIDTH - left - 220
    shapes = [
        f'<line class="grid" x1="{left}" x2="{left + wide}" y1="{y}" y2="{y}"/>' + _text(left - 6, y + 4, mark, "end")
        for mark, y in (("1", 10), ("0.5", height / 2 + 5), ("0", height))
    ]
    shapes.append(_text(left, height + 20, "$0") + _text(left + wide, height + 20, f"${most:.3g}", "middle"))
    shapes.append(_text(left + wide / 2, height + 20, x_name, "middle") + _text(8, height / 2 - 20, y_name))
    heaviest = max((point.weight for point in found), default=1.0) or 1.0
    for point in found:
        x, y = left + point.x / most * wide, 10 + (1 - point.y) * (height - 10)
        radius = 4 + 8 * (point.weight / heaviest) ** 0.5
        shapes.append(f'<circle class="s0" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
        shapes.append(_text(x + radius + 4, y + 4, point.label, width=34))
    return _svg(title, height + 28, shapes)


def _svg(title: str, height: float, shapes: Sequence[str]) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" height="{height:.0f}">'
        f"<title>{escape(title)}</title>{''.join(shapes)}</svg>"
    )


def _legend(names: Sequence[str]) -> str:
    x, shapes = float(_LABEL), []
    for part, name in enumerate(names):
        shapes.append(
            f'<rect class="s{part}" x="{x:.0f}" y="4" width="12" height="12" rx="2"/>' + _text(x + 18, 14, name)
        )
        x += 34 + 7.5 * len(name)
    return "".join(shapes)


def _text(x: float, y: float, text: str, anchor: str = "start", width: int = 60) -> str:
    short = text if len(text) <= width else f"{text[: width - 1]}…"
    hint = f"<title>{escape(text)}</title>" if short != text else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(short)}{hint}</text>'


def _seconds(value: float) -> str:
    return f"{value * 1000:g} ms" if value < 0.9 else f"{value:g} s"


def _down(value: float) -> int:
    return int(value // 1)
