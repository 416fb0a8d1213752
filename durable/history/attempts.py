"""Pure: when an attempt of an activity begins, runs out, is tried again, or was the last."""

from __future__ import annotations

import msgspec

from durable.history import codec
from durable.history.messages import ActivityOutcome, Canceled, Completed, Failed, TimedOut
from durable.history.transition import (
    OUTSIDE,
    ActivityControl,
    ActivityPause,
    ActivityProgress,
    ActivityReport,
    ActivitySpec,
    ActivityTask,
    AttemptToken,
    Beat,
    Detach,
    Retry,
    Steer,
)
from durable.history.values import (
    ApplicationFailureInfo,
    CanceledFailureInfo,
    Failure,
    Payload,
    Priority,
    RetryState,
    ServerFailureInfo,
    TimeoutFailureInfo,
    TimeoutType,
)

PRIORITIES = (1, 2, 3, 4, 5)
"""How the rows of tasks that wait are told apart: those with priority 1 are taken first."""
DEFAULT_PRIORITY = 3
PAUSED = 0
"""The priority of paused ones: no claim looks there."""

LOST_RETRY_FIRST_US = 1_000_000
LOST_RETRY_MAX_US = 600_000_000

TIMEOUT_TEXT = {
    TimeoutType.START_TO_CLOSE: "activity did not complete in time (start-to-close)",
    TimeoutType.SCHEDULE_TO_START: "activity did not start in time (schedule-to-start)",
    TimeoutType.SCHEDULE_TO_CLOSE: "activity did not complete in time (schedule-to-close)",
    TimeoutType.HEARTBEAT: "activity Heartbeat timeout",
}


def token(task: ActivityTask) -> AttemptToken:
    return AttemptToken(
        run_id=task.run_id,
        scheduled_event_id=task.scheduled_event_id,
        owner=task.owner,
        attempt=task.attempt,
        due_us=task.due_us if task.owner is None else 0,
    )


def worker(task: ActivityTask) -> str | None:
    """The worker that runs the attempt under way; None when there is none, or its outcome comes from outside."""
    return None if task.owner == OUTSIDE else task.owner


def task_token(task: ActivityTask) -> bytes:
    """What names the attempt under way to whoever knows nothing else of it, and to nobody once it is over.

    Its owner is no part of that: the attempt goes on when its worker lets go of it.
    """
    return msgspec.msgpack.encode((task.run_id, task.scheduled_event_id, task.attempt, task.started_us))


def idempotency_key(run_id: str, scheduled_event_id: int) -> str:
    """What all attempts of one activity have in common, and no other activity of any run ever has.

    Run ids are never used twice, whatever begins a run. Within one, the id of the event that scheduled the activity
    is its alone; a local activity has minus its number in the run instead. At most 57 printable ASCII characters: the
    36 of a UUID, a colon, and the 20 of a 64-bit number.
    """
    return f"{run_id}:{scheduled_event_id}"


def run_of(task_token: bytes) -> str:
    """The id of the run whose attempt a task token names. ValueError for bytes that are no such token."""
    try:
        return msgspec.msgpack.decode(task_token, type=tuple[str, int, int, int])[0]
    except msgspec.MsgspecError as error:
        raise ValueError(f"this is no task token of an activity: {error}") from error


def priority(spec: ActivitySpec, control: ActivityControl) -> int:
    """That of a task's row, by its priority key: 1 … 5, greater keys being 5 and none 3; or `PAUSED`."""
    if control.pause is not None:
        return PAUSED
    return min(spec.priority.priority_key if spec.priority else 0, PRIORITIES[-1]) or DEFAULT_PRIORITY


def inherited(own: Priority | None, of_workflow: Priority | None) -> Priority | None:
    """An activity's priority: what it does not say itself is as its workflow has it."""
    if own is None or of_workflow is None:
        return own or of_workflow
    return Priority(
        priority_key=own.priority_key or of_workflow.priority_key,
        fairness_key=own.fairness_key or of_workflow.fairness_key,
        fairness_weight=own.fairness_weight or of_workflow.fairness_weight,
    )


def waiting_deadline_us(task: ActivityTask) -> int | None:
    """When an unclaimed task's wait is over: the earlier of schedule-to-start and schedule-to-close.

    A paused one waits for no start.
    """
    spec = task.spec
    ends = [spec.scheduled_us + spec.schedule_to_close_timeout_us] if spec.schedule_to_close_timeout_us else []
    if spec.schedule_to_start_timeout_us and task.control.pause is None:
        ends.append(task.due_us + spec.schedule_to_start_timeout_us)
    return min(ends, default=None)


