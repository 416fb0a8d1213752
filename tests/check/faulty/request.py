"""The network, in a validator."""

# ruff: noqa
import requests

from durable import activity, workflow


@workflow.defn
class Cart:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update
    async def add(self, sku: str) -> None:
        self.last = sku

    @add.validator
    def check_sku(self, sku: str) -> None:
        if requests.get(f"https://shop/{sku}").status_code != 200:  # DUR106
            raise ValueError("no such thing")
