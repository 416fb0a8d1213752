"""Locks that nobody can keep by dying: a workflow grants leases, one at a time, and their numbers turn late ones away.

    python samples/locks.py

deploys five versions on the same two hosts. One breaks while it has the lock, and gives it back; one is stuck, loses it
when its lease is over, and is turned away when it comes back. Within one deployment an asyncio.Lock is enough.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from durable import activity, workflow
from durable.client import Client, WorkflowFailureError, WorkflowHandle
from durable.exceptions import ApplicationError
from durable.worker import Worker

TASK_QUEUE = "deployments"
LOG = Path("deployed.log")  # a line a change: the number of the lease, version, host, out of service or in
AT_MOST = timedelta(seconds=30)


@dataclass(frozen=True)
class Request:
    holder: str
    seconds: float


@workflow.defn
class Lock:
    """One resource's. It begins with whoever asks first, and goes on for ever: the numbers only grow."""

    @workflow.init
    def __init__(self, granted: int = 0, waiting: tuple[Request, ...] = ()) -> None:
        self._granted = granted
        self._waiting = list(waiting)
        self._held: Request | None = None

    @workflow.run
    async def run(self, granted: int = 0, waiting: tuple[Request, ...] = ()) -> None:
        while not workflow.info().is_continue_as_new_suggested():
            await workflow.wait_condition(lambda: bool(self._waiting))
            self._held = request = self._waiting.pop(0)
            self._granted += 1
            holder = workflow.get_external_workflow_handle(request.holder)
            try:
                await holder.signal(Deploy.granted, self._granted)
            except ApplicationError:
                continue  # it has ended while it waited
            with suppress(TimeoutError):  # dead, stuck or slow: it had the time that it asked for
                await workflow.wait_condition(lambda: self._held is None, timeout=request.seconds)
        workflow.continue_as_new(args=[self._granted, self._waiting])

    @workflow.signal
    def ask(self, request: Request) -> None:
        if request != self._held and request not in self._waiting:  # an activity may have asked twice
            self._waiting.append(request)

    @workflow.signal
    def release(self, request: Request) -> None:
        """Also for who does not want to wait any longer."""
        if request == self._held:
            self._held = None
        elif request in self._waiting:
            self._waiting.remove(request)


@workflow.defn
class Deploy:
    def __init__(self) -> None:
        self._lease = 0

    @workflow.run
    async def run(self, lock: str, version: str, seconds: float) -> str:
        balancer = asyncio.Lock()  # within one workflow: its tasks are in one process, and it is replayed like all else

        async def deploy(lease: int, host: str) -> None:
            await workflow.execute_activity(install, args=[lease, version, host], start_to_close_timeout=AT_MOST)
            async with balancer:  # one host out of service at a time
                for state in ("out", "in"):
                    change = [lease, version, host, state]
                    await workflow.execute_activity(switch, args=change, start_to_close_timeout=AT_MOST)

        async with self.locked(lock, seconds) as lease:
            await asyncio.gather(deploy(lease, "left"), deploy(lease, "right"))
        return "deployed"

    @workflow.signal
    def granted(self, lease: int) -> None:
        self._lease = lease

    @workflow.update
    async def turn(self) -> int:
        """Waits for it."""
        await workflow.wait_condition(lambda: self._lease > 0)
        return self._lease

    @asynccontextmanager
    async def locked(self, lock: str, seconds: float) -> AsyncIterator[int]:
        """The number of the lease, as soon as it is this workflow's turn; it is given back, come what may."""
        request = Request(workflow.info().workflow_id, seconds)
        await workflow.execute_activity_method(Locksmith.ask, args=[lock, request], start_to_close_timeout=AT_MOST)
        try:
            await workflow.wait_condition(lambda: self._lease > 0)
            yield self._lease
        finally:
            await workflow.get_external_workflow_handle_for(Lock.run, lock).signal(Lock.release, request)


class Locksmith:
    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn
    async def ask(self, lock: str, request: Request) -> None:
        """Signal-with-start: there is no lock before somebody wants it, and never two of the same name."""
        await self._client.start_workflow(
            Lock.run, id=lock, task_queue=TASK_QUEUE, start_signal="ask", start_signal_args=[request]
        )


def newest_lease() -> int:
    return max((int(line.split()[0]) for line in LOG.read_text().splitlines()), default=0) if LOG.exists() else 0


@activity.defn
def install(lease: int, version: str, host: str) -> None:
    if version == "broken":
        raise ApplicationError("it does not start", non_retryable=True)
    while version == "stuck" and newest_lease() <= lease:  # until somebody else is at it
        time.sleep(0.01)


@activity.defn
def switch(lease: int, version: str, host: str, state: str) -> None:
    """Whoever was too slow does not know it; what is guarded does, by the number of the lease.

    A database would do it in one statement: UPDATE … WHERE lease <= :lease.
    """
    if lease < newest_lease():
        raise ApplicationError(f"lease {lease} is over", type="LeaseIsOver", non_retryable=True)
    with LOG.open("a") as log:
        log.write(f"{lease} {version} {host} {state}\n")


async def main() -> None:
    batch = uuid.uuid4().hex[:8]
    lock = f"production-{batch}"
    async with await Client.connect() as client:
        async with Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[Lock, Deploy],
            activities=[Locksmith(client).ask, install, switch],
        ):
            deployments: dict[str, WorkflowHandle[Deploy, str]] = {}
            for version in ("stuck", "broken", "1.1", "1.2", "1.3"):
                deployments[version] = await client.start_workflow(
                    Deploy.run,
                    args=[lock, version, 0.5 if version == "stuck" else 30],
                    id=f"deploy-{version}-{batch}",
                    task_queue=TASK_QUEUE,
                )
                if version == "stuck":
                    print(f"stuck: has lease {await deployments[version].execute_update(Deploy.turn)}", flush=True)
            for version, deployment in deployments.items():
                try:
                    print(f"{version}: {await deployment.result()}", flush=True)
                except WorkflowFailureError as error:
                    print(f"{version}: {error.cause.__cause__}", flush=True)
            await client.get_workflow_handle(lock).cancel()
            with suppress(WorkflowFailureError):
                await client.get_workflow_handle(lock).result()


if __name__ == "__main__":
    LOG.unlink(missing_ok=True)
    asyncio.run(main())
