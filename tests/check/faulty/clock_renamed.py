"""A clock under another name, in a helper of the same module."""

# ruff: noqa
from datetime import datetime as dt

from durable import activity, workflow


def is_late(deadline: str) -> bool:
    return dt.now().isoformat() > deadline  # DUR101


@workflow.defn
class Bill:
    @workflow.run
    async def run(self, deadline: str) -> bool:
        return is_late(deadline)
