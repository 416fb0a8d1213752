"""What a client writes within the caller's own transaction; and what it must not write beside one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable.context import current_activity
from durable.history.transition import Outcome, Write
from durable.history.turns import has_turn

if TYPE_CHECKING:
    from durable.client.client import Client
    from durable.history.joining import Carrier
    from durable.history.joining import Transactional as Transactional
else:
    Transactional = Any
    """What it is at run time, for those who ask for the hints of a signature."""

# SQLAlchemy's ORM, which most programs don't need, is brought by those who use it.


def carrier(session: Transactional | None) -> Carrier | None:
    """What carries the caller's transaction, of what was given as ``session=``; to be asked in the caller's own task.

    TypeError for what is no session.
    """
    if session is None:
        return None
    from durable.history import joining

    return joining.carrier(session)


async def write_within(client: Client, session: Carrier, write: Write) -> Outcome:
    """Write it if the transaction of ``session`` commits."""
    from durable.history import joining

    return await joining.write_within(client.database, session, write)


def check_no_transaction() -> None:
    """Raises RuntimeError in code that has a transaction open in the engine's database: it might wait for itself, and
    what it writes beside would be written whatever becomes of the transaction."""
    activity = current_activity.get()
    if activity is not None and activity.is_in_transaction:
        raise RuntimeError(
            f"activity {activity.info().activity_type!r} has its transaction open, and asks the engine beside it, "
            "which may have to wait for its end: pass session=activity.session(), or do this before the session is used"
        )
    if has_turn():
        raise RuntimeError(
            "this code has a transaction open on the client's engine, for the end of which all that is written to the "
            "SQLite database waits, and asks the client beside it: pass session=, or do this when it has ended"
        )
