"""Chaos by hand: `python -m tests.chaos`, `python -m tests.chaos postgres --workflows 1000 --restarts 5`.

Prints its figures; exits 1 if anything is wrong, and says what, and where the logs are.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.chaos import chaos
from tests.chaos.director import Plan
from tests.chaos.places import Place, PostgresPlace, SqlitePlace
from tests.postgres import running

SHOWN = 40


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "address",
        nargs="?",
        default="sqlite",
        help="sqlite (a new file, the default), postgres (a server of its own, which is restarted too), or the URL of "
        "an empty database",
    )
    parser.add_argument("--workflows", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--stops", type=int, default=6)
    parser.add_argument("--restarts", type=int, default=None, help="of the server of its own (default: 5)")
    parser.add_argument("--cuts", type=int, default=None, help="of all connections to a PostgreSQL (default: 5)")
    parser.add_argument("--open", type=int, default=40, help="workflows that are open at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the order of faults, and of who is met")
    options = parser.parse_args(arguments)
    own = options.address == "postgres"
    if options.restarts and not own:
        parser.error("only a server of its own is restarted: `python -m tests.chaos postgres`")
    is_postgres = own or options.address.startswith("postgres")
    if options.cuts and not is_postgres:
        parser.error("a file has no connections to cut")
    plan = Plan(
        workflows=options.workflows,
        workers=options.workers,
        kills=options.kills,
        stops=options.stops,
        restarts=(5 if options.restarts is None else options.restarts) if own else 0,
        cuts=(5 if options.cuts is None else options.cuts) if is_postgres else 0,
        open_max=options.open,
        seed=options.seed,
    )
    folder = Path(tempfile.mkdtemp(prefix="durable-chaos-"))
    with _place(options.address, folder) as place:
        report = asyncio.run(chaos(plan, place, folder, tell))
    print(*(f"{name}: {figure}" for name, figure in report.figures.items()), sep="\n")
    print(*report.problems[:SHOWN], sep="\n")
    print(f"{len(report.problems)} problems; logs and ledger are in {folder}")
    return 1 if report.problems else 0


def tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


@contextmanager
def _place(address: str, folder: Path) -> Iterator[Place]:
    if address == "postgres":
        with running() as server:
            yield PostgresPlace(server.url(server.create()), server.restart)
    elif address == "sqlite":
        yield SqlitePlace(folder / "durable.db")
    elif address.startswith("sqlite:///"):
        yield SqlitePlace(Path(address.removeprefix("sqlite:///")))
    else:
        yield PostgresPlace(address)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
