"""What fills a module's registry when it is imported."""

# ruff: noqa
from collections.abc import Callable

from durable import activity, workflow


HANDLERS: dict[str, Callable[[int], int]] = {}


def handler(fn: Callable[[int], int]) -> Callable[[int], int]:
    HANDLERS[fn.__name__] = fn
    return fn


@handler
def double(number: int) -> int:
    return 2 * number


@workflow.defn
async def handle(name: str, number: int) -> int:
    return HANDLERS[name](number) + double(number)
