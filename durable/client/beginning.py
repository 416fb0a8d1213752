"""A start on its way to the database, until its policies have decided: answers that got lost, runs to be replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from durable.client.attribute_types import fitting
from durable.client.joining import check_no_transaction, write_within
from durable.client.sending import RESEND_MAX
from durable.client.termination import termination
from durable.exceptions import WorkflowAlreadyStartedError
from durable.history import beginning
from durable.history.beginning import StartRequest
from durable.history.errors import UnknownOutcome
from durable.history.transition import Committed, Outcome, Refusal, Refused, Transition
from durable.history.values import IdConflictPolicy, IdReusePolicy

if TYPE_CHECKING:
    from durable.client.client import Client
    from durable.history.joining import Carrier


async def begin(client: Client, request: StartRequest, session: Carrier | None = None) -> Committed:
    """Start it, by its policies: `WorkflowAlreadyStartedError` if they refuse; in the transaction of ``session``, if
    there is one.

    `InvalidArgument` for search attributes that are not of their types.
    """
    if request.search_attributes:
        fitted = await fitting(client, request.search_attributes)
        request = msgspec.structs.replace(request, search_attributes=fitted)
    return await begin_as_it_is(client, request, session)


async def begin_as_it_is(client: Client, request: StartRequest, session: Carrier | None = None) -> Committed:
    """The same, without a look at the search attributes: what a workflow has asked for is in its history already."""
    lost, alone, outrun = 0, False, 0
    while True:
        try:
            outcome = await _submit(client, request, alone, session)
        except UnknownOutcome:
            # Its request id makes it happen once, however often it is sent.
            lost += 1
            if lost == RESEND_MAX:
                raise
            continue
        match outcome:
            case Committed():
                return outcome
            case Refused(reason=Refusal.IN_USE, run=run) if (
                run is not None and run.closed_us is None and _replacing(request)
            ):
                outrun += 1
                if session is not None and outrun > RESEND_MAX:
                    raise ValueError(
                        f"workflow {request.workflow_id!r} can't be replaced in this transaction, which has started "
                        "it, or sent it something: commit that first"
                    )
                replaces = await termination(client, run, "replaced by a new start", [])
                request = _with(request, replaces)
            case Refused(reason=Refusal.FENCED) if _replacing(request):
                request = _with(request, None)
            case Refused(reason=Refusal.FENCED) if not alone:
                alone = True  # the worker of this process that took it has been declared dead
            case Refused(reason=Refusal.IN_USE, run=run):
                raise WorkflowAlreadyStartedError(
                    request.workflow_id,
                    request.workflow_type,
                    run_id=run.run_id if run else None,
                    first_run_id=run.first_execution_run_id if run else None,
                )
            case Refused(reason=reason, detail=detail):
                raise ValueError(f"the database refuses to start {request.workflow_id!r}: {reason.value} {detail}")


async def _submit(client: Client, request: StartRequest, alone: bool, session: Carrier | None) -> Outcome:
    """With its first workflow task by a worker of this process, unless ``alone`` or in the caller's transaction."""
    database = client.database
    run_id = database.store.new_id()
    if session is not None:
        transition = beginning.start(request, run_id, database.store.now_us()).transition
        return await write_within(client, session, transition)
    check_no_transaction()
    for starter in database.starters:
        if not alone and starter.takes(request):
            return await starter.start(request, run_id)
    return await database.write(beginning.start(request, run_id, database.store.now_us()).transition)


def _replacing(request: StartRequest) -> bool:
    return (
        request.conflict_policy is IdConflictPolicy.TERMINATE_EXISTING
        or request.reuse_policy is IdReusePolicy.TERMINATE_IF_RUNNING
    )


def _with(request: StartRequest, replaces: Transition | None) -> StartRequest:
    return msgspec.structs.replace(request, replaces=replaces)
