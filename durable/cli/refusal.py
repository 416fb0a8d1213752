"""Pure: errors as the sentence that a person reads; a failed workflow as the chain of what failed."""

from __future__ import annotations

from durable.cli import visible
from durable.client import WorkflowFailureError, WorkflowQueryFailedError
from durable.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    FailureError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)


class CommandRefused(Exception):
    """The command can't do what it was asked; the message says why, and what to do."""


def lines(error: BaseException) -> list[str]:
    """What to print on stderr: one line, or for a failed workflow one for each link of the chain."""
    match error:
        case WorkflowFailureError():
            return _ended(error.cause)
        case WorkflowQueryFailedError():
            return [visible.text(f"the query failed: {error.message}")]
        case WorkflowAlreadyStartedError():
            run = f" (run {error.run_id})" if error.run_id else ""
            return [
                visible.text(
                    f"workflow {error.workflow_id!r} is in use{run}: choose another --id, "
                    "or another --id-conflict-policy"
                )
            ]
        case UnicodeEncodeError():
            return [visible.text(f"{error.object!r} is no text that can be stored: it is not valid Unicode")]
        case OSError():
            return [visible.text(f"the operating system refuses: {error}")]
        case _:
            return [visible.text(str(error) or repr(error))]


def chain(error: BaseException) -> list[dict[str, str]]:
    """The failure and its causes, outermost first, for a machine."""
    links: list[dict[str, str]] = []
    link: BaseException | None = error
    while link is not None:
        kind = link.type if isinstance(link, ApplicationError) and link.type else type(link).__name__
        links.append({"type": kind, "message": link.message if isinstance(link, FailureError) else str(link)})
        link = link.__cause__
    return links


def _ended(cause: BaseException) -> list[str]:
    if isinstance(cause, CancelledError):
        return ["the workflow was cancelled"]
    if isinstance(cause, TerminatedError):
        return [visible.text(f"the workflow was terminated: {cause.message}")]
    told = ["the workflow failed:"]
    link: BaseException | None = cause
    while link is not None:
        first, *more = visible.lines(_told(link))
        told.append(f"  {'' if link is cause else 'caused by '}{first}")
        told.extend(f"    {line}" for line in more)
        link = link.__cause__
    return told


def _told(error: BaseException) -> str:
    match error:
        case ActivityError():
            return f"activity {error.activity_type} (id {error.activity_id}): {error.message}"
        case ApplicationError():
            return str(error)
        case _:
            return f"{type(error).__name__}: {error}"
