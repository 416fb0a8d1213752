"""What a run offers its code besides waiting and calling: its converter, its meter, its current details."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from durable.common import MetricMeter
from durable.context import this_workflow
from durable.converter import PayloadConverter
from durable.workflow.errors import ReadOnlyContextError


def payload_converter() -> PayloadConverter:
    """What converts the run's values; for a `RawValue`, above all."""
    return this_workflow().converter.payload_converter


def metric_meter() -> MetricMeter:
    """A meter for workflow code. It measures nothing."""
    this_workflow()
    return MetricMeter.noop


def extern_functions() -> Mapping[str, Callable[..., Any]]:
    """Functions that the worker's interceptors have brought in, by name. What they answer is in no history."""
    return this_workflow().extern_functions


def get_current_details() -> str:
    """What `set_current_details` has set last; "" before."""
    return this_workflow().current_details


def set_current_details(description: str) -> None:
    """Say how the run stands, in Markdown, for whoever asks the query ``__temporal_workflow_metadata``.

    It is no part of the history: replaying sets it anew. `ReadOnlyContextError` in a query.
    """
    run = this_workflow()
    if run.is_read_only():
        raise ReadOnlyContextError("While in read-only function, action attempted: set current details")
    run.current_details = description
