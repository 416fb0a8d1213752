"""The far side of a sync attempt that runs in a process of its own: its code, and what that may ask for there."""

from __future__ import annotations

import functools
import pickle
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable.activity import ActivityCancellationDetails, CompleteAsyncError, Flag, Info
from durable.context import ActivityContext, current_activity
from durable.converter import (
    ConversionError,
    DataConverter,
    FailureConverter,
    PayloadConverter,
    SerializationContext,
)
from durable.history.values import Failure
from durable.worker.shared_state import SharedHeartbeatSender

if TYPE_CHECKING:
    from durable.client import Client
    from durable.metrics import MetricMeter


@dataclass(frozen=True)
class Errand:
    """What the process is told. It is pickled by whoever sends it, so that what can't be pickled harms nothing else.

    ``beats_are_values``: the worker's interceptors want to see what heartbeats are made of.
    """

    activity: Callable[..., Any]
    args: Sequence[Any]
    kwargs: dict[str, Any]
    info: Info
    payload_converter_class: type[PayloadConverter]
    failure_converter_class: type[FailureConverter]
    context: SerializationContext
    sender: SharedHeartbeatSender
    beats_are_values: bool
    cancelled: threading.Event
    worker_shutdown: threading.Event


Answer = tuple[bytes, Failure | None]
"""The pickled result, or why there is none: a pool does not survive an exception that can't be unpickled."""


def run(pickled: bytes) -> Answer:
    """Do what the pickled `Errand` says."""
    try:
        errand: Errand = pickle.loads(pickled)
    except Exception as error:
        return b"", DataConverter.default.to_failure(error)
    context = _Context(errand)
    try:
        return _pickled(copy_context().run(_call, context, errand)), None
    except CompleteAsyncError:
        raise  # it is no failure
    except BaseException as error:
        return b"", context.converter.to_failure(context.heartbeat_error or error)


def _call(context: _Context, errand: Errand) -> Any:
    current_activity.set(context)
    return errand.activity(*errand.args, **errand.kwargs)


def _pickled(result: Any) -> bytes:
    try:
        return pickle.dumps(result)
    except Exception as error:
        raise ConversionError(f"the result can't be pickled for the worker: {error}") from error


@functools.lru_cache
def _converter(
    payload_converter_class: type[PayloadConverter], failure_converter_class: type[FailureConverter]
) -> DataConverter:
    """Kept from attempt to attempt, for what a converter learns of types."""
    return DataConverter(payload_converter_class, failure_converter_class=failure_converter_class)


class _SharedFlag(Flag):
    """A flag that the worker sets, by an event that it shares."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self._shared = event

    def is_set(self) -> bool:
        return self._shared.is_set()

    async def wait(self) -> None:
        raise RuntimeError(
            "a process activity has no event loop of the worker's: wait with the function ending in _sync"
        )

    def wait_sync(self, timeout: float | None = None) -> bool:
        return self._shared.wait(timeout)


class _Context(ActivityContext):
    def __init__(self, errand: Errand) -> None:
        converter = _converter(errand.payload_converter_class, errand.failure_converter_class)
        self.converter = converter.with_context(errand.context)
        self.payload_converter = self.converter.payload_converter
        self.heartbeat_error: ConversionError | None = None
        self._info = errand.info
        self._sender = errand.sender
        self._beats_are_values = errand.beats_are_values
        self._cancelled = _SharedFlag(errand.cancelled)
        self._worker_shutdown = _SharedFlag(errand.worker_shutdown)

    def info(self) -> Info:
        return self._info

    def heartbeat(self, details: Sequence[Any]) -> None:
        """They travel as payloads: the worker needs not know their types, unless it has interceptors."""
        try:
            payloads = self.converter.to_payloads(details)
        except ConversionError as error:
            self.heartbeat_error = error
            raise
        self._sender.send_heartbeat(self._info.task_token, *(details if self._beats_are_values else payloads))

    def client(self) -> Client | None:
        return None

    def metric_meter(self) -> MetricMeter | None:
        return None

    @property
    def cancelled(self) -> Flag:
        return self._cancelled

    @property
    def worker_shutdown(self) -> Flag:
        return self._worker_shutdown

    def cancellation_details(self) -> ActivityCancellationDetails | None:
        """Only that it was cancelled comes here, not why."""
        return None

    def ledger_entry(self, *, blocking: bool) -> tuple[str, int]:
        raise RuntimeError(
            "activity.exactly_once is not for activities that run in a process pool: what they do can't be committed "
            "with their result, which the worker records. Make it an async activity, or one that runs in a thread"
        )

    async def is_current(self) -> bool:
        return True

    def is_current_sync(self) -> bool:
        return True

    def asleep(self) -> AbstractContextManager[None]:
        return nullcontext()

    def shield_thread_cancel(self) -> AbstractContextManager[None]:
        """No exception is raised here from which to be shielded."""
        return nullcontext()
