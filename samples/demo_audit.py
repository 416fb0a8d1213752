"""The demo's audit: what the shop's books say and what the histories say, held against each other.

`read_books` and `read_histories` read the two sides; `audit` compares them, and is pure.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from durable import Client
from durable.history.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
    HistoryEvent,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
)
from order import COUNTRIES, Order
from shop import EFFECTS

AFTER_DEATH = "its worker died before it was recorded"
AFTER_LOST_REPLY = "the shop's reply was lost"
AFTER_ANYTHING_ELSE = "another reason"

Outcome = ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled


class Effect(NamedTuple):
    """A row of the shop's ledger."""

    order_id: str
    step: str
    units: int
    cents: int


class Attempt(NamedTuple):
    """An attempt that came as far as the shop, in the order of their coming."""

    order_id: str
    step: str
    attempt: int
    pid: int
    effect: str
    reply_lost: bool = False


@dataclass(frozen=True)
class Books:
    """What the activities have written."""

    effects: Sequence[Effect]
    attempts: Sequence[Attempt]


@dataclass(frozen=True)
class Record:
    """What an order's history tells. ``steps``: the activities that completed; ``faults``: what no history may show."""

    order_id: str
    order: Order
    end: str
    steps: Sequence[str]
    activities: int
    attempts: int
    faults: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """The figures to print, pairs being (in the books, in the histories); ``problems`` is whatever is wrong."""

    orders: int
    shipped: tuple[int, int]
    refunded: tuple[int, int]
    effects: tuple[int, int]
    only_in_books: Sequence[tuple[str, str]]
    only_in_histories: Sequence[tuple[str, str]]
    balanced: int
    held: tuple[int, int]
    """Units and cents that the shop still holds, for all orders together."""
    attempts: tuple[int, int]
    retries: int
    repeats: dict[str, list[tuple[str, str]]]
    """(order, step) of each attempt that found its effect there already, by the reason why it was made."""
    problems: Sequence[str] = field(default_factory=list[str])


# -- reading


def read_books(path: str) -> Books:
    """The shop's side, from its SQLite file."""
    with closing(sqlite3.connect(path)) as db:
        return Books(
            effects=[Effect(*row) for row in db.execute(EFFECTS)],
            attempts=[Attempt(*row) for row in db.execute("SELECT * FROM attempts ORDER BY rowid")],
        )


async def read_histories(client: Client) -> list[Record]:
    """The engine's side, one record a run."""
    records: list[Record] = []
    async for run in client.list_workflows():
        history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        started = history.events[0]
        assert isinstance(started, WorkflowExecutionStarted)
        (order,) = client.data_converter.from_payloads(started.input, [Order])
        records.append(record(run.id, order, history.events))
    return records


def record(order_id: str, order: Order, events: Sequence[HistoryEvent]) -> Record:
    """An order's history, summed up."""
    scheduled = {event.id: event.activity_type for event in events if isinstance(event, ActivityTaskScheduled)}
    outcomes = [event for event in events if isinstance(event, Outcome)]
    per_activity = Counter(event.scheduled_event_id for event in outcomes)
    faults = [
        f"{step} (event {id}) has {per_activity[id]} outcomes"
        for id, step in scheduled.items()
        if per_activity[id] != 1
    ]
    if [event.id for event in events] != list(range(1, len(events) + 1)):
        faults.append("its event ids are not 1, 2, 3 …")
    return Record(
        order_id=order_id,
        order=order,
        end=_end(events),
        steps=[
            scheduled.get(event.scheduled_event_id, f"event {event.scheduled_event_id}")
            for event in outcomes
            if isinstance(event, ActivityTaskCompleted)
        ],
        activities=len(scheduled),
        attempts=sum(event.attempt for event in events if isinstance(event, ActivityTaskStarted)),
        faults=faults,
    )


def _end(events: Sequence[HistoryEvent]) -> str:
    match events[-1]:
        case WorkflowExecutionCompleted():
            return "shipped"
        case WorkflowExecutionFailed(failure=failure) if failure.cause and "nobody ships to" in failure.cause.message:
            return "refunded"
        case WorkflowExecutionFailed(failure=failure):
            return f"failed: {failure.message}"
        case last:
            return f"not over; its last event is {type(last).__name__}"


# -- comparing


def expected_end(order: Order) -> str:
    """How an order has to end."""
    return "shipped" if order.country in COUNTRIES else "refunded"


def expected_effects(order: Order) -> dict[str, tuple[int, int]]:
    """What an order has to leave in the ledger: step to (units, cents)."""
    before = {"reserve": (order.units, 0), "charge": (0, order.cents)}
    if expected_end(order) == "shipped":
        return {**before, "ship": (-order.units, -order.cents)}
    return {**before, "release": (-order.units, 0), "refund": (0, -order.cents)}


