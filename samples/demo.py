"""Orders are processed while workers are killed, again and again; then everything is counted, from both sides.

    make demo                 one worker at a time, on a SQLite file
    make demo DB=postgres     four workers side by side, on a PostgreSQL of the demo's own

Exits 1 if an order is lost, done twice, or out of balance. What it leaves is in the folder `demo`, made anew each time.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import demo_audit
import demo_postgres
from demo_report import Screen, show
from durable import Client
from durable.client import WorkflowFailureError, WorkflowHistory
from order import COUNTRIES, Order, ProcessOrder

T = TypeVar("T")

HERE = Path(__file__).parent
PLACING_SECONDS = 6
FAILURE_RATE = 0.1
TIME_LIMIT_SECONDS = 110
WORKERS = {"sqlite": 1, "postgres": 4}
KILLS = {"sqlite": 3, "postgres": 12}


class DemoFailed(Exception):
    """The demo can't go on; the message says why."""


class WorkerProcess:
    """One worker process at a time: started, killed, started again. Its log goes to a file."""

    def __init__(self, address: str, folder: Path) -> None:
        self._log = folder / "worker.log"
        self._environment = {
            **os.environ,
            "DURABLE_ADDRESS": address,
            "SHOP_DB": str(folder / "shop.db"),
            "ORDER_FAILURE_RATE": str(FAILURE_RATE),
        }
        self._process: asyncio.subprocess.Process | None = None
        self.pids: list[int] = []
        """The process ids of all that were started."""
        self.deaths: list[int] = []
        """Of those, the ones that died of SIGKILL."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Returns when it takes work."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(HERE / "demo_worker.py"),
                env=self._environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self.pids.append(self._process.pid)
        assert self._process.stdout is not None
        if not await self._process.stdout.readline():
            raise DemoFailed(await self.end())

    async def end(self) -> str:
        """Wait until it ends; what to say of that."""
        assert self._process is not None
        return f"the worker ended by itself (exit code {await self._process.wait()}): see {self._log}"

    async def kill(self) -> None:
        """SIGKILL: no goodbye, no clean-up. Returns when the process is gone."""
        assert self._process is not None
        self._process.kill()
        if await self._process.wait() == -signal.SIGKILL:
            self.deaths.append(self._process.pid)

    async def stop(self) -> None:
        """Ask it to end, if it still runs; it gets a second."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), 1)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def alive_until(workers: Sequence[WorkerProcess], event: Awaitable[T]) -> T:
    """What ``event`` brings. DemoFailed if a worker ends first: nobody has killed it."""
    waiting = asyncio.ensure_future(event)
    ends = [asyncio.ensure_future(worker.end()) for worker in workers]
    try:
        await asyncio.wait([waiting, *ends], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise DemoFailed(next(end.result() for end in ends if end.done()))
        return waiting.result()
    finally:
        for each in (waiting, *ends):
            each.cancel()


def make_orders(count: int) -> dict[str, Order]:
    """The same orders each time; one in ten, on average, goes where the carrier refuses to go."""
    chance = random.Random(7)
    orders: dict[str, Order] = {}
    for number in range(1, count + 1):
        country = "Atlantis" if chance.random() < 0.1 or number == count else chance.choice(COUNTRIES)
        item = chance.choice(("tea", "kettle", "cup", "spoon"))
        units = chance.randint(1, 5)
        orders[f"order-{number:03}"] = Order(
            item, units, units * chance.randint(100, 9900), country, round(chance.uniform(1, 2), 2)
        )
    return orders


def make_folder(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / "worker.log").exists():
        raise DemoFailed(f"the folder {folder} holds something else than an earlier demo; move it, or use --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def write_histories(folder: Path, histories: Sequence[WorkflowHistory]) -> None:
    """As files, one a workflow, in the form that Temporal's tools read."""
    folder.mkdir()
    for history in histories:
        (folder / f"{history.workflow_id}.json").write_text(history.to_json())


async def process(
    orders: dict[str, Order], kills: int, address: str, workers: Sequence[WorkerProcess], screen: Screen
) -> None:
    """All orders to their end, under workers of which one after the other is killed, ``kills`` times in all."""
    finished: asyncio.Queue[str] = asyncio.Queue()
    marks = sorted(kill_marks(len(orders), kills))

    async def place(number: int, order_id: str) -> None:
        await asyncio.sleep(PLACING_SECONDS * number / len(orders))
        handle = await client.start_workflow(ProcessOrder.run, orders[order_id], id=order_id)
        screen.placed()
        try:
            await handle.result()
            screen.shipped()
        except WorkflowFailureError:
            screen.failed()
        finished.put_nowait(order_id)

    async with await Client.connect(address) as client:
        try:
            await asyncio.gather(*(worker.start() for worker in workers))
            for worker in workers:
                screen.say(f"worker {worker.pid} is at work")
            async with asyncio.TaskGroup() as tasks:
                for number, order_id in enumerate(orders):
                    tasks.create_task(place(number, order_id))
                for over in range(1, len(orders) + 1):
                    await alive_until(workers, finished.get())
                    if over in marks:
                        worker = workers[marks.index(over) % len(workers)]
                        await worker.kill()
                        screen.say(f"worker {worker.pid} is killed (SIGKILL), with {screen.open} orders open")
                        await worker.start()
                        screen.say(f"worker {worker.pid} takes its place")
        finally:
            await asyncio.gather(*(worker.stop() for worker in workers))


def kill_marks(orders: int, kills: int) -> set[int]:
    """After how many finished orders to kill: evenly spread, the last time with a third of the work still to do."""
    return {max(1, orders * 2 * kill // (3 * kills)) for kill in range(1, kills + 1)}


async def main(arguments: argparse.Namespace) -> int:
    """Run the demo and print what came of it; the exit code."""
    folder: Path = arguments.folder
    make_folder(folder)
    with demo_postgres.running() if arguments.db == "postgres" else nullcontext(f"sqlite:///{folder}/durable.db") as db:
        return await _main(arguments, db, folder)


async def _main(arguments: argparse.Namespace, address: str, folder: Path) -> int:
    orders = make_orders(arguments.orders)
    workers = [WorkerProcess(address, folder) for _ in range(WORKERS[arguments.db])]
    began = time.monotonic()
    with Screen(len(orders)) as screen:
        try:
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                await process(orders, arguments.kills, address, workers, screen)
        except TimeoutError:
            raise DemoFailed(f"not done after {TIME_LIMIT_SECONDS} s: see {folder / 'worker.log'}") from None
    async with await Client.connect(address) as client:
        records = await demo_audit.read_histories(client)
        if arguments.db == "postgres":  # the server goes with the demo
            write_histories(folder / "histories", [each async for each in client.list_workflows().map_histories()])
    books = demo_audit.read_books(str(folder / "shop.db"))
    report = demo_audit.audit(orders, books, records)
    shares = demo_audit.shares(books, [worker.pids for worker in workers])
    deaths = [pid for worker in workers for pid in worker.deaths]
    problems = [*report.problems]
    if len(deaths) != arguments.kills:
        problems.append(f"{len(deaths)} workers were killed instead of {arguments.kills}")
    show(report, shares, deaths, problems, folder, time.monotonic() - began)
    return 1 if problems else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--db", choices=list(WORKERS), default="sqlite", help="the database (default: sqlite)")
    parser.add_argument("--orders", type=int, default=300, help="how many orders to place (default: 300)")
    parser.add_argument("--kills", type=int, help="how many times to kill a worker (default: 3; with postgres 12)")
    parser.add_argument(
        "--folder", type=Path, default=Path("demo"), help="where to leave the databases (default: demo)"
    )
    arguments = parser.parse_args()
    if arguments.kills is None:
        arguments.kills = KILLS[arguments.db]
    if arguments.orders < 5 * arguments.kills:
        parser.error(f"{arguments.kills} kills in the middle of the work need {5 * arguments.kills} orders or more")
    try:
        sys.exit(asyncio.run(main(arguments)))
    except* DemoFailed as failed:
        sys.exit("\n".join(str(error) for error in failed.exceptions))
