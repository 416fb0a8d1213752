"""search_attributes: workflows that say in a list what they are about."""

from __future__ import annotations

from collections.abc import Callable

from search_attributes import Repair
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_a_list_tells_the_state_and_the_price_of_every_repair(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("search_attributes")

    assert said.splitlines() == [
        "waiting: ['Ben', 'Cleo', 'Ada']",
        "Ada may come",
        "waiting: ['Ben', 'Cleo']",
        "dear: ['Ben']",
        "in all: 1 done, 2 waits for a part",
        "Ben: 900 euros, for a frame",
    ]
    histories = await folder.histories()
    replay(histories, Repair)
    await replay_on_temporal(histories, "search_attributes")
