"""What `durable.history.store` promises, bullet by bullet; every store has to keep it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from durable.history import attempts, codec
from durable.history.errors import WorkerDead
from durable.history.messages import Query, QueryAnswer, Signal, TimerDue, WorkflowTaskDue
from durable.history.store import Store
from durable.history.stores import open_store
from durable.history.transition import (
    ActivityProgress,
    ActivityReport,
    Beat,
    Committed,
    Refusal,
    Refused,
    Reply,
    Retry,
    Transition,
)
from durable.history.values import IdConflictPolicy, IdReusePolicy, Payload, RunStatus
from durable.history.visibility.parser import parse
from durable.history.visibility.search import Search, position
from tests.history.worlds import (
    BEGINNING_US,
    NAMESPACE,
    QUEUE,
    SECOND_US,
    ClockedHost,
    cancelling,
    claim,
    close,
    continue_as_new,
    done,
    due,
    events,
    info,
    meanings,
    outcome,
    owned,
    refused,
    send,
    signal,
    start,
    step,
    store_url,
    taken,
    task,
    terminate,
    timer,
    worker,
    write,
)

RUN = "run of order-7"


@pytest.fixture(params=["sqlite-file", "sqlite-memory", "postgres", pytest.param("pooled", marks=pytest.mark.all)])
def url(request: pytest.FixtureRequest) -> str:
    return store_url(request)


@pytest.fixture
async def store(url: str, host: ClockedHost) -> AsyncIterator[Store]:
    async with open_store(url, host) as opened:
        await opened.register(worker("w1"))
        await opened.register(worker("w2"))
        yield opened


# I1, I2: one writer, ids without a gap. ---------------------------------------------------------------------------


async def test_a_transition_moves_its_run_on(store: Store) -> None:
    run = await owned(store)

    await done(store, step(run, events=events(2, 3)))

    moved = await info(store, RUN)
    assert (moved.last_event_id, moved.owner, moved.status) == (4, "w1", RunStatus.RUNNING)
    assert [event.id for event in codec.decode_history(await store.history(RUN))] == [1, 2, 3, 4]
    assert moved.history_bytes == sum(map(len, await store.history(RUN)))


async def test_a_worker_that_lost_its_run_cannot_append(store: Store) -> None:
    run = await owned(store)
    await done(store, step(run, new_owner="w2"))

    late = await refused(store, step(run))

    assert late.reason is Refusal.FENCED and late.run is not None and late.run.owner == "w2"
    assert len(await store.history(RUN)) == 2


async def test_a_transition_that_does_not_know_the_latest_event_is_fenced(store: Store) -> None:
    run = await owned(store)
    await done(store, step(run))

    assert (await refused(store, step(run))).reason is Refusal.FENCED


async def test_a_transition_of_nobody_needs_a_run_of_nobody(store: Store) -> None:
    run = await owned(store)

    assert (await refused(store, step(run, owner=None))).reason is Refusal.FENCED


async def test_a_transition_of_its_caller_needs_no_owner(store: Store) -> None:
    run = await owned(store)

    await done(store, step(run, owner=None, any_owner=True, new_owner=None))

    assert (await info(store, RUN)).owner is None


@pytest.mark.parametrize("first_id", [1, 3])
async def test_events_that_leave_a_gap_or_overlap_are_never_written(store: Store, first_id: int) -> None:
    run = await owned(store)

    assert (await refused(store, step(run, events=events(first_id)))).reason is Refusal.INVALID
    assert (await info(store, RUN)).last_event_id == 1


async def test_a_transition_without_events_leaves_the_history_alone(store: Store) -> None:
    run = await owned(store)

    await done(store, step(run, events=None, new_owner="w2"))

    moved = await info(store, RUN)
    assert (moved.last_event_id, moved.owner) == (1, "w2") and len(await store.history(RUN)) == 1


async def test_an_unknown_run_is_not_found(store: Store) -> None:
    run = msgspec.structs.replace(await owned(store), run_id="nowhere")

    assert (await refused(store, step(run))).reason is Refusal.NOT_FOUND


# I3: consumed exactly once. ---------------------------------------------------------------------------------------


async def test_a_consumed_message_is_gone(store: Store) -> None:
    run = await owned(store)
    await done(store, send(signal("a", BEGINNING_US)))

    await done(store, step(run, await store.inbox(RUN)))

    assert await store.inbox(RUN) == []


async def test_a_message_is_consumed_once(store: Store) -> None:
    run = await owned(store)
    await done(store, send(signal("a", BEGINNING_US)))
    messages = await store.inbox(RUN)
    await done(store, step(run, messages))

    again = await refused(store, step(await info(store, RUN), messages))

    assert again.reason is Refusal.MISSING and (await info(store, RUN)).last_event_id == 2


async def test_a_message_of_another_run_cannot_be_consumed(store: Store) -> None:
    run = await owned(store)
    await owned(store, workflow_id="other")
    await done(store, send(signal("a", BEGINNING_US), "other"))

    answer = await refused(store, step(run, await store.inbox("run of other")))

    assert answer.reason is Refusal.MISSING and len(await store.inbox("run of other")) == 1


async def test_a_message_cannot_be_consumed_twice_in_one_transition(store: Store) -> None:
    run = await owned(store)
    await done(store, send(signal("a", BEGINNING_US)))
    messages = await store.inbox(RUN)

    assert (await refused(store, step(run, [*messages, *messages]))).reason is Refusal.INVALID


async def test_message_ids_are_never_used_again(store: Store) -> None:
    run = await owned(store)
    await done(store, send(signal("a", BEGINNING_US)))
    first = await store.inbox(RUN)
    await done(store, step(run, first))

    await done(store, send(signal("b", BEGINNING_US)))

    assert (await store.inbox(RUN))[0].id > first[0].id


async def test_messages_are_read_in_the_order_in_which_they_were_sent(store: Store) -> None:
    await owned(store)
    await store.commit([send(signal(str(i), BEGINNING_US)) for i in range(20)])
    await done(store, send(signal("20", BEGINNING_US)))

    assert [m.name for m in meanings(await store.inbox(RUN)) if isinstance(m, Signal)] == list(map(str, range(21)))


# I5, I9: closing. -------------------------------------------------------------------------------------------------


async def test_a_run_cannot_close_over_an_unread_signal(store: Store) -> None:
    run = await owned(store)
    await done(store, send(signal("a", BEGINNING_US)))

    answer = await refused(store, close(run))

    assert answer.reason is Refusal.UNREAD
    assert (await info(store, RUN)).status is RunStatus.RUNNING and len(await store.inbox(RUN)) == 1
    await done(store, close(run, await store.inbox(RUN)))


async def test_messages_that_do_not_hold_a_run_open_let_it_close(store: Store) -> None:
    run = await owned(store)
    await done(store, step(run, messages=(timer(5, BEGINNING_US), due(BEGINNING_US + SECOND_US))))

    await done(store, close(await info(store, RUN)))

    assert await store.inbox(RUN) == []


async def test_a_signal_whose_sender_has_a_clock_that_is_fast_is_read_in_its_turn(store: Store) -> None:
    run = await owned(store)
    await done(store, send(signal("first", BEGINNING_US + 3600 * SECOND_US)))
    await done(store, send(signal("second", BEGINNING_US)))

    answer = await refused(store, close(run))
    claimed = (await store.claim(claim("w1"))).runs[0]
    await done(store, close(run, claimed.messages))

    assert answer.reason is Refusal.UNREAD
    names = [message.name for message in meanings(claimed.messages) if isinstance(message, Signal)]
    assert names == ["first", "second"]


async def test_a_terminated_run_need_not_have_read_its_messages(store: Store) -> None:
    run = await owned(store)
    await done(store, send(signal("a", BEGINNING_US)))

    await done(store, terminate(run))

    assert await store.inbox(RUN) == []


async def test_closed_is_closed(store: Store) -> None:
    run = await owned(store)
    await done(store, close(run))
    closed = await info(store, RUN)
    assert (closed.status, closed.closed_us, closed.owner) == (RunStatus.COMPLETED, BEGINNING_US, None)

    for late in (step(closed), close(closed), terminate(closed), step(run)):
        assert (await refused(store, late)).reason is Refusal.CLOSED

    assert (await refused(store, send(signal("late", BEGINNING_US)))).reason is Refusal.CLOSED
    assert await info(store, RUN) == closed


async def test_closing_removes_tasks_and_messages_but_not_queries(store: Store) -> None:
    run = await owned(store)
    await done(store, step(run, tasks=(task(RUN, 5),), messages=(timer(6, BEGINNING_US + SECOND_US),)))
    await done(store, send(codec.pack(Query(id="q", name="state"), BEGINNING_US)))

    await done(store, close(await info(store, RUN)))

    assert await store.tasks(RUN) == []
    assert meanings(await store.inbox(RUN)) == [Query(id="q", name="state")]


async def test_a_closing_transition_leaves_no_task_and_no_message_of_its_own(store: Store) -> None:
    run = await owned(store)

    await done(store, close(run, tasks=(task(RUN, 5),), messages=(due(BEGINNING_US),)))

    assert (await store.tasks(RUN), await store.inbox(RUN)) == ([], [])


async def test_a_run_that_continues_as_new_hands_on_what_it_has_not_read_in_one_commit(store: Store) -> None:
    run = await owned(store)
    query = codec.pack(Query(id="q", name="state"), BEGINNING_US)
    for message in (signal("read", BEGINNING_US), signal("a", BEGINNING_US), query, signal("b", BEGINNING_US)):
        await done(store, send(message))
    await done(store, step(run, tasks=(task(RUN, 5),), messages=(timer(6, BEGINNING_US + SECOND_US),)))
    read = (await store.inbox(RUN))[:1]

    await done(store, continue_as_new(await info(store, RUN), read, queue="elsewhere"))

    ended, begun = await info(store, RUN), await info(store, "next run")
    assert (ended.status, ended.owner) == (RunStatus.CONTINUED_AS_NEW, None)
    assert (begun.status, begun.generation, begun.namespace) == (RunStatus.RUNNING, ended.generation + 1, NAMESPACE)
    assert len(await store.history("next run")) == 1
    names = [
        each.name if isinstance(each, Signal) else type(each).__name__
        for each in meanings(await store.inbox("next run"))
    ]
    assert names == ["a", "b", "WorkflowTaskDue"]
    assert meanings(await store.inbox(RUN)) == [Query(id="q", name="state")] and await store.tasks(RUN) == []
    claimed = await store.claim(claim("w1", workflow_queues=("elsewhere",)))
    assert taken(claimed) == ["next run"] and len(claimed.runs[0].messages) == 3


async def test_a_message_finds_the_run_that_continues_the_one_before(store: Store) -> None:
    await done(store, continue_as_new(await owned(store)))

    assert (await done(store, send(signal("a", BEGINNING_US)))).run_id == "next run"
    assert (await refused(store, send(signal("a", BEGINNING_US), run_id=RUN))).reason is Refusal.CLOSED
    assert (await refused(store, start(run_id="third"))).reason is Refusal.IN_USE


async def test_a_run_that_has_moved_on_can_not_be_continued_and_nothing_begins(store: Store) -> None:
    run = await owned(store)
    await done(store, send(signal("a", BEGINNING_US)))
    await done(store, step(run))

    answer = await refused(store, continue_as_new(run))

    assert answer.reason is Refusal.FENCED
    assert await store.find(NAMESPACE, "", "next run") is None
    assert len(await store.inbox(RUN)) == 1


async def test_a_run_may_be_born_continued(store: Store) -> None:
    begun = start(messages=())
    ended = msgspec.structs.replace(
        begun,
        status=RunStatus.CONTINUED_AS_NEW,
        closed_us=BEGINNING_US,
        successor=start(run_id="next run", namespace=""),
    )

    await done(store, ended)

    assert [(await info(store, id)).generation for id in (RUN, "next run")] == [1, 2]
    assert taken(await store.claim(claim("w1"))) == ["next run"]


async def test_an_answer_that_nobody_fetched_goes_with_the_first_renewal_after_its_time(
    store: Store, host: ClockedHost
) -> None:
    run = await owned(store)
    answers = tuple(
        Reply(id=name, body=b"", expires_us=BEGINNING_US + lasts_s * SECOND_US)
        for name, lasts_s in (("old", 1), ("young", 100))
    )
    await done(store, step(run, events=None, replies=answers))
    host.pass_time(2)

    await store.renew(worker("w1"))

    assert set(await store.replies(["old", "young"])) == {"young"}


async def test_a_closed_run_answers_a_query(store: Store) -> None:
    await done(store, close(await owned(store)))
    closed = await info(store, RUN)
    await done(store, send(codec.pack(Query(id="q", name="state"), BEGINNING_US)))

    found = (await store.claim(claim("w2"))).runs[0]
    answer = Reply(id="q", body=codec.encode(QueryAnswer()), expires_us=BEGINNING_US + SECOND_US)
    await done(store, step(found.run, found.messages, events=None, replies=(answer,)))

    assert await store.replies(["q", "other"]) == {"q": answer.body}
    assert (await info(store, RUN), await store.inbox(RUN)) == (closed, [])


async def test_an_answer_of_a_closed_run_leaves_nothing_in_it(store: Store) -> None:
    await done(store, close(await owned(store)))
    run = await info(store, RUN)

    await done(store, step(run, events=None, messages=(timer(5, BEGINNING_US),), tasks=(task(RUN, 5),)))

    assert await store.inbox(RUN) == [] and await store.tasks(RUN) == []


async def test_a_run_may_be_born_closed(store: Store) -> None:
    await done(store, start(status=RunStatus.COMPLETED, closed_us=BEGINNING_US, new_owner="w1"))

    closed = await info(store, RUN)
    assert (closed.status, closed.owner, await store.inbox(RUN)) == (RunStatus.COMPLETED, None, [])


# Starts. ----------------------------------------------------------------------------------------------------------

ENDS = {
    "completed": RunStatus.COMPLETED,
    "failed": RunStatus.FAILED,
    "canceled": RunStatus.CANCELED,
    "terminated": RunStatus.TERMINATED,
    "timed out": RunStatus.TIMED_OUT,
    "continued as new": RunStatus.CONTINUED_AS_NEW,
}
UNSUCCESSFUL = {"failed", "canceled", "terminated", "timed out"}


async def test_a_start_writes_the_run_its_history_and_its_messages(store: Store) -> None:
    answer = await done(store, start())

    run = await info(store, RUN)
    assert answer == Committed(run_id=RUN)
    assert (run.generation, run.workflow_id, run.task_queue, run.last_event_id) == (1, "order-7", QUEUE, 1)
    assert meanings(await store.inbox(RUN)) == [WorkflowTaskDue()]


@pytest.mark.parametrize("ended", ENDS)
@pytest.mark.parametrize("reuse", IdReusePolicy)
async def test_the_reuse_policy_decides_after_a_closed_run(store: Store, ended: str, reuse: IdReusePolicy) -> None:
    await done(store, close(await owned(store), status=ENDS[ended]))

    answer = await write(store, start(run_id="second", reuse=reuse))

    allowed = reuse in (IdReusePolicy.ALLOW_DUPLICATE, IdReusePolicy.TERMINATE_IF_RUNNING) or (
        reuse is IdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY and ended in UNSUCCESSFUL
    )
    if allowed:
        assert answer == Committed(run_id="second") and (await info(store, "second")).generation == 2
    else:
        assert isinstance(answer, Refused)
        assert answer.reason is Refusal.IN_USE and answer.run is not None and answer.run.run_id == RUN


@pytest.mark.parametrize("conflict", [IdConflictPolicy.UNSPECIFIED, IdConflictPolicy.FAIL])
async def test_an_open_run_is_in_the_way_of_a_start(store: Store, conflict: IdConflictPolicy) -> None:
    await owned(store)

    answer = await refused(store, start(run_id="second", conflict=conflict))

    assert answer.reason is Refusal.IN_USE and answer.run == await info(store, RUN)


async def test_a_start_may_use_the_open_run(store: Store) -> None:
    await owned(store)

    answer = await done(store, start(run_id="second", conflict=IdConflictPolicy.USE_EXISTING))

    assert answer == Committed(run_id=RUN, existing=True)
    assert await store.find(NAMESPACE, "", "second") is None


@pytest.mark.parametrize(
    "policy",
    [{"conflict": IdConflictPolicy.TERMINATE_EXISTING}, {"reuse": IdReusePolicy.TERMINATE_IF_RUNNING}],
    ids=["terminate existing", "terminate if running"],
)
async def test_a_start_may_replace_the_open_run_in_its_own_commit(store: Store, policy: dict[str, object]) -> None:
    run = await owned(store)
    await done(store, send(signal("unread", BEGINNING_US)))
    blind = await refused(store, start(run_id="second", **policy))  # type: ignore[arg-type]
    assert blind.reason is Refusal.IN_USE and blind.run == run

    await done(store, start(run_id="second", replaces=terminate(run), **policy))  # type: ignore[arg-type]

    assert (await info(store, RUN)).status is RunStatus.TERMINATED
    second = await store.find(NAMESPACE, "order-7")
    assert second is not None and (second.run_id, second.generation) == ("second", 2)


async def test_a_start_that_cannot_replace_the_open_run_writes_nothing(store: Store) -> None:
    run = await owned(store)
    await done(store, step(run))
    replacing = start(run_id="second", conflict=IdConflictPolicy.TERMINATE_EXISTING, replaces=terminate(run))

    answer = await refused(store, replacing)

    assert answer.reason is Refusal.IN_USE and answer.run == await info(store, RUN)
    assert answer.run.status is RunStatus.RUNNING and await store.find(NAMESPACE, "", "second") is None


async def test_a_start_replaces_a_run_only_by_a_transition_that_ends_it(store: Store) -> None:
    run, other = await owned(store), await owned(store, workflow_id="other")
    endings = {None: Refusal.IN_USE, terminate(other): Refusal.IN_USE, step(run): Refusal.INVALID}

    for ending, reason in endings.items():
        replacing = start(run_id="second", conflict=IdConflictPolicy.TERMINATE_EXISTING, replaces=ending)
        assert (await refused(store, replacing)).reason is reason

    assert {run.last_event_id for run in await store.list_runs(NAMESPACE)} == {1}


async def test_a_repeated_request_id_returns_the_same_run_whatever_the_policies(store: Store) -> None:
    await done(store, start(request_id="r1"))
    again = start(run_id="second", request_id="r1", reuse=IdReusePolicy.REJECT_DUPLICATE)
    assert await done(store, again) == Committed(run_id=RUN, existing=True)

    await done(store, terminate(await info(store, RUN)))
    await done(store, start(run_id="third"))

    assert await done(store, again) == Committed(run_id=RUN, existing=True)


async def test_the_runs_of_a_workflow_are_counted(store: Store) -> None:
    for name in ("first", "second", "third"):
        await done(store, start(run_id=name))
        await done(store, terminate(await info(store, name)))

    assert [(await info(store, name)).generation for name in ("first", "second", "third")] == [1, 2, 3]


async def test_a_request_id_counts_for_its_own_workflow_only(store: Store) -> None:
    await done(store, start(request_id="r1"))

    assert await done(store, start("other", request_id="r1")) == Committed(run_id="run of other")


async def test_the_same_workflow_id_in_two_namespaces_is_two_workflows(store: Store) -> None:
    await done(store, start())

    await done(store, start(run_id="elsewhere", namespace="staging"))

    found = await store.find("staging", "order-7")
    assert found is not None and (found.run_id, found.generation) == ("elsewhere", 1)
    assert await store.find("staging", "", RUN) is None


# Sends. -----------------------------------------------------------------------------------------------------------


async def test_a_message_reaches_the_latest_run(store: Store) -> None:
    await done(store, close(await owned(store)))
    await done(store, start(run_id="second", messages=()))

    answer = await done(store, send(signal("a", BEGINNING_US)))

    assert answer.run_id == "second" and len(await store.inbox("second")) == 1


async def test_a_message_for_a_run_that_is_not_there_is_refused(store: Store) -> None:
    run = await owned(store)
    message = signal("a", BEGINNING_US)

    for nowhere in (
        send(message, "unknown"),
        send(message, run_id="unknown"),
        send(message, "other workflow", run_id=RUN),
        send(message, namespace="staging"),
        send(message, namespace="staging", run_id=RUN),
        send(message, first_execution_run_id="another chain"),
    ):
        assert (await refused(store, nowhere)).reason is Refusal.NOT_FOUND
    await done(store, send(message, first_execution_run_id=run.first_execution_run_id))
    await done(store, send(message, "", run_id=RUN))


async def test_a_signal_may_come_with_the_start_of_its_run(store: Store) -> None:
    answers = await store.commit([send(signal("a", BEGINNING_US)), start()])

    assert answers == [Committed(run_id=RUN), Committed(run_id=RUN)]
    assert meanings(await store.inbox(RUN)) == [WorkflowTaskDue(), Signal(name="a")]


# A write fails alone. ---------------------------------------------------------------------------------------------


async def test_a_refused_write_takes_no_other_along(store: Store) -> None:
    good, bad = await owned(store), await owned(store, workflow_id="other")

    answers = await store.commit([step(bad, owner="w2"), step(good), send(signal("a", BEGINNING_US), "nowhere")])

    assert [type(answer) for answer in answers] == [Refused, Committed, Refused]
    assert (await info(store, RUN)).last_event_id == 2


@pytest.mark.parametrize("bad", ["\ud800", "nul\0"])
async def test_data_that_a_database_refuses_fails_alone(store: Store, bad: str) -> None:
    writes: list[Transition] = [start(f"order-{i}") for i in range(9)]
    assert writes[4].start is not None
    writes[4] = msgspec.structs.replace(writes[4], start=msgspec.structs.replace(writes[4].start, workflow_id=bad))

    answers = await store.commit(writes)

    others = [i for i in range(9) if i != 4]
    assert [answers[i] for i in others] == [Committed(run_id=f"run of order-{i}") for i in others]
    assert [len(await store.inbox(f"run of order-{i}")) for i in others] == [1] * 8
    culprit = answers[4]
    assert isinstance(culprit, Refused) and culprit.reason is Refusal.INVALID and culprit.detail
    assert len(await store.list_runs(NAMESPACE)) == 8
    assert await store.find(NAMESPACE, bad) is None


async def test_numbers_that_no_database_holds_fail_alone(store: Store) -> None:
    await owned(store)

    answers = await store.commit([send(signal("b", BEGINNING_US)), send(signal("a", 2**70))])

    assert isinstance(answers[1], Refused) and answers[1].reason is Refusal.INVALID
    assert meanings(await store.inbox(RUN)) == [Signal(name="b")]


async def test_a_run_id_that_is_taken_fails_alone(store: Store) -> None:
    await done(store, start())

    answers = await store.commit([start("other", run_id=RUN), start("third")])

    assert isinstance(answers[0], Refused) and answers[0].reason is Refusal.INVALID
    assert answers[1] == Committed(run_id="run of third")


# Who may claim a run. ---------------------------------------------------------------------------------------------


async def test_a_run_with_a_due_message_that_nobody_owns_is_claimed_with_its_history(store: Store) -> None:
    await done(store, start())

    found = await store.claim(claim("w1"))

    assert taken(found) == [RUN]
    assert found.runs[0].history == await store.history(RUN)
    assert meanings(found.runs[0].messages) == [WorkflowTaskDue()]
    assert found.runs[0].run == await info(store, RUN) and found.runs[0].run.owner == "w1"


async def test_a_run_without_a_due_message_is_left_alone(store: Store) -> None:
    await done(store, start(messages=(due(BEGINNING_US + SECOND_US),)))

    found = await store.claim(claim())

    assert (taken(found), found.next_due_us) == ([], BEGINNING_US + SECOND_US)
    assert (await info(store, RUN)).owner is None


async def test_a_timer_is_claimed_when_it_is_due_and_not_a_microsecond_earlier(store: Store, host: ClockedHost) -> None:
    run = await owned(store)
    await done(store, step(run, messages=(timer(5, BEGINNING_US + 2 * SECOND_US),)))

    host.pass_time(1.999999)
    early = await store.claim(claim())
    host.pass_time(0.000001)
    due_now = await store.claim(claim())

    assert (taken(early), early.next_due_us) == ([], BEGINNING_US + 2 * SECOND_US)
    assert meanings(due_now.runs[0].messages) == [TimerDue(started_event_id=5)]


async def test_a_message_that_is_not_due_cannot_be_consumed(store: Store, host: ClockedHost) -> None:
    run = await owned(store)
    await done(store, step(run, messages=(timer(5, BEGINNING_US + SECOND_US),)))
    run, messages = await info(store, RUN), await store.inbox(RUN)

    assert (await refused(store, step(run, messages))).reason is Refusal.MISSING
    host.pass_time(1)
    await done(store, step(run, messages))


async def test_a_run_of_a_living_owner_is_left_to_it(store: Store) -> None:
    await owned(store, "w1")
    await done(store, send(signal("a", BEGINNING_US)))

    other = await store.claim(claim("w2"))

    assert taken(other) == [] and other.next_due_us == BEGINNING_US + 10 * SECOND_US
    assert taken(await store.claim(claim("w1"))) == [RUN]


async def test_a_message_that_has_waited_ten_seconds_may_be_stolen_with_its_run(
    store: Store, host: ClockedHost
) -> None:
    run = await owned(store, "w1")
    await done(store, send(signal("a", BEGINNING_US)))

    host.pass_time(9.999999)
    early = await store.claim(claim("w2"))
    host.pass_time(0.000001)
    late = await store.claim(claim("w2"))

    assert (taken(early), taken(late)) == ([], [RUN])
    assert (await refused(store, step(run))).reason is Refusal.FENCED


async def test_two_workers_do_not_claim_the_same_run(store: Store) -> None:
    await store.commit([start(f"order-{i}") for i in range(5)])

    first = taken(await store.claim(claim("w1", max_runs=3)))
    second = taken(await store.claim(claim("w2")))

    assert (len(first), len(second)) == (3, 2) and not set(first) & set(second)


async def test_a_claim_takes_the_runs_that_waited_longest_and_says_when_there_are_more(
    store: Store, host: ClockedHost
) -> None:
    for i in range(4):
        await done(store, start(f"order-{i}", messages=(due(store.now_us()),)))
        host.pass_time(1)

    found = await store.claim(claim(max_runs=3))
    rest = await store.claim(claim(max_runs=3, busy=set(taken(found))))

    assert (taken(found), found.more) == (["run of order-0", "run of order-1", "run of order-2"], True)
    assert (taken(rest), rest.more) == (["run of order-3"], False)


async def test_other_queues_and_namespaces_are_not_claimed(store: Store) -> None:
    await store.commit([start("a", queue="other"), start("b", namespace="staging")])

    found = await store.claim(claim())

    assert (taken(found), found.next_due_us) == ([], None)
    assert taken(await store.claim(claim(workflow_queues=("other", QUEUE)))) == ["run of a"]


async def test_a_busy_run_is_left_alone_and_named(store: Store) -> None:
    await owned(store)
    await done(store, send(signal("a", BEGINNING_US)))

    found = await store.claim(claim(busy={RUN, "another"}))

    assert (taken(found), found.waiting) == ([], [RUN])


@pytest.mark.parametrize("apart_us", [0, 1])
async def test_a_flood_of_messages_for_runs_that_are_left_alone_hides_no_other(
    store: Store, host: ClockedHost, apart_us: int
) -> None:
    names = ("foreign", "busy", "mine")
    for owner, name in zip(("w2", "w1", "w1"), names, strict=True):
        await owned(store, owner, name)
    await store.commit([send(signal(f"s{i}", BEGINNING_US + i * apart_us), name) for i in range(300) for name in names])
    await done(store, start("late", messages=(due(BEGINNING_US + 300 * apart_us),)))
    host.pass_time(1)

    found = await store.claim(claim("w1", busy={"run of busy"}))

    assert (set(taken(found)), found.waiting) == ({"run of mine", "run of late"}, ["run of busy"])
    assert found.next_due_us == BEGINNING_US + 10 * SECOND_US and not found.more
    assert sorted(len(each.messages) for each in found.runs) == [1, 300]


async def test_history_is_read_only_when_the_copy_in_memory_is_behind(store: Store) -> None:
    await owned(store)
    await done(store, send(signal("a", BEGINNING_US)))

    fresh = await store.claim(claim(cached={RUN: 1}))
    stale = await store.claim(claim(cached={RUN: 0}))

    assert fresh.runs[0].history is None and stale.runs[0].history == await store.history(RUN)


async def test_a_claim_brings_the_oldest_messages_up_to_its_limit(store: Store) -> None:
    run = await owned(store)
    await store.commit([send(signal(str(i), BEGINNING_US)) for i in range(7)])

    found = await store.claim(claim(max_messages_per_run=5))
    assert meanings(found.runs[0].messages) == [Signal(name=str(i)) for i in range(5)]
    await done(store, step(run, found.runs[0].messages))

    assert len((await store.claim(claim())).runs[0].messages) == 2


async def test_a_run_that_may_have_more_messages_than_a_claim_brings_is_to_be_asked_for_again(store: Store) -> None:
    await owned(store)
    await store.commit([send(signal(str(i), BEGINNING_US)) for i in range(7)])

    waiting = [(await store.claim(claim(max_messages_per_run=limit))).waiting for limit in (6, 7, 8)]

    assert waiting == [[RUN], [RUN], []]


async def test_a_parked_run_keeps_its_reason_until_it_goes_on(store: Store) -> None:
    run = await owned(store)

    await done(store, step(run, parked="the code no longer fits"))
    parked = await info(store, RUN)
    await done(store, step(parked))

    assert (parked.parked, (await info(store, RUN)).parked) == ("the code no longer fits", None)


async def test_a_step_without_events_ends_no_parking(store: Store) -> None:
    run = await owned(store)
    await done(store, step(run, parked="no such step", new_owner=None))

    await done(store, step(await info(store, RUN), events=None, new_owner="w2"))

    parked = await info(store, RUN)
    assert (parked.parked, parked.owner) == ("no such step", "w2")


async def test_unparking_makes_parked_runs_of_the_queue_due_at_once_for_the_worker_that_asks(store: Store) -> None:
    later = due(BEGINNING_US + 600 * SECOND_US)
    for name, parked in (("a", "broken"), ("b", "broken"), ("c", None)):
        await done(store, start(name, messages=(later,), parked=parked))
    await done(store, start("d", queue="other", messages=(later,), parked="broken"))

    assert await store.unpark(NAMESPACE, [QUEUE], "w1") == 2

    assert taken(await store.claim(claim("w2"))) == []
    assert sorted(taken(await store.claim(claim()))) == ["run of a", "run of b"]
    assert await store.unpark(NAMESPACE, [QUEUE], "w1") == 0


# Timers. ----------------------------------------------------------------------------------------------------------


async def test_a_cancelled_timer_never_fires(store: Store, host: ClockedHost) -> None:
    run = await owned(store)
    at_us = BEGINNING_US + SECOND_US
    await done(store, step(run, messages=(timer(5, at_us), timer(6, at_us))))

    await done(store, step(await info(store, RUN), taken_back=(5,)))
    host.pass_time(1)

    assert meanings((await store.claim(claim())).runs[0].messages) == [TimerDue(started_event_id=6)]


# Activities. ------------------------------------------------------------------------------------------------------


async def scheduled(store: Store, **changes: object) -> None:
    """A run of w1, and an activity, event 5, that waits."""
    run = await owned(store)
    await done(store, step(run, tasks=(task(RUN, 5, **changes),)))


async def test_an_activity_is_claimed_once_and_its_attempt_begins(store: Store) -> None:
    spec = msgspec.structs.replace(task(RUN, 5).spec, start_to_close_timeout_us=3 * SECOND_US)
    await scheduled(store, spec=spec)

    mine = await store.claim(claim("w1"))
    other = await store.claim(claim("w2"))

    begun = attempts.begun(task(RUN, 5, spec=spec), "w1", BEGINNING_US)
    assert (mine.activities, other.activities) == ([begun], [])
    assert begun.attempt == 1 and begun.deadline_us == BEGINNING_US + 3 * SECOND_US
    assert await store.tasks(RUN) == [begun]


async def test_an_activity_that_is_not_due_is_left_alone(store: Store) -> None:
    await scheduled(store, due_us=BEGINNING_US + SECOND_US)

    found = await store.claim(claim())

    assert (found.activities, found.next_due_us) == ([], BEGINNING_US + SECOND_US)


async def test_a_claim_takes_no_more_activities_than_it_has_room_for(store: Store) -> None:
    run = await owned(store)
    await done(store, step(run, tasks=tuple(task(RUN, 5 + i) for i in range(5))))

    found = await store.claim(claim(max_activities=3))

    assert (len(found.activities), found.more) == (3, True)
    assert len((await store.claim(claim(max_activities=3))).activities) == 2


async def test_an_outcome_ends_the_task_and_reaches_the_run(store: Store) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w2"))).activities[0]

    await done(store, attempts.report(held, attempts.completed(held, [], "w2"), BEGINNING_US))

    assert await store.tasks(RUN) == []
    assert meanings(await store.inbox(RUN)) == [attempts.completed(held, [], "w2")]
    assert taken(await store.claim(claim("w1"))) == [RUN]


async def test_a_late_attempt_is_refused_by_its_token(store: Store) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w2"))).activities[0]
    await done(store, attempts.report(held, attempts.handed_back(held, BEGINNING_US), BEGINNING_US))
    again = (await store.claim(claim("w1"))).activities[0]

    late = await refused(store, attempts.report(held, attempts.completed(held, [], "w2"), BEGINNING_US))

    assert late.reason is Refusal.MISSING and await store.tasks(RUN) == [again]
    assert await store.inbox(RUN) == []


async def test_an_earlier_attempt_of_the_same_worker_is_refused_by_its_token(store: Store) -> None:
    await scheduled(store)
    first = (await store.claim(claim("w1"))).activities[0]
    again = Retry(due_us=BEGINNING_US, deadline_us=None, progress=ActivityProgress(), attempt=1)
    await done(store, attempts.report(first, again, BEGINNING_US))
    await store.claim(claim("w1"))

    late = attempts.report(first, attempts.completed(first, [], "w1"), BEGINNING_US)

    assert (await refused(store, late)).reason is Refusal.MISSING
    reading = step(await info(store, RUN), finished=(attempts.token(first),))
    assert (await refused(store, reading)).reason is Refusal.MISSING


async def test_an_attempt_that_was_handed_back_is_over_within_the_same_batch(store: Store) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w1"))).activities[0]
    again = Retry(due_us=BEGINNING_US, deadline_us=None, progress=ActivityProgress(), attempt=1)
    ended = attempts.completed(held, [], "w1")

    answers = await store.commit([attempts.report(held, what, BEGINNING_US) for what in (again, ended)])

    assert [type(answer) for answer in answers] == [Committed, Refused]
    assert [(each.owner, each.attempt) for each in await store.tasks(RUN)] == [(None, 1)]


async def test_an_outcome_counts_once(store: Store) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w2"))).activities[0]
    report = attempts.report(held, attempts.completed(held, [], "w2"), BEGINNING_US)

    answers = await store.commit([report, report])

    assert isinstance(answers[0], Committed) and isinstance(answers[1], Refused)
    assert (await refused(store, report)).reason is Refusal.MISSING
    assert len(await store.inbox(RUN)) == 1


async def test_a_finished_attempt_ends_with_the_transition_that_reads_it(store: Store) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w1"))).activities[0]
    run = await info(store, RUN)

    await done(store, step(run, finished=(attempts.token(held),)))

    assert await store.tasks(RUN) == []
    again = step(await info(store, RUN), finished=(attempts.token(held),))
    assert (await refused(store, again)).reason is Refusal.MISSING


async def test_a_retry_waits_for_its_time_and_brings_what_the_last_attempt_left(
    store: Store, host: ClockedHost
) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w1"))).activities[0]
    progress = ActivityProgress(heartbeat_details=[Payload(data=b"half")])
    later_us = BEGINNING_US + SECOND_US
    again = Retry(due_us=later_us, deadline_us=None, progress=progress, attempt=1)

    await done(store, ActivityReport(token=attempts.token(held), what=again))
    early = await store.claim(claim("w2"))
    host.pass_time(1)
    second = (await store.claim(claim("w2"))).activities[0]

    assert (early.activities, early.next_due_us) == ([], later_us)
    assert (second.attempt, second.owner, second.progress) == (2, "w2", progress)


async def test_a_heartbeat_moves_the_deadline_and_tells_of_a_cancellation(store: Store) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w2"))).activities[0]
    details = ActivityProgress(heartbeat_details=[Payload(data=b"half")])
    beat = ActivityReport(token=attempts.token(held), what=Beat(deadline_us=BEGINNING_US + 9, progress=details))

    quiet = await done(store, beat)
    await done(store, step(await info(store, RUN), cancelled_activities=(cancelling(5),)))
    told = await done(store, beat)

    assert (quiet.cancel_requested, told.cancel_requested) == (False, True)
    stored = (await store.tasks(RUN))[0]
    assert (stored.deadline_us, stored.progress) == (BEGINNING_US + 9, details)


async def test_a_task_past_its_deadline_is_overdue_for_the_workflows_queue(store: Store, host: ClockedHost) -> None:
    await scheduled(store, task_queue="elsewhere", deadline_us=BEGINNING_US + SECOND_US)

    early = await store.claim(claim())
    host.pass_time(1)
    late = await store.claim(claim())
    elsewhere = await store.claim(claim(workflow_queues=(), activity_queues=("elsewhere",)))

    assert (early.overdue, early.next_due_us) == ([], BEGINNING_US + SECOND_US)
    assert late.overdue == await store.tasks(RUN)
    assert elsewhere.activities == []  # its time to be started is over


async def test_an_unclaimed_task_that_timed_out_is_reported_by_whoever_finds_it(
    store: Store, host: ClockedHost
) -> None:
    spec = msgspec.structs.replace(task(RUN, 5).spec, schedule_to_start_timeout_us=SECOND_US)
    await scheduled(store, spec=spec, deadline_us=BEGINNING_US + SECOND_US)
    host.pass_time(1)
    overdue = (await store.claim(claim("w2", activity_queues=()))).overdue[0]
    verdict = attempts.expired(overdue, store.now_us())
    assert verdict is not None

    await done(store, attempts.report(overdue, verdict, store.now_us()))

    assert await store.tasks(RUN) == [] and meanings(await store.inbox(RUN)) == [verdict]


async def test_cancelling_an_unclaimed_activity_ends_it_at_once(store: Store) -> None:
    await scheduled(store)

    await done(store, step(await info(store, RUN), cancelled_activities=(cancelling(5),)))

    assert await store.tasks(RUN) == []
    assert [message.body for message in await store.inbox(RUN)] == [cancelling(5).outcome.body]


async def test_cancelling_a_claimed_activity_tells_its_worker(store: Store) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w2"))).activities[0]

    await done(store, step(await info(store, RUN), cancelled_activities=(cancelling(5),)))

    assert (await store.claim(claim("w2"))).cancelled == [attempts.token(held)]
    assert (await store.claim(claim("w1"))).cancelled == []
    assert await store.inbox(RUN) == []


async def test_cancelling_an_activity_of_the_same_transition_ends_it_at_once(store: Store) -> None:
    run = await owned(store)

    await done(store, step(run, tasks=(task(RUN, 5),), cancelled_activities=(cancelling(5),)))

    assert await store.tasks(RUN) == [] and len(await store.inbox(RUN)) == 1


async def test_cancelling_an_activity_that_is_over_does_nothing(store: Store) -> None:
    run = await owned(store)
    await done(store, step(run, messages=(outcome(5),)))

    await done(store, step(await info(store, RUN), cancelled_activities=(cancelling(5),)))

    assert [message.body for message in await store.inbox(RUN)] == [outcome(5).body]


async def test_an_activity_to_be_cancelled_does_not_wait_for_its_next_attempt(store: Store) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w2"))).activities[0]
    await done(store, step(await info(store, RUN), cancelled_activities=(cancelling(5),)))
    far = Retry(due_us=BEGINNING_US + 600 * SECOND_US, deadline_us=None, progress=held.progress, attempt=1)

    await done(store, ActivityReport(token=attempts.token(held), what=far))

    assert [each.cancel_requested for each in (await store.claim(claim("w1"))).activities] == [True]


async def test_a_task_inserted_as_claimed_is_nobody_elses(store: Store) -> None:
    run = await owned(store, "w1")
    mine = attempts.begun(task(RUN, 5), "w1", BEGINNING_US)

    await done(store, step(run, tasks=(mine,)))

    assert (await store.claim(claim("w2"))).activities == []
    assert (await store.renew(worker("w1"))).attempts == [attempts.token(mine)]


# Death. -----------------------------------------------------------------------------------------------------------


async def both_renew(store: Store, host: ClockedHost, *workers: str, seconds: float, rounds: int) -> list[str]:
    """Who is declared dead while these workers renew, round after round."""
    died: list[str] = []
    for _ in range(rounds):
        host.pass_time(seconds)
        for name in workers:
            died += (await store.renew(worker(name))).died
    return died


async def test_a_worker_that_stops_renewing_is_declared_dead_when_its_lease_is_over(
    store: Store, host: ClockedHost
) -> None:
    assert await both_renew(store, host, "w2", seconds=1, rounds=5) == []

    assert await both_renew(store, host, "w2", seconds=1, rounds=1) == ["w1"]

    assert await both_renew(store, host, "w2", seconds=1, rounds=5) == []


async def test_a_worker_that_was_late_itself_declares_nobody_dead(store: Store, host: ClockedHost) -> None:
    assert await both_renew(store, host, "w2", seconds=60, rounds=1) == []
    assert await both_renew(store, host, "w2", seconds=1, rounds=1) == []

    assert await both_renew(store, host, "w2", seconds=1, rounds=1) == ["w1"]


async def test_workers_that_renew_live_on(store: Store, host: ClockedHost) -> None:
    assert await both_renew(store, host, "w1", "w2", seconds=2, rounds=20) == []
    assert (await store.renew(worker("w1"))).alive


async def kill_w1(store: Store, host: ClockedHost) -> None:
    assert await both_renew(store, host, "w2", seconds=2, rounds=3) == ["w1"]


async def test_death_is_final(store: Store, host: ClockedHost) -> None:
    await kill_w1(store, host)

    renewal = await store.renew(worker("w1"))

    assert (renewal.alive, renewal.attempts, renewal.died) == (False, [], [])
    with pytest.raises(WorkerDead, match="w1"):
        await store.claim(claim("w1"))


async def test_the_runs_of_a_dead_worker_move_at_once(store: Store, host: ClockedHost) -> None:
    run = await owned(store, "w1")
    await done(store, send(signal("a", BEGINNING_US)))

    await kill_w1(store, host)

    assert store.now_us() < BEGINNING_US + 10 * SECOND_US  # it is not stolen
    assert (await info(store, RUN)).owner is None
    assert taken(await store.claim(claim("w2"))) == [RUN]
    assert (await refused(store, step(run))).reason is Refusal.FENCED


async def test_the_attempts_of_a_dead_worker_are_lost_and_overdue(store: Store, host: ClockedHost) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w1"))).activities[0]

    await kill_w1(store, host)

    lost = (await store.claim(claim("w2"))).overdue
    assert [(each.lost, each.owner, each.deadline_us) for each in lost] == [(True, "w1", store.now_us())]
    verdict = attempts.expired(lost[0], store.now_us())
    assert isinstance(verdict, Retry)
    await done(store, attempts.report(lost[0], verdict, store.now_us()))
    host.pass_time(1)
    again = (await store.claim(claim("w2"))).activities
    assert [(each.attempt, each.lost, each.owner) for each in again] == [(2, False, "w2")]
    late = attempts.report(held, attempts.completed(held, [], "w1"), BEGINNING_US)
    assert (await refused(store, late)).reason is Refusal.MISSING


async def test_a_lost_attempt_cannot_be_kept_alive_by_its_heartbeat(store: Store, host: ClockedHost) -> None:
    await scheduled(store)
    held = (await store.claim(claim("w1"))).activities[0]
    await kill_w1(store, host)

    assert (await refused(store, attempts.beat(held, [], store.now_us()))).reason is Refusal.MISSING

    assert [each.lost for each in (await store.claim(claim("w2"))).overdue] == [True]


async def test_a_dead_worker_that_stops_hands_no_lost_attempt_back(store: Store, host: ClockedHost) -> None:
    await scheduled(store)
    await store.claim(claim("w1"))
    await kill_w1(store, host)

    await store.release("w1")

    assert [(each.lost, each.attempt, each.owner) for each in await store.tasks(RUN)] == [(True, 1, "w1")]
    assert not (await store.renew(worker("w1"))).alive


async def test_a_dead_worker_cannot_be_given_a_run_or_a_task(store: Store, host: ClockedHost) -> None:
    await kill_w1(store, host)

    for late in (start(new_owner="w1"), start(tasks=(attempts.begun(task(RUN, 5), "w1", BEGINNING_US),))):
        assert (await refused(store, late)).reason is Refusal.FENCED


async def test_a_worker_nobody_knows_may_not_claim(store: Store) -> None:
    with pytest.raises(WorkerDead, match="stranger"):
        await store.claim(claim("stranger"))


async def test_a_worker_id_is_used_once(store: Store) -> None:
    with pytest.raises(ValueError, match="w1"):
        await store.register(worker("w1"))


async def test_a_released_worker_hands_everything_back_at_once(store: Store) -> None:
    spec = msgspec.structs.replace(task(RUN, 5).spec, schedule_to_start_timeout_us=7 * SECOND_US)
    await scheduled(store, spec=spec)
    await store.claim(claim("w1"))
    await done(store, send(signal("a", BEGINNING_US)))

    await store.release("w1")

    assert (await info(store, RUN)).owner is None
    found = await store.claim(claim("w2"))
    assert taken(found) == [RUN]
    assert [(each.attempt, each.owner) for each in found.activities] == [(1, "w2")]
    assert [attempts.is_ambiguous(each) for each in found.activities] == [True]  # its code may have begun
    with pytest.raises(WorkerDead):
        await store.claim(claim("w1"))


# Reading. ---------------------------------------------------------------------------------------------------------


async def test_runs_are_listed_newest_first_by_pages(store: Store) -> None:
    await store.commit([start(f"order-{i}", run_id=f"id-{i}") for i in range(5)])
    await done(store, terminate(await info(store, "id-2")))

    page = await store.list_runs(NAMESPACE, limit=2)
    rest = await store.list_runs(NAMESPACE, after=position(page[-1]))
    closed = await store.list_runs(NAMESPACE, Search(parse("ExecutionStatus = 'Terminated'")))

    assert [run.run_id for run in page + rest] == ["id-4", "id-3", "id-2", "id-1", "id-0"]
    assert [run.run_id for run in closed] == ["id-2"]
    assert await store.list_runs("staging") == []


async def test_runs_of_all_statuses_are_listed_together_and_each_namespace_alone(store: Store) -> None:
    for i in range(6):
        await done(store, start(f"order-{i}", f"run {i}", namespace="staging" if i == 3 else NAMESPACE))
    await done(store, terminate(await info(store, "run 1")))
    await done(store, close(await info(store, "run 4")))

    listed = await store.list_runs(NAMESPACE)
    page = await store.list_runs(NAMESPACE, limit=2, after=position(listed[1]))

    assert [run.run_id for run in listed] == ["run 5", "run 4", "run 2", "run 1", "run 0"]
    assert [run.run_id for run in page] == ["run 2", "run 1"]
    assert [run.run_id for run in await store.list_runs("staging")] == ["run 3"]


async def test_endings_are_the_last_rows_of_those_that_are_closed(store: Store) -> None:
    for workflow_id in "abc":
        await owned(store, workflow_id=workflow_id)
    closing = close(await info(store, "run of a"))
    await store.commit([closing, step(await info(store, "run of b")), terminate(await info(store, "run of c"))])

    found = await store.endings(["run of a", "nowhere", "run of b"])

    assert closing.events is not None
    assert found == {"run of a": closing.events.data}
    assert await store.endings([]) == {}


@pytest.mark.parametrize(("after", "first_ids"), [(0, [1, 2, 5]), (1, [2, 5]), (3, [2, 5]), (4, [5]), (5, []), (9, [])])
async def test_history_is_read_from_the_row_that_holds_the_next_event(
    store: Store, after: int, first_ids: list[int]
) -> None:
    run = await owned(store)
    await done(store, step(run, events=events(2, 3)))
    await done(store, step(await info(store, RUN)))

    assert [codec.decode_events(row)[0].id for row in await store.history(RUN, after)] == first_ids


async def test_a_reply_can_be_given_again(store: Store) -> None:
    run = await owned(store)
    reply = Reply(id="q", body=b"first", expires_us=BEGINNING_US + SECOND_US)

    await done(store, step(run, events=None, replies=(reply,)))
    await done(store, step(run, events=None, replies=(msgspec.structs.replace(reply, body=b"second"),)))

    assert await store.replies(["q"]) == {"q": b"second"}


async def test_expired_replies_are_removed_in_the_end(store: Store, host: ClockedHost) -> None:
    run = await owned(store)
    replies = tuple(Reply(id=str(s), body=b"", expires_us=BEGINNING_US + s * SECOND_US) for s in (30, 3600))
    await done(store, step(run, events=None, replies=replies))

    await both_renew(store, host, "w1", "w2", seconds=2, rounds=40)

    assert await store.replies(["30", "3600"]) == {"3600": b""}


async def test_new_ids_differ(store: Store) -> None:
    assert len({store.new_id() for _ in range(100)}) == 100
