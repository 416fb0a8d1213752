"""What is told of an attempt from outside of it: that it lives, or how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from durable.activity import ActivityCancellationDetails
from durable.client import pending
from durable.client.activity_inputs import (
    CompleteAsyncActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    ReportCancellationAsyncActivityInput,
)
from durable.client.converting import for_task, stored
from durable.client.deadline import ANSWER, MAYBE_DONE, within
from durable.client.errors import AsyncActivityCancelledError
from durable.client.pending import Reference
from durable.converter import DataConverter
from durable.history import attempts
from durable.history.messages import ActivityOutcome
from durable.history.transition import ActivityProgress, ActivityReport, ActivityTask, Committed, Retry
from durable.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from durable.client.client import Client

T = TypeVar("T")

Input = (
    HeartbeatAsyncActivityInput
    | CompleteAsyncActivityInput
    | FailAsyncActivityInput
    | ReportCancellationAsyncActivityInput
)


async def heartbeat(client: Client, input: HeartbeatAsyncActivityInput) -> None:
    """See `AsyncActivityHandle.heartbeat`."""
    now_us = client.database.store.now_us
    told = await _told(
        client,
        input,
        lambda converter: converter.to_payloads(input.details),
        lambda task, details: attempts.beat(task, details, now_us()),
    )
    if told.cancel_requested or told.paused or told.reset:
        raise AsyncActivityCancelledError(
            ActivityCancellationDetails(cancel_requested=told.cancel_requested, paused=told.paused, reset=told.reset)
        )


async def complete(client: Client, input: CompleteAsyncActivityInput) -> None:
    """See `AsyncActivityHandle.complete`."""
    await _ended(
        client,
        input,
        lambda converter: converter.to_payloads([input.result]),
        lambda task, result: attempts.completed(task, result, client.identity),
    )


async def fail(client: Client, input: FailAsyncActivityInput) -> None:
    """See `AsyncActivityHandle.fail`."""
    has_details = bool(input.last_heartbeat_details)

    def converted(converter: DataConverter) -> ActivityProgress:
        details = converter.to_payloads(input.last_heartbeat_details)
        return ActivityProgress(heartbeat_details=details, last_failure=converter.to_failure(input.error))

    def failed(task: ActivityTask, told: ActivityProgress) -> ActivityOutcome | Retry:
        assert told.last_failure is not None
        if has_details:
            progress = msgspec.structs.replace(task.progress, heartbeat_details=told.heartbeat_details)
            task = msgspec.structs.replace(task, progress=progress)
        return attempts.failed(task, told.last_failure, client.identity, client.database.store.now_us())

    await _ended(client, input, converted, failed)


async def report_cancellation(client: Client, input: ReportCancellationAsyncActivityInput) -> None:
    """See `AsyncActivityHandle.report_cancellation`."""

    def canceled(task: ActivityTask, details: list[Any]) -> ActivityOutcome:
        if not task.cancel_requested:
            raise RPCError(
                f"{pending.text(input.id_or_token)} can't end as cancelled: "
                "nobody has asked it to end; complete it, or let it fail",
                RPCStatusCode.INVALID_ARGUMENT,
            )
        return attempts.canceled(task, details, client.identity)

    await _ended(client, input, lambda converter: converter.to_payloads(input.details), canceled)


async def _ended(
    client: Client,
    input: Input,
    converted: Callable[[DataConverter], T],
    what: Callable[[ActivityTask, T], ActivityOutcome | Retry],
) -> None:
    now_us = client.database.store.now_us
    await _told(client, input, converted, lambda task, told: attempts.report(task, what(task, told), now_us()))


async def _told(
    client: Client,
    input: Input,
    converted: Callable[[DataConverter], T],
    of: Callable[[ActivityTask, T], ActivityReport],
) -> Committed:
    """Written: ``of`` the attempt under way and what is told of it, as it is stored."""
    reference = input.id_or_token

    async def reported() -> Committed:
        task = await _under_way(client, reference)
        converter = input.data_converter_override or for_task(client, task)
        told = await stored(converter, converted(converter), f"what is told of {pending.text(reference)}")

        def report(task: ActivityTask) -> ActivityReport:
            _check(client, reference, task)
            return of(task, told)

        return await pending.report(client, reference, report, found=task)

    return await within(reported(), input.rpc_timeout, ANSWER, MAYBE_DONE)


async def _under_way(client: Client, reference: Reference) -> ActivityTask:
    task = await pending.find(client, reference)
    _check(client, reference, task)
    return task


def _check(client: Client, reference: Reference, task: ActivityTask) -> None:
    """`RPCError` NOT_FOUND of one that waits for its next attempt."""
    if task.owner is None:
        raise pending.not_found(client, reference)
