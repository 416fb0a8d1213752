"""A decorator of the program's own reads the clock around a handler."""

# ruff: noqa
import functools
import time
from collections.abc import Callable
from typing import Any

from durable import activity, workflow


def timed(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        before = time.perf_counter()  # DUR101
        result = fn(*args)
        return result, before

    return wrapper


@workflow.defn
class Timed:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query
    @timed
    def ask(self) -> str:
        return "x"
