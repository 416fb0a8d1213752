"""A picture of a curve: points on two logarithmic axes, a line each, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 180, 40, 50
COLORS = ("#0b6e99", "#c2410c")

Line = Sequence[tuple[float, float]]


def picture(title: str, x: str, lines: Mapping[str, Line]) -> str:
    """``x`` is what the lower axis is. A point with an x of 0 stands at the left end."""
    xs = [point[0] for line in lines.values() for point in line]
    ys = [point[1] for line in lines.values() for point in line]
    zero = min((each for each in xs if each > 0), default=10.0) / 10
    across = _Axis([max(each, zero) for each in xs], LEFT, WIDTH - RIGHT)
    up = _Axis(ys, HEIGHT - BOTTOM, TOP)
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT, 22, title, "start", ' font-weight="bold"'),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x, "middle"),
    ]
    for tick in across.ticks:
        at = across.at(tick)
        name = "0" if 0 in xs and tick <= zero else _short(tick)
        parts += [_rule(at, TOP, at, HEIGHT - BOTTOM), _text(at, HEIGHT - BOTTOM + 17, name, "middle")]
    for tick in up.ticks:
        at = up.at(tick)
        parts += [_rule(LEFT, at, WIDTH - RIGHT, at), _text(LEFT - 8, at + 4, _short(tick), "end")]
    for number, (name, line) in enumerate(lines.items()):
        color = COLORS[number % len(COLORS)]
        points = [(across.at(max(each, zero)), up.at(value)) for each, value in line]
        drawn = " ".join(f"{left:.1f},{top:.1f}" for left, top in points)
        stroke = f'fill="none" stroke="{color}" stroke-width="2"'
        parts.append(f'<polyline points="{drawn}" {stroke}/>')
        parts += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{color}"/>' for left, top in points]
        key = TOP + 12 + 20 * number
        parts.append(f'<path d="M{WIDTH - RIGHT + 14},{key - 4} h20" {stroke}/>')
        parts.append(_text(WIDTH - RIGHT + 40, key, name, "start"))
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    """Whole powers of ten, from the one below the values to the one above."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        least, most = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self._least, self._span = least, max(1, most - least)
        self._begin, self._end = begin, end
        self.ticks = [10.0**power for power in range(least, least + self._span + 1)]

    def at(self, value: float) -> float:
        return self._begin + (math.log10(value) - self._least) / self._span * (self._end - self._begin)


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#333333"{more}>{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
