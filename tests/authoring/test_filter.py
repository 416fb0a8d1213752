"""Temporal's list filter, read: what a text says, and why another one says nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable.client import RPCError, RPCStatusCode, WorkflowExecutionStatus
from durable.client.filter import Filter
from durable.history.errors import InvalidQuery
from durable.history.visibility.attributes import STATUSES, AttributeType, RunKind
from durable.history.visibility.meaning import Meaning
from durable.history.visibility.parser import parse
from durable.history.visibility.query import Query

TYPES = {
    "Text": AttributeType.TEXT,
    "Keyword": AttributeType.KEYWORD,
    "Int": AttributeType.INT,
    "Double": AttributeType.DOUBLE,
    "Bool": AttributeType.BOOL,
    "Datetime": AttributeType.DATETIME,
    "List": AttributeType.KEYWORD_LIST,
    "an odd, name": AttributeType.INT,
    "Order": AttributeType.INT,
}


def check(text: str) -> Query:
    query = parse(text)
    Meaning(query, RunKind.WORKFLOW, "default", TYPES).check()
    return query


def told(query: Query) -> Any:
    """As a tree of what stands there, without places."""

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: plain(value) for key, value in node.items() if key != "at"}
        return [plain(each) for each in node] if isinstance(node, list | tuple) else node

    return plain(msgspec.to_builtins(query.condition))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("", "   "),
        ("WorkflowId='a'", '`WorkflowId`   =\n"a"'),
        ("Int <> 1", "Int != +1"),
        ("Int = 1 AND Int = 2 OR Int = 3", "((Int = 1) and (Int = 2)) or Int = 3"),
        ("NOT Int = 1 AND Int = 2", "(NOT Int = 1) AND Int = 2"),
        ("Int BETWEEN 1 AND 2 AND Int = 3", "(Int BETWEEN 1 AND 2) AND (Int = 3)"),
        ("WorkflowId = 'it''s'", r"WorkflowId = 'it\'s'"),
        ("WorkflowId = 'say \"hi\"'", 'WorkflowId = "say ""hi"""'),
        ("Bool = TRUE", "Bool = true"),
    ],
)
def test_texts_that_say_the_same(text: str, same: str) -> None:
    assert told(check(text)) == told(check(same))


@pytest.mark.parametrize(
    "text",
    [
        "WorkflowId STARTS_WITH 'a' AND TaskQueue NOT STARTS_WITH ''",
        "Text = 'some words' AND Text NOT IN ('others')",
        "List = 'member' AND List IS NOT NULL",
        "Keyword NOT BETWEEN 'a' AND 'b' OR Keyword IS NULL",
        "Double >= -1.5e3 AND Double < .5 AND Double != 3",
        "Datetime > '2026-01-31T12:00:00Z' OR Datetime < '2026-01-31T12:00:00.123456789+05:30' OR Datetime = 17",
        "ExecutionDuration > '1h30m' OR ExecutionDuration <= '00:00:10' OR ExecutionDuration = 1000",
        "HistoryLength > 10 AND HistorySizeBytes < 1000 AND Parked IS NOT NULL",
        "ParentWorkflowId = 'a' AND ParentRunId = 'b' AND RootWorkflowId = 'c' AND RootRunId = 'd'",
        "`an odd, name` = 1 AND Order = 2 ORDER BY Order DESC, `an odd, name`, CloseTime ASC",
        "GROUP BY ExecutionStatus, Keyword",
    ],
)
def test_all_that_temporal_s_filter_has_is_understood(text: str) -> None:
    assert check(text).text == text


