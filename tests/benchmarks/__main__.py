"""`python -m tests.benchmarks`: run benchmarks in turn, round after round, and print what they measured."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.benchmarks.child import Failed, measure
from tests.benchmarks.figures import FIGURES, FULL, QUICK, TITLES, Sizes
from tests.benchmarks.machine import description
from tests.benchmarks.report import summary, table


def main(arguments: Sequence[str], sizes: Sizes | None = None) -> int:
    """0, or 1 when a benchmark failed. ``sizes`` are those of the command line unless given."""
    asked = _parser().parse_args(arguments)
    sizes = sizes or (QUICK if asked.quick else FULL)
    if asked.rounds is not None:
        sizes = msgspec.structs.replace(sizes, rounds=asked.rounds)
    names = [name for name in FIGURES if name in (asked.names or FIGURES)]
    facts = description(asked.directory)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    failures = 0
    for round_number in range(1, sizes.rounds + 1):
        for name in names:
            print(f"round {round_number} of {sizes.rounds}: {name}, {TITLES[name]}", file=sys.stderr, flush=True)
            try:
                results[name].append(measure(name, sizes, asked.directory))
            except Failed as error:
                failures += 1
                print(error, file=sys.stderr, flush=True)
    print("\n".join(f"{name:<12} {fact}" for name, fact in facts.items()))
    print(f"{'rounds':<12} {sizes.rounds}, each benchmark in a process of its own\n")
    print(table(results))
    if asked.json is not None:
        whole = {"facts": facts, "sizes": sizes, "results": summary(results)}
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n")
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="How fast the engine is here.")
    parser.add_argument("names", nargs="*", metavar="NAME", type=_name, help=f"of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="one round, small: does it work, about how fast")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="how often each one runs (3; with --quick 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where the databases go: on the disk that you want to know about (%(default)s)",
    )
    return parser


def _name(text: str) -> str:
    for name in FIGURES:
        if name.lower() == text.lower():
            return name
    raise argparse.ArgumentTypeError(f"there is no benchmark {text!r}; there are {', '.join(FIGURES)}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds; 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
