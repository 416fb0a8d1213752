"""Samples are run as a user runs them: as scripts, in an empty folder, with nothing set."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from temporalio import client as their_client
from temporalio import worker as their_worker

from durable import Client
from durable.client import WorkflowHistory
from durable.converter import DataConverter
from durable.history import export
from durable.history.values import RunStatus
from durable.worker.rebuild import rebuild
from durable.worker.registry import Registry
from durable.worker.replay import Environment
from tests import forked
from tests.short import is_short

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
sys.path.insert(0, str(SAMPLES))


def hear_interrupts() -> None:
    """As in a terminal: a test run in the background of a shell is deaf to SIGINT, and so are its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def inherited(environment: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DURABLE_ADDRESS", "SHOP_DB")}
    return {**kept, **environment}


class Folder:
    """An empty folder in which samples are run, and what they leave there.

    ``forks``: what is run to its end is run by a process that has loaded the library, and not by a Python of its own.
    """

    def __init__(self, path: Path, *, forks: bool) -> None:
        self.path = path
        self._forks = forks

    async def start(self, name: str, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(SAMPLES / f"{name}.py"),
            *arguments,
            cwd=self.path,
            env=inherited(environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=hear_interrupts,
        )

    async def run(self, name: str, *arguments: str, **environment: str) -> str:
        """What the sample prints, run to its end; an assertion error, with its own, when it fails."""
        if self._forks:
            sample = [str(SAMPLES / f"{name}.py"), *arguments]
            ended = await asyncio.to_thread(
                forked.run, *sample, directory=self.path, environment=inherited(environment)
            )
            code, output, errors = ended.returncode, ended.stdout, ended.stderr
        else:
            code, output, errors = await self.end(await self.start(name, *arguments, **environment))
        assert code == 0, output + errors
        return output

    async def end(self, process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
        """Exit code, output and errors of a process that was started here, once it has ended."""
        output, errors = await process.communicate()
        return process.returncode, output.decode(), errors.decode()

    async def client(self, database: str = "durable.db") -> Client:
        return await Client.connect(f"sqlite:///{self.path / database}")

    async def histories(self, database: str = "durable.db") -> list[WorkflowHistory]:
        """Of all runs, the oldest first."""
        async with await self.client(database) as client:
            runs = [run async for run in client.list_workflows()]
            return [await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history() for run in runs[::-1]]


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Folder:
    return Folder(tmp_path, forks=is_short(request.config))


@pytest.fixture
def replay() -> Callable[..., None]:
    """Replay histories of closed runs, by way of their JSON, with today's code."""

    def replay_all(histories: list[WorkflowHistory], *workflows: Any) -> None:
        registry = Registry(workflows, [])
        assert histories
        for history in histories:
            events = export.from_json(history.to_json())
            definition = registry.workflow(events[0].workflow_type)  # type: ignore[union-attr]
            assert definition is not None
            environment = Environment(namespace="default", converter=DataConverter.default)
            rebuilt = rebuild(definition, history.run_id, events, environment)
            assert rebuilt.state.status is not RunStatus.RUNNING
            assert not rebuilt.undelivered
            rebuilt.run.evict()

    return replay_all


ReplayOnTemporal = Callable[[list[WorkflowHistory], str], Awaitable[None]]


@pytest.fixture
def replay_on_temporal() -> ReplayOnTemporal:
    """Replay histories in Temporal's own replayer, on a sample in which nothing is changed but its imports."""

    async def replay_all(histories: list[WorkflowHistory], sample: str) -> None:
        ported = ModuleType(f"{sample}_on_temporal")
        source = (SAMPLES / f"{sample}.py").read_text().replace("from durable", "from temporalio")
        sys.modules[ported.__name__] = ported  # its annotations are looked up there
        exec(compile(source, f"{sample}.py", "exec"), ported.__dict__)
        workflows = [each for each in vars(ported).values() if hasattr(each, "__temporal_workflow_definition")]
        replayer = their_worker.Replayer(workflows=workflows, workflow_runner=their_worker.UnsandboxedWorkflowRunner())
        assert histories
        for history in histories:
            await replayer.replay_workflow(
                their_client.WorkflowHistory.from_json(history.workflow_id, history.to_json())
            )

    return replay_all
