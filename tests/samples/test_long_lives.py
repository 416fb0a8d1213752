"""continue_as_new, patching, shopping_cart: workflows that live longer than their history, their code, their caller."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from continue_as_new import Turnstile
from durable.history.events import WorkflowExecutionContinuedAsNew
from durable.workflow import NondeterminismError
from patching import Version1, Version2, Version3, Version4
from shopping_cart import Cart
from tests.samples.conftest import Folder, ReplayOnTemporal


async def test_no_visitor_is_lost_between_two_runs(folder: Folder, replay: Callable[..., None]) -> None:
    said = await folder.run("continue_as_new")

    assert said.splitlines() == ["5000 visitors, 1200 of them children", "counted by several runs"]
    histories = await folder.histories()
    ended = [isinstance(history.events[-1], WorkflowExecutionContinuedAsNew) for history in histories]
    assert ended == [*[True] * (len(histories) - 1), False]
    replay(histories, Turnstile)


async def test_each_order_replays_on_the_versions_that_it_met_and_on_no_other(
    folder: Folder, replay: Callable[..., None]
) -> None:
    said = await folder.run("patching")

    assert said.splitlines() == [
        "order 1: invoice sent",
        "order 2: credit checked, invoice sent",
        "order 3: credit checked, invoice sent",
        "order 1 replays on Version1, Version2",
        "order 2 replays on Version2, Version3",
        "order 3 replays on Version2, Version3, Version4",
    ]
    first, second, third = await folder.histories()
    replay([first, second, third], Version2)
    replay([second, third], Version3)
    replay([third], Version4)
    with pytest.raises(NondeterminismError):
        replay([second], Version1)


async def test_every_click_finds_its_cart_or_makes_one(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("shopping_cart")

    assert said.splitlines() == [
        "Ada: 320 in the cart",
        "Ada: 360 in the cart",
        "Ada: 680 in the cart",
        "Ada: bought for 680",
        "Ada: 40 in the cart",
        "Ben: 40 in the cart",
        "mail to Ben: your apple waits for you",
        "Ben: 1 forgotten",
    ]
    histories = await folder.histories()
    assert len({history.workflow_id for history in histories}) == 2 and len(histories) == 3
    replay(histories, Cart)
    await replay_on_temporal(histories, "shopping_cart")
