"""Pure: what one run knows of itself: its `Info`, its memo and its search attributes, as its code has left them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from durable.converter.search_attributes import decode_search_attributes, decode_typed_search_attributes
from durable.history.commands import ModifyWorkflowProperties, UpsertWorkflowSearchAttributes
from durable.history.events import WorkflowExecutionStarted
from durable.history.state import attributes_after, memo_after
from durable.history.values import Payload
from durable.workflow.info import Info
from durable.workflow.origin import origin

if TYPE_CHECKING:
    from durable.worker.replay import Run

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SelfKnowledge:
    """That of one run. The `Info` is made when it is asked for first: most code never asks."""

    def __init__(self, run: Run, started: WorkflowExecutionStarted, namespace: str) -> None:
        self._run = run
        self._started = started
        self._namespace = namespace
        self._info: Info | None = None
        self._memo = dict(started.memo)
        self._search_attributes = dict(started.search_attributes)

    @property
    def memo(self) -> Mapping[str, Payload]:
        return self._memo

    def info(self) -> Info:
        if self._info is None:
            started, run = self._started, self._run
            self._info = Info(
                namespace=self._namespace,
                workflow_id=started.workflow_id,
                run_id=run.run_id,
                first_execution_run_id=started.first_execution_run_id,
                workflow_type=started.workflow_type,
                task_queue=started.task_queue,
                attempt=started.attempt,
                start_time=_datetime(run.first_task_us),
                workflow_start_time=_datetime(started.time_us),
                task_timeout=timedelta(microseconds=started.workflow_task_timeout_us),
                headers=started.header,
                current_history_length=lambda: run.moment.started_event_id,
                current_build_id=lambda: run.moment.build_id,
                continued_run_id=started.continued_execution_run_id or None,
                **origin(started, self._namespace),
                raw_memo=self._memo,
                search_attributes=decode_search_attributes(self._search_attributes),
                typed_search_attributes=decode_typed_search_attributes(self._search_attributes),
                current_history_size=lambda: run.moment.history_size_bytes,
                continue_as_new_suggested=lambda: run.moment.is_continue_as_new_suggested,
            )
        return self._info

    def upsert_memo(self, values: dict[str, Payload]) -> None:
        self._run.must_write("upsert memo")
        self._run.ask(ModifyWorkflowProperties(upserted_memo=values))
        after = memo_after(self._memo, values)
        self._memo.clear()  # in place: `info().raw_memo` is the same dict
        self._memo.update(after)

    def upsert_search_attributes(self, values: dict[str, Payload]) -> None:
        self._run.must_write("upsert search attributes")
        self._run.ask(UpsertWorkflowSearchAttributes(search_attributes=values))
        self._search_attributes = attributes_after(self._search_attributes, values)
        if self._info is not None:
            self._info.be_told(
                decode_search_attributes(self._search_attributes),
                decode_typed_search_attributes(self._search_attributes),
            )


def _datetime(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
