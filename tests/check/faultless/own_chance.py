"""The run's own chance."""

# ruff: noqa
import random

from durable import activity, workflow


@workflow.defn
async def draw(names: list[str]) -> str:
    dice = workflow.random()
    random_name = dice.choice(names)
    seeded = random.Random(7)
    return random_name + str(workflow.uuid4()) + str(seeded.random())
