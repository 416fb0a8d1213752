"""What a run is told of the runs before it: by retry, by schedule, or continued as new."""

from __future__ import annotations

from typing import Any

from durable.context import this_workflow


def has_last_completion_result() -> bool:
    """Has a run before this one completed (cron)?"""
    return bool(this_workflow().last_completion_result())


def get_last_completion_result(type_hint: Any = None) -> Any:
    """What the latest run before this one that completed has returned, as ``type_hint``; None when there is none."""
    run = this_workflow()
    payloads = run.last_completion_result()
    if not payloads:
        return None
    return run.converter.from_payloads(payloads, None if type_hint is None else [type_hint])[0]


def get_last_failure() -> BaseException | None:
    """How the run before this one has failed (retry, cron); None when it has not."""
    run = this_workflow()
    failure = run.last_failure()
    return None if failure is None else run.converter.from_failure(failure)
