"""A decorator of the program's own makes activities."""

# ruff: noqa
import subprocess
from datetime import timedelta

from durable import activity, workflow


step = activity.defn(start_to_close_timeout=timedelta(seconds=5))


@step
def convert(file: str) -> int:
    return subprocess.run(["convert", file]).returncode


@workflow.defn
async def convert_all(files: list[str]) -> int:
    return sum([await convert(file) for file in files])
