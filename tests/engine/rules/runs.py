"""What the tests of the rules ask of a run from outside."""

from __future__ import annotations

from typing import Any

from durable.client.handle import WorkflowHandle
from durable.history.messages import HOLDS_OPEN
from tests.engine.histories import until


async def parked(handle: WorkflowHandle[Any, Any]) -> str:
    """Why the run is parked, as soon as it is."""

    async def reason() -> str | None:
        return (await handle.describe()).parked

    return str(await until(reason))


async def sent(handle: WorkflowHandle[Any, Any], count: int) -> None:
    """Wait until so many signals, updates and cancel requests are unread, so that one workflow task reads them all."""

    async def all_are_there() -> bool:
        pending = (await handle.describe()).pending_messages
        return sum(each.kind in HOLDS_OPEN for each in pending) == count

    await until(all_are_there)
