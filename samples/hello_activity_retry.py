"""An activity that fails is tried again, as its retry policy says; an error may say that there is no use.

    python samples/hello_activity_retry.py

asks three weather stations: one is hard to reach, one is never reached, and one does not exist.
"""

import asyncio
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.common import RetryPolicy
from durable.exceptions import ActivityError, ApplicationError, RetryState
from durable.worker import Worker

TASK_QUEUE = "weather"


@activity.defn
async def read_thermometer(station: str) -> float:
    attempt = activity.info().attempt
    print(f"{station}: attempt {attempt}", flush=True)
    if station == "atlantis":
        raise ApplicationError("there is no such station", type="UnknownStation", non_retryable=True)
    if station == "summit":
        raise ConnectionError("the line is dead")
    if attempt == 1:
        raise ConnectionError("the line is bad")
    if attempt == 2:  # the activity may know better than its policy when it is worth trying again
        raise ApplicationError("the station is warming up", next_retry_delay=timedelta(milliseconds=20))
    return 11.5


@workflow.defn
class ReadStation:
    @workflow.run
    async def run(self, station: str) -> str:
        try:
            celsius = await workflow.execute_activity(
                read_thermometer,
                station,
                start_to_close_timeout=timedelta(seconds=10),  # of each attempt
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(milliseconds=50),  # then 100 ms, 200 ms, …
                    backoff_coefficient=2.0,
                    maximum_interval=timedelta(seconds=1),
                    maximum_attempts=4,  # without it: for ever
                ),
            )
        except ActivityError as error:
            given_up = error.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
            return f"{station}: {'given up' if given_up else 'no use'}, {error.cause}"
        return f"{station}: {celsius} °C"


async def main() -> None:
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[ReadStation], activities=[read_thermometer]):
            for station in ("harbour", "summit", "atlantis"):
                print(
                    await client.execute_workflow(
                        ReadStation.run, station, id=f"{station}-{uuid.uuid4()}", task_queue=TASK_QUEUE
                    )
                )


if __name__ == "__main__":
    asyncio.run(main())
