"""Faults in a module that the workflow imports."""

# ruff: noqa
from tests.check.faulty import helpers
from tests.check.faulty.helpers import Price as Cost

from durable import activity, workflow


@workflow.defn
async def price() -> float:
    return helpers.rate() * Cost(2.0).with_tax()
