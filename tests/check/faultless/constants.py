"""What a module holds, and nobody changes."""

# ruff: noqa
import re

from durable import activity, workflow


RATES = {"eur": 1.0, "usd": 1.1}
NAMES = ["a", "b"]
PATTERN = re.compile("a+")


@workflow.defn
async def convert(currency: str) -> float:
    rates = dict(RATES)
    rates.update(gbp=0.9)
    names = list(NAMES)
    names.append(currency)
    return rates.get(currency, RATES["eur"]) if PATTERN.match(names[-1]) else 0
