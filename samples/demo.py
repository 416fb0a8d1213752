"""Orders are processed while the worker is killed, again and again; then everything is counted, from both sides.

    make demo

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
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import demo_audit
from demo_report import Screen, show
from durable import Client
from durable.client import WorkflowFailureError
from order import COUNTRIES, Order, ProcessOrder

T = TypeVar("T")

HERE = Path(__file__).parent
PLACING_SECONDS = 6
FAILURE_RATE = 0.1
TIME_LIMIT_SECONDS = 110


class DemoFailed(Exception):
    """The demo can't go on; the message says why."""


class WorkerProcess:
    """One worker process at a time: started, killed, started again. Its log goes to a file."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "worker.log"
        self._environment = {
            **os.environ,
            "DURABLE_ADDRESS": address(folder),
            "SHOP_DB": str(folder / "shop.db"),
            "ORDER_FAILURE_RATE": str(FAILURE_RATE),
        }
        self._process: asyncio.subprocess.Process | None = None
        self.deaths: list[int] = []
        """The process ids of those that died of SIGKILL."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, str(HERE / "demo_worker.py"), env=self._environment, stdout=log, stderr=log
            )

    async def alive_until(self, event: Awaitable[T]) -> T:
        """What ``event`` brings. DemoFailed if the worker ends first: nobody has killed it."""
        assert self._process is not None
        waiting = asyncio.ensure_future(event)
        end = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait([waiting, end], return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise DemoFailed(f"the worker ended by itself (exit code {end.result()}): see {self._log}")
            return waiting.result()
        finally:
            waiting.cancel()
            end.cancel()

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


def address(folder: Path) -> str:
    return f"sqlite:///{folder / 'durable.db'}"


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
    if folder.exists() and any(folder.iterdir()) and not (folder / "durable.db").exists():
        raise DemoFailed(f"the folder {folder} holds something else than an earlier demo; move it, or use --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


async def process(orders: dict[str, Order], kills: int, folder: Path, screen: Screen) -> list[int]:
    """All orders to their end, under a worker that is killed ``kills`` times on the way; the pids of the killed."""
    finished: asyncio.Queue[str] = asyncio.Queue()
    marks = kill_marks(len(orders), kills)
    worker = WorkerProcess(folder)

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

    async with await Client.connect(address(folder)) as client:
        try:
            await worker.start()
            screen.say(f"worker {worker.pid} is at work")
            async with asyncio.TaskGroup() as tasks:
                for number, order_id in enumerate(orders):
                    tasks.create_task(place(number, order_id))
                for over in range(1, len(orders) + 1):
                    await worker.alive_until(finished.get())
                    if over in marks:
                        await worker.kill()
                        screen.say(f"worker {worker.pid} is killed (SIGKILL), with {screen.open} orders in its hands")
                        await worker.start()
                        screen.say(f"worker {worker.pid} takes over")
        finally:
            await worker.stop()
    return worker.deaths


def kill_marks(orders: int, kills: int) -> set[int]:
    """After how many finished orders to kill: evenly spread, the last time with a third of the work still to do."""
    return {max(1, orders * 2 * kill // (3 * kills)) for kill in range(1, kills + 1)}


async def main(arguments: argparse.Namespace) -> int:
    """Run the demo and print what came of it; the exit code."""
    folder: Path = arguments.folder
    make_folder(folder)
    orders = make_orders(arguments.orders)
    began = time.monotonic()
    with Screen(len(orders)) as screen:
        try:
            async with asyncio.timeout(TIME_LIMIT_SECONDS):
                deaths = await process(orders, arguments.kills, folder, screen)
        except TimeoutError:
            raise DemoFailed(f"not done after {TIME_LIMIT_SECONDS} s: see {folder / 'worker.log'}") from None
    async with await Client.connect(address(folder)) as client:
        records = await demo_audit.read_histories(client)
    report = demo_audit.audit(orders, demo_audit.read_books(str(folder / "shop.db")), records)
    problems = [*report.problems]
    if len(deaths) != arguments.kills:
        problems.append(f"{len(deaths)} workers were killed instead of {arguments.kills}")
    show(report, deaths, problems, folder, time.monotonic() - began)
    return 1 if problems else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--orders", type=int, default=300, help="how many orders to place (default: 300)")
    parser.add_argument("--kills", type=int, default=3, help="how many times to kill the worker (default: 3)")
    parser.add_argument(
        "--folder", type=Path, default=Path("demo"), help="where to leave the databases (default: demo)"
    )
    arguments = parser.parse_args()
    if arguments.orders < 5 * arguments.kills:
        parser.error(f"{arguments.kills} kills in the middle of the work need {5 * arguments.kills} orders or more")
    try:
        sys.exit(asyncio.run(main(arguments)))
    except* DemoFailed as failed:
        sys.exit("\n".join(str(error) for error in failed.exceptions))
