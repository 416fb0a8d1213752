"""SQLAlchemy's engines on the store's own database, and who has a say in the transactions that are begun on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from sqlalchemy import Connection, Engine, event

OWNER = "durable_owner"
"""The execution option that names the owner of a transaction."""


class Owner(Protocol):
    """Whose a transaction is: an activity's."""

    def begun(self, connection: Connection, release: Callable[[], None]) -> None:
        """It begins; ``release`` lets others go on, where they wait for its end."""
        ...

    def check_statement(self) -> None:
        """Raises what is wrong with asking anything more."""
        ...

    def check_commit(self) -> None:
        """Raises what is wrong with committing now."""
        ...


def attend(engine: Engine, begin: Callable[[Connection], Callable[[], None]]) -> None:
    """Let ``begin`` begin all its transactions, whose answer lets others go on; and ask the owners of those that have
    one."""

    def begins(connection: Connection) -> None:
        release = begin(connection)
        if (owner := _owner(connection)) is not None:
            owner.begun(connection, release)

    def executes(connection: Connection, *_: Any) -> None:
        if (owner := _owner(connection)) is not None:
            owner.check_statement()

    def commits(connection: Connection) -> None:
        if (owner := _owner(connection)) is not None:
            try:
                owner.check_commit()
            except BaseException:
                # SQLAlchemy takes it for ended whatever happens here, and would leave it open.
                connection.invalidate()
                raise

    event.listen(engine, "begin", begins)
    event.listen(engine, "before_cursor_execute", executes)
    event.listen(engine, "commit", commits)


def _owner(connection: Connection) -> Owner | None:
    return cast("Owner | None", connection.get_execution_options().get(OWNER))
