"""``@pytest.mark.crash_sweep``: a test, run undisturbed and then for each durable point with its worker dying there."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import pytest
from _pytest.runner import runtestprotocol

from durable.client import Client, WorkflowHistory
from durable.converter import DataConverter
from durable.history.events import (
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
)
from durable.history.values import ActivityFailureInfo, Failure
from durable.testing.elsewhere import Elsewhere, Finding
from durable.testing.plugin import SWEPT
from durable.testing.points import Recorder
from durable.worker.encoding import read_history


class Trial:
    """One run of a marked test: what its workers do is recorded, and how its workflows end is noted."""

    def __init__(self, target: str | None = None) -> None:
        self.recorder = Recorder(target)
        self.outcomes: dict[str, str] = {}
        """How each run ended, by its workflow's id."""
        self.histories: list[WorkflowHistory] = []
        """As the code reads them: what a codec has made of them is not the same each time."""
        self.workflows: dict[str, Any] = {}
        self.data_converter = DataConverter.default

    async def note(self, client: Client, workflows: Mapping[str, Any]) -> None:
        """The test is over: what has become of its workflows?"""
        self.workflows.update(workflows)
        self.data_converter = client.data_converter
        async for run in client.list_workflows():
            name = self.recorder.name(run.run_id)
            if name is not None:
                stored = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
                headers = client.config()["header_codec_behavior"]
                events = await read_history(stored.events, client.data_converter, client.namespace, headers)
                history = WorkflowHistory(stored.workflow_id, events)
                self.outcomes[name] = _outcome(history)
                self.histories.append(history)


TRIAL = pytest.StashKey[Trial]()
_ELSEWHERE = pytest.StashKey[Elsewhere]()


class Expected:
    """How the workflows of a test end when nothing happens, as far as two runs agree about it."""

    def __init__(self, first: Trial, second: Trial) -> None:
        self._by_id = {name: how for name, how in first.outcomes.items() if second.outcomes.get(name) == how}
        self._all: Counter[str] | None = None
        if not _same_workflows(first, second) and Counter(first.outcomes.values()) == Counter(second.outcomes.values()):
            self._all = Counter(first.outcomes.values())  # with ids that are drawn anew, only all of them together

    def broken(self, trial: Trial) -> str | None:
        """The first workflow that ended otherwise, in words."""
        for name, how in self._by_id.items():
            ended = trial.outcomes.get(name, "it is not there")
            if ended != how:
                return f"workflow {name!r} ends otherwise:\n  undisturbed: {how}\n  now: {ended}"
        ended_so = Counter(trial.outcomes.values())
        if self._all is not None and self._all != ended_so:
            missing, more = self._all - ended_so, ended_so - self._all
            return (
                f"workflows end otherwise:\n  undisturbed: {', '.join(missing) or 'fewer of them'}\n"
                f"  now: {', '.join(more) or 'fewer of them'}"
            )
        return None


