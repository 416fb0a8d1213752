"""child_workflows and sliding_window: what children do for their parents, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable

from child_workflows import AskForReview, ShipBox, ShipOrder, WatchWeather
from durable.history.events import StartChildWorkflowExecutionInitiated
from sliding_window import PER_RUN, Develop, DevelopAll
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_children_end_in_all_the_ways_there_are(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("child_workflows")

    assert said.splitlines() == [
        "books is on the truck",
        "glass: Lost: it fell off the truck",
        "tea is on the truck",
        "weather: TerminatedError; stormy: True",
        "Ada gives 3 stars",
    ]
    histories = await folder.histories()
    assert len(histories) == 6
    replay(histories, ShipOrder, ShipBox, WatchWeather, AskForReview)
    await replay_on_temporal(histories, "child_workflows")


async def test_a_batch_keeps_its_window_full_over_its_runs(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("sliding_window")

    assert said.splitlines() == ["20 photos in 3 runs", "4 at once"]
    histories = await folder.histories()
    started = [
        len([event for event in history.events if isinstance(event, StartChildWorkflowExecutionInitiated)])
        for history in histories
    ]
    assert [count for count in started if count] == [PER_RUN, PER_RUN, 4]
    assert len(histories) == 23
    replay(histories, DevelopAll, Develop)
    await replay_on_temporal(histories, "sliding_window")
