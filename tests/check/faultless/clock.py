"""The workflow's own time; a clock's constants and conversions."""

# ruff: noqa
import time
from datetime import UTC, datetime, timedelta

from durable import activity, workflow


@workflow.defn
async def renew(until: datetime, now: float = 0) -> bool:
    start = workflow.now()
    today = start.date()
    as_text = time.strftime("%Y", (2020, 1, 1, 0, 0, 0, 0, 1, 0))
    parsed = datetime.fromisoformat("2020-01-01").replace(tzinfo=UTC)
    return start + timedelta(days=1) > max(until, parsed) or today.year > int(as_text) or workflow.time() > now
