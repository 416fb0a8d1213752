"""Pure: many measurements to a table a person can read, and to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tests.benchmarks.figures import AGAINST_THE_FLOOR, FIGURES, TITLES, Figure

Results = Mapping[str, Sequence[Mapping[str, float]]]
"""Figures by key, of each round, by benchmark."""

HEAD = ("", "median", "min – max", "target", "floor × ")


def summary(results: Results) -> dict[str, dict[str, dict[str, Any]]]:
    """By benchmark and key: median, min, max, every value, unit; target and ratio to the floor where there is one."""
    measured = [name for name in results if results[name]]
    return {name: {each.key: _summed(name, each, results) for each in FIGURES[name]} for name in measured}


def _summed(name: str, figure: Figure, results: Results) -> dict[str, Any]:
    values = [each[figure.key] for each in results[name]]
    summed: dict[str, Any] = {
        "median": median(values),
        "min": min(values),
        "max": max(values),
        "values": values,
        "unit": figure.unit,
    }
    if figure.target is not None:
        summed["target"] = figure.target
        summed["met"] = median(values) >= figure.target if figure.more_is_better else median(values) <= figure.target
    floor = AGAINST_THE_FLOOR.get((name, figure.key))
    if floor is not None and results.get("floor"):
        summed["of_floor"] = median(values) / median(each[floor] for each in results["floor"])
    return summed


def table(results: Results) -> str:
    """A block of lines per benchmark; columns aligned."""
    summed = summary(results)
    rows: list[tuple[str, ...]] = [HEAD]
    for name, figures in summed.items():
        rows.append((f"{name}  {TITLES[name]}",))
        rows += [_row(figure, figures[figure.key]) for figure in FIGURES[name]]
    widths = [max(len(row[column]) for row in rows if len(row) > 1) for column in range(len(HEAD))]
    return "\n".join(row[0] if len(row) == 1 else _line(row, widths) for row in rows)


def _row(figure: Figure, summed: Mapping[str, Any]) -> tuple[str, ...]:
    target = ""
    if figure.target is not None:
        target = f"{'≥' if figure.more_is_better else '≤'} {_number(figure.target)}{'' if summed['met'] else ' missed'}"
    ratio = f"{summed['of_floor']:.2f}" if "of_floor" in summed else ""
    value = f"{_number(summed['median'])} {figure.unit}".rstrip()
    return f"    {figure.label}", value, f"{_number(summed['min'])} – {_number(summed['max'])}", target, ratio


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return "  ".join(cells).rstrip()


def _number(value: float) -> str:
    """Three digits that count, or all of a large number."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
