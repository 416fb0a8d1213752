"""Conversions of a time that is given."""

# ruff: noqa
import time

from durable import activity, workflow


@workflow.defn
async def stamp(at: float, args: tuple[float]) -> str:
    text = time.strftime("%Y", time.gmtime(at)) + time.ctime(at) + time.asctime(time.localtime(at))
    return text + time.ctime(*args)
