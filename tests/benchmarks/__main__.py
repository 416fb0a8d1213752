"""`python -m tests.benchmarks`: run benchmarks in turn, round after round, then curves; print what they measured."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks import page, peers, server
from tests.benchmarks.child import Failed, Figures, measure
from tests.benchmarks.curves import CURVES, Point
from tests.benchmarks.figures import FIGURES, FULL, ONCE, QUICK, STORES, TITLES, Sizes, measured
from tests.benchmarks.machine import description
from tests.benchmarks.report import summary, table

NAMES = [*FIGURES, *CURVES]


def main(arguments: Sequence[str], sizes: Sizes | None = None) -> int:
    """0, or 1 when a benchmark failed. ``sizes`` are those of the command line unless given."""
    asked = _parser().parse_args(arguments)
    sizes = sizes or (QUICK if asked.quick else FULL)
    if asked.rounds is not None:
        sizes = msgspec.structs.replace(sizes, rounds=asked.rounds)
    began = time.monotonic()
    with ExitStack() as stack:
        facts = description(asked.directory)
        databases: dict[str, server.Databases | None] = {store: None for store in STORES if store in asked.stores}
        if "postgres" in databases:
            databases["postgres"] = started = stack.enter_context(server.running(asked.directory))
            facts["postgres"] = started.facts
        if asked.peers:
            facts["peers"] = peers.installed()
        session = _Session(asked.names or NAMES, sizes, asked.directory, databases, asked.peers)
        found, small = b"", ", small sizes (--quick)" if sizes == QUICK else ""
        for _ in session.run():
            facts["took"] = f"{time.monotonic() - began:.0f} s, {sizes.rounds} rounds{small}, a process each"
            whole = {"facts": facts, "sizes": sizes, "results": summary(session.results), "curves": session.curves}
            found = msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"
            if asked.json is not None:
                asked.json.write_bytes(found)  # what is there is kept when somebody breaks off
    print("\n".join(f"{name:<12} {fact}" for name, fact in facts.items()) + "\n")
    print(table(summary(session.results)))
    if asked.page:
        page.FIGURES_FILE.parent.mkdir(exist_ok=True)
        page.FIGURES_FILE.write_bytes(found)
        page.write(page.FIGURES_FILE)
    return 1 if session.failures else 0


class _Session:
    """What was measured so far."""

    def __init__(
        self,
        names: Sequence[str],
        sizes: Sizes,
        directory: Path,
        databases: dict[str, server.Databases | None],
        with_peers: bool,
    ) -> None:
        self._names, self._sizes, self._directory, self._databases = names, sizes, directory, databases
        self._peers = {f"DBOS {STORES[store]}": store for store in databases} if with_peers else {}
        self.results: dict[str, dict[str, list[Figures]]] = {column: {} for column in (*databases, *self._peers)}
        self.curves: dict[str, dict[str, list[Point]]] = {store: {} for store in databases}
        self.failures = 0
        self._began = time.monotonic()

    def run(self) -> Iterator[None]:
        """Goes on after each figure or curve."""
        for number in range(1, self._sizes.rounds + 1):
            for name in FIGURES:
                if name in self._names and (number == 1 or name not in ONCE):
                    yield from self._round(number, name)
        for name in CURVES:
            for store, databases in self._databases.items():
                if name in self._names:
                    self._say(f"curve: {name} on {STORES[store]}")
                    points = self._try(measure, name, self._sizes, self._directory, databases, list[Point])
                    self.curves[store].update({name: points} if points else {})
                    yield

    def _round(self, number: int, name: str) -> Iterator[None]:
        """On each store, and then the same of each peer: what is compared runs close together."""
        told = f"round {number} of {self._sizes.rounds}: {name}, {TITLES[name]}"
        for store, databases in self._databases.items():
            if measured(name, store):
                self._say(f"{told}, on {STORES[store]}")
                figures = self._try(measure, name, self._sizes, self._directory, databases, Figures)
                self._keep(store, name, figures)
                yield
        for peer, store in self._peers.items():
            if name in peers.NAMES:
                self._say(f"{told}, {peer}")
                figures = self._try(peers.measure, name, self._sizes, self._directory, self._databases[store])
                self._keep(peer, name, figures)
                yield

    def _keep(self, column: str, name: str, figures: Figures | None) -> None:
        if figures is not None:
            self.results[column].setdefault(name, []).append(figures)

    def _try(self, measure: Callable[..., Any], *args: Any) -> Any:
        try:
            return measure(*args)
        except Failed as error:
            self.failures += 1
            self._say(str(error))
            return None

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:4.0f} s  {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="How fast the engine is here.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        type=_name,
        help=f"of {', '.join(NAMES)} (all); the last are curves",
    )
    parser.add_argument("--quick", action="store_true", help="one round, small: does it work, about how fast")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="how often each one runs (3; with --quick 1)")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES), help="both")
    parser.add_argument("--peers", action="store_true", help="DBOS beside them, installed from PyPI into a cache")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument("--page", action="store_true", help="write all figures into docs/performance.md")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="where the databases go: on the disk that you want to know about (%(default)s)",
    )
    return parser


def _name(text: str) -> str:
    for name in NAMES:
        if name.lower() == text.lower():
            return name
    raise argparse.ArgumentTypeError(f"there is no benchmark {text!r}; there are {', '.join(NAMES)}")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds; 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
