"""heartbeats and polling: activities that take long, and what their histories hold of it."""

from __future__ import annotations

from collections.abc import Callable

from durable.history.events import ActivityTaskScheduled, ActivityTaskStarted
from heartbeats import CopyLibrary
from polling import Frequently, Infrequently, Periodically
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_an_attempt_goes_on_where_the_heartbeats_of_the_one_before_ended(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("heartbeats")

    assert said.splitlines() == [
        "attempt 1 begins after tape 0",
        "attempt 2 begins after tape 4",
        "attempt 3 begins after tape 7",
        "10 tapes in 3 attempts",
        "copied: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]",
    ]
    histories = await folder.histories()
    replay(histories, CopyLibrary)
    await replay_on_temporal(histories, "heartbeats")


async def test_each_way_to_poll_asks_as_often_and_leaves_another_history(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("polling")

    assert said.splitlines() == [
        "frequently is fine, asked 5 times; the last run has 11 events",
        "infrequently is fine, asked 5 times; the last run has 11 events",
        "periodically is fine, asked 5 times; the last run has 22 events",
    ]
    histories = await folder.histories()
    attempts = [
        [event.attempt for event in history.events if isinstance(event, ActivityTaskStarted)] for history in histories
    ]
    scheduled = [len([e for e in history.events if isinstance(e, ActivityTaskScheduled)]) for history in histories]
    assert attempts == [[1], [5], [1, 1, 1], [1, 1]]
    assert scheduled == [1, 1, 3, 2]
    replay(histories, Frequently, Infrequently, Periodically)
    await replay_on_temporal(histories, "polling")
