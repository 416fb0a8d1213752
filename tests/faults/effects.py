"""What transactional activities have done, each time, next to what the histories say of them."""

from __future__ import annotations

import uuid
from collections import defaultdict
from typing import Any

from sqlalchemy import Column, MetaData, Table, Text, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from durable import Client, activity
from durable.client.description import WorkflowHistory
from durable.history.events import ActivityTaskCompleted, ActivityTaskScheduled
from durable.history.stores import tables
from tests.engine.histories import assert_sound

metadata = MetaData()
effects = Table(
    "effects",
    metadata,
    # No constraint: that there are two of what may happen once is to be found, and not to be forbidden.
    *(Column(name, Text, nullable=False) for name in ("run_id", "activity_id", "value")),
)


def effect() -> tuple[Any, str]:
    """The statement that writes this attempt's row, and the value in it, which no other attempt has: its result."""
    info, value = activity.info(), uuid.uuid4().hex
    return insert(effects).values(run_id=info.workflow_run_id, activity_id=info.activity_id, value=value), value


Written = dict[tuple[str, str], list[str]]
"""By the ids of run and activity, what its attempts have left."""


async def written(connection: AsyncConnection) -> Written:
    rows: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for run_id, activity_id, value in await connection.execute(select(effects)):
        rows[run_id, activity_id].append(value)
    return dict(rows)


async def disagreements(client: Client, rows: Written) -> list[str]:
    """In words: each row that no history tells of, each completed activity without its one row, what was left behind.

    To be asked when all runs are closed.
    """
    rows, found = dict(rows), list[str]()
    async for run in client.list_workflows():
        history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        try:
            assert_sound(history.events)
        except AssertionError as error:
            found.append(f"the history of {run.id} is not sound: {error}")
        for (activity_id, name), told in _told(history).items():
            there = rows.pop((run.run_id, activity_id), [])
            if there != told:
                found.append(f"activity {name} of {run.id}: the history tells of {told}, the rows say {there}")
    found += [f"rows of which no history tells: {key} {values}" for key, values in rows.items()]
    async with client.engine().connect() as connection:
        for table in (tables.activity_tasks, tables.inbox):
            left = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            found += [f"{left} rows were left in {table.name}"] if left else []
    return found


def _told(history: WorkflowHistory) -> dict[tuple[str, str], list[str]]:
    """By their ids and names, what activities have done: one value, or nothing."""
    told: dict[tuple[str, str], list[str]] = {}
    scheduled: dict[int, tuple[str, str]] = {}
    for event in history.events:
        match event:
            case ActivityTaskScheduled():
                scheduled[event.id] = (event.activity_id, event.activity_type)
                told[scheduled[event.id]] = []
            case ActivityTaskCompleted():
                told[scheduled[event.scheduled_event_id]] = [_text(payload.data) for payload in event.result]
            case _:
                pass
    return told


def _text(data: bytes) -> str:
    return data.decode().strip('"')
