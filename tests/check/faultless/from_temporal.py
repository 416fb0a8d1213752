"""A workflow as it is written for Temporal."""

# ruff: noqa
import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from durable import activity, workflow


@dataclass
class Order:
    id: str
    lines: list[str] = field(default_factory=list)


@workflow.defn
class Process:
    def __init__(self) -> None:
        self._approved = asyncio.Event()
        self._order: Order | None = None

    @workflow.run
    async def run(self, order: Order) -> str:
        self._order = order
        await self._approved.wait()
        return await workflow.execute_activity("ship", order, start_to_close_timeout=timedelta(seconds=5))

    @workflow.signal
    async def approve(self) -> None:
        self._approved.set()

    @workflow.update
    async def add(self, line: str) -> int:
        if self._order is not None:
            self._order.lines.append(line)
        return len(self._order.lines) if self._order else 0

    @add.validator
    def check_line(self, line: str) -> None:
        if not line:
            raise ValueError("a line has a name")
