"""Names of `temporalio.api.common.v1`: codecs and converters change their imports only."""

from __future__ import annotations

from durable.converter.search_attribute_messages import SearchAttributes
from durable.history.values import Payload, Payloads, WorkflowExecution

__all__ = ["Payload", "Payloads", "SearchAttributes", "WorkflowExecution"]
