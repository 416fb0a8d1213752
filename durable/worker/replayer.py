"""Replays stored histories against today's code: what a deploy should be checked with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Required, TypedDict

from durable.client import WorkflowHistory
from durable.common import HeaderCodecBehavior
from durable.converter import DataConverter
from durable.history.errors import HistoryError
from durable.history.events import HistoryEvent, WorkflowExecutionStarted
from durable.history.host import Host, Machine
from durable.history.state import State, fold
from durable.runtime import Runtime
from durable.worker.encoding import CodecError, read_history
from durable.worker.guard import refusals
from durable.worker.interceptor import Interceptor, Interceptors
from durable.worker.lines import where_raised
from durable.worker.plugins import Applied, Plugin, run_replayer
from durable.worker.rebuild import rebuild
from durable.worker.registry import Registry
from durable.worker.replay import Environment
from durable.worker.restricted import NOTHING
from durable.worker.runner import UnsandboxedWorkflowRunner, WorkflowRunner
from durable.worker.step import deadlock_text
from durable.worker.watchdog import DeadlockError, Stepper
from durable.worker.workflow_sandbox import SandboxedWorkflowRunner
from durable.workflow.errors import NondeterminismError

DEADLOCK_TIMEOUT = 10.0
"""Seconds that a whole history may take; longer than what a worker grants one workflow task."""


@dataclass(frozen=True)
class WorkflowReplayResult:
    """One history's outcome. ``replay_failure`` None: the code does what the history says."""

    history: WorkflowHistory
    replay_failure: Exception | None


@dataclass(frozen=True)
class WorkflowReplayResults:
    """Many histories' outcome: the failures, by run id."""

    replay_failures: Mapping[str, Exception]


class ReplayerConfig(TypedDict, total=False):
    """What `Replayer.config` gives, and `Replayer` takes."""

    workflows: Required[Sequence[Any]]
    namespace: str
    data_converter: DataConverter
    workflow_failure_exception_types: Sequence[type[BaseException]]
    build_id: str | None
    identity: str | None
    debug_mode: bool
    exact: bool
    workflow_task_executor: ThreadPoolExecutor | None
    workflow_runner: WorkflowRunner
    unsandboxed_workflow_runner: WorkflowRunner
    interceptors: Sequence[Interceptor]
    plugins: Sequence[Plugin]
    runtime: Runtime | None
    disable_safe_workflow_eviction: bool
    header_codec_behavior: HeaderCodecBehavior
    host: Host | None


