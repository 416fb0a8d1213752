"""process_pool: activities that run in other processes."""

from __future__ import annotations

from collections.abc import Callable

from process_pool import CountPrimes
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_primes_are_counted_in_other_processes(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    # By a Python of its own, which processes of a pool can find their way back to.
    code, said, errors = await folder.end(await folder.start("process_pool"))
    assert code == 0, errors

    assert said.splitlines() == ["2262 primes below 20000", "counted in this process: False"]
    histories = await folder.histories()
    replay(histories, CountPrimes)
    await replay_on_temporal(histories, "process_pool")
