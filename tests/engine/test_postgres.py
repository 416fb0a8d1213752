"""What is asked of PostgreSQL alone: connections, poolers, sessions and servers that end, processes that die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from durable import Client, Worker, activity, workflow
from durable.client.handle import WorkflowHandle
from durable.history.events import TimerFired
from tests.engine.histories import of_type, until
from tests.forkserver import processes
from tests.postgres import Server, database_of

ROOT = Path(__file__).resolve().parents[2]
LONG_LEASE = timedelta(minutes=5)


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}"


@workflow.defn
class Greeting:
    """Greets, sleeps, and greets again whoever a signal names."""

    def __init__(self) -> None:
        self._second: str | None = None

    @workflow.run
    async def run(self, name: str) -> list[str]:
        first = await greet(name)
        await workflow.sleep(timedelta(milliseconds=10))
        await workflow.wait_condition(lambda: self._second is not None)
        return [first, await greet(self._second or "")]

    @workflow.signal
    def and_also(self, name: str) -> None:
        self._second = name

    @workflow.query
    def waits(self) -> bool:
        return self._second is None


@workflow.defn
async def greeting(name: str) -> str:
    return await greet(name)


def test_the_example_of_the_readme_needs_another_url_only(postgres: str, tmp_path: Path) -> None:
    example = (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    script = tmp_path / "example.py"
    script.write_text(example.replace("sqlite:///orders.db", postgres))

    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=50)

    assert postgres in script.read_text() and done.returncode == 0, done.stderr
    assert done.stdout == "receipt for order-7: 9.95\n"


async def test_hundreds_of_workflows_run_side_by_side_on_two_workers(postgres: str) -> None:
    async with await Client.connect(postgres) as first, await Client.connect(postgres) as second:
        both = [Worker(client, workflows=[Greeting], activities=[greet]) for client in (first, second)]
        async with both[0], both[1]:

            async def one(number: int) -> list[str]:
                client = (first, second)[number % 2]
                handle = await client.start_workflow(Greeting.run, str(number), id=f"greeting-{number}")
                await (second, first)[number % 2].get_workflow_handle(handle.id).signal(Greeting.and_also, "you")
                return list(await handle.result())

            results = await asyncio.gather(*(one(number) for number in range(200)))

    assert results == [[f"Hello, {number}", "Hello, you"] for number in range(200)]


async def test_work_goes_on_when_the_server_has_ended_all_sessions(postgres: str, postgres_server: Server) -> None:
    """F42."""
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database_of(postgres)}'"
    async with await Client.connect(postgres) as client:
        async with Worker(client, workflows=[Greeting], activities=[greet], lease=LONG_LEASE):
            handles = [await client.start_workflow(Greeting.run, str(n), id=f"greeting-{n}") for n in range(20)]
            for _ in range(3):
                postgres_server.run(kill)
                await asyncio.sleep(0)
            async with await Client.connect(postgres) as other:
                for handle in handles:
                    await other.get_workflow_handle(handle.id).signal(Greeting.and_also, "you")

            results = await asyncio.gather(*(handle.result() for handle in handles))

    assert results == [[f"Hello, {n}", "Hello, you"] for n in range(20)]


async def test_a_worker_with_nothing_to_do_hears_signals_after_its_sessions_have_ended(
    postgres: str, postgres_server: Server
) -> None:
    """F34. It notices the end by itself: until then it would take silence for no news."""
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database_of(postgres)}'"
    async with await Client.connect(postgres) as client:
        async with Worker(client, workflows=[Greeting], activities=[greet], lease=LONG_LEASE):
            handle = await client.start_workflow(Greeting.run, "Ada", id="greeting")
            await until(lambda: waits_for_a_signal(handle))
            await asyncio.to_thread(postgres_server.run, kill)
            async with await Client.connect(postgres) as other:
                await other.get_workflow_handle("greeting").signal(Greeting.and_also, "you")

            assert await handle.result() == ["Hello, Ada", "Hello, you"]


async def waits_for_a_signal(handle: WorkflowHandle[Any, Any]) -> bool:
    """Its timer, the last thing before the signal, has fired."""
    return bool(of_type(await handle.fetch_history(), TimerFired))


# Processes. -------------------------------------------------------------------------------------------------------


def pids(folder: str) -> list[int]:
    """The processes that have begun to linger."""
    return [int(each.name) for each in Path(folder).iterdir()]


@activity.defn
async def linger(folder: str) -> int:
    """Tells who works on it; the first one never ends."""
    is_first = not pids(folder)
    (Path(folder) / str(os.getpid())).touch()
    if is_first:
        await asyncio.get_running_loop().create_future()
    return os.getpid()


@workflow.defn
async def lingering(folder: str) -> int:
    return await linger(folder)


def work(url: str, lease: timedelta) -> None:
    async def main() -> None:
        async with await Client.connect(url) as client:
            await Worker(client, workflows=[lingering], activities=[linger], lease=lease).run()

    asyncio.run(main())


def spawn(url: str, lease: timedelta = timedelta(seconds=4)) -> BaseProcess:
    child = processes.Process(target=work, args=(url, lease), daemon=True)
    child.start()
    return child


KNOW_EACH_OTHER = "SELECT count(*) = 2 AND min(renewed_us) - max(started_us) > 0.6 * max(lease_us) FROM durable_workers"
DIED_IN_TIME = "SELECT dead_us < renewed_us + lease_us FROM durable_workers WHERE dead_us IS NOT NULL"


async def test_another_process_takes_over_from_one_that_is_killed_before_its_lease_is_over(
    postgres: str, postgres_server: Server, tmp_path: Path
) -> None:
    async def asked(question: str) -> bool:
        return bool(postgres_server.run(question, database_of(postgres))[0][0])

    async def begun() -> bool:
        return bool(pids(str(tmp_path)))

    children = [spawn(postgres) for _ in range(2)]
    try:
        async with await Client.connect(postgres) as client:
            await until(lambda: asked(KNOW_EACH_OTHER))
            handle = await client.start_workflow(lingering, str(tmp_path), id="lingering")
            await until(begun)
            victim = pids(str(tmp_path))[0]
            os.kill(victim, signal.SIGKILL)

            assert await handle.result() in {child.pid for child in children} - {victim}
            assert await asked(DIED_IN_TIME)
    finally:
        for child in children:
            child.kill()
            child.join()


SIGNS = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
QUIET_LONG_ENOUGH = "UPDATE durable_workers SET renewed_us = renewed_us - lease_us / 2"


async def test_a_worker_that_is_started_after_another_one_was_killed_takes_over_before_its_lease_is_over(
    postgres: str, postgres_server: Server, tmp_path: Path
) -> None:
    async def begun() -> bool:
        return bool(pids(str(tmp_path)))

    async def is_over_for_the_server() -> bool:
        return not postgres_server.run(SIGNS, database_of(postgres))[0][0]

    child = spawn(postgres, LONG_LEASE)
    try:
        async with await Client.connect(postgres) as client:
            handle = await client.start_workflow(lingering, str(tmp_path), id="lingering")
            await until(begun)
            assert not await is_over_for_the_server()
            child.kill()
            child.join()
            await until(is_over_for_the_server)
            postgres_server.run(QUIET_LONG_ENOUGH, database_of(postgres))

            async with Worker(client, workflows=[lingering], activities=[linger], lease=LONG_LEASE):
                assert await handle.result() == os.getpid()
            assert postgres_server.run(DIED_IN_TIME, database_of(postgres))[0][0]
    finally:
        child.kill()
        child.join()
