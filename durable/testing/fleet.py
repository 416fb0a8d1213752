"""The worker processes of one test: they are started, one of them dies, and another takes its place."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from durable.history.stores.sqlite import SqliteStore
from durable.testing.environment import WorkflowEnvironment
from durable.testing.mortality import mortal
from durable.testing.points import Recorder
from durable.testing.process import WorkerProcess
from durable.worker import Worker

PATIENCE = 3.0


class Fleet:
    """``async with Fleet(env, recorder) as fleet:`` and `start` workers. Whatever dies in it is replaced at once."""

    def __init__(self, env: WorkflowEnvironment, recorder: Recorder) -> None:
        store = env.client.database.store
        if not isinstance(store, SqliteStore):
            raise ValueError("a crash sweep needs an environment on SQLite")
        self._path = store.path
        self._env = env
        self._recorder = recorder
        self._living: dict[WorkerProcess, ExitStack] = {}
        self._dead: list[WorkerProcess] = []
        self._replacing: list[asyncio.Task[None]] = []
        # Not that of whoever dies: what is begun in its context would be dead as well.
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._open = ExitStack()

    async def __aenter__(self) -> Fleet:
        self._open.enter_context(mortal(self._loop))
        self._open.callback(self._env.client.database.listen(lambda at_us: self._hint(None)))
        if self._env.skipper is not None:
            self._env.skipper.patience = PATIENCE
        return self

    async def __aexit__(self, *exc: object) -> None:
        async with AsyncExitStack() as ending:
            ending.push(self._open)
            ending.push_async_callback(self._bury)
            ending.push_async_callback(self._stop)
            await asyncio.gather(*self._replacing)

    async def _stop(self) -> None:
        async with AsyncExitStack() as ending:
            for process, belongings in self._living.items():
                ending.push(belongings)
                ending.push_async_callback(process.stop)

    async def _bury(self) -> None:
        for process in self._dead:
            await process.bury()

    async def start(self, options: Mapping[str, Any]) -> Worker:
        """A worker with these options of `Worker`, in a process of its own."""
        process = WorkerProcess(
            self._env.client,
            self._path,
            options,
            self._recorder,
            died=lambda process: self._died(process, options),
            committed=self._hint,
        )
        belongings = self._living[process] = ExitStack()
        if self._env.skipper is not None:
            belongings.callback(self._env.skipper.join(process.database))
        try:
            return await process.start()
        except BaseException:
            self._living.pop(process).close()
            raise

    def _died(self, process: WorkerProcess, options: Mapping[str, Any]) -> None:
        pause = ExitStack()
        if self._env.skipper is not None:
            pause.enter_context(self._env.skipper.disabled())
        self._living.pop(process).close()
        self._dead.append(process)
        replacing = self._loop.create_task(self._replace(process, options, pause), context=self._context.copy())
        self._replacing.append(replacing)

    async def _replace(self, process: WorkerProcess, options: Mapping[str, Any], pause: ExitStack) -> None:
        with pause:
            await process.clear_away()
            await self.start(options)

    def _hint(self, source: WorkerProcess | None) -> None:
        """One of the processes has committed: spare the others the wait for their next look."""
        self._env.client.database.hint()
        for process in self._living:
            if process is not source:
                process.database.hint()