class Replayer:
    """Replays histories on ``workflows``, without a database and without running any activity.

    Histories come from a database (``client.list_workflows(query).map_histories()``, `WorkflowHandle.fetch_history`),
    or from JSON (`WorkflowHistory.from_json`), ours or Temporal's. One after the other is in memory.

    A difference is a `workflow.NondeterminismError`; anything else that keeps a history from being replayed (an unknown
    workflow, an unreadable event, code that does not yield within ten seconds) is a `RuntimeError`. ``debug_mode`` lets
    code take its time. Payloads are read with ``data_converter``, its codec too; a codec that wants to know contexts
    is told this ``namespace``. ``exact`` compares arguments, durations and results too: for code that has not changed.
    ``interceptors`` are those of the worker, as far as they intercept workflows. ``plugins`` may change all this, and
    do something around each replay. What else there is is the caller's, for `config`: no history depends on it.
    ValueError without workflows.
    """

    def __init__(
        self,
        *,
        workflows: Sequence[Any],
        namespace: str = "ReplayNamespace",
        data_converter: DataConverter = DataConverter.default,
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        build_id: str | None = None,
        identity: str | None = None,
        debug_mode: bool = False,
        exact: bool = False,
        workflow_task_executor: ThreadPoolExecutor | None = None,
        workflow_runner: WorkflowRunner = SandboxedWorkflowRunner(),  # noqa: B008 - frozen
        unsandboxed_workflow_runner: WorkflowRunner = UnsandboxedWorkflowRunner(),  # noqa: B008 - without state
        interceptors: Sequence[Interceptor] = (),
        plugins: Sequence[Plugin] = (),
        runtime: Runtime | None = None,
        disable_safe_workflow_eviction: bool = False,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
        host: Host | None = None,
    ) -> None:
        config = ReplayerConfig(
            workflows=workflows,
            namespace=namespace,
            data_converter=data_converter,
            workflow_failure_exception_types=workflow_failure_exception_types,
            build_id=build_id,
            identity=identity,
            debug_mode=debug_mode,
            exact=exact,
            workflow_task_executor=workflow_task_executor,
            workflow_runner=workflow_runner,
            unsandboxed_workflow_runner=unsandboxed_workflow_runner,
            interceptors=interceptors,
            plugins=plugins,
            runtime=runtime,
            disable_safe_workflow_eviction=disable_safe_workflow_eviction,
            header_codec_behavior=header_codec_behavior,
            host=host,
        )
        if plugins and not isinstance(plugins, Applied):
            self._begin_changed(config, plugins)
            return
        if not workflows:
            raise ValueError("At least one workflow must be specified")
        chain = Interceptors.of(interceptors)
        self._config = self._given = config
        self._plugins: Sequence[Plugin] = plugins
        self._exact = exact
        self._registry = Registry(workflows, ())
        self._environment = Environment(
            namespace=namespace,
            converter=data_converter,
            failure_exception_types=tuple(workflow_failure_exception_types),
            interceptors=chain.classes,
            extern_functions=chain.extern_functions,
            refused=NOTHING if debug_mode else refusals(workflow_runner),
        )
        self._timeout = None if debug_mode else DEADLOCK_TIMEOUT
        self._host = host or Machine()

    def _begin_changed(self, given: ReplayerConfig, plugins: Sequence[Plugin]) -> None:
        """Be made anew with the config that the plugins make of the given one."""
        config = given.copy()
        for plugin in plugins:
            config = plugin.configure_replayer(config)
        config["plugins"] = Applied(plugins)
        Replayer.__init__(self, **config)
        self._given = given

    def config(self, *, active_config: bool = False) -> ReplayerConfig:
        """A new dict of what it was made with, for another one that differs: ``Replayer(**replayer.config())``.

        With ``active_config`` as the plugins have left it.
        """
        return self._config.copy() if active_config else self._given.copy()

    async def replay_workflow(
        self, history: WorkflowHistory, *, raise_on_replay_failure: bool = True
    ) -> WorkflowReplayResult:
        """Replay one history; its failure is raised, or is in the result."""
        async with self.workflow_replay_iterator(_one(history)) as results:
            result = await anext(results)
        if raise_on_replay_failure and result.replay_failure is not None:
            raise result.replay_failure
        return result

    async def replay_workflows(
        self, histories: AsyncIterator[WorkflowHistory], *, raise_on_replay_failure: bool = True
    ) -> WorkflowReplayResults:
        """Replay many; the first failure is raised, or all are in the result."""
        failures: dict[str, Exception] = {}
        async with self.workflow_replay_iterator(histories) as results:
            async for result in results:
                if result.replay_failure is None:
                    continue
                if raise_on_replay_failure:
                    raise result.replay_failure
                failures[result.history.run_id] = result.replay_failure
        return WorkflowReplayResults(failures)

    def workflow_replay_iterator(
        self, histories: AsyncIterator[WorkflowHistory]
    ) -> AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]:
        """One result after the other, as the histories come."""
        return run_replayer(self, self._plugins, histories, Replayer._replayed)

    @asynccontextmanager
    async def _replayed(
        self, histories: AsyncIterator[WorkflowHistory]
    ) -> AsyncGenerator[AsyncIterator[WorkflowReplayResult]]:
        # Workflow code is never stepped from within a task: it gets a thread, as in a worker.
        stepper = Stepper(self._host, self._failure, _stuck, self._timeout)

        async def results() -> AsyncGenerator[WorkflowReplayResult]:
            async for history in histories:
                failure: Exception | None
                try:
                    (failure,) = await stepper.run([await self._read(history.events)])
                except CodecError as error:
                    failure = RuntimeError(f"run {history.run_id} of {history.workflow_id!r} can't be read: {error}")
                yield WorkflowReplayResult(history, failure)

        try:
            yield results()
        finally:
            stepper.close()

    async def _read(self, events: Sequence[HistoryEvent]) -> Sequence[HistoryEvent]:
        headers = self._config.get("header_codec_behavior", HeaderCodecBehavior.NO_CODEC)
        return await read_history(events, self._environment.converter, self._environment.namespace, headers)

    def _failure(self, events: Sequence[HistoryEvent]) -> Exception | None:
        started = events[0] if events else None
        if not isinstance(started, WorkflowExecutionStarted):
            return RuntimeError("this is no history of a run: it does not begin with WorkflowExecutionStarted")
        definition = self._registry.workflow(started.workflow_type)
        if definition is None:
            return RuntimeError(self._registry.missing_workflow(started.workflow_type))
        run_id = started.original_execution_run_id
        try:
            fold(State(), events)  # a history with a gap is no fault of the code
            rebuilt = rebuild(definition, run_id, events, self._environment, exact=self._exact)
        except NondeterminismError as error:
            return error
        except (HistoryError, CodecError) as error:
            return RuntimeError(f"run {run_id} of {started.workflow_id!r}: {error}")
        except DeadlockError as error:
            return _stuck(events, f"at {where_raised(error)}")
        rebuilt.run.evict()
        return None


def _stuck(_events: Sequence[HistoryEvent], stack: str) -> Exception | None:
    return RuntimeError(f"{deadlock_text(DEADLOCK_TIMEOUT)}\n{stack.rstrip()}")


async def _one(history: WorkflowHistory) -> AsyncGenerator[WorkflowHistory]:
    yield history
