"""The demo's audit finds what it is there to find: each kind of fault, put in by hand, is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from demo_audit import (
    AFTER_ANYTHING_ELSE,
    AFTER_DEATH,
    AFTER_LOST_REPLY,
    Attempt,
    Books,
    Effect,
    Record,
    audit,
    record,
)
from durable.history.events import (
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    HistoryEvent,
    WorkflowExecutionCompleted,
)
from order import Order

TEA = Order(item="tea", units=3, cents=1200, country="Japan")
NOWHERE = replace(TEA, country="Atlantis")
ORDERS = ["a", "b"]
EFFECTS = [
    Effect("a", "reserve", 3, 0),
    Effect("a", "charge", 0, 1200),
    Effect("a", "ship", -3, -1200),
    Effect("b", "reserve", 3, 0),
    Effect("b", "charge", 0, 1200),
    Effect("b", "refund", 0, -1200),
    Effect("b", "release", -3, 0),
]
ATTEMPTS = [Attempt(effect.order_id, effect.step, 1, 7, "done") for effect in EFFECTS]
A = Record("a", TEA, "shipped", ["reserve", "charge", "ship"], activities=3, attempts=3)
B = Record("b", NOWHERE, "refunded", ["reserve", "charge", "refund", "release"], activities=5, attempts=6)


def test_two_sides_that_agree_are_right() -> None:
    report = audit(ORDERS, Books(EFFECTS, ATTEMPTS), [A, B])

    assert report.problems == []
    assert (report.shipped, report.refunded, report.effects) == ((1, 1), (1, 1), (7, 7))
    assert (report.balanced, report.held, report.attempts, report.retries) == (2, (0, 0), (7, 9), 1)


@pytest.mark.parametrize(
    ("effects", "records", "problem"),
    [
        pytest.param(EFFECTS[:-1], [A, B], "b: release completed without an effect", id="effect missing"),
        pytest.param(EFFECTS[:-1], [A, B], "b: its ledger adds up to (3, 0)", id="unbalanced"),
        pytest.param(
            [*EFFECTS, Effect("a", "refund", 0, 0)], [A, B], "a: the effect of refund is in no history", id="extra"
        ),
        pytest.param([*EFFECTS, Effect("c", "ship", 0, 0)], [A, B], "c: nobody has placed this order", id="stranger"),
        pytest.param(
            [Effect("a", "charge", 0, 1201), Effect("a", "ship", -3, -1201), EFFECTS[0], *EFFECTS[3:]],
            [A, B],
            "a: its ledger is",
            id="balanced, but wrong",
        ),
        pytest.param(EFFECTS, [A], "b: 0 runs instead of one", id="order lost"),
        pytest.param(EFFECTS, [A, B, B], "b: 2 runs instead of one", id="order run twice"),
        pytest.param(EFFECTS, [A, replace(B, end="shipped")], "b: shipped, but had to be refunded", id="wrong end"),
        pytest.param(EFFECTS, [A, replace(B, faults=["odd"])], "b: odd", id="faulty history"),
        pytest.param(
            EFFECTS, [replace(A, steps=[*A.steps, "ship"]), B], "a: ship completed 2 times", id="recorded twice"
        ),
    ],
)
def test_a_fault_is_named(effects: list[Effect], records: list[Record], problem: str) -> None:
    report = audit(ORDERS, Books(effects, ATTEMPTS), records)

    assert [each for each in report.problems if each.startswith(problem)]


@pytest.mark.parametrize(
    ("doctor", "problem"),
    [
        (lambda attempts: attempts[1:], "a: 0 attempts brought reserve about"),
        (lambda attempts: [*attempts, attempts[0]], "a: 2 attempts brought reserve about"),
    ],
)
def test_an_effect_is_brought_about_by_one_attempt(
    doctor: Callable[[list[Attempt]], list[Attempt]], problem: str
) -> None:
    assert audit(ORDERS, Books(EFFECTS, doctor(ATTEMPTS)), [A, B]).problems == [problem]


def test_repeats_are_told_apart_by_their_reason() -> None:
    attempts = [
        *ATTEMPTS[1:],
        ATTEMPTS[0]._replace(reply_lost=True),
        Attempt("a", "reserve", 2, 7, "was there"),
        Attempt("a", "charge", 2, 8, "was there"),
        Attempt("a", "ship", 2, 7, "was there"),
    ]

    report = audit(ORDERS, Books(EFFECTS, attempts), [A, B])

    assert report.problems == []
    assert report.repeats == {
        AFTER_LOST_REPLY: [("a", "reserve")],
        AFTER_DEATH: [("a", "charge")],
        AFTER_ANYTHING_ELSE: [("a", "ship")],
    }


def events() -> list[HistoryEvent]:
    return [
        ActivityTaskScheduled(
            id=1, time_us=1, workflow_task_completed_event_id=0, activity_id="1", activity_type="ship", task_queue="q"
        ),
        ActivityTaskStarted(id=2, time_us=2, scheduled_event_id=1, attempt=3),
        ActivityTaskCompleted(id=3, time_us=3, scheduled_event_id=1, started_event_id=2),
        WorkflowExecutionCompleted(id=4, time_us=4, workflow_task_completed_event_id=0),
    ]


def test_a_history_is_summed_up() -> None:
    assert record("a", TEA, events()) == Record("a", TEA, "shipped", ["ship"], activities=1, attempts=3, faults=[])


def test_a_history_with_a_gap_is_faulty() -> None:
    without_the_second = [event for event in events() if event.id != 2]

    assert record("a", TEA, without_the_second).faults == ["its event ids are not 1, 2, 3 …"]


def test_an_activity_without_an_outcome_is_a_fault() -> None:
    scheduled, started, _, over = events()

    assert "ship (event 1) has 0 outcomes" in record("a", TEA, [scheduled, started, over]).faults


def test_an_open_order_is_told_from_one_that_is_over() -> None:
    assert record("a", TEA, events()[:-1]).end == "not over; its last event is ActivityTaskCompleted"
