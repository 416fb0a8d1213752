"""Activities that clients start by themselves: each is a run of the engine's own workflow, under names apart.

Workflow id, workflow type and task queue of such a run are the activity's id, its type and its queue behind a prefix.
The queue is apart so that a worker which has activities and no workflows can look after these runs and no others.
"""

from __future__ import annotations

from durable.history.values import ActivityFailureInfo, Failure, RunStatus, TimeoutFailureInfo

PREFIX = "__temporal_activity:"


def hidden(name: str) -> str:
    """An activity's id, type or queue as the run has it."""
    return PREFIX + name


def shown(name: str) -> str:
    """The activity's own again."""
    return name.removeprefix(PREFIX)


def is_standalone(workflow_type: str) -> bool:
    """Is a run of this type an activity that a client has started?"""
    return workflow_type.startswith(PREFIX)


def own_failure(failure: Failure) -> Failure:
    """The activity's, of the run's."""
    return (failure.cause or failure) if isinstance(failure.info, ActivityFailureInfo) else failure


def status_of_failure(failure: Failure) -> RunStatus:
    """How such a run stands that its activity's failure has ended: it has failed, or timed out as the activity has."""
    timed_out = isinstance(own_failure(failure).info, TimeoutFailureInfo)
    return RunStatus.TIMED_OUT if timed_out else RunStatus.FAILED
