"""Starlette with a client only: the app orders and waits, and worker processes beside it do the work.

    python samples/starlette_app.py worker     # in one terminal, or in several
    python samples/starlette_app.py            # in another one; then:
    curl -N -X POST http://127.0.0.1:8000/reports/tea

A reader gets server-sent events: one when the report is ordered, one when it is there. Restart either side meanwhile.
Ask as often as you like: a report is made once, and the same for all.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from durable import activity, workflow
from durable.client import Client, WorkflowHandle
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.contrib.starlette import durable_lifespan, get_client, health
from durable.exceptions import WorkflowAlreadyStartedError
from durable.worker import Worker

DATABASE = "sqlite:///durable.db"
TASK_QUEUE = "reports"


@activity.defn
async def count(subject: str, quarter: int) -> int:
    return len(subject) * quarter


@workflow.defn
class Report:
    @workflow.run
    async def run(self, subject: str) -> str:
        quarters = [
            workflow.execute_activity(count, args=[subject, quarter], start_to_close_timeout=timedelta(minutes=1))
            for quarter in (1, 2, 3, 4)
        ]
        return f"{subject}: {sum(await asyncio.gather(*quarters))} sold"


async def ordered(client: Client, subject: str) -> WorkflowHandle[Report, str]:
    """Whoever was cut off asks again, and gets the same run: the open one, or the one that is over."""
    id = f"report-{subject}"
    try:
        return await client.start_workflow(
            Report.run,
            subject,
            id=id,
            task_queue=TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    except WorkflowAlreadyStartedError:
        return client.get_workflow_handle_for(Report.run, id)


async def report(request: Request) -> StreamingResponse:
    handle = await ordered(get_client(request), request.path_params["subject"])

    async def events() -> AsyncIterator[str]:
        yield f"event: ordered\ndata: {handle.id}\n\n"
        yield f"event: done\ndata: {await handle.result()}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


app = Starlette(
    routes=[Route("/reports/{subject}", report, methods=["POST"]), Route("/health", health)],
    lifespan=durable_lifespan(DATABASE),
)


async def work() -> None:
    async with await Client.connect(DATABASE) as client:
        worker = Worker(client, task_queue=TASK_QUEUE, workflows=[Report], activities=[count])
        print("the worker runs", flush=True)
        await worker.run()  # until Ctrl-C


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        if sys.argv[1:] == ["worker"]:
            asyncio.run(work())
        else:  # it stops within five seconds, whoever still waits for an event
            uvicorn.run(app, port=int(sys.argv[1]) if sys.argv[1:] else 8000, timeout_graceful_shutdown=5)
