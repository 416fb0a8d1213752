"""Temporal's list filter, as far as it is understood: read, applied, and refused with what is understood."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from durable.client import RPCError, RPCStatusCode, WorkflowExecution, WorkflowExecutionStatus
from durable.client.filter import STATUSES, parse

RUN = WorkflowExecution(
    id="order-7",
    run_id="r-1",
    namespace="default",
    workflow_type="Order",
    task_queue="orders",
    status=WorkflowExecutionStatus.CONTINUED_AS_NEW,
    start_time=datetime(2024, 1, 1, tzinfo=UTC),
    close_time=None,
    history_length=3,
    parked=None,
)


def named(id: str) -> WorkflowExecution:
    return WorkflowExecution(**{**vars(RUN), "id": id})


@pytest.mark.parametrize(
    "query",
    [
        "",
        "  ",
        "WorkflowId = 'order-7'",
        'WorkflowId="order-7"',
        "`WorkflowType`='Order'",
        "RunId = 'r-1' and TaskQueue = 'orders'",
        "ExecutionStatus = 'ContinuedAsNew'",
        "ExecutionStatus in ('Running', 'ContinuedAsNew') AND WorkflowType IN ('Order')",
        "WorkflowType IN('a','Order','b')\nAND WorkflowId='order-7'",
    ],
)
def test_a_run_that_fits_all_conditions_passes(query: str) -> None:
    assert parse(query).passes(RUN)


@pytest.mark.parametrize(
    "query",
    [
        "WorkflowId = 'Order-7'",
        "WorkflowId = 'order-7' AND WorkflowType = 'order'",
        "ExecutionStatus = 'Running'",
        "RunId IN ('r-2', 'r-3')",
        "TaskQueue = ''",
    ],
)
def test_a_run_that_misses_one_condition_does_not(query: str) -> None:
    assert not parse(query).passes(RUN)


@pytest.mark.parametrize(
    ("query", "id"),
    [
        ("WorkflowId = 'it''s'", "it's"),
        (r"WorkflowId = 'it\'s'", "it's"),
        (r"WorkflowId = 'a\\b'", "a\\b"),
        ('WorkflowId = "say ""hi"""', 'say "hi"'),
        ('WorkflowId = "it\'s"', "it's"),
        ("WorkflowId = 'x AND RunId = 7'", "x AND RunId = 7"),
        ("WorkflowId = 'größe\n'", "größe\n"),
    ],
)
def test_a_value_is_what_stands_between_the_quotes(query: str, id: str) -> None:
    assert parse(query).passes(named(id))
    assert not parse(query).passes(named(id + "'"))


def test_every_status_has_temporals_name() -> None:
    assert set(STATUSES) == {
        "Running", "Completed", "Failed", "Canceled", "Terminated", "ContinuedAsNew", "TimedOut",
    }  # fmt: skip
    assert set(STATUSES.values()) == set(WorkflowExecutionStatus)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("WorkflowId = 'a' AND ExecutionStatus = 'Failed'", WorkflowExecutionStatus.FAILED),
        ("ExecutionStatus IN ('Failed')", WorkflowExecutionStatus.FAILED),
        ("ExecutionStatus IN ('Failed', 'Running')", None),
        ("WorkflowId = 'a'", None),
    ],
)
def test_the_one_status_that_is_asked_for_is_told(query: str, status: Any) -> None:
    assert parse(query).status is status


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("StartTime > '2024-01-01T00:00:00Z'", "StartTime is none of its attributes"),
        ("workflowid = 'a'", "workflowid is none of its attributes"),
        ("(WorkflowId = 'a')", r"\( is none of its attributes"),
        ("'WorkflowId' = 'a'", "'WorkflowId' is none of its attributes"),
        ("WorkflowId", "it ends where = or IN after WorkflowId should stand"),
        ("WorkflowId =", "it ends where a value for WorkflowId should stand"),
        ("WorkflowId != 'a'", "WorkflowId is followed by !="),
        ("WorkflowId STARTS_WITH 'a'", "WorkflowId is followed by STARTS_WITH"),
        ("WorkflowId = a", "a is no value: write it in quotes, as 'a'"),
        ("WorkflowId = 'a", "a quote ' is opened and not closed"),
        ("WorkflowId = 'a' OR WorkflowId = 'b'", "OR stands where AND should"),
        ("WorkflowId = 'a' AND", "it ends where the name of an attribute should stand"),
        ("WorkflowId IN 'a'", r"'a' stands where \( should"),
        ("WorkflowId IN ('a' 'b')", r"'b' stands where \) should"),
        ("WorkflowId IN ()", r"\) is no value"),
        ("WorkflowId IN ('a',", "it ends where a value for WorkflowId should stand"),
        ("ExecutionStatus = 'running'", "there is no status 'running', only Running, Completed, "),
        ("ExecutionStatus = 1", "1 is no value"),
    ],
)
def test_what_is_not_understood_is_refused_with_what_is(query: str, why: str) -> None:
    with pytest.raises(RPCError, match=why) as raised:
        parse(query)

    assert raised.value.status is RPCStatusCode.INVALID_ARGUMENT
    assert "understood are Attribute = 'value' and Attribute IN ('one', 'other'), joined by AND" in raised.value.message
    assert "ExecutionStatus, RunId, TaskQueue, WorkflowId, WorkflowType" in raised.value.message
