"""What stores are asked all the time, and tables so full that it shows when an answer costs more for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from durable.history import attempts
from durable.history.attempts import DEFAULT_PRIORITY, PAUSED
from durable.history.messages import MessageKind
from durable.history.store import Store
from durable.history.transition import OUTSIDE, ActivityReport, Beat, Committed
from durable.history.values import RunStatus
from durable.history.visibility.parser import parse
from durable.history.visibility.search import Search, position
from tests.history.worlds import (
    BEGINNING_US,
    NAMESPACE,
    QUEUE,
    SECOND_US,
    ClockedHost,
    claim,
    close,
    done,
    due,
    info,
    outcome,
    send,
    signal,
    start,
    step,
    task,
    terminate,
    timer,
    worker,
)

FEW, MANY = 2_000, 20_000
GROWING = ("durable_runs", "durable_history", "durable_inbox", "durable_activity_tasks", "durable_replies")
"""The other tables have a row for each worker."""

LISTED = (
    "ExecutionStatus = 'Completed'",
    "WorkflowType = 'Order'",
    "TaskQueue = 'orders'",
    "WorkflowId = 'workflow of closed 7'",
    "WorkflowId STARTS_WITH 'workflow of closed 7' AND ExecutionStatus = 'Running' AND RunId = 'closed 7'",
    "CloseTime IS NOT NULL ORDER BY CloseTime DESC",
    "StartTime > '1990-01-01T00:00:00Z' ORDER BY StartTime",
)
"""What lists are asked for, and an index has the answer."""

MONTH_US = 30 * 86_400 * SECOND_US
RUN_COLUMNS = (
    "run_id, namespace, workflow_id, generation, workflow_type, task_queue, status, owner, last_event_id, "
    "history_bytes, started_us, closed_us, first_execution_run_id, request_id"
)


def filling(first: int, last: int, blob: str) -> list[str]:
    """SQL for so many closed runs, as many that sleep for a month, as many that wait for an activity's next attempt.

    All have histories. And for as many activities that are paused, and that somebody outside will end. ``blob`` is how
    the database writes some bytes.
    """
    numbers = f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {last})"

    def runs(kind: str, status: RunStatus, owner: str, closed: str) -> str:
        return (
            f"{numbers} INSERT INTO durable_runs ({RUN_COLUMNS}) SELECT '{kind} ' || i, '{NAMESPACE}', "
            f"'workflow of {kind} ' || i, 1, 'Order', '{QUEUE}', {int(status)}, {owner}, 11, 900, {BEGINNING_US}, "
            f"{closed}, '{kind} ' || i, 'request of {kind} ' || i FROM n"
        )

    def histories(kind: str) -> str:
        return (
            f"{numbers} INSERT INTO durable_history (run_id, first_id, count, data) "
            f"SELECT '{kind} ' || n.i, 1 + 4 * p.i, 4, {blob} FROM n CROSS JOIN "
            f"(SELECT 0 AS i UNION ALL SELECT 1 UNION ALL SELECT 2) AS p"
        )

    def tasks(kind: str, due: str, owner: str, attempt: int, priority: int) -> str:
        return (
            f"{numbers} INSERT INTO durable_activity_tasks (run_id, scheduled_event_id, namespace, task_queue, "
            "workflow_task_queue, due_us, deadline_us, owner, attempt, started_us, cancel_requested, lost, spec, "
            f"progress, priority) SELECT '{kind} ' || i, 5, '{NAMESPACE}', '{QUEUE}', '{QUEUE}', {due}, "
            f"{2 * later_us}, {owner}, {attempt}, 0, false, false, {blob}, {blob}, {priority} FROM n"
        )

    later_us = BEGINNING_US + MONTH_US
    return [
        runs("closed", RunStatus.COMPLETED, "NULL", str(BEGINNING_US)),
        runs("asleep", RunStatus.RUNNING, "'w2'", "NULL"),
        runs("failing", RunStatus.RUNNING, "'w2'", "NULL"),
        *(histories(kind) for kind in ("closed", "asleep", "failing")),
        f"{numbers} INSERT INTO durable_inbox (namespace, task_queue, run_id, kind, key, due_us, body) "
        f"SELECT '{NAMESPACE}', '{QUEUE}', 'asleep ' || i, {int(MessageKind.TIMER)}, 5, {later_us} + i, {blob} FROM n",
        tasks("failing", f"{later_us} + i", "NULL", 3, DEFAULT_PRIORITY),
        tasks("paused", f"{BEGINNING_US} - i", "NULL", 3, PAUSED),
        tasks("outside", f"{BEGINNING_US} - i", f"'{OUTSIDE}'", 3, DEFAULT_PRIORITY),
        f"{numbers} INSERT INTO durable_replies (id, body, expires_us) SELECT 'reply ' || i, {blob}, {later_us} FROM n",
    ]


async def ask(store: Store, host: ClockedHost, name: str) -> None:
    """All of it, once: the lives of some runs that ``name`` tells from others, and of their worker."""
    me, peer = f"{name}-worker", f"{name}-peer"
    await store.register(worker(me))
    await store.register(worker(peer))
    workflow_id, run_id = f"{name}-order", f"run of {name}-order"

    async def moved(**changes: object) -> None:
        found = await store.claim(claim(me, max_runs=5))
        (one,) = [each for each in found.runs if each.run.run_id == run_id]
        await done(store, step(one.run, one.messages, **changes))

    # A run's life: an activity is scheduled, begun, beaten for, and ends; a signal comes, a timer is begun anew.
    now_us = host.now_us()
    await done(store, start(workflow_id, messages=(due(now_us),)))
    await moved(tasks=(task(run_id, 2, due_us=now_us),), messages=(timer(3, now_us + SECOND_US),))
    (begun,) = (await store.claim(claim(me))).activities
    await _report_on(store, begun.run_id)
    await done(store, send(signal("hurry", host.now_us()), workflow_id))
    host.pass_time(2)
    await moved(taken_back=(3,), messages=(timer(4, host.now_us() + SECOND_US),))
    await store.claim(claim(me))  # nothing is due
    await store.renew(worker(me))
    await store.unpark(NAMESPACE, [QUEUE], me)
    # Who waits for its end, describes it, or looks through the list.
    await store.find(NAMESPACE, workflow_id)
    await store.find(NAMESPACE, "", run_id)
    await store.endings([run_id, "closed 1", "asleep 1"])
    await store.history(run_id, 1)
    await store.inbox(run_id)
    await store.tasks(run_id)
    await store.replies([f"{name}-reply"])
    page = await store.list_runs(NAMESPACE, limit=50)
    await store.list_runs(NAMESPACE, limit=50, after=position(page[-1]))
    for query in LISTED:
        search = Search(parse(query))
        page = await store.list_runs(NAMESPACE, search, limit=50)
        if page:
            await store.list_runs(NAMESPACE, search, limit=50, after=position(page[-1]))
    # Its end, that of another one, and the end of workers: one hands back, one is declared dead.
    run = await info(store, run_id)
    await done(store, close(run))
    await done(store, start(f"{name}-other", new_owner=peer, messages=(due(host.now_us()),)))
    await done(store, terminate(await info(store, f"run of {name}-other")))
    await done(store, start(workflow_id, f"second {run_id}", new_owner=peer, messages=(due(host.now_us()),)))
    died: list[str] = []
    for _ in range(3):
        host.pass_time(2)
        died += (await store.renew(worker(me))).died
    assert died == [peer]
    await done(store, terminate(await info(store, f"second {run_id}")))
    await store.claim(claim(me))
    await store.release(me)


async def _report_on(store: Store, run_id: str) -> None:
    (held,) = await store.tasks(run_id)
    token = attempts.token(held)
    beat = Beat(deadline_us=held.due_us + 60 * SECOND_US, progress=held.progress)
    assert isinstance((await store.commit([ActivityReport(token=token, what=beat)]))[0], Committed)
    assert isinstance((await store.commit([ActivityReport(token=token, what=outcome(2, held.due_us))]))[0], Committed)


Costs = Mapping[str, Sequence[int]]
"""What each statement cost, each time it was asked, in whatever the database counts."""


def grown(few: Costs, many: Costs, allowed: Callable[[int], int]) -> list[str]:
    """The statements that cost more in full tables than is ``allowed`` for what they cost in nearly empty ones."""
    pairs = {text: (max(few.get(text, [0])), max(many.get(text, [0]))) for text in [*few, *many]}
    return [f"{before} → {after}: {text}" for text, (before, after) in pairs.items() if after > allowed(before)]