def audit(orders: Iterable[str], books: Books, records: Sequence[Record]) -> Report:
    """Hold both sides against each other, for the orders (their ids) that were placed."""
    wanted = set(orders)
    ledger: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for effect in books.effects:
        ledger[effect.order_id][effect.step] = (effect.units, effect.cents)
    in_books = {(effect.order_id, effect.step) for effect in books.effects}
    in_histories = Counter((each.order_id, step) for each in records for step in each.steps)
    only_in_books = sorted(in_books - in_histories.keys())
    only_in_histories = sorted(in_histories.keys() - in_books)
    unbalanced = {order_id for order_id, steps in ledger.items() if _sum(steps.values()) != (0, 0)}
    runs = Counter(each.order_id for each in records)

    problems = [
        *(f"{each}: {runs[each]} runs instead of one" for each in sorted(wanted) if runs[each] != 1),
        *(f"{each}: nobody has placed this order" for each in sorted((runs.keys() | ledger.keys()) - wanted)),
        *(f"{order_id}: the effect of {step} is in no history" for order_id, step in only_in_books),
        *(f"{order_id}: {step} completed without an effect" for order_id, step in only_in_histories),
        *(f"{each}: its ledger adds up to {_sum(ledger[each].values())}" for each in sorted(unbalanced)),
        *(f"{order_id}: {step} completed {n} times" for (order_id, step), n in sorted(in_histories.items()) if n > 1),
        *_once(books),
    ]
    for each in sorted(records, key=lambda record: record.order_id):
        problems += [f"{each.order_id}: {fault}" for fault in each.faults]
        if each.end != expected_end(each.order):
            problems.append(f"{each.order_id}: {each.end}, but had to be {expected_end(each.order)}")
        if ledger[each.order_id] != expected_effects(each.order):
            problems.append(
                f"{each.order_id}: its ledger is {ledger[each.order_id]}, not {expected_effects(each.order)}"
            )

    attempts = sum(each.attempts for each in records)
    return Report(
        orders=len(wanted),
        shipped=(sum("ship" in steps for steps in ledger.values()), _ended(records, "shipped")),
        refunded=(sum("refund" in steps for steps in ledger.values()), _ended(records, "refunded")),
        effects=(len(in_books), in_histories.total()),
        only_in_books=only_in_books,
        only_in_histories=only_in_histories,
        balanced=len((ledger.keys() & wanted) - unbalanced),
        held=_sum((effect.units, effect.cents) for effect in books.effects),
        attempts=(len(books.attempts), attempts),
        retries=attempts - sum(each.activities for each in records),
        repeats=_repeats(books.attempts),
        problems=problems,
    )


def shares(books: Books, workers: Sequence[Sequence[int]]) -> list[int]:
    """How many attempts of each worker came as far as the shop; a worker is the processes that took its place."""
    by_pid = Counter(each.pid for each in books.attempts)
    return [sum(by_pid[pid] for pid in pids) for pids in workers]


def _once(books: Books) -> list[str]:
    """Each effect was brought about by one attempt."""
    done = Counter((each.order_id, each.step) for each in books.attempts if each.effect == "done")
    keys = done.keys() | {(effect.order_id, effect.step) for effect in books.effects}
    return [f"{key[0]}: {done[key]} attempts brought {key[1]} about" for key in sorted(keys) if done[key] != 1]


def _repeats(attempts: Sequence[Attempt]) -> dict[str, list[tuple[str, str]]]:
    """Attempts that found their effect there already, by what had become of the attempt before."""
    repeats: dict[str, list[tuple[str, str]]] = {AFTER_DEATH: [], AFTER_LOST_REPLY: [], AFTER_ANYTHING_ELSE: []}
    before: dict[tuple[str, str], Attempt] = {}
    for each in attempts:
        key = (each.order_id, each.step)
        last = before.get(key)
        if each.effect == "was there":
            if last is not None and last.reply_lost:
                repeats[AFTER_LOST_REPLY].append(key)
            elif last is not None and last.pid != each.pid:
                repeats[AFTER_DEATH].append(key)
            else:
                repeats[AFTER_ANYTHING_ELSE].append(key)
        before[key] = each
    return repeats


def _sum(rows: Iterable[tuple[int, int]]) -> tuple[int, int]:
    listed = list(rows)
    return sum(units for units, _ in listed), sum(cents for _, cents in listed)


def _ended(records: Sequence[Record], end: str) -> int:
    return sum(each.end == end for each in records)