def test_every_status_has_temporals_name() -> None:
    assert set(STATUSES) == {
        "Running", "Completed", "Failed", "Canceled", "Terminated", "ContinuedAsNew", "TimedOut",
    }  # fmt: skip
    assert set(STATUSES.values()) == set(WorkflowExecutionStatus)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("workflowid = 'a'", r"no mapping defined for search attribute 'workflowid'; there are .* \(character 1\)"),
        ("'WorkflowId' = 'a'", "'WorkflowId' stands where the name of an attribute should"),
        ("WorkflowId", "it ends where =, !=, .* after WorkflowId should stand"),
        ("WorkflowId =", "it ends where a value for WorkflowId should stand"),
        ("WorkflowId LIKE 'a'", "WorkflowId is followed by LIKE, and may be by =, !=,"),
        ("WorkflowId NOT = 'a'", "WorkflowId is followed by ="),
        ("WorkflowId = a", r"a is no value: write it in quotes, as 'a' \(character 14\)"),
        ("WorkflowId = 'a", "a quote ' is opened and not closed"),
        ("WorkflowId = 'a' WorkflowId = 'b'", "WorkflowId stands where AND, OR, ORDER BY or GROUP BY should"),
        ("WorkflowId = 'a' AND", "it ends where a condition should stand"),
        ("(WorkflowId = 'a'", r"it ends where \) should stand"),
        ("WorkflowId = 'a')", r"\) stands where AND, OR"),
        ("WorkflowId IN 'a'", r"'a' stands where \( should"),
        ("WorkflowId IN ('a' 'b')", r"'b' stands where \) should"),
        ("WorkflowId IN ()", r"\) is no value"),
        ("WorkflowId = 7", "7 is no value for WorkflowId: write '7'"),
        ("ORDER BY", "it ends where the name of an attribute should stand"),
        ("ORDER BY Int, CloseTime, Int DESC", r"ORDER BY names Int twice \(character 26\)"),
        ("GROUP BY Int, Int", "GROUP BY names Int twice"),
        (f"ORDER BY {', '.join(f'a{n}' for n in range(11))}", "ORDER BY names more than 10 attributes"),
        (f"GROUP BY {', '.join(f'a{n}' for n in range(11))}", "GROUP BY names more than 10 attributes"),
        ("ORDER BY Text", "ORDER BY is not for Text, which is of type Text"),
        ("GROUP BY List", "GROUP BY is not for List, which is of type KeywordList"),
        ("ExecutionStatus = 'running'", "there is no status 'running', only Running, Completed, "),
        ("ExecutionStatus = 1", "1 is no value for ExecutionStatus: Running, Completed"),
        ("ExecutionStatus > 'Running'", "> is not for ExecutionStatus, which is a status"),
        ("Int = 'x'", "Int takes whole numbers of 64 bits, not 'x'"),
        ("Int = 9223372036854775808", "Int takes whole numbers of 64 bits"),
        ("Int STARTS_WITH 'x'", "STARTS_WITH is not for Int, which is of type Int"),
        ("Double = 1e999", "Double takes numbers, not inf"),
        ("Bool = 1", "Bool takes true or false, not 1"),
        ("Datetime = '2026-01-31'", "Datetime takes times as '2026-01-31T12:00:00Z'"),
        ("Datetime = '2026-13-31T00:00:00Z'", "Datetime takes times as"),
        ("ExecutionDuration > 'long'", "ExecutionDuration takes durations as '1h30m'"),
        ("Text < 'a'", "< is not for Text"),
        ("WorkflowId = 'a\0'", "it holds a NUL"),
        ("WorkflowId = '\ud800'", "a lone surrogate"),
        ("NOT " * 60 + "Int = 1", "more than 50 deep"),
        ("(" * 60 + "Int = 1" + ")" * 60, "more than 50 deep"),
        (" AND ".join(["Int = 1"] * 201), "more than 200 conditions"),
        (f"Int IN ({','.join(['1'] * 1001)})", "more than 1000 values"),
        ("x" * 100_001, "it has 100001 characters, and may have 100000"),
        ("Int = " + "1" * 500, "a number has at most 400 characters"),
    ],
)
def test_what_is_not_understood_is_refused_with_the_place_and_what_is(text: str, why: str) -> None:
    with pytest.raises(InvalidQuery, match=why) as raised:
        check(text)

    assert len(str(raised.value)) < 2000


def test_a_query_that_can_never_be_understood_is_refused_before_the_database_is_asked() -> None:
    for query in ("WorkflowId =", "StartTime = 'now'", "GROUP BY TaskQueue", "ORDER BY StartTime"):
        with pytest.raises(RPCError) as caught:
            Filter(query, "default", grouped="ORDER" in query)
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    with pytest.raises(RPCError, match="no mapping defined for search attribute 'WorkflowType'; there are ActivityId"):
        Filter("WorkflowType = 'x'", "default", RunKind.ACTIVITY)


PIECES = st.sampled_from(
    """WorkflowId Int ` ' " \\ = != < NOT IN ( ) , AND OR BETWEEN IS NULL STARTS_WITH ORDER GROUP BY DESC 'a' 1 -1.5e3
    true ; -- /* % é""".split()
)


@given(st.lists(PIECES | st.text(max_size=5), max_size=25).map(" ".join) | st.text(max_size=60))
@example("'" * 100_000)
@example("'\\'" * 30_000)
@example("(" * 100_000)
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        query = check(text)
    except InvalidQuery:
        return
    assert query.text == text
