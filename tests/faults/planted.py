"""An engine with a fault in it, for the sweep to find."""

from __future__ import annotations

from typing import Any

from durable.worker.transaction import Transaction


def report_beside() -> None:
    """The fault of an engine that commits what an activity has written, and then what became of it."""

    async def commit(self: Any, report: Any) -> Any:
        self._is_closing = self._may_commit = True
        await self._do(lambda session: session.commit())
        await self._close()
        return await self._database.write(report)

    faulty: Any = Transaction
    faulty._commit = commit
