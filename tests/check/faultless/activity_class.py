"""Activities that are methods, called through their class."""

# ruff: noqa
import requests
from datetime import timedelta

from durable import activity, workflow


class Shop:
    def __init__(self) -> None:
        self.session = requests.Session()

    @activity.defn
    def price(self, sku: str) -> float:
        return float(requests.get(f"https://shop/{sku}").text)


@workflow.defn
async def buy(sku: str) -> float:
    return await workflow.execute_activity_method(Shop.price, sku, start_to_close_timeout=timedelta(seconds=5))
