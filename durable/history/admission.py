"""Pure: may this start begin a run, given the latest run of its workflow id?"""

from __future__ import annotations

from msgspec import Struct

from durable.history.transition import NewRun, RunInfo
from durable.history.values import IdConflictPolicy, IdReusePolicy, RunStatus

UNSUCCESSFUL = (RunStatus.FAILED, RunStatus.CANCELED, RunStatus.TERMINATED, RunStatus.TIMED_OUT)
"""After these ALLOW_DUPLICATE_FAILED_ONLY lets the workflow id be used again."""


class Begin(Struct, frozen=True):
    """A new run, of this generation."""

    generation: int


class Replace(Struct, frozen=True):
    """A new run, of this generation, together with the end of ``run``, which is open."""

    generation: int
    run: RunInfo


class Existing(Struct, frozen=True):
    """``run`` is the answer; nothing begins."""

    run: RunInfo


class Denied(Struct, frozen=True):
    """The policies refuse it because of ``run``."""

    run: RunInfo


Admission = Begin | Replace | Existing | Denied


def admit(new: NewRun, latest: RunInfo | None, same_request: RunInfo | None) -> Admission:
    """What becomes of a start; ``same_request`` is the run of its workflow id with its request id, if there is one."""
    if same_request is not None:
        return Existing(same_request)
    if latest is None:
        return Begin(1)
    if latest.status is RunStatus.RUNNING:
        return _beside_open(new, latest)
    match new.reuse_policy:
        case IdReusePolicy.ALLOW_DUPLICATE | IdReusePolicy.TERMINATE_IF_RUNNING:
            return Begin(latest.generation + 1)
        case IdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY if latest.status in UNSUCCESSFUL:
            return Begin(latest.generation + 1)
        case _:
            return Denied(latest)


def _beside_open(new: NewRun, latest: RunInfo) -> Admission:
    terminate = new.reuse_policy is IdReusePolicy.TERMINATE_IF_RUNNING
    if terminate or new.conflict_policy is IdConflictPolicy.TERMINATE_EXISTING:
        return Replace(latest.generation + 1, latest)
    return Existing(latest) if new.conflict_policy is IdConflictPolicy.USE_EXISTING else Denied(latest)
