"""Repeat seeds: ``python -m tests.simulation SEED …``, or ``FIRST:LAST``; exits 1 when one of them breaks."""

from __future__ import annotations

import sys

from tests.simulation.world import Broken, simulate


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    broken = 0
    for argument in arguments:
        first, _, last = argument.partition(":")
        seeds = range(int(first), int(last or first) + 1)
        for seed in seeds:
            try:
                report = simulate(seed)
            except Broken as error:
                print(error)
                broken += 1
                continue
            if len(seeds) == 1:
                print("\n".join(report.log))
            happened = ", ".join(f"{count} × {what}" for what, count in sorted(report.happened.items()))
            print(f"seed {seed}: {report.digest[:16]} {report.steps} steps, {report.virtual_s:.1f} s; {happened}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
