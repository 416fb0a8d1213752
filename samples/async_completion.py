"""An activity may be completed from outside: it hands on its token and ends, and whoever is done later says so.

    python samples/async_completion.py

asks a translator: another process, without a worker in it, that knows nothing of the workflow but a token.
"""

import asyncio
import sys
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.exceptions import ActivityError, ApplicationError
from durable.worker import Worker

TASK_QUEUE = "translations"
DICTIONARY = {"bread": "Brot", "butter": "Butter"}


class Office:
    def __init__(self, post: asyncio.StreamWriter) -> None:
        self._post = post

    @activity.defn
    async def translate(self, word: str) -> str:
        """The attempt goes on, though its code ends here: no thread and no slot is taken while people work."""
        self._post.write(f"{activity.info().task_token.hex()} {word}\n".encode())
        await self._post.drain()
        activity.raise_complete_async()


@workflow.defn
class Translate:
    @workflow.run
    async def run(self, word: str) -> str:
        try:
            german = await workflow.execute_activity_method(
                Office.translate,
                word,
                start_to_close_timeout=timedelta(days=7),
                heartbeat_timeout=timedelta(seconds=30),  # from outside, too
            )
        except ActivityError as error:
            return f"{word}: {error.cause}"
        return f"{word}: {german}"


async def translator() -> None:
    """All that it has is the database, and what comes by post."""
    async with await Client.connect() as client:
        while letter := await asyncio.to_thread(sys.stdin.readline):
            token, word = letter.split()
            task = client.get_async_activity_handle(task_token=bytes.fromhex(token))
            await task.heartbeat("on my desk")
            if word in DICTIONARY:
                await task.complete(DICTIONARY[word])
            else:
                await task.fail(ApplicationError("is in no dictionary", type="Unknown", non_retryable=True))


async def main() -> None:
    other = await asyncio.create_subprocess_exec(sys.executable, __file__, "translator", stdin=asyncio.subprocess.PIPE)
    assert other.stdin is not None
    async with await Client.connect() as client:
        async with Worker(
            client, task_queue=TASK_QUEUE, workflows=[Translate], activities=[Office(other.stdin).translate]
        ):
            for word in ("bread", "butter", "jabberwock"):
                print(
                    await client.execute_workflow(Translate.run, word, id=f"word-{uuid.uuid4()}", task_queue=TASK_QUEUE)
                )
    other.stdin.close()
    await other.wait()


if __name__ == "__main__":
    asyncio.run(translator() if "translator" in sys.argv else main())
