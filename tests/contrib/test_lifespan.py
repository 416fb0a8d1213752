"""The lifespan within a test's own process: what the app gets, in which order, and what becomes of errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from durable import Client, activity, workflow
from durable.contrib.fastapi import DurableClient, durable_lifespan, get_client, health
from durable.history.errors import StoreUnavailable
from durable.plugin import SimplePlugin
from durable.testing import WorkflowEnvironment
from durable.worker import SharedStateManager, Worker
from tests.forkserver import processes


@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow.defn
async def greeting(name: str) -> str:
    return await greet(name)


async def greeted(request: Request) -> JSONResponse:
    name = request.path_params["name"]
    return JSONResponse(await request.state.durable.execute_workflow(greeting, name, id=name))


ROUTES = [Route("/greet/{name}", greeted), Route("/health", health)]


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'app.db'}"


def test_an_app_runs_its_workflows_each_time_it_is_started(address: str) -> None:
    app = Starlette(routes=ROUTES, lifespan=durable_lifespan(address, workflows=[greeting], activities=[greet]))

    for name in ("Ada", "Ben"):
        with TestClient(app) as browser:
            assert browser.get(f"/greet/{name}").json() == f"Hello, {name}!"
            assert browser.get("/health").json() == {"status": "ok"}
            assert isinstance(app.state.durable, Client)
        assert not hasattr(app.state, "durable")


def test_an_app_may_have_a_client_only_and_a_worker_elsewhere(address: str) -> None:
    working = Starlette(lifespan=durable_lifespan(address, workflows=[greeting], activities=[greet]))
    asking = Starlette(routes=ROUTES, lifespan=durable_lifespan(lambda: Client.connect(address)))

    with TestClient(working), TestClient(asking) as browser:
        assert browser.get("/greet/Ada").json() == "Hello, Ada!"
        assert browser.get("/health").json() == {"status": "ok"}


async def test_the_client_is_there_without_a_server_and_in_a_mounted_app(address: str) -> None:
    async def namespace(request: Request) -> JSONResponse:
        return JSONResponse(get_client(request).namespace)

    app = Starlette(
        routes=[Route("/", namespace), Mount("/inner", Starlette(routes=[Route("/", namespace)]))],
        lifespan=durable_lifespan(lambda: Client.connect(address, namespace="shop")),
    )

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser,
    ):
        assert (await browser.get("/")).json() == "shop"
    with TestClient(app) as test_browser:
        assert test_browser.get("/inner/").json() == "shop"


async def test_fastapi_hands_the_client_to_whoever_asks_for_it() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:

        async def connected() -> Client:
            return env.client

        app = FastAPI(lifespan=durable_lifespan(connected, workflows=[greeting], activities=[greet]))

        @app.get("/greet/{name}")
        async def greeted(name: str, client: DurableClient) -> str:
            return await client.execute_workflow(greeting, name, id=name)

        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser,
        ):
            assert (await browser.get("/greet/Ada")).json() == "Hello, Ada!"


def test_a_web_socket_gets_the_client_too(address: str) -> None:
    app = FastAPI(lifespan=durable_lifespan(address, workflows=[greeting], activities=[greet]))

    @app.websocket("/greet")
    async def greeted(socket: WebSocket, client: DurableClient) -> None:
        await socket.accept()
        async for name in socket.iter_text():
            await socket.send_text(await client.execute_workflow(greeting, name, id=name))

    with TestClient(app) as browser, browser.websocket_connect("/greet") as socket:
        socket.send_text("Ada")
        assert socket.receive_text() == "Hello, Ada!"


def test_who_asks_for_a_client_where_no_lifespan_runs_is_told_what_to_do() -> None:
    app = Starlette(routes=ROUTES)

    with pytest.raises(RuntimeError, match=r"give it lifespan=durable_lifespan.*with TestClient\(app\)"):
        TestClient(app).get("/health")


def test_the_apps_own_lifespan_runs_around_the_worker_and_inside_the_client(address: str) -> None:
    said: list[str] = []
    begun = asyncio.Event()

    @activity.defn(start_to_close_timeout=timedelta(minutes=1))
    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            said.append("the activity is cancelled")

    @workflow.defn
    async def waiting() -> None:
        await forever()

    @asynccontextmanager
    async def own(app: Starlette) -> AsyncGenerator[dict[str, Any]]:
        said.append(f"begins with {app.state.durable.namespace}")
        yield {"shop": "tea"}
        said.append("ends")

    async def wait(request: Request) -> JSONResponse:
        await request.state.durable.start_workflow(waiting, id="waiting")
        await begun.wait()
        return JSONResponse(request.state.shop)

    app = Starlette(
        routes=[Route("/wait", wait)],
        lifespan=durable_lifespan(address, workflows=[waiting], activities=[forever], lifespan=own),
    )
    with TestClient(app) as browser:
        assert browser.get("/wait").json() == "tea"

    assert said == ["begins with default", "the activity is cancelled", "ends"]


@pytest.mark.parametrize("when", ["begins", "ends"])
def test_an_error_of_the_apps_own_lifespan_is_the_apps(address: str, when: str) -> None:
    @asynccontextmanager
    async def own(app: Starlette) -> AsyncGenerator[None]:
        if when == "begins":
            raise LookupError("no tea")
        yield
        raise LookupError("no tea")

    app = Starlette(lifespan=durable_lifespan(address, workflows=[greeting], activities=[greet], lifespan=own))

    with pytest.raises(LookupError, match="no tea"), TestClient(app):
        pass
    assert not hasattr(app.state, "durable")


def test_an_error_in_the_middle_passes_through_the_apps_own_lifespan(address: str) -> None:
    heard: list[BaseException] = []

    @asynccontextmanager
    async def own(app: Starlette) -> AsyncGenerator[None]:
        try:
            yield
        except BaseException as error:
            heard.append(error)
            raise

    async def run() -> None:
        lifespan = durable_lifespan(address, workflows=[greeting], activities=[greet], lifespan=own)
        async with lifespan(Starlette()):
            raise LookupError("no tea")

    with pytest.raises(LookupError) as failure:
        asyncio.run(run())
    assert heard == [failure.value]


def test_an_app_does_not_start_without_its_database(tmp_path: Path) -> None:
    app = Starlette(lifespan=durable_lifespan(f"sqlite:///{tmp_path / 'nowhere' / 'app.db'}"))

    with pytest.raises(StoreUnavailable, match="nowhere"), TestClient(app):
        pass


def test_an_app_does_not_start_with_a_worker_that_can_not(address: str) -> None:
    app = Starlette(lifespan=durable_lifespan(address, task_queue="tea"))

    with pytest.raises(ValueError, match="At least one"), TestClient(app):
        pass


@asynccontextmanager
async def swallowing(app: Starlette) -> AsyncGenerator[None]:
    with contextlib.suppress(Exception):
        yield


class Late(SimplePlugin):
    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        raise ValueError("too late")


@pytest.mark.parametrize(
    ("options", "told"),
    [({"task_queue": "tea"}, "At least one"), ({"workflows": [greeting], "plugins": [Late("late")]}, "too late")],
    ids=["made", "started"],
)
def test_why_a_worker_can_not_start_is_told_even_if_the_apps_own_lifespan_swallows_it(
    address: str, options: dict[str, Any], told: str
) -> None:
    app = Starlette(lifespan=durable_lifespan(address, lifespan=swallowing, **options))

    with pytest.raises(ValueError, match=told), TestClient(app):
        pass


async def test_an_app_whose_worker_was_cancelled_shuts_down_as_usual(address: str) -> None:
    app = Starlette(lifespan=durable_lifespan(address, workflows=[greeting], activities=[greet]))

    async with app.router.lifespan_context(app):
        (working,) = [task for task in asyncio.all_tasks() if task.get_name() == "durable-worker"]
        working.cancel()
        await asyncio.wait([working])

    assert working.cancelled() and not hasattr(app.state, "durable")


def test_a_lifespan_that_is_a_bare_generator_is_refused(address: str) -> None:
    async def own(app: Starlette) -> AsyncGenerator[None]:
        yield

    with pytest.raises(TypeError, match=r"own is a generator: decorate it with @asynccontextmanager"):
        durable_lifespan(address, lifespan=own)  # type: ignore[arg-type]


@activity.defn(start_to_close_timeout=timedelta(minutes=1))
def crash() -> None:
    os._exit(1)


@workflow.defn
async def crashing() -> None:
    await crash()


def test_an_app_outlives_its_worker_and_says_so(address: str, caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []

    @asynccontextmanager
    async def own(app: Starlette) -> AsyncGenerator[None]:
        yield
        said.append("the app's own lifespan ends as usual")

    async def order(request: Request) -> JSONResponse:
        await request.state.durable.start_workflow(crashing, id="crashing")
        return JSONResponse("begun")

    with ProcessPoolExecutor(1, mp_context=processes) as pool, processes.Manager() as manager:
        app = Starlette(
            routes=[Route("/crash", order), *ROUTES],
            lifespan=durable_lifespan(
                address,
                workflows=[crashing],
                activities=[crash],
                lifespan=own,
                activity_executor=pool,
                shared_state_manager=SharedStateManager.create_from_multiprocessing(manager),
            ),
        )
        with pytest.raises(RuntimeError, match="Activity worker failed"), TestClient(app) as browser:  # noqa: PT012
            browser.get("/crash")
            while (answer := browser.get("/health")).status_code == 200:
                pass

    assert (answer.status_code, answer.json()["reason"]) == (503, "the worker has ended; the log says why")
    assert "the app serves its requests without it" in caplog.text
    assert said == ["the app's own lifespan ends as usual"]
