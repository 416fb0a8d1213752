"""refund: a worker dies after the effect, and the next attempt asks before it would repeat it."""

from __future__ import annotations

from collections.abc import Callable

from refund import pay_back
from tests.samples.conftest import Folder


async def test_the_bank_pays_once_though_the_worker_died_before_it_heard_so(
    folder: Folder, replay: Callable[..., None]
) -> None:
    said = await folder.run("refund")

    assert sorted(said.splitlines()) == sorted(
        [
            "asking the bank to pay the kettle",
            "the bank has paid; its caller is dead",
            "the bank has paid already: refund 1",
            "result: refund 1 of 2500 cents for the kettle",
            "paid 1 time(s)",
        ]
    )
    replay(await folder.histories(), pay_back)
