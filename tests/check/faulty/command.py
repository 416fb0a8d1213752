"""It starts a process."""

# ruff: noqa
import subprocess as sp

from durable import activity, workflow


@workflow.defn
async def convert(file: str) -> int:
    return sp.run(["convert", file], check=True).returncode  # DUR108
