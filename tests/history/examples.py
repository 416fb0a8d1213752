"""Hypothesis strategies for what histories are made of: any payload, failure and event."""

from __future__ import annotations

import math
from typing import Any, get_args

import msgspec
from hypothesis import strategies as st

from durable.history import values
from durable.history.events import HistoryEvent
from durable.history.values import (
    Failure,
    Payload,
    Priority,
    RetryPolicy,
    UpdateInput,
    UpdateMeta,
    UpdateOutcome,
    UpdateRequest,
    UserMetadata,
    WorkerVersion,
    WorkflowExecution,
)

LAST_MOMENT_US = 253_402_300_799_999_999
"""The end of the year 9999: the last moment that RFC 3339 can write."""

texts = st.text(st.characters(codec="utf-8"), max_size=8)
instants_us = st.integers(0, LAST_MOMENT_US)
durations_us = st.integers(0, 100 * 365 * 86_400 * 1_000_000) | st.sampled_from([0, 1, 1_000, 500_000, 30_000_000])
counts = st.integers(0, 2**31 - 1)
payloads = st.builds(
    Payload, metadata=st.dictionaries(texts, st.binary(max_size=8), max_size=2), data=st.binary(max_size=16)
)
payload_lists = st.lists(payloads, max_size=2)
retry_policies = st.builds(
    RetryPolicy,
    initial_interval_us=durations_us,
    backoff_coefficient=st.floats(1.0, 1e6) | st.just(math.inf),
    maximum_interval_us=durations_us,
    maximum_attempts=counts,
    non_retryable_error_types=st.lists(texts, max_size=2),
)
# A weight is a float of 32 bits in Temporal's messages.
priorities = st.builds(
    Priority,
    priority_key=st.integers(1, 2**31 - 1),
    fairness_key=texts,
    fairness_weight=st.sampled_from([0.0, 0.5, 2.0]),
)

_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    bool: st.booleans(),
    list[str]: st.lists(texts, max_size=2),
    list[Payload]: payload_lists,
    list[Payload] | None: st.none() | payload_lists,
    dict[str, list[Payload]]: st.dictionaries(texts, payload_lists, max_size=2),
    dict[str, Payload]: st.dictionaries(texts, payloads, max_size=2),
    RetryPolicy: retry_policies,
    RetryPolicy | None: st.none() | retry_policies,
    Priority | None: st.none() | priorities,
}


def _field(name: str, kind: Any) -> st.SearchStrategy[Any]:
    if name in ("time_us", "workflow_execution_expiration_time_us"):
        return instants_us
    if name == "id" and kind is int:
        return st.integers(1, 2**63 - 1)
    if name.endswith("_event_id"):
        return st.integers(0, 2**63 - 1)
    if name.endswith("_us"):
        return durations_us if kind is int else st.none() | durations_us
    if kind is int:
        return counts
    if kind is Failure:
        return failures
    if kind == Failure | None:
        return st.none() | failures
    return _BY_TYPE[kind] if kind in _BY_TYPE else st.sampled_from(kind)


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any value of a struct, every field drawn by its type."""
    return st.builds(kind, **{field.name: _field(field.name, field.type) for field in msgspec.structs.fields(kind)})


_BY_TYPE |= {
    WorkflowExecution: structs(WorkflowExecution),
    WorkflowExecution | None: st.none() | structs(WorkflowExecution),
}
infos = st.one_of([structs(kind) for kind in get_args(values.FailureInfo)])


def _failure(cause: st.SearchStrategy[Failure | None]) -> st.SearchStrategy[Failure]:
    return st.builds(
        Failure,
        message=texts,
        source=texts,
        stack_trace=texts,
        cause=cause,
        info=st.none() | infos,
        encoded_attributes=st.none() | payloads,
    )


failures = st.recursive(_failure(st.none()), _failure, max_leaves=3)
update_outcomes = st.one_of(st.builds(UpdateOutcome, success=payload_lists), st.builds(UpdateOutcome, failure=failures))
update_requests = st.builds(UpdateRequest, meta=structs(UpdateMeta), input=structs(UpdateInput), request_id=texts)
_BY_TYPE |= {
    UpdateMeta: structs(UpdateMeta),
    UpdateOutcome: update_outcomes,
    UpdateRequest: update_requests,
    UpdateRequest | None: st.none() | update_requests,
    list[values.LocalActivityAsked] | None: st.none() | st.lists(structs(values.LocalActivityAsked), max_size=2),
    UserMetadata | None: st.none()
    | st.builds(UserMetadata, summary=st.none() | payloads, details=st.none() | payloads),
    WorkerVersion | None: st.none() | structs(WorkerVersion),
}
event_types: tuple[type[HistoryEvent], ...] = get_args(HistoryEvent)
events: st.SearchStrategy[HistoryEvent] = st.one_of([structs(kind) for kind in event_types])
