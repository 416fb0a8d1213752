"""Worker processes of the bank in samples/transfer.py, each of which is killed at some commit of its own, by chance."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "samples"))

from durable import Client, Worker
from durable.history.transition import Write
from tests.faults.processes import end_with_parent
from tests.forkserver import processes
from transfer import credit, debit, transfer

LEASE = timedelta(seconds=0.3)


def spawn(address: str, seed: str, risk: float) -> BaseProcess:
    """A worker process, which is killed before or after each of its commits with this probability."""
    child = processes.Process(target=work, args=(address, seed, risk), daemon=True)
    child.start()
    return child


def work(address: str, seed: str, risk: float) -> None:
    logging.disable(logging.CRITICAL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    asyncio.run(serve(address, random.Random(seed), risk))


async def serve(address: str, chance: random.Random, risk: float) -> None:
    def perhaps_die() -> None:
        if chance.random() < risk:
            os.kill(os.getpid(), signal.SIGKILL)

    async with await Client.connect(address) as client:
        database: Any = client.database
        commit, joiner, joined = database.store.commit, database.store.joiner, database.joined

        async def commit_and_risk_it(writes: Sequence[Write]) -> Any:
            perhaps_die()
            outcomes = await commit(writes)
            perhaps_die()
            return outcomes

        async def joiner_at_risk() -> Any:
            join = await joiner()

            def join_and_risk_it(connection: Any, write: Write) -> Any:
                perhaps_die()
                outcome = join(connection, write)
                perhaps_die()
                return outcome

            return join_and_risk_it

        def joined_and_risk_it(write: Write) -> None:
            perhaps_die()
            joined(write)

        database.store.commit, database.store.joiner = commit_and_risk_it, joiner_at_risk
        database.joined = joined_and_risk_it
        await Worker(client, workflows=[transfer], activities=[debit, credit], lease=LEASE).run()
