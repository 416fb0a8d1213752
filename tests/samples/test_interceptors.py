"""interceptors: a context travels in headers, through all that is done for whoever set it."""

from __future__ import annotations

from collections.abc import Callable

from interceptors import Insure, Trip
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_each_user_is_known_wherever_something_is_done_for_them(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("interceptors")

    assert said.splitlines() == [
        line
        for name, place in (("Ada", "Oslo"), ("Grace", "Rome"))
        for line in (
            f"flight to {place} booked for {name}",
            f"hotel in {place} booked for {name}",
            f"{place} insured for {name}",
            f"packed by {name}",
        )
    ]
    histories = await folder.histories()
    assert len(histories) == 4
    replay(histories, Trip, Insure)  # headers are no commands: code without interceptors does the same
    await replay_on_temporal(histories, "interceptors")
