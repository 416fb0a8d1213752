"""An error keeps its whole story on its way from an activity to the client: type, text, details, and what caused it.

    python samples/hello_exception.py

prints a book whose file is missing: the workflow fails, and the client reads why, cause by cause.
"""

import asyncio
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client, WorkflowFailureError
from durable.common import RetryPolicy
from durable.exceptions import ActivityError, ApplicationError
from durable.worker import Worker

TASK_QUEUE = "printing"


@activity.defn
def load_pages(book: str) -> int:
    try:
        with open(f"{book}.pdf", "rb") as file:
            return len(file.read())
    except OSError as error:
        raise ValueError(f"{book} can't be printed") from error


@workflow.defn
class PrintBook:
    @workflow.run
    async def run(self, book: str) -> int:
        try:
            return await workflow.execute_activity(
                load_pages,
                book,
                start_to_close_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=20)),
            )
        except ActivityError as error:
            # An ApplicationError fails the workflow. Most other exceptions would fail this step of it only, which is
            # tried again until somebody has mended the code.
            raise ApplicationError("the customer gets their money back", {"book": book}, type="NotPrinted") from error


async def main() -> None:
    async with await Client.connect() as client:
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[PrintBook], activities=[load_pages]):
            try:
                await client.execute_workflow(
                    PrintBook.run, "moby-dick", id=f"book-{uuid.uuid4()}", task_queue=TASK_QUEUE
                )
            except WorkflowFailureError as failure:
                error: BaseException | None = failure
                while error is not None:
                    print(f"{type(error).__name__}: {error}")
                    if isinstance(error, ApplicationError) and error.details:
                        print(f"    with {error.details[0]}")
                    error = error.__cause__


if __name__ == "__main__":
    asyncio.run(main())
