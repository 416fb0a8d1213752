"""What `durable.history.store` promises of activities that are let go of, paused, reset or urgent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from durable.history import attempts
from durable.history.messages import ActivityOutcome, Failed
from durable.history.store import Store
from durable.history.stores import open_store
from durable.history.transition import (
    OUTSIDE,
    ActivityControl,
    ActivityPause,
    ActivityProgress,
    ActivityReport,
    ActivityTask,
    Committed,
    Refusal,
    Refused,
    Retry,
)
from durable.history.values import ApplicationFailureInfo, Failure, Payload, Priority, RetryPolicy
from tests.history.worlds import (
    BEGINNING_US,
    QUEUE,
    SECOND_US,
    ClockedHost,
    cancelling,
    claim,
    done,
    info,
    meanings,
    owned,
    refused,
    step,
    store_url,
    task,
    worker,
)

RUN = "run of order-7"
PAUSE = ActivityPause(time_us=BEGINNING_US, identity="me", reason="the bank is closed")
PAUSED = ActivityControl(pause=PAUSE)
BOOM = Failure(message="boom", info=ApplicationFailureInfo(type="Boom"))
HALF = ActivityProgress(heartbeat_details=[Payload(data=b"half")])


@pytest.fixture(params=["sqlite-file", "postgres", pytest.param("pooled", marks=pytest.mark.all)])
async def store(request: pytest.FixtureRequest, host: ClockedHost) -> AsyncIterator[Store]:
    async with open_store(store_url(request), host) as opened:
        await opened.register(worker("w1"))
        await opened.register(worker("w2"))
        yield opened


def an_activity(event_id: int = 5, **changes: object) -> ActivityTask:
    made = task(RUN, event_id)
    return msgspec.structs.replace(made, spec=msgspec.structs.replace(made.spec, **changes))


async def scheduled(store: Store, *tasks: ActivityTask) -> None:
    """A run of w2, and activities that wait."""
    await done(store, step(await owned(store, "w2"), tasks=tasks or (an_activity(),)))


async def begun(store: Store, **changes: object) -> ActivityTask:
    """An attempt of w1 that is under way."""
    await scheduled(store, an_activity(**changes))
    (held,) = (await store.claim(claim("w1"))).activities
    return held


async def now(store: Store) -> ActivityTask:
    (found,) = await store.tasks(RUN)
    return found


async def kill_w1(store: Store, host: ClockedHost) -> None:
    died: list[str] = []
    for _ in range(3):
        host.pass_time(2)
        died += (await store.renew(worker("w2"))).died
    assert died == ["w1"]


def failure_of(held: ActivityTask) -> ActivityReport:
    return attempts.report(held, attempts.failed(held, BOOM, "w1", BEGINNING_US), BEGINNING_US)


# Let go of. -----------------------------------------------------------------------------------------------------------


async def let_go(store: Store, held: ActivityTask) -> ActivityTask:
    await done(store, attempts.report(held, attempts.detached(held, store.now_us()), store.now_us()))
    return await now(store)


async def test_an_attempt_that_is_let_go_of_goes_on_as_nobodys(store: Store) -> None:
    held = msgspec.structs.replace(await begun(store), progress=HALF)

    outside = await let_go(store, held)

    assert outside == msgspec.structs.replace(held, owner=OUTSIDE)
    assert attempts.task_token(outside) == attempts.task_token(held)
    assert (await store.renew(worker("w1"))).attempts == []
    assert (await store.claim(claim("w1"))).activities == (await store.claim(claim("w2"))).activities == []


async def test_who_has_let_go_of_an_attempt_can_not_end_it(store: Store) -> None:
    held = await begun(store)
    ended = attempts.report(held, attempts.completed(held, [], "w1"), BEGINNING_US)

    leaving = attempts.report(held, attempts.detached(held, BEGINNING_US), BEGINNING_US)
    answers = await store.commit([leaving, ended, leaving])

    assert [type(answer) for answer in answers] == [Committed, Refused, Refused]
    assert (await refused(store, ended)).reason is Refusal.MISSING


async def test_neither_the_death_nor_the_stop_of_its_worker_touches_an_attempt_that_was_let_go_of(
    store: Store, host: ClockedHost
) -> None:
    outside = await let_go(store, await begun(store))

    await store.release("w1")
    await store.register(worker("w3"))
    assert await now(store) == outside
    assert (await store.claim(claim("w2"))).overdue == []

    await done(store, attempts.report(outside, attempts.completed(outside, [], "me"), store.now_us()))
    assert meanings(await store.inbox(RUN)) == [attempts.completed(outside, [], "me")]


async def test_an_attempt_that_was_let_go_of_outlives_its_worker(store: Store, host: ClockedHost) -> None:
    outside = await let_go(store, await begun(store))

    await kill_w1(store, host)

    assert await now(store) == outside and (await store.claim(claim("w2"))).overdue == []


async def test_an_attempt_whose_worker_was_declared_dead_is_let_go_of_too_late(store: Store, host: ClockedHost) -> None:
    held = await begun(store)
    await kill_w1(store, host)

    late = attempts.report(held, attempts.detached(held, store.now_us()), store.now_us())

    assert (await refused(store, late)).reason is Refusal.MISSING
    assert [each.owner for each in (await store.claim(claim("w2"))).overdue] == ["w1"]


async def test_an_attempt_that_was_let_go_of_is_overdue_at_its_deadline(store: Store, host: ClockedHost) -> None:
    outside = await let_go(store, await begun(store, heartbeat_timeout_us=SECOND_US))
    await store.release("w1")
    assert (await store.claim(claim("w2"))).next_due_us == BEGINNING_US + SECOND_US

    host.pass_time(1)
    (overdue,) = (await store.claim(claim("w2"))).overdue

    assert overdue == outside
    report = attempts.overdue(overdue, store.now_us())
    assert report is not None and isinstance(report.what, Retry)
    await done(store, report)
    host.pass_time(1)
    assert [each.attempt for each in (await store.claim(claim("w2"))).activities] == [2]


# Paused. --------------------------------------------------------------------------------------------------------------


async def test_a_paused_activity_is_not_claimed_until_it_is_unpaused(store: Store) -> None:
    await scheduled(store)
    await done(store, attempts.paused(await now(store), PAUSE))

    found = await store.claim(claim())
    assert (found.activities, found.next_due_us) == ([], None)
    assert (await now(store)).control == PAUSED

    later_us = BEGINNING_US
    await done(store, attempts.unpaused(await now(store), later_us, reset_attempts=False, reset_heartbeat=False))
    (held,) = (await store.claim(claim())).activities
    assert (held.attempt, held.control) == (1, ActivityControl())


async def test_an_attempt_under_way_is_told_of_a_pause_and_the_next_one_waits(store: Store) -> None:
    held = await begun(store)
    await done(store, attempts.paused(held, PAUSE))

    told = await done(store, attempts.beat(held, [], BEGINNING_US))
    assert (told.paused, told.reset, told.cancel_requested) == (True, False, False)

    await done(store, attempts.report(held, attempts.interrupted(held, BOOM, BEGINNING_US), BEGINNING_US))
    waits = await now(store)
    assert (waits.owner, waits.attempt, waits.control) == (None, 1, PAUSED)


async def test_a_pause_that_does_not_know_of_the_attempt_under_way_is_refused(store: Store) -> None:
    await scheduled(store)
    unaware = attempts.paused(await now(store), PAUSE)
    await store.claim(claim())

    assert (await refused(store, unaware)).reason is Refusal.MISSING


async def test_a_worker_that_stops_hands_a_paused_activity_back_as_paused(store: Store) -> None:
    held = await begun(store)
    await done(store, attempts.paused(held, PAUSE))

    await store.release("w1")

    assert (await now(store)).control == PAUSED and (await store.claim(claim("w2"))).activities == []


async def test_cancelling_ends_a_pause_for_whoever_takes_the_activity_learns_of_it(store: Store) -> None:
    held = await begun(store)
    await done(store, attempts.paused(held, PAUSE))
    await done(store, step(await info(store, RUN), cancelled_activities=(cancelling(5),)))

    await done(store, failure_of(held))

    assert [each.cancel_requested for each in (await store.claim(claim("w2"))).activities] == [True]


async def test_an_activity_that_was_asked_to_end_can_not_be_paused(store: Store) -> None:
    held = await begun(store)
    await done(store, step(await info(store, RUN), cancelled_activities=(cancelling(5),)))

    told = await done(store, attempts.paused(held, PAUSE))

    assert told.cancel_requested and not told.paused
    assert (await now(store)).control == ActivityControl()


# Reset. ---------------------------------------------------------------------------------------------------------------


def reset(held: ActivityTask, *, heartbeat: bool = False) -> ActivityReport:
    return attempts.reset(held, BEGINNING_US, keep_paused=False, reset_heartbeat=heartbeat)


@pytest.mark.parametrize("heartbeat", [False, True])
async def test_an_activity_that_is_reset_between_attempts_begins_at_the_first_at_once(
    store: Store, heartbeat: bool
) -> None:
    held = msgspec.structs.replace(await begun(store), progress=HALF)
    await done(store, failure_of(held))

    await done(store, reset(await now(store), heartbeat=heartbeat))

    (again,) = (await store.claim(claim("w2"))).activities
    assert (again.attempt, again.control) == (1, ActivityControl())
    assert again.progress.heartbeat_details == ([] if heartbeat else HALF.heartbeat_details)


async def test_the_last_attempt_does_not_end_an_activity_that_was_reset_meanwhile(store: Store) -> None:
    held = await begun(store, retry_policy=RetryPolicy(maximum_attempts=1))
    await done(store, reset(held))
    assert (await done(store, attempts.beat(held, [], BEGINNING_US))).reset

    await done(store, failure_of(held))

    (again,) = (await store.claim(claim("w2"))).activities
    assert (again.attempt, again.progress.last_failure, again.control) == (1, BOOM, ActivityControl())
    assert await store.inbox(RUN) == []


async def test_no_transition_ends_an_activity_that_was_reset_meanwhile(store: Store) -> None:
    held = await begun(store)
    await done(store, reset(held))

    ending = step(await info(store, RUN), finished=(attempts.token(held),))

    assert (await refused(store, ending)).reason is Refusal.MISSING
    await done(store, attempts.report(held, attempts.completed(held, [], "w1"), BEGINNING_US))
    assert meanings(await store.inbox(RUN)) == [attempts.completed(held, [], "w1")]


async def test_a_reset_and_the_end_that_it_prevents_may_come_in_one_batch(store: Store) -> None:
    held = await begun(store, retry_policy=RetryPolicy(maximum_attempts=1))

    answers = await store.commit([reset(held), failure_of(held)])

    assert [type(answer) for answer in answers] == [Committed, Committed]
    assert ((await now(store)).owner, (await now(store)).attempt) == (None, 0)


async def test_what_may_not_be_tried_again_is_over_though_it_was_reset(store: Store) -> None:
    held = await begun(store)
    await done(store, reset(held))
    final = Failure(message="never", info=ApplicationFailureInfo(type="Never", non_retryable=True))

    await done(store, attempts.report(held, attempts.failed(held, final, "w1", BEGINNING_US), BEGINNING_US))

    (outcome,) = meanings(await store.inbox(RUN))
    assert isinstance(outcome, ActivityOutcome) and isinstance(outcome.outcome, Failed)


async def test_a_worker_that_stops_hands_a_reset_activity_back_at_its_first_attempt(
    store: Store, host: ClockedHost
) -> None:
    await done(store, failure_of(await begun(store)))
    host.pass_time(1)
    (second,) = (await store.claim(claim("w1"))).activities
    await done(store, attempts.beat(second, HALF.heartbeat_details, BEGINNING_US))
    await done(store, reset(second, heartbeat=True))

    await store.release("w1")

    waits = await now(store)
    assert (waits.attempt, waits.owner, waits.control) == (0, None, ActivityControl())
    assert (waits.progress.heartbeat_details, waits.progress.last_failure) == ([], BOOM)


# Urgent. --------------------------------------------------------------------------------------------------------------


async def test_a_claim_takes_the_most_urgent_first_and_of_these_what_waits_longest(store: Store) -> None:
    keys = {5: 4, 6: 1, 7: None, 8: 9, 9: 3, 10: 1, 11: 2}
    await scheduled(
        store,
        *[
            msgspec.structs.replace(
                an_activity(event_id, priority=None if key is None else Priority(priority_key=key)),
                due_us=BEGINNING_US - event_id,
            )
            for event_id, key in keys.items()
        ],
    )

    claims = [await store.claim(claim(max_activities=3)) for _ in range(3)]

    assert [[each.scheduled_event_id for each in found.activities] for found in claims] == [[10, 6, 11], [9, 7, 5], [8]]
    assert [found.more for found in claims] == [True, True, False]


async def test_the_most_urgent_is_left_to_nobody(store: Store) -> None:
    urgent = an_activity(5, priority=Priority(priority_key=1))
    await scheduled(store, urgent, *[an_activity(event_id) for event_id in (6, 7, 8, 9)])

    first = await store.claim(claim("w2", shares_since_us=0))

    assert first.activities[0].scheduled_event_id == 5
    assert len(first.activities) == 3 and first.left


async def test_what_falls_due_next_is_known_of_every_priority(store: Store, host: ClockedHost) -> None:
    keys = {5: 5, 6: 1, 7: 3}
    await scheduled(
        store,
        *[
            msgspec.structs.replace(
                an_activity(event_id, priority=Priority(priority_key=key)), due_us=BEGINNING_US + event_id * SECOND_US
            )
            for event_id, key in keys.items()
        ],
    )
    found: list[int] = []
    while (next_us := (await store.claim(claim())).next_due_us) is not None:
        host.pass_time((next_us - store.now_us()) / SECOND_US)
        found += [each.scheduled_event_id for each in (await store.claim(claim())).activities]

    assert found == [5, 6, 7]


async def test_other_queues_are_no_concern_of_a_claim_however_urgent(store: Store) -> None:
    urgent = msgspec.structs.replace(an_activity(5, priority=Priority(priority_key=1)), task_queue="elsewhere")
    await scheduled(store, urgent, an_activity(6))

    assert [each.scheduled_event_id for each in (await store.claim(claim())).activities] == [6]
    assert [
        each.task_queue for each in (await store.claim(claim(activity_queues=("elsewhere", QUEUE)))).activities
    ] == ["elsewhere"]


# Seen before. ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["paused", "unpaused", "reset"])
async def test_what_is_asked_of_an_activity_that_was_begun_and_given_back_meanwhile_has_to_be_asked_again(
    store: Store, host: ClockedHost, asked: str
) -> None:
    """Its attempt number is what it was; what nobody knows of it must not be forgotten."""
    held = await begun(store)
    await done(store, ActivityReport(token=attempts.token(held), what=attempts.handed_back(held, store.now_us())))

    def ask(seen: ActivityTask) -> ActivityReport:
        match asked:
            case "paused":
                return attempts.paused(seen, PAUSE)
            case "unpaused":
                return attempts.unpaused(seen, store.now_us(), reset_attempts=True, reset_heartbeat=True)
            case _:
                return attempts.reset(seen, store.now_us(), keep_paused=False, reset_heartbeat=True)

    seen = await now(store)
    host.pass_time(1)
    (held,) = (await store.claim(claim("w1"))).activities
    doubtful = attempts.handed_back(attempts.in_doubt(held), store.now_us())
    await done(store, ActivityReport(token=attempts.token(held), what=doubtful))
    assert (await now(store)).attempt == seen.attempt

    assert (await refused(store, ask(seen))).reason is Refusal.MISSING
    await done(store, ask(await now(store)))

    assert attempts.is_ambiguous(await now(store))
