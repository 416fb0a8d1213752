"""A generator of its own, without a seed."""

# ruff: noqa
import random

from durable import activity, workflow


@workflow.defn
async def draw(names: list[str]) -> str:
    dice = random.Random()  # DUR103
    return dice.choice(names)