def waiting(task: ActivityTask) -> ActivityTask:
    """The task as nobody's, with the deadline of its wait."""
    return msgspec.structs.replace(task, owner=None, deadline_us=waiting_deadline_us(task))


def deadline_us(task: ActivityTask, beat_us: int) -> int | None:
    """When a claimed task's attempt is over; ``beat_us`` is its start or its latest heartbeat."""
    spec = task.spec
    ends = [spec.scheduled_us + spec.schedule_to_close_timeout_us] if spec.schedule_to_close_timeout_us else []
    if spec.start_to_close_timeout_us:
        ends.append(task.started_us + spec.start_to_close_timeout_us)
    if spec.heartbeat_timeout_us:
        ends.append(beat_us + spec.heartbeat_timeout_us)
    return min(ends, default=None)


def begun(task: ActivityTask, owner: str, now_us: int) -> ActivityTask:
    """The task as ``owner`` holds it once it has claimed it."""
    started = msgspec.structs.replace(task, owner=owner, attempt=task.attempt + 1, started_us=now_us)
    return msgspec.structs.replace(started, deadline_us=deadline_us(started, now_us))


def beat(task: ActivityTask, details: list[Payload], now_us: int) -> ActivityReport:
    """The attempt lives."""
    progress = msgspec.structs.replace(task.progress, heartbeat_details=details)
    return ActivityReport(token=token(task), what=Beat(deadline_us=deadline_us(task, now_us), progress=progress))


def in_doubt(task: ActivityTask) -> ActivityTask:
    """The task as an attempt leaves it whose code has begun and did not tell how it ended."""
    return _with_ambiguity(task, True)


def certain(task: ActivityTask) -> ActivityTask:
    """The task once it is known that no attempt so far has had its effect."""
    return _with_ambiguity(task, False)


def is_ambiguous(task: ActivityTask) -> bool:
    """Has an attempt begun of which nobody knows how its code ended? The one under way is none, while it lives."""
    return task.progress.ambiguous or task.lost


def detached(task: ActivityTask, now_us: int) -> Detach:
    """The attempt's code has ended, and its outcome will come from outside. It lives until one of its timeouts."""
    return Detach(deadline_us=deadline_us(task, now_us), progress=task.progress)


def completed(task: ActivityTask, result: list[Payload], identity: str) -> ActivityOutcome:
    return _outcome(task, Completed(result=result), identity)


def canceled(task: ActivityTask, details: list[Payload], identity: str) -> ActivityOutcome:
    return _outcome(task, Canceled(details=details), identity)


def failed(task: ActivityTask, failure: Failure, identity: str, now_us: int) -> ActivityOutcome | Retry:
    """An attempt ended in ``failure``: again, or over? An activity that was ambiguous before still is."""
    state = _retry_state(task, failure, now_us)
    if isinstance(state, Retry):
        return state
    return _outcome(task, Failed(failure=failure, retry_state=state), identity)


def interrupted(task: ActivityTask, failure: Failure, now_us: int) -> Retry:
    """An attempt ended in ``failure`` because it was paused or reset: it is never the last one.

    If its code had begun, ``task`` is `in_doubt`.
    """
    return _retry(task, failure, now_us + task.spec.retry_policy.interval_us(task.attempt))


def expired(task: ActivityTask, now_us: int) -> ActivityOutcome | Retry | None:
    """What a passed deadline means for a task; None when no timeout of its own has run out and it is not lost.

    A task marked ``lost`` belongs to a worker that was declared dead: its attempt is over, and counts. An attempt that
    runs out leaves the task `in_doubt`.
    """
    spec = task.spec
    if task.deadline_us is None or task.deadline_us > now_us:
        return None
    if spec.schedule_to_close_timeout_us and now_us >= spec.scheduled_us + spec.schedule_to_close_timeout_us:
        return _timed_out(task, TimeoutType.SCHEDULE_TO_CLOSE, RetryState.TIMEOUT)
    if task.owner is None:
        waits = spec.schedule_to_start_timeout_us and task.control.pause is None
        if waits and now_us >= task.due_us + spec.schedule_to_start_timeout_us:
            return _timed_out(task, TimeoutType.SCHEDULE_TO_START, RetryState.NON_RETRYABLE_FAILURE)
        return None
    task = in_doubt(task)
    if spec.start_to_close_timeout_us and now_us >= task.started_us + spec.start_to_close_timeout_us:
        return _attempt_timed_out(task, TimeoutType.START_TO_CLOSE, now_us)
    if task.lost:
        return _lost(task, now_us)
    return _attempt_timed_out(task, TimeoutType.HEARTBEAT, now_us)


