"""Activities that are not over, found by their ids or by an attempt's token, and what is told of them to the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from durable.client.joining import check_no_transaction
from durable.history import attempts
from durable.history.standalone import hidden
from durable.history.transition import ActivityReport, ActivityTask, AttemptToken, Committed, Refusal, Refused
from durable.history.values import RunStatus
from durable.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from durable.client.client import Client

T = TypeVar("T")

TAKEN_UP = 3
"""The event of a run that shows it: its first workflow task begins, after its start and the task's being scheduled."""


@dataclass(frozen=True)
class AsyncActivityIDReference:
    """An activity by its ids: of a workflow, or, if ``workflow_id`` is None, one that a client has started by itself.

    ``run_id`` None is the latest run of the workflow, or of the activity.
    """

    workflow_id: str | None
    run_id: str | None
    activity_id: str


Reference = AsyncActivityIDReference | bytes
"""An activity; or one attempt of it, by the token that `activity.info` told it."""


async def find(client: Client, reference: Reference) -> ActivityTask:
    """The activity as it is now.

    `RPCError` NOT_FOUND when it is over, or never was, or when the token is of an earlier attempt; FAILED_PRECONDITION
    when a client has started it and no worker has taken it up; INVALID_ARGUMENT for bytes that are no token.
    """
    workflow_id, run_id = _run_of(reference)
    store = client.database.store
    run = await store.find(client.namespace, workflow_id, run_id)
    for task in [] if run is None else await store.tasks(run.run_id):
        if _is_meant(task, reference):
            return task
    by_itself = isinstance(reference, AsyncActivityIDReference) and reference.workflow_id is None
    if by_itself and run is not None and run.status is RunStatus.RUNNING and run.last_event_id < TAKEN_UP:
        raise RPCError(
            f"{text(reference)} has not been taken up by a worker of its task queue yet: try again when it has",
            RPCStatusCode.FAILED_PRECONDITION,
        )
    raise not_found(client, reference)


async def report(
    client: Client,
    reference: Reference,
    of: Callable[[ActivityTask], ActivityReport],
    *,
    found: ActivityTask | None = None,
) -> Committed:
    """Write what ``of`` makes of the activity as it is now, once it holds; for errors see `find`.

    ``found`` is the activity as the caller has just read it.
    """
    check_no_transaction()
    refused: AttemptToken | None = None
    while True:
        write = of(found or await find(client, reference))
        found = None
        if write.token == refused:
            raise not_found(client, reference)  # its worker has died, and took the attempt along
        match await client.database.write(write):
            case Committed() as committed:
                return committed
            case Refused(reason=Refusal.MISSING):
                refused = write.token  # it has moved on since it was read
            case Refused(detail=detail):
                raise ValueError(f"the database refuses what is told of {text(reference)}: {detail}")


def not_found(client: Client, reference: Reference) -> RPCError:
    return RPCError(
        f"{text(reference)} is over, or there is none, in namespace {client.namespace!r}", RPCStatusCode.NOT_FOUND
    )


def _run_of(reference: Reference) -> tuple[str, str | None]:
    if isinstance(reference, AsyncActivityIDReference):
        workflow_id = reference.workflow_id
        return hidden(reference.activity_id) if workflow_id is None else workflow_id, reference.run_id
    try:
        return "", attempts.run_of(reference)
    except ValueError as error:
        raise RPCError(str(error), RPCStatusCode.INVALID_ARGUMENT) from error


def _is_meant(task: ActivityTask, reference: Reference) -> bool:
    if isinstance(reference, AsyncActivityIDReference):
        return task.spec.activity_id == reference.activity_id
    return task.owner is not None and attempts.task_token(task) == reference


def text(reference: Reference) -> str:
    """What is meant, in a sentence. For the client's own modules."""
    if isinstance(reference, bytes):
        return f"the attempt of an activity of run {attempts.run_of(reference)}"
    whose = "" if reference.workflow_id is None else f" of workflow {reference.workflow_id!r}"
    return f"activity {reference.activity_id!r}{whose}"
