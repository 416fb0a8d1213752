"""The worker processes: made, found in the tables, killed."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import threading
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

from durable import Client, Worker
from durable.history.errors import HistoryError
from tests.chaos.flows import ACTIVITIES, LEDGER, WORKFLOWS
from tests.forkserver import processes

LEASE = timedelta(seconds=1)
PAUSE = 0.1
ACTIVITIES_MAX = 5
CACHED_MAX = 20
"""Few of both, so that all workers get to work, and some runs are rebuilt from their history without any fault."""

logger = logging.getLogger(__name__)


def spawn(address: str, folder: Path) -> BaseProcess:
    """A worker process, which ends with its parent if it is not killed before."""
    process = processes.Process(target=work, args=(address, folder), daemon=True)
    process.start()
    return process


def work(address: str, folder: Path) -> None:
    os.environ[LEDGER] = str(folder / "ledger")
    logging.basicConfig(
        filename=folder / "workers.log", format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    )
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        asyncio.run(serve(address))
    except BaseException:
        logger.exception("the worker ended by itself")
        raise


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


async def serve(address: str) -> None:
    """A database that is away is asked again until the worker has begun; from there on that is the worker's matter."""
    begun = False
    while not begun:
        try:
            async with (
                await Client.connect(address) as client,
                Worker(
                    client,
                    workflows=WORKFLOWS,
                    activities=ACTIVITIES,
                    lease=LEASE,
                    max_concurrent_activities=ACTIVITIES_MAX,
                    max_cached_workflows=CACHED_MAX,
                ),
            ):
                begun = True
                await asyncio.Event().wait()
        except HistoryError:
            if begun:
                raise
            await asyncio.sleep(PAUSE)
