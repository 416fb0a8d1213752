"""The same programs on PostgreSQL: a client and workers in one process, and in several that are killed."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from durable import Client, Worker, activity, workflow
from durable.history.stores.postgres import PostgresStore
from tests.engine.histories import assert_replays, assert_sound, until
from tests.postgres import Server, database_of

ROOT = Path(__file__).resolve().parents[2]
LONG_LEASE = timedelta(minutes=5)
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["durable"])


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


async def test_a_workflow_runs_from_its_start_to_its_end(postgres: str) -> None:
    async with await Client.connect(postgres) as client:
        async with Worker(client, workflows=[Greeting], activities=[greet]):
            handle = await client.start_workflow(Greeting.run, "Ada", id="greeting")
            assert await handle.query(Greeting.waits)
            await handle.signal(Greeting.and_also, "Alan")
            assert await handle.result() == ["Hello, Ada", "Hello, Alan"]
        history = await handle.fetch_history()
    assert_sound(history.events)
    await assert_replays(Greeting, history)


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


async def test_a_workflow_of_one_activity_costs_two_commits_and_few_round_trips(postgres: str) -> None:
    """The budget of every store; the claims that look round in between commit nothing, and are few."""
    async with await Client.connect(postgres) as client:
        store = client.database.store
        assert isinstance(store, PostgresStore)
        async with Worker(client, workflows=[greeting], activities=[greet], lease=LONG_LEASE):
            await client.execute_workflow(greeting, "Ada", id="first")
            commits, statements = store.counters.commits, store.counters.statements

            await client.execute_workflow(greeting, "Alan", id="second")

    assert store.counters.commits - commits == 2
    assert store.counters.statements - statements <= 32


async def test_a_result_wakes_who_waits_in_another_process(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What wakes it is what it hears: it does not look by itself."""
    monkeypatch.setattr("durable.history.database.LOOK_INTERVAL", 3600.0)
    monkeypatch.setattr("durable.worker.poller.FLOOR", 3600.0)
    async with await Client.connect(postgres) as waiting, await Client.connect(postgres) as working:
        async with Worker(working, workflows=[Greeting], activities=[greet]):
            handle = await waiting.start_workflow(Greeting.run, "Ada", id="greeting")
            await handle.signal(Greeting.and_also, "Alan")

            assert await handle.result() == ["Hello, Ada", "Hello, Alan"]


async def test_behind_a_transaction_pooler_workflows_run_too(postgres: str) -> None:
    """F39."""
    url = f"{postgres}&pooler=transaction"
    async with await Client.connect(url) as waiting, await Client.connect(url) as working:
        async with Worker(working, workflows=[Greeting], activities=[greet]):
            handle = await waiting.start_workflow(Greeting.run, "Ada", id="greeting")
            await handle.signal(Greeting.and_also, "Alan")

            assert await handle.result() == ["Hello, Ada", "Hello, Alan"]


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


async def test_work_goes_on_when_the_server_is_started_again(own_postgres_server: Server) -> None:
    """F42. A start that was on its way then is sent again with its request id, as a client does by itself."""
    url = own_postgres_server.url(own_postgres_server.create())
    async with await Client.connect(url) as client:
        async with Worker(client, workflows=[Greeting], activities=[greet]):
            handles = [await client.start_workflow(Greeting.run, str(n), id=f"greeting-{n}") for n in range(20)]
            ending = asyncio.gather(*(handle.result() for handle in handles))
            await asyncio.to_thread(own_postgres_server.restart)
            for handle in handles:
                await handle.signal(Greeting.and_also, "you")

            assert await ending == [[f"Hello, {n}", "Hello, you"] for n in range(20)]


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


def work(url: str) -> None:
    async def main() -> None:
        async with await Client.connect(url) as client:
            await Worker(client, workflows=[lingering], activities=[linger], lease=timedelta(seconds=2)).run()

    asyncio.run(main())


def spawn(url: str) -> BaseProcess:
    child = _processes.Process(target=work, args=(url,), daemon=True)
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
