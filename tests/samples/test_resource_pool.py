"""resource_pool: each thing is lent to one at a time, in turn, over several runs of the lender."""

from __future__ import annotations

from collections.abc import Callable

from durable.converter import DataConverter
from durable.history.events import SignalExternalWorkflowExecutionInitiated, WorkflowExecutionSignaled
from resource_pool import Lender, MakePot, Request
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_who_has_asked_first_gets_it_first_whichever_run_of_the_lender_reads_it(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("resource_pool")

    assert said.splitlines() == ["3 pots from the blue kiln", "3 pots from the red kiln", "1 at the wheel at once"]
    histories = await folder.histories()
    for lender in ("wheel", "kilns"):
        events = [event for each in histories if each.workflow_id.startswith(lender) for event in each.events]
        asked = [
            DataConverter.default.from_payloads(event.input, [Request])[0].loan
            for event in events
            if isinstance(event, WorkflowExecutionSignaled) and event.signal_name == "ask"
        ]
        lent = [
            DataConverter.default.from_payloads(event.input)[0]
            for event in events
            if isinstance(event, SignalExternalWorkflowExecutionInitiated)
        ]
        assert len(asked) == 6
        assert lent == asked
    assert len([each for each in histories if each.workflow_id.startswith("wheel")]) == 3
    replay(histories, Lender, MakePot)
    await replay_on_temporal(histories, "resource_pool")
