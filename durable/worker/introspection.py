"""Pure: the queries that every run answers: where its tasks wait, and what it can be told and asked."""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from durable.worker.lines import is_user_code
from durable.worker.loop import WorkflowTask
from durable.worker.messages import Handlers
from durable.worker.stacks import Place, suspended
from durable.workflow.handlers import Kind


def stack_trace(tasks: Sequence[WorkflowTask[Any]]) -> str:
    """Where each task waits, as a traceback shows it: outermost first."""
    return "\n\n".join(
        "\n".join(
            [
                f"Stack for {task.get_name()} (most recent call last):",
                *(
                    f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}\n'
                    f"    {linecache.getline(frame.f_code.co_filename, line).strip()}"
                    for frame, line in _places(task)
                ),
            ]
        )
        for task in tasks
    )


def enhanced_stack_trace(tasks: Sequence[WorkflowTask[Any]]) -> dict[str, Any]:
    """The same in the form of Temporal's ``EnhancedStackTrace``: stacks of locations, and users' sources."""
    stacks = [_places(task) for task in tasks]
    files = {frame.f_code.co_filename for places in stacks for frame, _ in places}
    return {
        "sdk": {"name": "durable", "version": version("durable")},
        "sources": {
            path: [{"lineOffset": 0, "content": "".join(linecache.getlines(path))}]
            for path in sorted(files)
            if is_user_code(path)
        },
        "stacks": [{"locations": [_location(place) for place in places]} for places in stacks],
    }


def metadata(workflow_type: str, handlers: Handlers, current_details: str) -> dict[str, Any]:
    """What the run can be told and asked, and how it says it stands, in the form of Temporal's ``WorkflowMetadata``."""
    return {
        "currentDetails": current_details,
        "definition": {"type": workflow_type}
        | {
            f"{kind}Definitions": [
                {"name": name or "", "description": definition.description or ""}
                for name, definition in sorted(handlers.of(kind).items(), key=lambda item: item[0] or "")
            ]
            for kind in Kind
        },
    }


def _places(task: WorkflowTask[Any]) -> list[Place]:
    return suspended(task.get_coro())


def _location(place: Place) -> dict[str, Any]:
    frame, line = place
    path = frame.f_code.co_filename
    return {
        "filePath": path,
        "line": line,
        "functionName": frame.f_code.co_name,
        "internalCode": not is_user_code(path),
    }
