"""hello: twenty lines that outlive their process."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable
from typing import Any

from durable.client import WorkflowHistory
from durable.history.events import TimerFired, TimerStarted
from hello import hello
from tests.samples.conftest import SAMPLES, Folder


def of_type(history: WorkflowHistory, kind: type[Any]) -> list[Any]:
    return [event for event in history.events if isinstance(event, kind)]


async def timer_started(folder: Folder, runs: int) -> None:
    """Until the latest of so many runs waits for its timer."""
    async with await folder.client() as client:
        while True:
            found = [run async for run in client.list_workflows()]
            if len(found) == runs:
                history = await client.get_workflow_handle(found[0].id, run_id=found[0].run_id).fetch_history()
                if of_type(history, TimerStarted):
                    return
            await asyncio.sleep(0.05)


def test_hello_has_twenty_lines_at_most() -> None:
    lines = (SAMPLES / "hello.py").read_text().splitlines()

    assert len([line for line in lines if line.strip()]) <= 20


async def test_hello_interrupted_and_started_again_goes_on_where_it_was(
    folder: Folder, replay: Callable[..., None]
) -> None:
    first = await folder.start("hello")
    await timer_started(folder, runs=1)
    first.send_signal(signal.SIGINT)
    code, said, errors = await folder.end(first)
    assert code == 0, errors
    assert re.fullmatch(r"Hello, world! .*\n", said)
    assert "Traceback" not in errors

    assert await folder.run("hello") == "Goodbye, world.\n"

    (history,) = await folder.histories()
    (started,) = of_type(history, TimerStarted)
    (fired,) = of_type(history, TimerFired)
    assert fired.started_event_id == started.id
    assert fired.time_us >= started.time_us + started.start_to_fire_timeout_us == started.time_us + 5_000_000
    replay([history], hello)


async def test_hello_started_after_its_end_begins_a_new_run(folder: Folder) -> None:
    await folder.run("hello")

    again = await folder.start("hello")
    await timer_started(folder, runs=2)
    again.send_signal(signal.SIGINT)
    code, said, _ = await folder.end(again)

    assert code == 0
    assert said.startswith("Hello, world!")
    assert [len(of_type(history, TimerFired)) for history in await folder.histories()] == [1, 0]
