"""What a client can learn of a run without asking its code: its row, what it waits for, its history."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from durable.client.converting import read
from durable.converter import DataConverter
from durable.converter.context import WorkflowSerializationContext
from durable.converter.search_attributes import decode_search_attributes, decode_typed_search_attributes
from durable.history import attempts, codec, export
from durable.history.events import HistoryEvent, WorkflowExecutionStarted
from durable.history.messages import MessageKind
from durable.history.transition import ActivityTask, RunInfo
from durable.history.values import Payload, RunStatus, UserMetadata
from durable.search_attributes import SearchAttributes, TypedSearchAttributes
from durable.workflow.calls import UNSET

if TYPE_CHECKING:
    from durable.client.raw_description import RawWorkflowDescription

T = TypeVar("T")

WorkflowExecutionStatus = RunStatus

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(us: int) -> datetime:
    """Microseconds since the epoch as an aware datetime, UTC."""
    return _EPOCH + timedelta(microseconds=us)


@dataclass(frozen=True)
class PendingActivityInfo:
    """An activity that is not over. ``started`` None: waiting to be (re)tried, not before ``due``, nor while paused.

    ``worker`` None though it has started: its outcome will come from outside. ``ambiguous``: the code of an attempt
    before had begun, and it is not known yet how it ended, nor whether its effect has happened.
    """

    activity_id: str
    activity_type: str
    attempt: int
    due: datetime
    started: datetime | None
    worker: str | None
    last_failure: str | None
    cancel_requested: bool
    paused: bool
    ambiguous: bool

    @staticmethod
    def of(task: ActivityTask) -> PendingActivityInfo:
        """What there is to tell of a stored task."""
        failure = task.progress.last_failure
        return PendingActivityInfo(
            activity_id=task.spec.activity_id,
            activity_type=task.spec.activity_type,
            attempt=task.attempt,
            due=moment(task.due_us),
            started=moment(task.started_us) if task.owner is not None else None,
            worker=attempts.worker(task),
            last_failure=failure.message if failure is not None else None,
            cancel_requested=task.cancel_requested,
            paused=task.control.pause is not None,
            ambiguous=attempts.is_ambiguous(task),
        )


@dataclass(frozen=True)
class PendingMessageInfo:
    """An unread message in the run's inbox: a signal, a cancel request, a timer with its due time …"""

    kind: MessageKind
    name: str
    due: datetime


