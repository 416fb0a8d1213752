"""Default arguments that are the same everywhere."""

# ruff: noqa
from datetime import UTC, datetime, timedelta

from durable import activity, workflow


@workflow.defn
async def wait(delay: timedelta = timedelta(days=1), until: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> str:
    await workflow.sleep(delay)
    return until.isoformat()
