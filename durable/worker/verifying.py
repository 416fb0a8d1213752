"""What an attempt does before its code, when nobody knows whether an attempt before has had its effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from durable.activity import Happened
from durable.exceptions import ApplicationError
from durable.history import attempts
from durable.history.transition import ActivityTask
from durable.worker.registry import RegisteredActivity

if TYPE_CHECKING:
    from durable.worker.attempt import Attempt

OUTCOME_UNKNOWN = "OutcomeUnknown"
"""The type of the error with which an activity fails that must not run again."""


async def known(
    attempt: Attempt,
    found: RegisteredActivity,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    executor: Executor | None,
) -> Happened | None:
    """That the effect has happened; or None: the code is to run.

    Raises what the verify function raises, TypeError for an answer that is none, and `ApplicationError` for an activity
    that is to fail. The verify function is async, or runs where its sync activity does; that of an async activity in a
    thread.
    """
    definition = found.definition
    rule = definition.after_crash
    if rule == "retry":
        return None
    if rule == "fail":
        raise _unknown(attempt.task)
    assert found.verify is not None
    args, kwargs = definition.signature.completed(args, kwargs)
    if rule.is_async:
        answer = await found.verify(*args, **kwargs)
    else:
        answer = await attempt.run_sync(found.verify, args, kwargs, None if definition.is_async else executor)
    if isinstance(answer, Happened):
        return answer
    if answer is None:
        attempt.did_not_happen()
        return None
    raise TypeError(
        f"{rule.name}, which says what became of activity {attempt.task.spec.activity_type}, has returned "
        f"{type(answer).__name__}: it must return activity.Happened(result) if the effect has happened, and None if it "
        "has not"
    )


def _unknown(task: ActivityTask) -> ApplicationError:
    failure = task.progress.last_failure
    why = f" ({failure.message})" if failure is not None and failure.encoded_attributes is None else ""
    return ApplicationError(
        f"activity {task.spec.activity_type} (id {task.spec.activity_id}) of workflow {task.spec.workflow_id} was not "
        f"run again in attempt {task.attempt}, for it is not known how an attempt before ended{why}, and its "
        'after_crash is "fail": find out whether its effect has happened, by its idempotency key '
        f"{attempts.idempotency_key(task.run_id, task.scheduled_event_id)}, and then do what is left to do",
        type=OUTCOME_UNKNOWN,
        non_retryable=True,
    )
