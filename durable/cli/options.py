"""What several commands take: options and arguments, each with its words for `--help`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class ConflictPolicy(StrEnum):
    """`WorkflowIDConflictPolicy`, as it is written on the command line."""

    FAIL = "fail"
    USE_EXISTING = "use-existing"
    TERMINATE_EXISTING = "terminate-existing"


class Status(StrEnum):
    """`WorkflowExecutionStatus`, as it is written on the command line."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"
    CONTINUED_AS_NEW = "continued-as-new"
    TIMED_OUT = "timed-out"


Address = Annotated[
    str,
    typer.Option("--address", "-a", envvar="DURABLE_ADDRESS", metavar="URL", help="The database."),
]
Namespace = Annotated[str, typer.Option(help="The namespace in it.")]
TaskQueue = Annotated[str, typer.Option(help="The task queue that its worker serves.")]
WorkflowId = Annotated[str, typer.Argument(metavar="ID", help="The workflow's id.", show_default=False)]
RunId = Annotated[str | None, typer.Option(help="One of its runs; the latest one by default.", show_default=False)]
Values = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ARG]...", help="Arguments, each as JSON: 42, '\"text\"', '{\"a\": 1}'.", show_default=False
    ),
]
Modules = Annotated[
    list[str],
    typer.Option(
        "--module",
        "-m",
        metavar="MODULE",
        help="A module with workflows (and its data_converter and interceptors, if any): its name or file; repeatable.",
    ),
]
Converter = Annotated[
    str | None,
    typer.Option(
        "--module",
        "-m",
        metavar="MODULE",
        help="A module whose data_converter converts what goes in and comes out: its name or file.",
        show_default=False,
    ),
]
Machine = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wait = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Give up waiting after that.", show_default=False),
]
