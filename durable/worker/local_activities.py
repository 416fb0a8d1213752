"""Pure: the local activities of one run: what its code asks of them, how they ended, and the markers that say so.

A marker has the form that Temporal's SDKs give it. It is commanded when the code hears of the outcome, so its place
among the commands of its workflow task says where that was; a replay looks the markers of a task ahead, and lets the
code hear of them one by one, after the task's events, as it was the first time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from durable.activity import ActivityCancellationType
from durable.context import ActivityCall
from durable.exceptions import CancelledError, RetryState
from durable.history.commands import RecordMarker
from durable.history.events import CommandEvent, MarkerRecorded
from durable.history.local_activities import NO_REQUESTS, LocalRequests, ScheduleLocalActivity, task_key
from durable.history.messages import ActivityOutcome, Canceled, Completed
from durable.history.values import ActivityFailureInfo, CanceledFailureInfo, Failure, Payload
from durable.worker.loop import WorkflowLoop
from durable.worker.pending import ActivityFuture

if TYPE_CHECKING:
    from durable.worker.replay import Run

MARKER = "core_local_activity"
_DATA = "data"
_RESULT = "result"


class Stamp(Struct, frozen=True):
    """A moment, or a duration, as the marker has it."""

    seconds: int = 0
    nanos: int = 0

    @property
    def us(self) -> int:
        return self.seconds * 1_000_000 + self.nanos // 1000

    @staticmethod
    def of(us: int) -> Stamp:
        return Stamp(us // 1_000_000, us % 1_000_000 * 1000)


class MarkerData(Struct, frozen=True, kw_only=True):
    """Whose outcome a marker is."""

    seq: int
    attempt: int = 1
    activity_id: str = ""
    activity_type: str = ""
    complete_time: Stamp | None = None
    backoff: Stamp | None = None
    original_schedule_time: Stamp | None = None


class LocalOutcome(Struct, frozen=True, kw_only=True):
    """How a local activity ended, as its marker says it: the activity's result, or the failure that the code sees.

    ``backoff_us``: not over, but to be tried again after so long (Temporal's SDKs, after a long pause between two
    attempts; durable lets the task's row wait).
    """

    seq: int
    attempt: int
    complete_us: int
    result: list[Payload] = []
    failure: Failure | None = None
    backoff_us: int = 0


class BackOff(Exception):
    """The activity is to be started anew after ``backoff_us``."""

    def __init__(self, backoff_us: int) -> None:
        super().__init__("the local activity is to be tried again later")
        self.backoff_us = backoff_us


_decode = msgspec.json.Decoder(MarkerData).decode


def data_of(mark: RecordMarker | MarkerRecorded) -> MarkerData | None:
    """Whose outcome it is; None for a marker about something else."""
    data = mark.details.get(_DATA, [])
    if mark.marker_name != MARKER or not data:
        return None
    try:
        return _decode(data[0].data)
    except msgspec.MsgspecError:
        return None


def outcomes_in(recorded: Sequence[CommandEvent]) -> list[LocalOutcome]:
    """How local activities ended, as a recorded workflow task has it, in its order."""
    outcomes: list[LocalOutcome] = []
    for event in recorded:
        data = data_of(event) if isinstance(event, MarkerRecorded) else None
        if data is not None and isinstance(event, MarkerRecorded):
            outcomes.append(
                LocalOutcome(
                    seq=data.seq,
                    attempt=data.attempt,
                    complete_us=data.complete_time.us if data.complete_time else 0,
                    result=event.details.get(_RESULT, []),
                    failure=event.failure,
                    backoff_us=data.backoff.us if data.backoff else 0,
                )
            )
    return outcomes


class LocalActivityFuture(ActivityFuture):
    """A local activity's outcome. Cancelled it obeys its cancellation type, by Temporal's rules."""

    temporal_style = True
    seq: int
    asked_us: int

    def cancel(self, msg: Any | None = None) -> bool:
        if self.done():
            return False
        if self.run.evicting:
            return super().cancel(msg)
        if not self.run.local.cancel(self):
            cause = CancelledError("Cancelled")
            self.fail(self.run.activity_error("Activity cancelled", self, RetryState.CANCEL_REQUESTED, cause))
        return True


class LocalActivities:
    """Those of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pending: dict[int, LocalActivityFuture] = {}
        self._at_work: set[int] = set()
        self._cancelled: dict[int, LocalActivityFuture] = {}
        self._schedules: dict[int, ScheduleLocalActivity] = {}
        self._cancels: set[int] = set()

    def begin(self) -> None:
        """A new activation: what the one before has asked for is committed, or was replayed."""
        self._schedules.clear()
        self._cancels.clear()

    @property
    def requests(self) -> LocalRequests:
        """What the activation under way asks for besides its commands."""
        if not (self._schedules or self._cancels):
            return NO_REQUESTS
        return LocalRequests(list(self._schedules.values()), sorted(self._cancels))

    @property
    def task_keys(self) -> list[int]:
        """The tasks that may be at work, whether the code waits for them or not."""
        return [task_key(seq) for seq in self._at_work]

    # -- what the code asks for

    def schedule(self, call: ActivityCall, loop: WorkflowLoop) -> LocalActivityFuture:
        seq = self._run.next_activity_number()
        future = LocalActivityFuture(loop=loop)
        future.run, future.call, future.seq = self._run, call, seq
        future.activity_id = call.activity_id or str(seq)
        future.asked_us = self._run.now_us()
        self._pending[seq] = future
        self._at_work.add(seq)
        self._schedules[seq] = ScheduleLocalActivity(
            seq=seq,
            activity_id=future.activity_id,
            activity_type=call.activity_type,
            input=call.input,
            schedule_to_close_timeout_us=call.schedule_to_close_timeout_us,
            schedule_to_start_timeout_us=call.schedule_to_start_timeout_us,
            start_to_close_timeout_us=call.start_to_close_timeout_us,
            retry_policy=call.retry_policy,
        )
        return future

    def cancel(self, future: LocalActivityFuture) -> bool:
        """Ask it to end, as its cancellation type says. Does the code wait for its own outcome all the same?"""
        seq, kind = future.seq, future.call.cancellation_type
        if kind == ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
            if not future.cancel_asked:
                future.cancel_asked = True
                self._cancels.add(seq)
            return True
        del self._pending[seq]
        if kind == ActivityCancellationType.TRY_CANCEL:
            # As in Temporal, this is its outcome, and recorded as such.
            self._cancelled[seq] = future
            self._run.record_cancelled(task_key(seq))
            if self._schedules.pop(seq, None) is None:
                self._cancels.add(seq)
            else:
                self._at_work.discard(seq)
        return False

    def cancelled_marker(self, key: int) -> RecordMarker:
        """The marker of a local activity that the code has cancelled, and does not wait for."""
        future = self._cancelled.pop(-key)
        failure = _failure(future, "Activity cancelled", _canceled([]), RetryState.CANCEL_REQUESTED)
        outcome = LocalOutcome(seq=future.seq, attempt=1, complete_us=self._run.now_us(), failure=failure)
        return marker_of(future, outcome)

    # -- what became of them

    def pending(self, seq: int) -> LocalActivityFuture | None:
        """What waits for the outcome of this one."""
        return self._pending.get(seq)

    def heard(self, outcomes: Sequence[ActivityOutcome], now_us: int) -> list[LocalOutcome]:
        """Outcomes that have just come in, as markers will say them; without those that the code does not await."""
        told: list[LocalOutcome] = []
        for each in outcomes:
            seq = -each.scheduled_event_id
            self._at_work.discard(seq)
            if (future := self._pending.get(seq)) is not None:
                told.append(_told(future, each, now_us))
        return told

    def take(self, seq: int) -> LocalActivityFuture | None:
        """What waits for this outcome; None when the code has cancelled it since."""
        self._at_work.discard(seq)
        return self._pending.pop(seq, None)


def settle(future: LocalActivityFuture, outcome: LocalOutcome) -> None:
    """Give the outcome to whoever awaits it."""
    failure = outcome.failure
    if outcome.backoff_us:
        future.fail(BackOff(outcome.backoff_us))
    elif failure is None:
        future.set_result(outcome.result)
    else:
        if isinstance(failure.info, CanceledFailureInfo):  # so do Temporal's SDKs write it
            failure = _failure(future, "Activity cancelled", failure, RetryState.CANCEL_REQUESTED)
        future.fail(future.run.converter_of(future).from_failure(failure))


def _told(future: LocalActivityFuture, told: ActivityOutcome, now_us: int) -> LocalOutcome:
    result: list[Payload] = []
    failure: Failure | None = None
    outcome = told.outcome
    if isinstance(outcome, Completed):
        result = outcome.result
    elif isinstance(outcome, Canceled):
        failure = _failure(future, "Activity cancelled", _canceled(outcome.details), RetryState.CANCEL_REQUESTED)
    else:
        failure = _failure(future, "Activity task failed", outcome.failure, RetryState(outcome.retry_state))
    return LocalOutcome(
        seq=future.seq, attempt=max(told.attempt, 1), complete_us=now_us, result=result, failure=failure
    )


def _canceled(details: list[Payload]) -> Failure:
    return Failure(message="Cancelled", source="durable", info=CanceledFailureInfo(details=details or None))


def _failure(future: LocalActivityFuture, message: str, cause: Failure, state: RetryState) -> Failure:
    return Failure(
        message=message,
        source="durable",
        cause=cause,
        info=ActivityFailureInfo(
            activity_type=future.call.activity_type, activity_id=future.activity_id, retry_state=state
        ),
    )


def marker_of(future: LocalActivityFuture, outcome: LocalOutcome) -> RecordMarker:
    """What the history is to say of it."""
    data = MarkerData(
        seq=outcome.seq,
        attempt=outcome.attempt,
        activity_id=future.activity_id,
        activity_type=future.call.activity_type,
        complete_time=Stamp.of(outcome.complete_us),
        backoff=Stamp.of(outcome.backoff_us) if outcome.backoff_us else None,
        original_schedule_time=Stamp.of(future.asked_us),
    )
    payload = Payload(metadata={"encoding": b"json/plain"}, data=msgspec.json.encode(data))
    details = {_DATA: [payload]}
    if outcome.failure is None:
        details[_RESULT] = outcome.result
    return RecordMarker(marker_name=MARKER, details=details, failure=outcome.failure)
