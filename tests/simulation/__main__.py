"""Repeat seeds: ``python -m tests.simulation SEED …`` or ``FIRST:LAST``; exits 1 when one of them breaks."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.plan import Plan, from_text
from tests.simulation.shrink import BUDGET, shrink
from tests.simulation.world import Broken, lived, simulate

PROGRESS_EVERY_S = 0.5


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", nargs="+", metavar="SEED|FIRST:LAST")
    parser.add_argument(
        "--without", metavar="NAMES", default="", help="leave this out of one seed's plan: w1,w0.s2,4-7"
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="so many processes (default: 1)")
    parser.add_argument(
        "--shrink", action="store_true", help=f"make what breaks small, in {BUDGET} simulations at most"
    )
    options = parser.parse_args(arguments)
    try:
        seeds = [seed for text in options.seeds for seed in _range(text)]
        without = from_text(options.without)
        if len(seeds) == 1:
            return _show(Plan.of(seeds[0], without), shrinking=options.shrink)
    except ValueError as error:
        parser.error(str(error))
    if without:
        parser.error("--without belongs to one seed")
    return _live_all(seeds, options.jobs, shrinking=options.shrink)


def _range(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last or first) + 1)


def _show(plan: Plan, *, shrinking: bool) -> int:
    """One plan, with all that happened."""
    found = lived(plan)
    if isinstance(found, Broken):
        print(_told(found, shrinking=shrinking))
        return 1
    happened = ", ".join(f"{count} × {what}" for what, count in sorted(found.happened.items()))
    print(*found.log, *plan.lines(), sep="\n")
    print(f"seed {plan.seed}: {found.digest[:16]} {found.steps} steps, {found.virtual_s:.1f} s; {happened}")
    return 0


def _live_all(seeds: list[int], jobs: int, *, shrinking: bool) -> int:
    """Many seeds: what breaks is told, and how far it has got."""
    broken = 0
    begun = told = time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        texts = pool.map(_live, seeds, [shrinking] * len(seeds), chunksize=5)
        for done, text in enumerate(texts, 1):
            if text:
                broken += 1
                print(f"\n{text}", flush=True)
            now = time.monotonic()
            if now - told > PROGRESS_EVERY_S or done == len(seeds):
                told = now
                progress = f"\r{done} of {len(seeds)} seeds, {done / (now - begun):.1f}/s, {broken} broken"
                print(progress, end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return 1 if broken else 0


def _live(seed: int, shrinking: bool) -> str:
    """Why a seed breaks, or nothing."""
    found = lived(seed)
    return _told(found, shrinking=shrinking) if isinstance(found, Broken) else ""


def _told(broken: Broken, *, shrinking: bool) -> str:
    return f"{broken}\n\nShrunk:\n{shrink(broken, simulate)}" if shrinking else str(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
