"""async_completion: activities that are completed, and failed, from a process without a worker."""

from __future__ import annotations

from collections.abc import Callable

from async_completion import Translate
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_a_translator_completes_what_they_know_and_fails_what_they_do_not(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("async_completion")

    assert said.splitlines() == ["bread: Brot", "butter: Butter", "jabberwock: Unknown: is in no dictionary"]
    histories = await folder.histories()
    replay(histories, Translate)
    await replay_on_temporal(histories, "async_completion")
