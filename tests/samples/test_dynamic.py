"""dynamic: workflows, activities and signals whose names no code knows."""

from __future__ import annotations

from collections.abc import Callable

from dynamic import Cook
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_dishes_are_cooked_whose_names_no_code_knows(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("dynamic")

    assert said.splitlines() == [
        "soup: for 4, chop carrots, carrots boiled for 20 minutes, salt: a pinch",
        "toast: for 4, roast bread, butter bread, salt: a pinch",
    ]
    histories = await folder.histories()
    replay(histories, Cook)
    await replay_on_temporal(histories, "dynamic")
