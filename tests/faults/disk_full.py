"""A worker whose disk fills up, and has room again later: a process that prints what happened, as JSON.

`python -m tests.faults.disk_full DIRECTORY really` has another file fill the directory's file system, a small one;
`… limit` has the kernel refuse this process longer files.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from durable import Client, Worker, activity, workflow
from durable.exceptions import TemporalError
from durable.history.errors import HistoryError
from durable.worker import poller

LEASE = timedelta(minutes=5)
NAP = timedelta(seconds=1)
"""Over when the disk is full."""
BLOCK = 4096
A_LITTLE = 25 * BLOCK
"""Room for a few messages more."""

full = asyncio.Event()


@activity.defn
async def end_on_a_full_disk() -> str:
    await full.wait()
    return "kept"


@workflow.defn
class Collecting:
    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        result = await end_on_a_full_disk()
        return [result, *self.words]

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)


@workflow.defn
async def nap() -> None:
    await workflow.sleep(NAP)


class Ears(logging.Handler):
    """What the worker says."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self._more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())
        self._more.set()

    async def hear_of_a_step(self, run_id: str | None) -> None:
        """Of this run, that it did not land."""
        while not any(f"{run_id} did not land" in line for line in self.heard):
            self._more.clear()
            await self._more.wait()


def fill(directory: Path, way: str, left: int) -> None:
    if way == "limit":
        length = (directory / "app.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (length + left, resource.RLIM_INFINITY))
        return
    with open(directory / "ballast", "wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(BLOCK)) == BLOCK:
                pass
        except OSError:
            pass
        ballast.truncate(ballast.tell() - left)


def make_room(directory: Path, way: str) -> None:
    if way == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        (directory / "ballast").unlink()


async def main(directory: Path, way: str) -> None:
    poller.FLOOR = 3600.0  # whoever waits for room looks again by himself
    ears = Ears()
    logging.getLogger("durable").addHandler(ears)
    acknowledged: list[str] = []
    async with await Client.connect(f"sqlite:///{directory}/app.db") as client:
        async with Worker(client, workflows=[Collecting, nap], activities=[end_on_a_full_disk], lease=LEASE):
            handle = await client.start_workflow(Collecting.run, id="collecting")
            napping = await client.start_workflow(nap, id="napping")
            fill(directory, way, A_LITTLE)
            refusal = ""
            while not refusal:
                word = f"word {len(acknowledged)}"
                try:
                    await handle.signal(Collecting.say, word)
                    acknowledged.append(word)
                except (TemporalError, HistoryError) as error:
                    refusal = f"{type(error).__name__}: {error}"
            await ears.hear_of_a_step(napping.result_run_id)
            make_room(directory, way)
            await napping.result()
            fill(directory, way, 0)
            full.set()
            await ears.hear_of_a_step(handle.result_run_id)
            make_room(directory, way)
            result = await handle.result()
    with closing(sqlite3.connect(directory / "app.db")) as raw:
        (integrity,) = raw.execute("PRAGMA integrity_check").fetchone()
        left = raw.execute(
            "SELECT (SELECT count(*) FROM durable_inbox) + (SELECT count(*) FROM durable_activity_tasks)"
        )
        rows_left = left.fetchone()[0]
    print(
        json.dumps(
            {
                "acknowledged": acknowledged,
                "refusal": refusal,
                "heard": ears.heard,
                "result": result,
                "integrity": integrity,
                "rows left": rows_left,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
