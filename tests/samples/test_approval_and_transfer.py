"""approval and transfer: they do what they say, and their histories replay."""

from __future__ import annotations

from collections.abc import Callable

from approval import Approval
from tests.samples.conftest import Folder
from transfer import transfer


async def test_expenses_are_decided_once_or_run_out_of_time(folder: Folder, replay: Callable[..., None]) -> None:
    said = await folder.run("approval")

    assert said.splitlines() == [
        "train: approved by Ada",
        "piano: waiting",
        "piano: rejected by Ada",
        "lunch: nobody decided; handed in again to somebody else",
        "to Ada: train, please decide",
        "to Ada: piano, please decide",
        "to Ada: lunch, please decide",
        "to Ada: lunch, you have not decided yet",
        "to Zoe: lunch, Ada does not answer",
    ]
    replay(await folder.histories(), Approval)


async def test_money_that_can_not_arrive_goes_back(folder: Folder, replay: Callable[..., None]) -> None:
    said = await folder.run("transfer")

    assert said.splitlines() == [
        "ben has 2500 now",
        "2500 went back to ada: NoAccount: nobody has the account 'zoe'",
        "nothing was moved: NoFunds: ben has only 2500",
        "{'ada': 7500, 'ben': 2500}",
    ]
    replay(await folder.histories(), transfer)