@dataclass(frozen=True)
class WorkflowExecution:
    """A run as a list shows it. Times are aware, UTC."""

    id: str
    run_id: str
    namespace: str
    workflow_type: str
    task_queue: str
    status: WorkflowExecutionStatus
    start_time: datetime
    close_time: datetime | None
    history_length: int
    parked: str | None
    """Why the run's code can't go on just now (unknown type, code that does not fit …); None when it can."""
    _: KW_ONLY
    execution_time: datetime | None = None
    """When its code may begin: later than ``start_time`` after a start delay, a retry's backoff, by a cron schedule."""
    parent_id: str | None = None
    parent_run_id: str | None = None
    root_id: str | None = None
    """The first of its line of parents: itself, if it has none."""
    root_run_id: str | None = None
    data_converter: DataConverter = field(default=DataConverter.default, repr=False, compare=False)
    stored_memo: bytes | None = field(default=None, repr=False)
    stored_search_attributes: bytes | None = field(default=None, repr=False)

    @property
    def typed_search_attributes(self) -> TypedSearchAttributes:
        """Its search attributes, by key."""
        return decode_typed_search_attributes(codec.decode_values(self.stored_search_attributes))

    @property
    def search_attributes(self) -> SearchAttributes:
        """The untyped form, which is deprecated: every value in a list."""
        return decode_search_attributes(codec.decode_values(self.stored_search_attributes))

    async def memo(self) -> Mapping[str, Any]:
        """All values of the memo, converted without type hints."""
        memo = await self._read(codec.decode_values(self.stored_memo), "memo")
        return {key: self._converter.from_payloads([payload])[0] for key, payload in memo.items()}

    async def memo_value(self, key: str, default: Any = UNSET, *, type_hint: Any = None) -> Any:
        """One value of the memo, as ``type_hint`` if that is given. KeyError when there is none, and no ``default``."""
        payload = codec.decode_values(self.stored_memo).get(key)
        if payload is None:
            if default is UNSET:
                raise KeyError(f"Memo does not have a value for key {key}")
            return default
        hints = None if type_hint is None else [type_hint]
        return self._converter.from_payloads([await self._read(payload, f"memo {key!r}")], hints)[0]

    @property
    def _converter(self) -> DataConverter:
        return self.data_converter.with_context(WorkflowSerializationContext(self.namespace, self.id))

    async def _read(self, stored: T, what: str) -> T:
        return await read(self._converter, stored, f"workflow {self.id!r}: its {what}")

    @staticmethod
    def fields(run: RunInfo, converter: DataConverter) -> dict[str, Any]:
        """What is the same for a listed run and a described one."""
        return {
            "id": run.workflow_id,
            "run_id": run.run_id,
            "namespace": run.namespace,
            "workflow_type": run.workflow_type,
            "task_queue": run.task_queue,
            "status": run.status,
            "start_time": moment(run.started_us),
            "close_time": moment(run.closed_us) if run.closed_us is not None else None,
            "history_length": run.last_event_id,
            "parked": run.parked,
            "execution_time": moment(run.execution_us),
            "parent_id": run.parent.workflow_id if run.parent else None,
            "parent_run_id": run.parent.run_id if run.parent else None,
            "root_id": run.root.workflow_id if run.root else run.workflow_id,
            "root_run_id": run.root.run_id if run.root else run.run_id,
            "data_converter": converter,
            "stored_memo": run.memo,
            "stored_search_attributes": run.search_attributes,
        }


@dataclass(frozen=True)
class WorkflowExecutionDescription(WorkflowExecution):
    """A run in detail: who works on it, what it waits for."""

    worker: str | None
    history_bytes: int
    pending_activities: Sequence[PendingActivityInfo]
    pending_messages: Sequence[PendingMessageInfo]
    raw_description: RawWorkflowDescription = field(repr=False)
    """The same in the names of Temporal's messages, as far as programs read it: its pending activities."""
    first_events: Callable[[], Awaitable[Sequence[HistoryEvent]]] = field(repr=False, compare=False)

    async def static_summary(self) -> str | None:
        """The line that the start gave; None when it gave none."""
        metadata = await self._metadata()
        return None if metadata is None else await self._text(metadata.summary, "static summary")

    async def static_details(self) -> str | None:
        """The description, in Markdown, that the start gave; None when it gave none."""
        metadata = await self._metadata()
        return None if metadata is None else await self._text(metadata.details, "static details")

    async def _metadata(self) -> UserMetadata | None:
        events = await self.first_events()
        return events[0].user_metadata if events else None

    async def _text(self, payload: Payload | None, what: str) -> str | None:
        if payload is None:
            return None
        return str(self._converter.from_payloads([await self._read(payload, what)], [str])[0])


@dataclass(frozen=True)
class WorkflowHistory:
    """A run's events, which go to and come from the JSON that Temporal's tools read and write."""

    workflow_id: str
    events: Sequence[HistoryEvent]

    @property
    def run_id(self) -> str:
        """The run that the events belong to. RuntimeError when the first one is no WorkflowExecutionStarted."""
        started = self.events[0] if self.events else None
        if not isinstance(started, WorkflowExecutionStarted):
            raise RuntimeError(f"this history of {self.workflow_id!r} does not begin with WorkflowExecutionStarted")
        return started.original_execution_run_id

    def to_json(self) -> str:
        """The history as Temporal's tools read and write it."""
        return export.to_json(self.events)

    def to_json_dict(self) -> dict[str, Any]:
        """The same as `to_json`, as a dict."""
        return export.to_json_dict(self.events)

    @staticmethod
    def from_json(workflow_id: str, history: str | dict[str, Any]) -> WorkflowHistory:
        """A history from its JSON, as text or as a dict."""
        return WorkflowHistory(workflow_id, export.from_json(history))
