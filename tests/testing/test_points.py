"""Durable points: what has one, what it is called, and that the worker dies there and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from durable.history import codec
from durable.history.events import (
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    HistoryEvent,
    TimerStarted,
    WorkflowExecutionSignaled,
    WorkflowTaskCompleted,
)
from durable.history.messages import MessageKind
from durable.history.transition import (
    ActivityProgress,
    ActivityReport,
    AttemptToken,
    Beat,
    Committed,
    NewMessage,
    Outcome,
    Refusal,
    Refused,
    Retry,
    RunInfo,
    Transition,
    Write,
)
from durable.history.values import RunStatus
from durable.testing.points import Moment, Recorder

RUNS = ("r1", "r2", "r3")


def info(run_id: str, workflow_id: str) -> RunInfo:
    return RunInfo(
        run_id=run_id,
        namespace="default",
        workflow_id=workflow_id,
        generation=1,
        workflow_type="w",
        task_queue="q",
        status=RunStatus.RUNNING,
        owner=None,
        last_event_id=2,
        history_bytes=0,
        started_us=0,
        closed_us=None,
        first_execution_run_id=run_id,
        request_id="",
        parked=None,
    )


def scheduled(id: int, kind: str = "charge") -> ActivityTaskScheduled:
    return ActivityTaskScheduled(
        id=id,
        time_us=0,
        workflow_task_completed_event_id=id,
        activity_id=str(id),
        activity_type=kind,
        task_queue="q",
    )


def signaled(id: int) -> WorkflowExecutionSignaled:
    return WorkflowExecutionSignaled(id=id, time_us=0, signal_name="stop")


def task_completed(id: int) -> WorkflowTaskCompleted:
    return WorkflowTaskCompleted(id=id, time_us=0, scheduled_event_id=0, started_event_id=0)


def transition(run_id: str, *events: HistoryEvent) -> Transition:
    return Transition(run_id=run_id, last_event_id=events[0].id - 1, owner="w1", events=codec.batch(events))


def report(run_id: str, scheduled_event_id: int, attempt: int, what: NewMessage | Retry | Beat) -> ActivityReport:
    token = AttemptToken(run_id=run_id, scheduled_event_id=scheduled_event_id, owner="w1", attempt=attempt)
    return ActivityReport(token=token, what=what)


OUTCOME = NewMessage(kind=MessageKind.ACTIVITY, body=b"", due_us=0)
RETRY = Retry(due_us=0, deadline_us=None, progress=ActivityProgress(), attempt=1)
BEAT = Beat(deadline_us=None, progress=ActivityProgress())


def held(writes: Sequence[Write]) -> list[Outcome]:
    return [Committed(run_id="") for _ in writes]


def recorder(*, target: str | None = None, workflow_ids: Sequence[str] = ("order", "order", "bill")) -> Recorder:
    made = Recorder(target)
    for run_id, workflow_id in zip(RUNS, workflow_ids, strict=True):
        made.met(run_id, workflow_id, f"start of {run_id}")
    return made


@st.composite
def commits(draw: st.DrawFn) -> list[list[Write]]:
    """What workers commit in the course of a test: events in order, attempts that end; some writes a commit."""
    next_id = dict.fromkeys(RUNS, 3)
    attempts: dict[tuple[str, int], int] = {}
    made: list[list[Write]] = []
    for run_ids in draw(st.lists(st.lists(st.sampled_from(RUNS), min_size=1, max_size=3, unique=True), max_size=8)):
        writes: list[Write] = []
        for run_id in run_ids:
            mine = [event_id for known, event_id in attempts if known == run_id]
            if mine and draw(st.booleans()):
                event_id = draw(st.sampled_from(mine))
                attempts[run_id, event_id] += 1
                what = draw(st.sampled_from([OUTCOME, RETRY, BEAT]))
                writes.append(report(run_id, event_id, attempts[run_id, event_id], what))
                continue
            makers = draw(st.lists(st.sampled_from([scheduled, signaled, task_completed]), min_size=1, max_size=3))
            events = [make(next_id[run_id] + at) for at, make in enumerate(makers)]
            next_id[run_id] += len(events)
            attempts.update({(run_id, event.id): 0 for event in events if isinstance(event, ActivityTaskScheduled)})
            writes.append(transition(run_id, *events))
        made.append(writes)
    return made


def recorded(of: Sequence[Sequence[Write]]) -> Recorder:
    made = recorder()
    for writes in of:
        made.written(writes, held(writes))
    return made


@given(commits())
def test_every_write_of_a_worker_has_two_points_with_names_of_their_own(of: list[list[Write]]) -> None:
    points = recorded(of).points

    assert len(points) == 2 * sum(len(writes) for writes in of)
    assert list(points) == [point.name for point in points.values()]
    assert len({point.numbered_name for point in points.values()}) == len(points)


@given(commits(), st.data())
def test_the_worker_dies_once_at_the_commit_that_the_name_means_and_the_numbered_name_means_the_same(
    of: list[list[Write]], data: st.DataObject
) -> None:
    points = list(recorded(of).points.values())
    if not points:
        return
    point = data.draw(st.sampled_from(points))

    for target in (point.name, point.numbered_name):
        made = recorder(target=target)
        struck = [made.strikes(writes) for writes in [*of, *of]]

        (moment,) = [each for each in struck if each is not None]
        assert (made.struck, moment) == (point, point.moment)
        deadly = of[struck.index(moment)]
        assert point in recorded([*of[: struck.index(moment)], deadly]).points.values()
        assert point not in recorded(of[: struck.index(moment)]).points.values()


def test_points_are_in_the_order_of_commits_before_comes_first() -> None:
    points = recorded(
        [[transition("r1", scheduled(3))], [transition("r3", signaled(3)), transition("r1", signaled(4))]]
    )

    assert list(points.points) == [
        "order/3:before",
        "order/3:after",
        "bill/3:before",
        "bill/3:after",
        "order/4:before",
        "order/4:after",
    ]


def test_a_point_says_what_is_committed_without_what_every_workflow_task_commits() -> None:
    made = recorded(
        [
            [transition("r1", task_completed(3), scheduled(4))],
            [
                transition(
                    "r1",
                    ActivityTaskStarted(id=5, time_us=0, scheduled_event_id=4),
                    ActivityTaskCompleted(id=6, time_us=0, scheduled_event_id=4, started_event_id=5),
                    task_completed(7),
                    TimerStarted(
                        id=8,
                        time_us=0,
                        timer_id="1",
                        start_to_fire_timeout_us=1,
                        workflow_task_completed_event_id=7,
                    ),
                )
            ],
            [transition("r1", signaled(9), task_completed(10))],
            [transition("r1", task_completed(11))],
        ]
    )

    told = [str(point) for point in made.points.values() if point.moment is Moment.AFTER]

    assert told == [
        "after it commits, for workflow 'order', events 3 to 4: ActivityTaskScheduled of 'charge'",
        "after it commits, for workflow 'order', events 5 to 8: ActivityTaskCompleted of 'charge', TimerStarted 1",
        "after it commits, for workflow 'order', events 9 to 10: WorkflowExecutionSignaled 'stop'",
        "after it commits, for workflow 'order', events 11 to 11: a workflow task that asks for nothing",
    ]


def test_an_attempt_that_ends_without_its_run_has_points_by_activity_event_and_attempt() -> None:
    made = recorded(
        [
            [transition("r1", scheduled(3))],
            [report("r1", 3, 1, RETRY)],
            [report("r1", 3, 2, BEAT)],
            [report("r1", 3, 2, BEAT)],
            [report("r1", 3, 2, OUTCOME)],
        ]
    )

    assert {name: str(point) for name, point in made.points.items() if name.endswith(":before")} == {
        "order/3:before": "before it commits, for workflow 'order', events 3 to 3: ActivityTaskScheduled of 'charge'",
        "order/charge-3-1:before": (
            "before it commits, for workflow 'order', that attempt 1 of 'charge' is to be repeated"
        ),
        "order/charge-3-2-heartbeat:before": (
            "before it commits, for workflow 'order', a heartbeat of attempt 2 of 'charge'"
        ),
        "order/charge-3-2:before": "before it commits, for workflow 'order', the outcome of attempt 2 of 'charge'",
    }


def test_what_is_refused_and_what_a_client_writes_and_a_query_s_answer_is_no_point() -> None:
    made = recorder()

    made.written([transition("r1", signaled(3))], [Refused(reason=Refusal.FENCED)])
    made.written([transition("a run that no worker has met", signaled(3))], [Committed(run_id="r")])
    made.written([Transition(run_id="r1", last_event_id=2, owner="w1")], [Committed(run_id="r1")])

    assert made.points == {}


def test_runs_of_one_workflow_id_are_told_apart() -> None:
    made = recorded([[transition("r1", signaled(3)), transition("r2", signaled(3)), transition("r3", signaled(3))]])

    assert made.workflows == ["order", "order~2", "bill"]
    assert [point.name for point in made.points.values() if point.moment is Moment.BEFORE] == [
        "order/3:before",
        "order~2/3:before",
        "bill/3:before",
    ]
    assert (made.name("r2"), made.name("r9")) == ("order~2", None)
