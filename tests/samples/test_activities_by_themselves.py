"""job_queue and local_activity: activities without a workflow, and activities within one that leave little behind."""

from __future__ import annotations

from collections.abc import Callable

from local_activity import quote
from tests.engine.histories import types
from tests.samples.conftest import Folder


async def test_jobs_are_done_once_by_their_ids_without_any_workflow(folder: Folder) -> None:
    said = await folder.run("job_queue")

    assert said.splitlines() == [
        "the second request for the cat is the first one: True",
        "cat.png is small now",
        "dog.png is small now",
        "cat.png is small now",
        "lost.png: FileNotFoundError: lost.png",
        "huge.png: Activity cancelled",
        "4 jobs: 2 Completed 1 Failed 1 Canceled",
        "shrink failed at attempt 2: FileNotFoundError: lost.png",
    ]
    assert await folder.histories() == []


async def test_quotes_look_up_their_rates_in_local_activities(folder: Folder, replay: Callable[..., None]) -> None:
    said = await folder.run("local_activity")

    assert said.splitlines() == [
        "reserved 36.00",
        "2 look-ups, 19 events",
        "no quote for orichalcum: NoSuchCountry: nobody taxes Atlantis",
        "1 look-ups, 9 events",
    ]
    histories = await folder.histories()
    assert [types(history).count("MarkerRecorded") for history in histories] == [2, 1]
    assert [types(history).count("ActivityTaskScheduled") for history in histories] == [1, 0]
    replay(histories, quote)
