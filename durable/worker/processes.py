"""Sync attempts in processes: what the worker keeps of them here."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from durable.activity import Flag, Info
from durable.after_crash import Verify
from durable.converter import ConversionError, DataConverter, SerializationContext
from durable.worker import in_process
from durable.worker.registry import RegisteredActivity
from durable.worker.shared_state import SharedStateManager

if TYPE_CHECKING:
    from durable.worker.activities import Activities

logger = logging.getLogger("durable.worker")


def has_threads(executor: Executor | None) -> bool:
    """Do sync activities run in threads of this process?"""
    return executor is None or isinstance(executor, ThreadPoolExecutor)


def check(activities: Iterable[RegisteredActivity], shared_state: SharedStateManager | None) -> None:
    """Raise ValueError or TypeError for sync activities that can't run in processes."""
    for activity in activities:
        if activity.definition.is_async:
            continue
        name = activity.definition.name or "(dynamic)"
        if activity.definition.transaction_s is not None:
            raise ValueError(
                f"Activity {name} is transactional, and its session does not reach a process of a pool: make it async, "
                "or give it to a worker whose activity_executor is a ThreadPoolExecutor"
            )
        if shared_state is None:
            raise ValueError(
                f"Activity {name} is not async and activity_executor is no ThreadPoolExecutor: the worker needs a "
                "shared_state_manager, as in SharedStateManager.create_from_multiprocessing(multiprocessing.Manager())"
            )
        rule = activity.definition.after_crash
        if isinstance(rule, Verify) and not rule.is_async:
            _check_verify(activity, name, rule)
        try:
            pickle.dumps(activity.reference)
        except Exception as error:
            raise TypeError(
                f"Activity {name} must be picklable to run in a process: a function at the top level of a module, or a "
                f"method of an object that is picklable itself ({error})"
            ) from error


def _check_verify(activity: RegisteredActivity, name: str, rule: Verify) -> None:
    try:
        pickle.dumps(activity.verify)
    except Exception as error:
        raise TypeError(
            f"{rule.name}, the after_crash of activity {name}, must be picklable to run in a process: a function at "
            f"the top level of a module, or of the activity's class; or async, which runs in the worker ({error})"
        ) from error


class Processes:
    """The processes in which one life of a worker has its sync attempts run, and what it shares with them."""

    def __init__(self, shared_state: SharedStateManager, shutdown: Flag) -> None:
        self.shared_state = shared_state
        self._shutdown = shutdown
        self._event: asyncio.Task[threading.Event] | None = None

    async def shutdown_event(self) -> threading.Event:
        """The one that tells all of them that the worker begins to stop."""
        if self._event is None:
            self._event = asyncio.ensure_future(asyncio.to_thread(self._new_shutdown_event))
        return await asyncio.shield(self._event)

    def _new_shutdown_event(self) -> threading.Event:
        event = self.shared_state.new_event()
        if self._shutdown.is_set():
            event.set()
        return event

    def stop(self) -> None:
        """Tell them."""
        if self._event is not None:
            self._event.add_done_callback(_set_when_made)


class AttemptProcess:
    """One sync attempt that runs, or is about to, in another process."""

    def __init__(self, activities: Activities, processes: Processes) -> None:
        self._activities = activities
        self._processes = processes
        self._event: threading.Event | None = None
        self._cancelled = False
        self.result_lost = False
        """The code has ended well, and its result did not get here."""

    def cancel(self) -> None:
        self._cancelled = True
        if self._event is not None:
            _set_soon(self._event)

    async def run(
        self,
        executor: Executor | None,
        activity: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        info: Info,
        beat: Callable[[list[Any]], None],
        converter: DataConverter,
        context: SerializationContext,
        *,
        beats_are_values: bool,
    ) -> Any:
        """Its result. ``beat`` is called, on the loop, with the payloads of each heartbeat, or with its values. The
        codec stays here."""
        loop = asyncio.get_running_loop()

        def heartbeat(*details: Any) -> None:
            loop.call_soon_threadsafe(beat, list(details))

        shared_state = self._processes.shared_state
        try:
            shutdown = await self._processes.shutdown_event()
            event = self._event = await asyncio.to_thread(shared_state.new_event)
        except Exception as error:  # what a manager raises that is shut down is not for its users
            raise RuntimeError(
                f"the shared_state_manager makes no events any more, so no process activity can run here ({error!r}): "
                "keep its multiprocessing manager until the worker has stopped, and make a new worker with a new one"
            ) from error
        if self._cancelled:
            _set_soon(event)
        sender = await shared_state.register_heartbeater(info.task_token, heartbeat)
        try:
            errand = in_process.Errand(
                activity=activity,
                args=args,
                kwargs=dict(kwargs),
                info=info,
                payload_converter_class=converter.payload_converter_class,
                failure_converter_class=converter.failure_converter_class,
                context=context,
                sender=sender,
                beats_are_values=beats_are_values,
                cancelled=event,
                worker_shutdown=shutdown,
            )
            result, failure = await self._activities.run_in_pool(executor, in_process.run, _pickled(errand))
        finally:
            await shared_state.unregister_heartbeater(info.task_token)
        if failure is not None:
            raise converter.from_failure(failure)
        self.result_lost = True
        value = pickle.loads(result)
        self.result_lost = False
        return value


def _pickled(errand: in_process.Errand) -> bytes:
    try:
        return pickle.dumps(errand)
    except Exception as error:
        raise ConversionError(f"the call can't be pickled for the process that is to run it: {error}") from error


def _set_when_made(made: asyncio.Task[threading.Event]) -> None:
    if not made.cancelled() and made.exception() is None:
        _set_soon(made.result())


def _set_soon(event: threading.Event) -> None:
    """Set a shared event, which takes a word with another process, from the loop."""
    asyncio.get_running_loop().run_in_executor(None, event.set).add_done_callback(_noted)


def _noted(setting: asyncio.Future[None]) -> None:
    if not setting.cancelled() and (error := setting.exception()) is not None:
        logger.warning("process activities could not be told to end, for their shared_state_manager is gone: %r", error)
