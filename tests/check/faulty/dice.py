"""Chance, by a function imported by itself."""

# ruff: noqa
from random import choice

from durable import activity, workflow


@workflow.defn
async def draw(names: list[str]) -> str:
    return choice(names)  # DUR103
