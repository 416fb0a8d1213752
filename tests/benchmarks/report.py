"""Pure: many measurements to a table a person can read, and to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tests.benchmarks.figures import AGAINST_THE_FLOOR, FIGURES, STORES, TITLES, Figure

Rounds = Sequence[Mapping[str, float]]
"""Figures by key, of each round."""
Results = Mapping[str, Mapping[str, Rounds]]
"""By column, which is a store or a peer, and by benchmark."""
Summary = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""By column, benchmark and key."""


def summary(results: Results) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Median, min, max, every value, unit; target and ratio to the floor where there is one."""
    return {
        column: {
            name: {
                figure.key: _summed(name, figure, column, results[column])
                for figure in FIGURES[name]
                if (figure.key in measured[name][0] and column not in STORES) or column in figure.stores
            }
            for name in measured
            if measured[name]
        }
        for column, measured in results.items()
    }


def _summed(name: str, figure: Figure, column: str, measured: Mapping[str, Rounds]) -> dict[str, Any]:
    values = [each[figure.key] for each in measured[name]]
    middle = median(values)
    summed: dict[str, Any] = {
        "median": middle,
        "min": min(values),
        "max": max(values),
        "values": values,
        "unit": figure.unit,
    }
    target = figure.target(column) if column in STORES else None
    if target is not None:
        summed["target"] = target
        summed["met"] = figure.is_met(middle, target)
    floor = AGAINST_THE_FLOOR.get((name, figure.key))
    if floor is not None and measured.get("floor"):
        summed["of_floor"] = middle / median(each[floor] for each in measured["floor"])
    return summed


def table(summed: Summary) -> str:
    """A block of lines per benchmark; a group of columns per store, one per peer."""
    columns = [column for column, measured in summed.items() if measured]
    head = ["", *(cell for column in columns for cell in _head(column))]
    rows: list[list[str]] = [head]
    for name in FIGURES:
        figures = [each for each in FIGURES[name] if any(each.key in summed[c].get(name, {}) for c in columns)]
        if figures:
            rows.append([f"{name}  {TITLES[name]}"])
        rows += [_row(name, figure, summed, columns) for figure in figures]
    widths = [max(len(row[column]) for row in rows if len(row) > 1) for column in range(len(head))]
    return "\n".join(row[0] if len(row) == 1 else _line(row, widths) for row in rows)


def _head(column: str) -> list[str]:
    return [STORES[column], "min – max", "target", "floor × "] if column in STORES else [column]


def _row(name: str, figure: Figure, summed: Summary, columns: Sequence[str]) -> list[str]:
    row = [f"    {figure.label}"]
    for column in columns:
        one = summed[column].get(name, {}).get(figure.key)
        if one is None:
            row += [""] * len(_head(column))
            continue
        row.append(f"{number(one['median'])} {figure.unit}".rstrip())
        if column in STORES:
            row += [f"{number(one['min'])} – {number(one['max'])}", told(figure, one), ratio(one)]
    return row


def told(figure: Figure, summed: Mapping[str, Any]) -> str:
    """Its target, and whether it was missed."""
    if "target" not in summed:
        return ""
    return f"{'≥' if figure.more_is_better else '≤'} {number(summed['target'])}{'' if summed['met'] else ' missed'}"


def ratio(summed: Mapping[str, Any]) -> str:
    """Of the floor."""
    return f"{summed['of_floor']:.2f}" if "of_floor" in summed else ""


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return "  ".join(cells).rstrip()


def number(value: float) -> str:
    """Three digits that count, or all of a large number."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
