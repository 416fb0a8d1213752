"""Cancelling a workflow raises CancelledError where it waits: its activity hears of it, and what it began is tidied up.

    python samples/hello_cancellation.py

renders two films: one is called off from outside, the other calls off one of its own scenes and goes on.
"""

import asyncio
import uuid
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client, WorkflowFailureError
from durable.exceptions import ActivityError, is_cancelled_exception
from durable.worker import Worker

TASK_QUEUE = "render-farm"


class Farm:
    def __init__(self) -> None:
        self.rendering = asyncio.Event()

    @activity.defn
    async def render(self, scene: str) -> str:
        """Long scenes heartbeat: cancellation comes back that way, from whatever machine the worker runs on."""
        frames = 10_000 if scene == "sea battle" else 3
        try:
            for frame in range(frames):
                activity.heartbeat(frame)
                if frame == 5:
                    self.rendering.set()
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            print(f"{scene}: the machine is free again", flush=True)
            raise  # the attempt ends as cancelled; who returns a value instead has completed
        return f"{scene} in {frames} frames"

    @activity.defn
    async def delete_frames(self, film: str) -> None:
        print(f"{film}: frames deleted", flush=True)


@workflow.defn
class RenderFilm:
    @workflow.run
    async def run(self, film: str, scenes: list[str]) -> list[str]:
        try:
            return [
                await workflow.execute_activity_method(
                    Farm.render,
                    scene,
                    start_to_close_timeout=timedelta(hours=1),
                    heartbeat_timeout=timedelta(seconds=5),
                    # Go on only when the activity has ended; TRY_CANCEL, the default, would not wait for it.
                    cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                )
                for scene in scenes
            ]
        except (asyncio.CancelledError, ActivityError) as error:
            if is_cancelled_exception(error):
                # A cancel request is raised once; what is called from here on runs as ever.
                await workflow.execute_activity_method(
                    Farm.delete_frames, film, start_to_close_timeout=timedelta(seconds=10)
                )
            raise


@workflow.defn
class RenderTrailer:
    """Cancels a part of itself: nobody else notices."""

    @workflow.run
    async def run(self) -> str:
        battle = workflow.start_activity_method(
            Farm.render,
            "sea battle",
            start_to_close_timeout=timedelta(hours=1),
            heartbeat_timeout=timedelta(seconds=5),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        kiss = await workflow.execute_activity_method(Farm.render, "kiss", start_to_close_timeout=timedelta(hours=1))
        battle.cancel()  # too long for a trailer
        try:
            return await battle
        except ActivityError as error:
            if not is_cancelled_exception(error):
                raise
            return kiss


async def main() -> None:
    farm = Farm()
    async with await Client.connect() as client:
        async with Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[RenderFilm, RenderTrailer],
            activities=[farm.render, farm.delete_frames],
        ):
            film = await client.start_workflow(
                RenderFilm.run,
                args=["Nelson", ["kiss", "sea battle"]],
                id=f"film-{uuid.uuid4()}",
                task_queue=TASK_QUEUE,
            )
            await farm.rendering.wait()
            await film.cancel(reason="the money is gone")
            try:
                await film.result()
            except WorkflowFailureError as error:
                print(f"Nelson: {error.cause}")
            trailer = await client.execute_workflow(
                RenderTrailer.run, id=f"trailer-{uuid.uuid4()}", task_queue=TASK_QUEUE
            )
            print(f"trailer: {trailer}")


if __name__ == "__main__":
    asyncio.run(main())
