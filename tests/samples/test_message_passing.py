"""message_passing: handlers that run side by side don't get into each other's way."""

from __future__ import annotations

from collections.abc import Callable

from message_passing import Night
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_each_guest_gets_a_room_of_their_own_or_a_reason(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("message_passing")

    assert said.splitlines() == [
        "Ada: room 1",
        "Mallory: NoMoney: the bank says no",
        "Ben: room 2",
        "Cleo: Full: the hotel is full",
        "['1: Ada', '2: Ben', 'tea for Ben']",
        "free: 0",
    ]
    histories = await folder.histories()
    replay(histories, Night)
    await replay_on_temporal(histories, "message_passing")
