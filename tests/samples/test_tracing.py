"""tracing: the sample tells one trace, each span once."""

from __future__ import annotations

from collections.abc import Callable

from tests.samples.conftest import Folder, ReplayOnTemporal
from tracing import Grow


async def test_the_trace_is_one_and_holds_each_span_once(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = (await folder.run("tracing")).splitlines()

    assert said[:3] == ["a rose in bloom", "a day in the greenhouse", "  StartWorkflow:Grow"]
    assert sorted(said[3:]) == sorted(
        [
            "    RunWorkflow:Grow",
            "    StartActivity:plant",
            "      RunActivity:plant",
            "  SignalWorkflow:water",
            "    HandleSignal:water",
            "  SignalWorkflow:water",
            "    HandleSignal:water",
            "    it blooms",
            "    CompleteWorkflow:Grow",
        ]
    )
    histories = await folder.histories()
    replay(histories, Grow)
    await replay_on_temporal(histories, "tracing")
