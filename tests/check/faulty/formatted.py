"""The clock, as functions read it that are not told a time."""

# ruff: noqa
import time

from durable import activity, workflow


@workflow.defn
async def stamp(args: list[str]) -> str:
    text = time.strftime("%Y")  # DUR101
    text += time.ctime()  # DUR101
    text += time.asctime(time.gmtime(None))  # DUR101
    return text + str(list(map(time.localtime, args)))  # DUR101