def _lost(task: ActivityTask, now_us: int) -> ActivityOutcome | Retry:
    """The attempt's worker died. The first time says nothing; an activity that kills one worker after the other waits
    longer and longer, whatever its policy says."""
    text = "the worker that ran the activity died"
    losses = task.progress.losses + 1
    pause_us = min(LOST_RETRY_MAX_US, LOST_RETRY_FIRST_US << min(losses - 2, 30)) if losses > 1 else 0
    what = _attempt_timed_out(task, TimeoutType.START_TO_CLOSE, now_us, text, pause_us)
    if isinstance(what, Retry):
        return msgspec.structs.replace(what, progress=msgspec.structs.replace(what.progress, losses=losses))
    return what


def handed_back(task: ActivityTask, now_us: int) -> Retry:
    """A worker that stops gives its attempt back: it does not count, and may begin anew at once.

    If its code had begun, ``task`` is `in_doubt`.
    """
    unclaimed = msgspec.structs.replace(task, owner=None, attempt=task.attempt - 1, due_us=now_us)
    return Retry(
        due_us=now_us,
        deadline_us=waiting_deadline_us(unclaimed),
        progress=task.progress,
        attempt=unclaimed.attempt,
    )


def restarted(again: Retry, control: ActivityControl) -> Retry:
    """The next attempt, as an activity has it that was reset: it is the first one again."""
    progress = again.progress
    if control.reset_heartbeat:
        progress = msgspec.structs.replace(progress, heartbeat_details=[])
    if control.reset:
        progress = msgspec.structs.replace(progress, losses=0)
    return msgspec.structs.replace(again, attempt=0 if control.reset else again.attempt, progress=progress)


def report(task: ActivityTask, what: ActivityOutcome | Retry | Detach, now_us: int) -> ActivityReport:
    """The write that tells the store. What failed for good is tried again all the same if it is reset by then."""
    if not isinstance(what, ActivityOutcome):
        return ActivityReport(token=token(task), what=what)
    ended, if_reset = what.outcome, None
    if isinstance(ended, Failed | TimedOut) and ended.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED:
        if_reset = _retry(in_doubt(task) if isinstance(ended, TimedOut) else task, ended.failure, now_us)
    return ActivityReport(token=token(task), what=codec.pack(what, now_us), if_reset=if_reset)


def overdue(task: ActivityTask, now_us: int) -> ActivityReport | None:
    """What to tell the store of a task whose deadline has passed; None when nothing."""
    what = expired(task, now_us)
    if what is not None:
        return report(task, what, now_us)
    # It was paused while an attempt was under way, whose worker did not know it.
    is_paused = task.owner is None and task.control.pause is not None
    return _steered(task, task.control, None) if is_paused and waiting_deadline_us(task) != task.deadline_us else None


# What is asked of an activity from outside. -----------------------------------------------------------------------


def paused(task: ActivityTask, pause: ActivityPause) -> ActivityReport:
    """No attempt begins any more; the one under way learns of it by its heartbeat, and may end as it likes."""
    return _steered(task, msgspec.structs.replace(task.control, pause=pause), None)


def unpaused(task: ActivityTask, due_us: int, *, reset_attempts: bool, reset_heartbeat: bool) -> ActivityReport:
    """Attempts may begin again, the next one when its time has come, but not before ``due_us``."""
    control = _also_reset(msgspec.structs.replace(task.control, pause=None), reset_attempts, reset_heartbeat)
    return _steered(task, control, max(task.due_us, due_us))


def reset(task: ActivityTask, now_us: int, *, keep_paused: bool, reset_heartbeat: bool) -> ActivityReport:
    """Begin at attempt 1 again: at once, or when the attempt under way has ended without success."""
    pause = task.control.pause if keep_paused else None
    control = _also_reset(msgspec.structs.replace(task.control, pause=pause), True, reset_heartbeat)
    return _steered(task, control, now_us)


