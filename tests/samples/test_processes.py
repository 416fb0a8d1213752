"""two_processes and killed_worker: what processes do to each other by a database, and by a signal."""

from __future__ import annotations

import signal
from collections.abc import Callable

from durable.history.events import ActivityTaskStarted
from killed_worker import BakeCake
from tests.samples.conftest import Folder, ReplayOnTemporal
from two_processes import OrderPrint


async def test_a_start_waits_for_a_worker_that_comes_later(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    starter = await folder.start("two_processes", "start", "rembrandt")
    assert starter.stdout is not None
    assert await starter.stdout.readline() == b"print-rembrandt is ordered\n"

    worker = await folder.start("two_processes", "worker")

    assert await folder.end(starter) == (0, "a print of rembrandt, framed\n", "")
    worker.send_signal(signal.SIGINT)
    assert await folder.end(worker) == (0, "the worker runs\n", "")
    histories = await folder.histories()
    replay(histories, OrderPrint)
    await replay_on_temporal(histories, "two_processes")


async def test_only_the_attempt_that_was_killed_begins_again(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("killed_worker")

    assert said.splitlines() == [
        "first worker: mix (attempt 1)",
        "first worker: bake (attempt 1) - killed",
        "second worker: bake (attempt 2)",
        "second worker: decorate (attempt 1)",
        "mix: worker the first",
        "bake: worker the second",
        "decorate: worker the second",
    ]
    (history,) = await folder.histories()
    assert [event.attempt for event in history.events if isinstance(event, ActivityTaskStarted)] == [1, 2, 1]
    replay([history], BakeCake)
    await replay_on_temporal([history], "killed_worker")
