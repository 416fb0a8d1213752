"""The error of a converter whose payload does not hold what it should."""

from __future__ import annotations

from typing import Any

from durable.exceptions import ApplicationError


def create_payload_validation_error(details: Any) -> ApplicationError:
    """For a converter of your own to raise: non-retryable, its type "PayloadValidationError". None is no details."""
    given = () if details is None else (details,)
    return ApplicationError("Payload validation failed", *given, type="PayloadValidationError", non_retryable=True)
