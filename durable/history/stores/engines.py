"""SQLAlchemy's engines on the store's own database, and who has a say in the transactions that are begun on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol, cast

from sqlalchemy import Connection, Engine, event

OWNER = "durable_owner"
"""The execution option that names the owner of a transaction."""

Close = Callable[[], Awaitable[None]]
Cut = Callable[[], Awaitable[Close]]
"""Ends a transaction beneath the code that has it open, which may be stuck: at once its connection is nobody else's any
more; when what is returned is done, it is rolled back, and others go on. Its result closes the connection, once its
code has ended."""


class Owner(Protocol):
    """Whose a transaction is: an activity's."""

    def check_begin(self) -> None:
        """Raises what is wrong with beginning one now."""
        ...

    def beginning(self) -> AbstractContextManager[None]:
        """The block in which it begins, and may wait for others; what is raised in its thread is raised after that."""
        ...

    def begun(self, cut: Cut) -> None:
        """It has begun. Raises what is wrong with that meanwhile."""
        ...

    def ends(self) -> None:
        """It is about to end, one way or the other, and ``cut`` must not be called any more."""
        ...

    def check_statement(self, connection: Connection, statement: str) -> None:
        """Raises what is wrong with asking that there."""
        ...

    def check_commit(self) -> None:
        """Raises what is wrong with committing now."""
        ...


def attend(engine: Engine, begin: Callable[[Connection], Cut]) -> None:
    """Let ``begin`` begin all its transactions, and say how they are cut off; and ask the owners of those that have
    one."""

    def begins(connection: Connection) -> None:
        owner = _owner(connection)
        if owner is not None:
            owner.check_begin()
            with owner.beginning():
                owner.begun(begin(connection))
        else:
            begin(connection)

    def executes(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if (owner := _owner(connection)) is not None:
            owner.check_statement(connection, statement)

    def commits(connection: Connection) -> None:
        if (owner := _owner(connection)) is not None:
            try:
                owner.check_commit()
            except BaseException:
                # SQLAlchemy takes it for ended whatever happens here, and would leave it open.
                owner.ends()
                connection.invalidate()
                raise
            owner.ends()

    def rolls_back(connection: Connection) -> None:
        if (owner := _owner(connection)) is not None:
            owner.ends()

    event.listen(engine, "begin", begins)
    event.listen(engine, "before_cursor_execute", executes)
    event.listen(engine, "commit", commits)
    event.listen(engine, "rollback", rolls_back)


def _owner(connection: Connection) -> Owner | None:
    return cast("Owner | None", connection.get_execution_options().get(OWNER))


async def nothing() -> None:
    """There is nothing left to close."""
