"""One chaos from its beginning to its report."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from durable.client import WorkflowHistory
from durable.worker import Replayer
from tests.chaos.audit import Record, Report, audit, read
from tests.chaos.director import Director, Plan
from tests.chaos.flows import WORKFLOWS, read_ledger
from tests.chaos.places import Place


async def chaos(plan: Plan, place: Place, folder: Path, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Live through ``plan`` at ``place``, an empty database; what is left to look at is in ``folder``."""
    course = await Director(plan, place, folder, tell).run()
    tables = await read(place)
    report = audit(plan.workflows, course.results, tables, read_ledger(folder / "ledger"))
    report.problems[:0] = course.problems
    replayed = await Replayer(workflows=WORKFLOWS, exact=True).replay_workflows(
        _histories(tables.records), raise_on_replay_failure=False
    )
    report.problems += [f"run {run_id} does not replay: {error}" for run_id, error in replayed.replay_failures.items()]
    report.figures = {
        "workflows": plan.workflows,
        "seconds": round(course.seconds, 1),
        **dict(course.happened),
        **report.figures,
    }
    return report


async def _histories(records: Sequence[Record]) -> AsyncGenerator[WorkflowHistory]:
    for record in records:
        yield WorkflowHistory(record.workflow_id, record.events)