def run(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """The reports of the item: those of its undisturbed run, the call failed if a point broke it."""
    began = time.perf_counter()
    try:
        reports = _sweep(item)
    finally:
        left = _call("teardown", lambda: _tear_down(item, nextitem))
    for report in reports:
        if report.when == "call":  # not the undisturbed run alone
            report.duration = time.perf_counter() - began
    if left.excinfo is not None:
        reports = [each for each in reports if each.when != "teardown"]
        reports.append(pytest.TestReport.from_item_and_call(item, left))
    return reports


def replay_wanted(item: pytest.Item) -> bool:
    """Shall what ran in this test be replayed?"""
    mark = item.get_closest_marker("durable")
    return mark is None or bool(mark.kwargs.get("replay", True))


def _sweep(item: pytest.Item) -> list[pytest.TestReport]:
    if "durable_worker" not in getattr(item, "fixturenames", ()):
        return [_refused(item, "a crash sweep kills workers of the fixture durable_worker: this test does not use it")]
    first, reports = _try(item, None)
    if not _passed(reports):
        return reports
    second, again = _try(item, None)
    if not _passed(again):
        return again
    names = _names(first, second)
    if not names:
        return _failed(reports, "crash sweep: no worker of this test has committed anything")
    expected = Expected(first, second)
    asked: str | None = item.config.getoption("--durable-crash-at")
    if asked is not None:
        trial, crashed = _try(item, asked)
        if trial.recorder.struck is None:
            return [_refused(item, f"this test does not get to point {asked!r}; it has {', '.join(names)}")]
        told = expected.broken(trial)
        return crashed if told is None or not _passed(crashed) else [*_failed(crashed, told)]
    deaths = 0
    for count, name in enumerate(names, 1):
        trial, crashed = _try(item, name)
        deaths += trial.recorder.struck is not None
        told = _told(crashed) if not _passed(crashed) else expected.broken(trial)
        if told is not None:
            where = trial.recorder.struck or f"point {name}"
            command = f"python -m pytest {shlex.quote(item.nodeid)} --durable-crash-at {shlex.quote(name)}"
            for report in reports:
                report.sections = crashed[-1].sections  # what was printed and logged then
            return _failed(
                reports,
                f"crash sweep: this test passes when nothing happens, and fails when the worker dies at durable point "
                f"{count} of {len(names)}:\n  {where}\n\n{told}\n\nTo run it again: {command}",
            )
    found = _replay_elsewhere(item.config, first) if replay_wanted(item) else Finding()
    if found.difference:
        return _failed(
            reports,
            "crash sweep: what ran in this test does not replay in another process, where strings hash otherwise (does "
            f"it iterate over a set?):\n{found.difference}",
        )
    if found.unchecked:
        item.warn(pytest.PytestWarning(f"not all was replayed in another process: {found.unchecked}"))
    missed = f", and did not get to {len(names) - deaths} more again" if deaths < len(names) else ""
    for report in reports:
        told = f"survived the death of its worker at each of {deaths} points{missed}"
        report.user_properties.append((SWEPT, told))
    return reports


def _try(item: pytest.Item, target: str | None) -> tuple[Trial, list[pytest.TestReport]]:
    """One run, with fixtures of its own up to its class or module."""
    trial = item.stash[TRIAL] = Trial(target)
    item._report_sections.clear()  # pyright: ignore[reportPrivateUsage]
    parent: Any = item.parent  # all that stays set up is what the parent needs
    try:
        return trial, runtestprotocol(item, log=False, nextitem=parent)
    finally:
        del item.stash[TRIAL]


def _replay_elsewhere(config: pytest.Config, trial: Trial) -> Finding:
    """In processes that are begun for the first sweep, and kept for all of them."""
    if replace(trial.data_converter, payload_codec=None) != DataConverter.default:
        return Finding(unchecked="only the default data converter is known there")
    if _ELSEWHERE not in config.stash:
        config.stash[_ELSEWHERE] = Elsewhere()
        config.add_cleanup(config.stash[_ELSEWHERE].close)
    return config.stash[_ELSEWHERE].replay(trial.workflows, trial.histories)


def _names(first: Trial, second: Trial) -> list[str]:
    """The points of two undisturbed runs, in order; numbered, if the workflow ids are not the same each time."""
    same = _same_workflows(first, second)
    names: dict[str, None] = {}
    for trial in (first, second):
        for point in trial.recorder.points.values():
            names[point.name if same else point.numbered_name] = None
    return list(names)


def _same_workflows(first: Trial, second: Trial) -> bool:
    return set(first.recorder.workflows) == set(second.recorder.workflows)


def _passed(reports: list[pytest.TestReport]) -> bool:
    return all(report.passed for report in reports) and any(report.when == "call" for report in reports)


def _told(reports: list[pytest.TestReport]) -> str:
    """What a run that failed has to say."""
    return "\n\n".join(report.longreprtext for report in reports if report.failed) or "it was skipped"


def _failed(reports: list[pytest.TestReport], told: str) -> list[pytest.TestReport]:
    for report in reports:
        if report.when == "call":
            report.outcome = "skipped" if hasattr(report, "wasxfail") else "failed"
            report.longrepr = told
    return reports


def _refused(item: pytest.Item, why: str) -> pytest.TestReport:
    return pytest.TestReport.from_item_and_call(item, _call("call", lambda: pytest.fail(why, pytrace=False)))


def _call(when: Literal["call", "teardown"], what: Callable[[], None]) -> pytest.CallInfo[None]:
    return pytest.CallInfo[None].from_call(what, when=when)


def _tear_down(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """What the trials have left set up for each other, unless the next item needs it too."""
    state = item.session._setupstate  # pyright: ignore[reportPrivateUsage]
    state.teardown_exact(nextitem)


def _outcome(history: WorkflowHistory) -> str:
    last = history.events[-1]
    match last:
        case WorkflowExecutionCompleted(result=result):
            return f"completed with {b', '.join(payload.data for payload in result).decode(errors='replace')}"
        case WorkflowExecutionFailed(failure=Failure(info=ActivityFailureInfo(activity_type=name))):
            return f"failed: activity {name!r} failed"  # by itself, or because its last attempt died with the worker
        case WorkflowExecutionFailed(failure=failure):
            return f"failed: {failure.message}"
        case WorkflowExecutionCanceled():
            return "cancelled"
        case WorkflowExecutionTerminated():
            return "terminated"
        case _:
            return "open"
