"""How many runs pass a filter, or activities that clients start by themselves: in all, and by what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable.client.description import moment
from durable.client.filter import Filter
from durable.common import SearchAttributeValue
from durable.history.values import RunStatus
from durable.history.visibility.attributes import STATUS_NAMES, Attribute, AttributeType, RunKind, SystemType
from durable.history.visibility.search import GROUPS_MAX
from durable.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from durable.client.client import Client


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


@dataclass(frozen=True)
class Counted:
    """So many in all, and of each group its values and how many share them."""

    count: int
    groups: list[tuple[int, list[Any]]]


async def count(client: Client, query: str, kind: RunKind) -> Counted:
    """`RPCError` INVALID_ARGUMENT for what can't be understood, or makes too many groups."""
    filter = Filter(query, client.namespace, kind, grouped=True)
    found, attributes = await filter.count(client.database.store)
    if len(found) > GROUPS_MAX:
        names = ", ".join(each.name for each in attributes)
        raise RPCError(
            f"GROUP BY {names} makes more than {GROUPS_MAX} groups: group by what has fewer values",
            RPCStatusCode.INVALID_ARGUMENT,
        )
    found.sort(key=lambda group: [(value is None, value) for value in group.values])
    groups = [(group.count, list(map(_shown, attributes, group.values))) for group in found]
    return Counted(sum(group.count for group in found), groups if attributes else [])


async def count_workflows(client: Client, query: str) -> WorkflowExecutionCount:
    """See `Client.count_workflows`."""
    counted = await count(client, query, RunKind.WORKFLOW)
    groups = [WorkflowExecutionCountAggregationGroup(*group) for group in counted.groups]
    return WorkflowExecutionCount(counted.count, groups)


def _shown(attribute: Attribute, value: Any) -> Any:
    """As a program has it; None for what the runs don't have."""
    if value is None:
        return None
    match attribute.type:
        case SystemType.STATUS:
            return STATUS_NAMES[RunStatus(value)]
        case AttributeType.DATETIME:
            return moment(value)
        case AttributeType.BOOL:
            return bool(value)
        case AttributeType.KEYWORD:
            return str(value).removeprefix(attribute.prefix)
        case _:
            return value
