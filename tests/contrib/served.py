"""An app that real servers run: orders are workflows, and it works on them itself. It lives in a folder of its own."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from durable import Client, activity, workflow
from durable.common import WorkflowIDConflictPolicy
from durable.contrib.starlette import durable_lifespan, get_client, health

FOLDER = Path(os.environ.get("SERVED_FOLDER", "."))
VERSION = 1


def note(line: str) -> None:
    with open(FOLDER / "began", "a") as began:
        began.write(line + "\n")


@activity.defn(start_to_close_timeout=timedelta(minutes=5))
async def bake(order: str) -> str:
    note(f"{order} {os.getpid()} {VERSION}")
    if order.startswith("slow") and activity.info().attempt == 1 and VERSION == 1:
        await asyncio.Event().wait()
    return f"{order} is baked"


@workflow.defn(name="order")
async def take_order(order: str) -> str:
    return await bake(order)


async def start(request: Request) -> PlainTextResponse:
    """Whoever asks again, after the process that it asked has died, gets the order that it has begun."""
    order = request.path_params["order"]
    handle = await get_client(request).start_workflow(
        take_order, order, id=order, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )
    return PlainTextResponse(await handle.result() if request.query_params.get("wait") else "begun")


async def served_by(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{os.getpid()} {VERSION}")


app = Starlette(
    routes=[
        Route("/orders/{order}", start, methods=["POST"]),
        Route("/served-by", served_by),
        Route("/health", health),
    ],
    lifespan=durable_lifespan(
        lambda: Client.connect(os.environ.get("SERVED_DB", f"sqlite:///{FOLDER / 'app.db'}")),
        workflows=[take_order],
        activities=[bake],
    ),
)
