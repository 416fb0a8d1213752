"""Pure: the attributes that a list filter may name: those that every run has, and what types the others are of."""

from __future__ import annotations

from enum import Enum, IntEnum

from msgspec import Struct

from durable.history.standalone import PREFIX, is_standalone
from durable.history.values import RunStatus


class AttributeType(IntEnum):
    """Of a search attribute. Values are Temporal's ``IndexedValueType``."""

    TEXT = 1
    KEYWORD = 2
    INT = 3
    DOUBLE = 4
    BOOL = 5
    DATETIME = 6
    KEYWORD_LIST = 7


class SystemType(Enum):
    """Of what only a run's own row has."""

    STATUS = "status"
    DURATION = "duration"


NAMES = {each: "".join(word.capitalize() for word in each.name.split("_")) for each in AttributeType}
"""As a payload's metadata name the types: ``KeywordList``."""
TYPES = {name: each for each, name in NAMES.items()}


class RunKind(IntEnum):
    """What a run is to those who look for it."""

    WORKFLOW = 0
    ACTIVITY = 1
    """One that a client has started by itself."""


def kind_of(workflow_type: str) -> RunKind:
    return RunKind.ACTIVITY if is_standalone(workflow_type) else RunKind.WORKFLOW


class Field(Enum):
    """What a run's row tells."""

    WORKFLOW_ID = "workflow_id"
    RUN_ID = "run_id"
    TYPE = "workflow_type"
    QUEUE = "task_queue"
    STATUS = "status"
    STARTED = "started_us"
    CLOSED = "closed_us"
    BEGINS = "execution_us"
    DURATION = "duration_us"
    EVENTS = "last_event_id"
    BYTES = "history_bytes"
    PARENT_ID = "parent_workflow_id"
    PARENT_RUN = "parent_run_id"
    ROOT_ID = "root_workflow_id"
    ROOT_RUN = "root_run_id"
    PARKED = "parked"


class Attribute(Struct, frozen=True):
    """A name that a filter understands. ``field`` None: a search attribute. ``prefix`` stands before what is stored."""

    name: str
    type: AttributeType | SystemType
    field: Field | None = None
    prefix: str = ""


def _by_name(*attributes: Attribute) -> dict[str, Attribute]:
    return {each.name: each for each in attributes}


_COMMON = (
    Attribute("RunId", AttributeType.KEYWORD, Field.RUN_ID),
    Attribute("ExecutionStatus", SystemType.STATUS, Field.STATUS),
    Attribute("StartTime", AttributeType.DATETIME, Field.STARTED),
    Attribute("CloseTime", AttributeType.DATETIME, Field.CLOSED),
    Attribute("ExecutionTime", AttributeType.DATETIME, Field.BEGINS),
    Attribute("ExecutionDuration", SystemType.DURATION, Field.DURATION),
)

SYSTEM: dict[RunKind, dict[str, Attribute]] = {
    RunKind.WORKFLOW: _by_name(
        Attribute("WorkflowId", AttributeType.KEYWORD, Field.WORKFLOW_ID),
        Attribute("WorkflowType", AttributeType.KEYWORD, Field.TYPE),
        Attribute("TaskQueue", AttributeType.KEYWORD, Field.QUEUE),
        *_COMMON,
        Attribute("HistoryLength", AttributeType.INT, Field.EVENTS),
        Attribute("HistorySizeBytes", AttributeType.INT, Field.BYTES),
        Attribute("ParentWorkflowId", AttributeType.KEYWORD, Field.PARENT_ID),
        Attribute("ParentRunId", AttributeType.KEYWORD, Field.PARENT_RUN),
        Attribute("RootWorkflowId", AttributeType.KEYWORD, Field.ROOT_ID),
        Attribute("RootRunId", AttributeType.KEYWORD, Field.ROOT_RUN),
        Attribute("Parked", AttributeType.KEYWORD, Field.PARKED),
    ),
    RunKind.ACTIVITY: _by_name(
        Attribute("ActivityId", AttributeType.KEYWORD, Field.WORKFLOW_ID, PREFIX),
        Attribute("ActivityType", AttributeType.KEYWORD, Field.TYPE, PREFIX),
        Attribute("TaskQueue", AttributeType.KEYWORD, Field.QUEUE, PREFIX),
        *_COMMON,
    ),
}
"""The attributes that every run has, by what it is."""

RESERVED = {name for attributes in SYSTEM.values() for name in attributes}
"""No search attribute has such a name."""

STATUSES = {member.name.title().replace("_", ""): member for member in RunStatus}
"""By Temporal's names: ``Running``, ``ContinuedAsNew`` …"""
STATUS_NAMES = {status: name for name, status in STATUSES.items()}