def _also_reset(control: ActivityControl, attempts: bool, heartbeat: bool) -> ActivityControl:
    return msgspec.structs.replace(
        control, reset=control.reset or attempts, reset_heartbeat=control.reset_heartbeat or heartbeat
    )


def _steered(task: ActivityTask, control: ActivityControl, due_us: int | None) -> ActivityReport:
    """``due_us`` is when a waiting task's next attempt may begin; None: as it is."""
    again = None
    if task.owner is None:
        due_us = task.due_us if due_us is None else due_us
        moved = msgspec.structs.replace(task, due_us=due_us, control=control)
        again = Retry(
            due_us=due_us, deadline_us=waiting_deadline_us(moved), progress=task.progress, attempt=task.attempt
        )
    return ActivityReport(
        token=token(task), what=Steer(control=control, priority=priority(task.spec, control), again=again)
    )


# The inside. ------------------------------------------------------------------------------------------------------


def _with_ambiguity(task: ActivityTask, ambiguous: bool) -> ActivityTask:
    progress = msgspec.structs.replace(task.progress, ambiguous=ambiguous)
    return msgspec.structs.replace(task, progress=progress)


def _attempt_timed_out(
    task: ActivityTask, kind: TimeoutType, now_us: int, text: str | None = None, pause_us: int = 0
) -> ActivityOutcome | Retry:
    failure = _timeout_failure(task, kind, text)
    state = _retry_state(task, failure, now_us, pause_us)
    if isinstance(state, Retry):
        return state
    return _outcome(task, TimedOut(failure=failure, retry_state=state), "")


def _timed_out(task: ActivityTask, kind: TimeoutType, state: RetryState) -> ActivityOutcome:
    return _outcome(task, TimedOut(failure=_timeout_failure(task, kind, None), retry_state=state), "")


def _timeout_failure(task: ActivityTask, kind: TimeoutType, text: str | None) -> Failure:
    return Failure(
        message=text or TIMEOUT_TEXT[kind],
        source="durable",
        cause=task.progress.last_failure if kind is TimeoutType.SCHEDULE_TO_CLOSE else None,
        info=TimeoutFailureInfo(timeout_type=kind, last_heartbeat_details=task.progress.heartbeat_details or None),
    )


def _outcome(task: ActivityTask, outcome: Completed | Failed | TimedOut | Canceled, identity: str) -> ActivityOutcome:
    return ActivityOutcome(
        scheduled_event_id=task.scheduled_event_id,
        outcome=outcome,
        started_us=task.started_us,
        attempt=task.attempt,
        identity=identity,
        last_failure=task.progress.last_failure,
    )


def _retry_state(task: ActivityTask, failure: Failure, now_us: int, pause_us: int = 0) -> RetryState | Retry:
    """The next attempt's place in time, not before ``pause_us`` have passed; or why there is none."""
    policy = task.spec.retry_policy
    info = failure.info
    delay_us = max(pause_us, policy.interval_us(task.attempt))
    match info:
        case ApplicationFailureInfo(non_retryable=True) | ServerFailureInfo(non_retryable=True):
            return RetryState.NON_RETRYABLE_FAILURE
        case ApplicationFailureInfo(type=name) if name in policy.non_retryable_error_types:
            return RetryState.NON_RETRYABLE_FAILURE
        case ApplicationFailureInfo(next_retry_delay_us=asked) if asked is not None:
            delay_us = asked
        case CanceledFailureInfo():
            return RetryState.NON_RETRYABLE_FAILURE
        case _:
            pass
    if policy.maximum_attempts and task.attempt >= policy.maximum_attempts:
        return RetryState.MAXIMUM_ATTEMPTS_REACHED
    if task.cancel_requested:
        return RetryState.CANCEL_REQUESTED
    due_us = now_us + delay_us
    if task.spec.schedule_to_close_timeout_us:
        if due_us >= task.spec.scheduled_us + task.spec.schedule_to_close_timeout_us:
            return RetryState.TIMEOUT
    return _retry(task, failure, due_us)


def _retry(task: ActivityTask, failure: Failure, due_us: int) -> Retry:
    before = task.progress
    progress = ActivityProgress(
        heartbeat_details=before.heartbeat_details, last_failure=failure, ambiguous=before.ambiguous
    )
    waiting = msgspec.structs.replace(task, owner=None, due_us=due_us)
    return Retry(due_us=due_us, deadline_us=waiting_deadline_us(waiting), progress=progress, attempt=task.attempt)
