"""local_activities: short steps that are retried in the worker, and recorded with the workflow."""

from __future__ import annotations

from collections.abc import Callable

from durable.history.events import ActivityTaskScheduled, MarkerRecorded
from local_activities import BookParcels
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_local_steps_are_markers_and_only_the_effect_is_queued(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("local_activities")

    assert said.splitlines() == ["4 parcels, 1800 g, are with the carrier", "weighed 6 times"]
    (history,) = await folder.histories()
    assert len([event for event in history.events if isinstance(event, MarkerRecorded)]) == 4
    scheduled = [event.activity_type for event in history.events if isinstance(event, ActivityTaskScheduled)]
    assert scheduled == ["hand_over"]
    replay([history], BookParcels)
    await replay_on_temporal([history], "local_activities")
