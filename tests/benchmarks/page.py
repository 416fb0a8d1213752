"""`python -m tests.benchmarks.page [FILE]`: puts measured figures into docs/performance.md, and draws its pictures."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks.curves import CURVES, Curve
from tests.benchmarks.figures import FIGURES, STORES, TITLES, Figure
from tests.benchmarks.report import number, ratio, told
from tests.benchmarks.svg import picture

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
FIGURES_FILE = PAGE.parent / "performance" / "figures.json"
PART = "<!-- measured: {0} -->\n"
END = "<!-- end -->\n"


def write(figures: Path, page: Path = PAGE) -> None:
    """Put what was measured between the marks; a picture for each curve beside the file of the figures."""
    found = msgspec.json.decode(figures.read_bytes())
    text = _filled(page.read_text(), "machine", _machine(found["facts"]))
    text = _filled(text, "targets", targets(found["results"]))
    for name, curve in CURVES.items():
        by_store = {store: curves[name] for store, curves in found["curves"].items() if name in curves}
        if by_store:
            for key in curve.lines:
                figures.with_name(f"{name}-{key}.svg").write_text(drawn(curve, key, by_store))
            text = _filled(text, f"curve {name}", points(curve, by_store))
    page.write_text(text)


def _filled(text: str, name: str, lines: str) -> str:
    begin = PART.format(name)
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(END)}", re.DOTALL)
    filled, count = pattern.subn(lambda _: f"{begin}\n{lines}\n\n{END}", text)
    if count != 1:
        raise SystemExit(
            f"docs/performance.md has {count} parts {begin.strip()!r}; it needs one, up to {END.strip()!r}"
        )
    return filled


def _machine(facts: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


def targets(results: Mapping[str, Any]) -> str:
    """A row for each figure that has a target, or that peers have as well."""
    stores = [store for store in STORES if results.get(store)]
    peers = [column for column in results if column not in STORES and results[column]]
    head = ["", ""]
    for store in stores:
        head += [STORES[store], "min – max", "target", "× floor"]
    rows = [head + peers, ["---"] * (len(head) + len(peers))]
    for name, figures in FIGURES.items():
        for place, figure in enumerate(_told(name, figures, results, peers)):
            rows.append(["" if place else name, *_cells(name, figure, results, stores, peers)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n" + _titles(results)


def _told(name: str, figures: Sequence[Figure], results: Mapping[str, Any], peers: Sequence[str]) -> list[Figure]:
    measured = [each for each in figures if any(each.key in column.get(name, {}) for column in results.values())]
    shared = any(name in results[peer] for peer in peers)
    return [each for each in measured if name == "floor" or shared or each.targets is not None]


def _cells(
    name: str, figure: Figure, results: Mapping[str, Any], stores: Sequence[str], peers: Sequence[str]
) -> list[str]:
    cells = [f"{figure.label}{f', {figure.unit}' if figure.unit else ''}"]
    for store in stores:
        one = results[store].get(name, {}).get(figure.key)
        if one is None:
            cells += [""] * 4
            continue
        spread = f"{number(one['min'])} – {number(one['max'])}"
        cells += [f"**{number(one['median'])}**", spread, told(figure, one), ratio(one)]
    for peer in peers:
        one = results[peer].get(name, {}).get(figure.key)
        cells.append("" if one is None else number(one["median"]))
    return cells


def _titles(results: Mapping[str, Any]) -> str:
    names = [name for name in FIGURES if any(name in column for column in results.values())]
    return "\n".join(f"- *{name}*: {TITLES[name]}" for name in names)


def drawn(curve: Curve, key: str, by_store: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    label, unit = curve.lines[key]
    lines = {STORES[store]: [(point["x"], point[key]) for point in points] for store, points in by_store.items()}
    return picture(f"{label}, {unit}", curve.x, lines)


def points(curve: Curve, by_store: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The figures of a curve: a column for each point."""
    xs = [point["x"] for point in next(iter(by_store.values()))]
    rows = [[curve.x, *(f"{x:,.0f}" for x in xs)], ["---"] * (len(xs) + 1)]
    for key, (label, unit) in curve.lines.items():
        for store, measured in by_store.items():
            rows.append([f"{label}, {unit}, {STORES[store]}", *(number(point[key]) for point in measured)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if sys.argv[1:] else FIGURES_FILE)
