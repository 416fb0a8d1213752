"""Starlette, and what is built on it (FastAPI): a client, and a worker if wanted, that live as long as the app.

    app = Starlette(routes=…, lifespan=durable_lifespan("sqlite:///app.db", workflows=[…], activities=[…]))

Needs Starlette: ``pip install "durable[web]"``.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse

from durable.client import Client
from durable.service import RPCError
from durable.worker import Worker

__all__ = ["durable_lifespan", "get_client", "health"]

logger = logging.getLogger("durable.contrib.starlette")

HEALTH_TIMEOUT = timedelta(seconds=5)

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]


def durable_lifespan(
    client: str | Callable[[], Awaitable[Client]] | None = None,
    *,
    workflows: Sequence[Any] = (),
    activities: Sequence[Callable[..., Any]] = (),
    lifespan: Lifespan | None = None,
    **options: Any,
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """The ``lifespan`` of an app that starts workflows, and runs them too if it is given any.

    ``client`` is the address of the database, as for `Client.connect`; or a function that connects, for a client with
    options: ``lambda: Client.connect(url, namespace="shop")``. Either way it is closed with the app. In handlers it is
    ``request.state.durable``, or `get_client`; elsewhere ``app.state.durable``.

    With ``workflows`` or ``activities`` a worker runs beside the app, made with ``options`` (those of `Worker`:
    ``task_queue``, ``graceful_shutdown_timeout``, …). An error that ends the worker does not end the app, which still
    can start workflows for other workers: it is logged, `health` tells it, and it is raised when the app shuts down.

    ``lifespan`` is the app's own. It runs inside: ``app.state.durable`` is there when it begins, the worker starts when
    it has begun and has handed everything back before it ends, so activities may use what it opens. What it yields, and
    what it raises, goes to the app as it is.

    Nothing is opened before the app starts, so it can be imported before a fork, and run in any number of processes.
    TypeError for a ``lifespan`` that is no context manager's function. What is wrong with the database
    (`StoreUnavailable`), or with the worker, is raised when the app starts.
    """
    if inspect.isasyncgenfunction(lifespan) or inspect.isgeneratorfunction(lifespan):
        raise TypeError(f"lifespan {lifespan.__qualname__} is a generator: decorate it with @asynccontextmanager")
    connect = client if callable(client) else lambda: Client.connect(client)
    own = _nothing if lifespan is None else lifespan

    @asynccontextmanager
    async def durable(app: Any) -> AsyncGenerator[dict[str, Any]]:
        failure: BaseException | None = None
        async with await connect() as connected, _kept(app, connected), own(app) as state:
            kept = {**(state or {}), "durable": connected}
            if not (workflows or activities or options):
                yield kept
                return
            working: asyncio.Task[None] | None = None
            try:
                worker = Worker(connected, workflows=workflows, activities=activities, **options)
                async with _working(worker) as working:
                    yield {**kept, "durable_worker": worker}
            except BaseException as error:
                if working is None:
                    failure = error  # so that the app does not start even if its own lifespan swallows this
                raise
            finally:
                if working is not None and working.done() and not working.cancelled():
                    failure = working.exception()
        # Only here, for it is no failure of the app's own lifespan, which has to end as usual.
        if failure is not None:
            raise failure

    return durable


def get_client(connection: HTTPConnection) -> Client:
    """The app's client, for the handler of a request or a web socket.

    It is a dependency for FastAPI as it stands: ``Annotated[Client, Depends(get_client)]``. RuntimeError if no
    `durable_lifespan` runs.
    """
    # The app's own state serves requests that don't come from a server, as those of httpx.ASGITransport; the request's
    # serves apps that are mounted in others.
    for state in (connection.state, connection.app.state):
        client: Client | None = getattr(state, "durable", None)
        if client is not None:
            return client
    raise RuntimeError(
        "this app has no client: give it lifespan=durable_lifespan(…), and in a test run its lifespan "
        "(`with TestClient(app) as …`, or `async with app.router.lifespan_context(app)`)"
    )


async def health(request: Request) -> JSONResponse:
    """An endpoint that says whether this process can do its work: ``Route("/health", health)``.

    200 while the database answers, within 5 s, and the worker, if the app has one, runs. 503 and the reason otherwise.
    """
    reason = None
    worker = getattr(request.state, "durable_worker", None)
    if worker is not None and not worker.is_running:
        reason = "the worker has ended; the log says why"
    try:
        await get_client(request).service_client.check_health(timeout=HEALTH_TIMEOUT)
    except RPCError as error:
        reason = error.message
    if reason is not None:
        return JSONResponse({"status": "unavailable", "reason": reason}, status_code=503)
    return JSONResponse({"status": "ok"})


def _nothing(app: Any) -> AbstractAsyncContextManager[None]:
    """The lifespan of an app that has none."""
    return nullcontext()


@asynccontextmanager
async def _kept(app: Any, client: Client) -> AsyncGenerator[None]:
    """The client in the app's state."""
    app.state.durable = client
    try:
        yield
    finally:
        if app.state.durable is client:  # else it is of another lifespan of the same app
            del app.state.durable


@asynccontextmanager
async def _working(worker: Worker) -> AsyncGenerator[asyncio.Task[None]]:
    """The worker at work, in a task of its own, which tells how it has ended; nobody else is ended by it."""
    started, over = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with worker:
            started.set()
            await over.wait()

    def ended(working: asyncio.Task[None]) -> None:
        if started.is_set() and not over.is_set() and not working.cancelled():
            logger.error(
                "the worker of this app has ended; the app serves its requests without it", exc_info=working.exception()
            )
        started.set()

    working = asyncio.create_task(work(), name="durable-worker")
    working.add_done_callback(ended)
    try:
        await started.wait()
        if working.done():
            working.result()  # why it could not start
        yield working
    finally:
        over.set()
        await asyncio.wait([working])
