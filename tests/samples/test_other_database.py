"""other_database: a payment in another database is made once, though nobody heard of its commit."""

from __future__ import annotations

from collections.abc import Callable

from other_database import order
from tests.samples.conftest import Folder


async def test_a_payment_is_made_once_though_the_line_breaks_after_its_commit(
    folder: Folder, replay: Callable[..., None]
) -> None:
    said = await folder.run("other_database")

    assert said == ("attempt 1 begins\nattempt 2 begins\nthe receipt is that of attempt 1\npayments: 1, cents: 2500\n")
    replay(await folder.histories(), order)
