"""Records the corpus of the version at hand: runs of every feature, as histories, as stored rows, as a database."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from durable import Client, Worker, workflow
from durable.client import (
    ActivityFailureError,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from durable.common import Priority, SearchAttributePair, TypedSearchAttributes
from durable.converter import failure
from durable.history import cron
from durable.history.database import Database
from durable.history.host import Machine
from durable.history.stores import open_store
from durable.worker import step
from tests.corpus import flows
from tests.corpus.flows import CorpusBox
from tests.engine.histories import types, until

RECORDED_US = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""When the recording says that it was made: whatever is due in it is due when it is read."""

HISTORIES, ROWS, DATABASE = "histories.jsonl.gz", "rows.jsonl.gz", "durable.db.gz"

STACK = '  File "flows.py", line 1, in flow\n'
"""In the place of all stack traces, which would tell of the recorder's machine."""

ELSEWHERE, MENDING, BROKEN = "elsewhere", "mending", "broken"
"""Task queues: of an activity that nobody runs; of a run that is mended later; of one that stays parked."""

LEASE = timedelta(minutes=5)
PATIENCE = timedelta(seconds=30)

Drive = Callable[[Client], Coroutine[Any, Any, None]]


class Then(Machine):
    """This machine, at the beginning of 2024."""

    def __init__(self) -> None:
        super().__init__()
        self._offset_us = RECORDED_US - time.monotonic_ns() // 1000

    def adjust(self, now_us: int) -> None:
        """The wall clock is not asked."""


@workflow.defn(name="corpus_mended")
async def not_yet_mended(number: int) -> int:
    await asyncio.sleep(flows.TICK)
    raise LookupError(f"no place for {number}")


