"""messages: each bidder is answered, and the highest bid wins."""

from __future__ import annotations

from collections.abc import Callable

from messages import Auction
from tests.samples.conftest import Folder


async def test_bids_are_answered_and_the_highest_wins(folder: Folder, replay: Callable[..., None]) -> None:
    said = await folder.run("messages")

    assert said.splitlines() == [
        "ada: leads with 1000",
        "cleo: refused, ValueError: 900 is not more than 1000",
        "mallory: no money",
        "cleo: leads with 1200",
        "best bid: 1200",
        "sold to cleo for 1200; 1 watched",
    ]
    replay(await folder.histories(), Auction)
