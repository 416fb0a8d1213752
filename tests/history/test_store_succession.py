"""What every store does for runs that follow each other, or have had their time; and what a run's row shows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from durable.history import codec
from durable.history.messages import RunTimeout
from durable.history.store import Store
from durable.history.stores import open_store
from durable.history.transition import NewMessage, Refusal, Shown
from durable.history.values import Payload, RunStatus, WorkflowExecution
from tests.history.worlds import (
    BEGINNING_US,
    SECOND_US,
    ClockedHost,
    claim,
    close,
    done,
    due,
    info,
    owned,
    refused,
    send,
    signal,
    start,
    step,
    store_url,
    taken,
    worker,
)

RUN = "run of order-7"
END_US = BEGINNING_US + 5 * SECOND_US


@pytest.fixture(params=["sqlite-file", "sqlite-memory", "postgres"])
async def store(request: pytest.FixtureRequest, host: ClockedHost) -> AsyncIterator[Store]:
    async with open_store(store_url(request), host) as opened:
        await opened.register(worker("w1"))
        await opened.register(worker("w2"))
        yield opened


def limited() -> tuple[NewMessage, ...]:
    """What a run begins with whose time is limited."""
    return due(BEGINNING_US), codec.pack(RunTimeout(), END_US)


# Runs that have had their time. -----------------------------------------------------------------------------------


async def test_a_run_that_has_had_its_time_is_offered_to_every_worker_of_its_namespace(
    store: Store, host: ClockedHost
) -> None:
    await done(store, start(messages=limited(), queue="nobody's"))
    stranger = claim("w1", workflow_queues=(), activity_queues=("others",))
    before = await store.claim(stranger)
    assert taken(before) == [] and before.next_due_us == END_US

    host.pass_time(5)
    assert taken(await store.claim(claim("w2", namespace="another", workflow_queues=()))) == []
    claimed = await store.claim(stranger)

    assert taken(claimed) == [RUN] and len(claimed.runs[0].messages) == 2
    assert claimed.runs[0].run.owner == "w1"


async def test_it_is_left_to_its_owner_for_a_while(store: Store, host: ClockedHost) -> None:
    await owned(store, "w1", messages=limited(), queue="nobody's")
    host.pass_time(6)

    assert taken(await store.claim(claim("w2"))) == []
    assert taken(await store.claim(claim("w1"))) == [RUN]
    host.pass_time(10)
    assert taken(await store.claim(claim("w2"))) == [RUN]


async def test_its_time_is_not_over_before_the_store_says_so(store: Store, host: ClockedHost) -> None:
    run = await owned(store, messages=limited())
    timeout = (await store.inbox(RUN))[1]

    early = await refused(store, close(run, [timeout], status=RunStatus.TIMED_OUT))
    assert early.reason is Refusal.MISSING and "falls due in" in early.detail
    host.pass_time(5)
    await done(store, close(run, [timeout], status=RunStatus.TIMED_OUT))


async def test_a_closed_run_has_no_time_any_more(store: Store, host: ClockedHost) -> None:
    run = await owned(store, messages=limited())
    await done(store, close(run, (await store.inbox(RUN))[:1]))

    host.pass_time(5)
    found = await store.claim(claim())
    assert taken(found) == [] and found.next_due_us is None


# Runs that follow each other. -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.TIMED_OUT])
async def test_a_run_that_ends_anyhow_may_be_followed_and_hands_on_what_it_has_not_read(
    store: Store, status: RunStatus
) -> None:
    run = await owned(store)
    await done(store, send(signal("a", BEGINNING_US)))
    following = start(run.workflow_id, "next run", namespace="", messages=limited())

    await done(store, close(run, status=status, refuse_unread=False, successor=following))

    ended, begun = await info(store, RUN), await info(store, "next run")
    assert (ended.status, begun.status, begun.generation) == (status, RunStatus.RUNNING, ended.generation + 1)
    kinds = [message.kind.name for message in await store.inbox("next run")]
    assert kinds == ["SIGNAL", "TASK_DUE", "RUN_TIMEOUT"] and await store.inbox(RUN) == []
    assert taken(await store.claim(claim())) == ["next run"]


# What a run's row shows. ------------------------------------------------------------------------------------------


async def test_memo_and_search_attributes_are_kept_until_a_step_changes_them(store: Store) -> None:
    first = Shown(memo={"a": Payload(data=b"1")}, search_attributes={"b": Payload(data=b"2")})
    run = await owned(store, shown=first)
    assert (codec.decode_values(run.memo), codec.decode_values(run.search_attributes)) == (
        first.memo,
        first.search_attributes,
    )

    await done(store, step(run))
    assert (await info(store, RUN)).memo == run.memo
    changed = Shown(memo={}, search_attributes={"c": Payload(metadata={"type": b"Int"}, data=b"3")})
    await done(store, step(await info(store, RUN), shown=changed))

    after = await info(store, RUN)
    assert after.memo is None and codec.decode_values(after.search_attributes) == changed.search_attributes
    await done(store, close(after))
    assert (await info(store, RUN)).search_attributes == after.search_attributes


async def test_a_row_tells_whose_child_the_run_is_and_when_it_may_begin(store: Store) -> None:
    parent, root = WorkflowExecution(workflow_id="p", run_id="pr"), WorkflowExecution(workflow_id="g", run_id="gr")
    begun = start()
    assert begun.start is not None
    born = msgspec.structs.replace(begun.start, parent=parent, root=root, execution_us=END_US)
    await done(store, msgspec.structs.replace(begun, start=born))
    await done(store, start("order-8"))

    run, other = await info(store, RUN), await info(store, "run of order-8")
    assert (run.parent, run.root, run.execution_us) == (parent, root, END_US)
    assert (other.parent, other.root, other.execution_us) == (None, None, other.started_us)