async def record(directory: Path) -> None:
    """Write the corpus into ``directory``, which must not be there yet."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "durable.db"
        with _without_stacks(), mock.patch.object(cron, "LEAST_US", 1_000):
            async with _connected(path) as client:
                await _run_all(client)
                histories, rows = list[Any](), list[Any]()
                async for run in client.list_workflows():
                    history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
                    stored = await client.database.store.history(run.run_id)
                    histories.append(history.to_json_dict())
                    rows.append({"id": run.id, "rows": [base64.b64encode(row).decode() for row in stored]})
        _keep(directory, path, histories, rows)


def _keep(directory: Path, database: Path, histories: list[Any], rows: list[Any]) -> None:
    with contextlib.closing(sqlite3.connect(database)) as file:
        file.executescript("PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM")
    directory.mkdir()
    for name, lines in ((HISTORIES, histories), (ROWS, rows)):
        _write(directory / name, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    _write(directory / DATABASE, database.read_bytes())


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, mtime=0))


async def _run_all(client: Client) -> None:
    async with _worker(client, MENDING, not_yet_mended), _worker(client, BROKEN, not_yet_mended):
        for queue in (MENDING, BROKEN):
            handle = await client.start_workflow(flows.corpus_mended, 7, id=queue, task_queue=queue)
            await _until(handle, "WorkflowTaskFailed")
    carried = await client.start_workflow(flows.corpus_carried, [], id="carried")
    for word in ("one", "two", "three"):
        await carried.signal("word", word)
    async with _worker(client, "default"), _worker(client, MENDING):
        async with asyncio.TaskGroup() as group:
            for drive in (*CLOSED, *OPEN):
                group.create_task(drive(client))
        await _ended(client.get_workflow_handle(MENDING))
        await _ended(carried)
    # Nobody works now: what comes stays unread.
    box = client.get_workflow_handle("open-box")
    await box.signal(CorpusBox.put, 8)
    await box.signal(CorpusBox.close, 0.01)
    await client.get_workflow_handle("open-cancelled").cancel()
    await client.start_workflow(flows.corpus_sequence, 9, id="open-unbegun")


def _no_stack(_: object) -> str:
    return STACK


@contextmanager
def _without_stacks() -> Iterator[None]:
    with mock.patch.multiple(failure, stack_of=_no_stack), mock.patch.multiple(step, stack_of=_no_stack):
        yield


@asynccontextmanager
async def _connected(path: Path) -> AsyncIterator[Client]:
    host = Then()
    database = await Database(open_store(f"sqlite:///{path}", host), host).open()
    async with Client(database, identity="recorder") as client:
        yield client


def _worker(client: Client, queue: str, *workflows: Any) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=workflows or flows.WORKFLOWS,
        activities=flows.ACTIVITIES,
        lease=LEASE,
        identity="recorder",
    )


# What the runs go through. --------------------------------------------------------------------------------------------


def _ends(flow: Any, *args: Any, id: str, **options: Any) -> Drive:
    """It runs to its end by itself."""

    async def drive(client: Client) -> None:
        await _ended(await client.start_workflow(flow, args=args, id=id, **options))

    return drive


def _goes(flow: Any, *args: Any, id: str, event: str) -> Drive:
    """It runs until its history has an event of that type."""

    async def drive(client: Client) -> None:
        await _until(await client.start_workflow(flow, args=args, id=id), event)

    return drive


def _cancelled(flow: Any, *args: Any, id: str, after: str) -> Drive:
    async def drive(client: Client) -> None:
        await _goes(flow, *args, id=id, event=after)(client)
        handle = client.get_workflow_handle(id)
        await handle.cancel(reason="for the record")
        await _ended(handle)

    return drive


async def _terminated(client: Client) -> None:
    await _goes(flows.corpus_waiting, id="terminated", event="TimerStarted")(client)
    await client.get_workflow_handle("terminated").terminate("a detail", reason="for the record")


async def _boxed(client: Client) -> None:
    handle = await client.start_workflow(CorpusBox.run, id="box")
    await handle.signal(CorpusBox.put, 1)
    await handle.signal("put_double", 2)
    await _until(handle, "ActivityTaskCompleted")
    await handle.query(CorpusBox.so_far)
    await asyncio.gather(*[handle.signal(CorpusBox.put_doubled, number) for number in (3, 4)])
    await handle.signal(CorpusBox.close, 0.01)
    await _ended(handle)


async def _counted(client: Client) -> None:
    handle = await client.start_workflow(flows.CorpusCounter.run, args=[0, 1], id="counter")
    for place, number in enumerate((1, 1, 1000, 1)):
        with contextlib.suppress(WorkflowUpdateFailedError):
            await handle.execute_update(flows.CorpusCounter.add, number, id=f"add-{place}")
    await _ended(handle)


async def _scheduled(client: Client) -> None:
    handle = await client.start_workflow(flows.corpus_scheduled, id="scheduled", cron_schedule="@every 20ms")

    async def two_are_done() -> bool:
        return (await client.count_workflows("WorkflowId = 'scheduled' AND ExecutionStatus = 'Completed'")).count >= 2

    await until(two_are_done)
    await handle.terminate()


async def _outside(client: Client) -> None:
    for id in ("outside", "open-outside"):
        await _goes(flows.corpus_outside, "how many?", id=id, event="ActivityTaskScheduled")(client)
        await until(_is_asked(client, id))
    await client.get_async_activity_handle(workflow_id="outside", activity_id="1").complete("many")
    await _ended(client.get_workflow_handle("outside"))


def _is_asked(client: Client, id: str) -> Callable[[], Coroutine[Any, Any, bool]]:
    """Has the attempt gone on without its code?"""

    async def is_asked() -> bool:
        (asked,) = (await client.get_workflow_handle(id).describe()).pending_activities
        return asked.started is not None and asked.worker is None

    return is_asked


async def _standalone(client: Client) -> None:
    with contextlib.suppress(ActivityFailureError):
        for call, argument in ((flows.double, 21), (flows.decline, "6")):
            await client.execute_activity(
                call, argument, id=f"standalone-{argument}", task_queue="default", start_to_close_timeout=PATIENCE
            )
    await client.start_activity(
        flows.double, 9, id="open-standalone", task_queue=ELSEWHERE, start_to_close_timeout=PATIENCE
    )


async def _locally_retried(client: Client) -> None:
    handle = await client.start_workflow(flows.corpus_local_left, id="open-local")

    async def has_failed() -> bool:
        return any(each.last_failure for each in (await handle.describe()).pending_activities)

    await until(has_failed)


async def _asked(client: Client) -> None:
    handle = await client.start_workflow(flows.CorpusAsked.run, id="open-asked")
    await handle.start_update(flows.CorpusAsked.ask, "who?", id="asked", wait_for_stage=WorkflowUpdateStage.ACCEPTED)


async def _paused(client: Client) -> None:
    await _retried(client, "open-paused")
    await client.get_workflow_handle("open-paused").pause_activity("1", reason="for the record")


async def _retried(client: Client, id: str = "open-retry") -> None:
    handle = await client.start_workflow(flows.corpus_in_retry, id=id)

    async def has_failed() -> bool:
        return any(each.last_failure for each in (await handle.describe()).pending_activities)

    await until(has_failed)


async def _ended(handle: WorkflowHandle[Any, Any]) -> None:
    with contextlib.suppress(WorkflowFailureError):
        await handle.result(rpc_timeout=PATIENCE)


async def _until(handle: WorkflowHandle[Any, Any], event: str) -> None:
    async def is_there() -> bool:
        return event in types(await handle.fetch_history())

    await until(is_there)


CLOSED: list[Drive] = [
    _ends(flows.corpus_sequence, 1, id="sequence"),
    _ends(flows.corpus_sequence, 2, id="delayed", start_delay=timedelta(milliseconds=50)),
    _ends(flows.corpus_retries, id="retries"),
    _ends(flows.corpus_failure, id="failure"),
    _ends(flows.corpus_timeouts, id="timeouts"),
    _ends(flows.corpus_timers, id="timers"),
    _boxed,
    _cancelled(flows.corpus_cancelled, id="cancelled", after="TimerStarted"),
    _cancelled(flows.corpus_not_cancelled, id="not-cancelled", after="ActivityTaskScheduled"),
    _ends(flows.corpus_cancelled_parts, id="cancelled-parts"),
    _ends(flows.corpus_cancelled_together, id="cancelled-together"),
    _ends(flows.corpus_saga, False, id="saga"),
    _cancelled(flows.corpus_saga, True, id="saga-cancelled", after="TimerStarted"),
    _ends(flows.corpus_side_by_side, id="side-by-side"),
    _ends(flows.corpus_fails_together, id="fails-together"),
    _ends(flows.corpus_anyio, id="anyio"),
    _ends(flows.corpus_coordination, id="coordination"),
    _ends(flows.corpus_chance, id="chance"),
    _ends(flows.corpus_values, flows.ORDER, flows.ORDER.lines, id="values", kwargs={"colour": flows.Colour.BLUE}),
    _terminated,
    _counted,
    _ends(flows.corpus_patched, id="patched"),
    _ends(flows.corpus_family, id="family"),
    _ends(flows.corpus_tried_again, 4, id="tried-again", retry_policy=flows.QUICKLY),
    _ends(flows.corpus_waiting, id="timed-out", run_timeout=timedelta(milliseconds=50)),
    _scheduled,
    _ends(
        flows.corpus_described,
        id="described",
        memo={"owner": "Ada", "shelf": 7},
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(flows.STATE, "new"), SearchAttributePair(flows.WEIGHT, 1.5)]
        ),
        static_summary="a box",
        static_details="of *parts*",
        priority=Priority(priority_key=2, fairness_key="boxes"),
    ),
    _ends("corpus_whatever", 3, id="anything"),
    _ends(flows.corpus_local, id="local"),
    _outside,
    _standalone,
]
OPEN: list[Drive] = [
    _goes(CorpusBox.run, id="open-box", event="WorkflowTaskCompleted"),
    _goes(flows.corpus_cancelled, id="open-cancelled", event="TimerStarted"),
    _goes(flows.corpus_in_sleep, id="open-sleep", event="TimerStarted"),
    _goes(flows.corpus_elsewhere, id="open-elsewhere", event="ActivityTaskScheduled"),
    _retried,
    _paused,
    _locally_retried,
    _asked,
    _goes(flows.corpus_left, id="open-parent", event="ChildWorkflowExecutionStarted"),
]
