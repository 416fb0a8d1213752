"""What a client writes within a transaction: the caller's own, or an activity's that must not be left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.context import current_activity
from durable.history.transition import Outcome, Write

if TYPE_CHECKING:
    from durable.client.client import Client
    from durable.history.joining import Transactional


async def write_within(client: Client, session: Transactional, write: Write) -> Outcome:
    """Write it if the transaction of ``session`` commits."""
    from durable.history import joining  # brings SQLAlchemy's ORM, which most programs don't need

    return await joining.write_within(client.database, session, write)


def check_no_transaction() -> None:
    """Raises RuntimeError in an activity that has a transaction open in the engine's database: it might wait for
    itself, and what it writes beside would be written whatever becomes of the transaction."""
    activity = current_activity.get()
    if activity is not None and activity.is_in_transaction:
        raise RuntimeError(
            f"activity {activity.info().activity_type!r} has its transaction open, and asks the engine beside it, "
            "which may have to wait for its end: pass session=activity.session(), or do this before the session is used"
        )
