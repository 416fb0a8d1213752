"""Histories against today's code: which of them do not replay, and why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from durable.cli.histories import Found
from durable.cli.modules import Definitions
from durable.cli.refusal import CommandRefused
from durable.client import Client, WorkflowHistory
from durable.history.errors import HistoryError
from durable.history.events import WorkflowExecutionStarted
from durable.worker import Replayer
from durable.worker.registry import Registry


@dataclass(frozen=True)
class Trouble:
    """A history that does not replay, or can't be read; what is not known of it is ""."""

    place: str
    workflow_id: str
    run_id: str
    workflow_type: str
    error: str

    @property
    def told(self) -> str:
        run = f"workflow {self.workflow_id!r} (run {self.run_id})" if self.run_id else ""
        return ": ".join(part for part in (self.place, run, self.error) if part)


@dataclass
class Report:
    """How many replayed, and what became of the others."""

    replayed: int = 0
    failed: list[Trouble] = field(default_factory=list[Trouble])
    unreadable: list[Trouble] = field(default_factory=list[Trouble])

    @property
    def exit_code(self) -> int:
        """0: all replay. 2: nothing could be read. 1: the rest."""
        if not self.failed and not self.unreadable:
            return 0
        return 1 if self.replayed or self.failed else 2

    @property
    def summary(self) -> str:
        told = [f"{self.replayed} replayed"]
        if self.failed:
            told.append(f"{len(self.failed)} did not")
        if self.unreadable:
            told.append(f"{len(self.unreadable)} could not be read")
        return "histories: " + ", ".join(told)


async def from_database(client: Client, query: str) -> AsyncIterator[Found]:
    """The histories of the runs that ``query`` selects."""
    async for run in client.list_workflows(query):
        try:
            history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
            yield Found("", history)
        except HistoryError as error:
            yield Found(f"workflow {run.id!r} (run {run.run_id})", error)


async def from_files(found: Iterable[Found]) -> AsyncIterator[Found]:
    for each in found:
        yield each


async def replay(
    found: AsyncIterator[Found], definitions: Definitions, namespace: str, tell: Callable[[str], None]
) -> Report:
    """Replay what is found, one after the other, and ``tell`` of each that fails."""
    if not definitions.workflows:
        raise CommandRefused("these modules have no workflow, only activities: name those that define workflows")
    report, places = Report(), list[str]()

    def note(trouble: Trouble, among: list[Trouble]) -> None:
        among.append(trouble)
        tell(trouble.told)

    async def readable() -> AsyncIterator[WorkflowHistory]:
        async for place, history in found:
            if isinstance(history, WorkflowHistory):
                places.append(place)
                yield history
            else:
                note(Trouble(place, "", "", "", str(history)), report.unreadable)

    registry = Registry(definitions.workflows.values(), ())
    workflows, converter = list(definitions.workflows.values()), definitions.data_converter
    replayer = Replayer(
        workflows=workflows, namespace=namespace, data_converter=converter, interceptors=definitions.interceptors
    )
    async with replayer.workflow_replay_iterator(readable()) as results:
        async for result in results:
            place, failure = places.pop(), result.replay_failure
            if failure is None:
                report.replayed += 1
            else:
                note(_trouble(place, result.history, failure, registry), report.failed)
    return report


def _trouble(place: str, history: WorkflowHistory, failure: Exception, known: Registry) -> Trouble:
    started = history.events[0]
    assert isinstance(started, WorkflowExecutionStarted)
    name = started.workflow_type
    error = str(failure)
    if known.workflow(name) is None:
        only = ", ".join(sorted(known.workflows))
        error = f"these modules have no workflow {name!r}, only {only}: add its module with -m"
    return Trouble(place, history.workflow_id, history.run_id, name, error)
