"""How many runs pass a filter, in all and by their status."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable.client.filter import STATUSES, parse
from durable.client.listing import WorkflowExecutionAsyncIterator
from durable.common import SearchAttributeValue
from durable.history.values import RunStatus
from durable.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from durable.client.client import Client

_GROUPED = re.compile(r"(.*?)\bGROUP\s+BY\s+(`?)(\w+)\2\s*", re.IGNORECASE | re.DOTALL)
_NAMES = {status: name for name, status in STATUSES.items()}


@dataclass(frozen=True)
class WorkflowExecutionCountAggregationGroup:
    """The runs that share ``group_values``, one for each attribute of GROUP BY."""

    count: int
    group_values: Sequence[SearchAttributeValue]


@dataclass(frozen=True)
class WorkflowExecutionCount:
    """``count`` runs in all; ``groups`` is empty without GROUP BY."""

    count: int
    groups: Sequence[WorkflowExecutionCountAggregationGroup]


async def count(client: Client, query: str) -> WorkflowExecutionCount:
    """See `Client.count_workflows`."""
    grouped = _GROUPED.fullmatch(query)
    if grouped is not None and grouped[3] != "ExecutionStatus":
        raise RPCError(
            f"the query {query!r} can't be understood: GROUP BY takes ExecutionStatus, not {grouped[3]}",
            RPCStatusCode.INVALID_ARGUMENT,
        )
    found: Counter[RunStatus] = Counter()
    filter = parse(grouped[1] if grouped else query)
    # Not `Client.list_workflows`: interceptors have seen the count, and it is no list to them.
    async for run in WorkflowExecutionAsyncIterator(
        client, filter, status=None, limit=None, page_size=1000, next_page_token=None
    ):
        found[run.status] += 1
    groups = [WorkflowExecutionCountAggregationGroup(found[status], [_NAMES[status]]) for status in sorted(found)]
    return WorkflowExecutionCount(found.total(), groups if grouped else [])
