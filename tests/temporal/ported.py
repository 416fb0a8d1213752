"""A program as people write them for Temporal, with its imports changed: `worker` and `starter`, two processes."""

import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from durable import activity, workflow
from durable.client import Client
from durable.common import RetryPolicy, VersioningBehavior
from durable.envconfig import ClientConfig
from durable.runtime import PrometheusConfig, Runtime, TelemetryConfig
from durable.worker import Worker
from durable.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

with workflow.unsafe.imports_passed_through():
    import pydantic


@dataclass
class Greeting:
    salutation: str
    name: str


@activity.defn
def compose(greeting: Greeting) -> str:
    activity.logger.info("composing for %s", greeting.name)
    return f"{greeting.salutation}, {greeting.name}!"


@workflow.defn
class Hello:
    def __init__(self) -> None:
        self._left = False

    @workflow.run
    async def run(self, name: str) -> str:
        workflow.logger.info("saying hello to %s", name)
        greeting = await workflow.execute_activity(
            compose,
            Greeting("Hello", name),
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(maximum_attempts=3),
        )
        await workflow.wait_condition(lambda: self._left)
        return greeting

    @workflow.signal
    def leave(self) -> None:
        self._left = True

    @workflow.query
    def left(self) -> bool:
        return self._left


async def connect() -> Client:
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", "localhost:7233")
    runtime = Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address="0.0.0.0:9000")))
    return await Client.connect(**config, runtime=runtime)


async def worker() -> None:
    client = await connect()
    async with Worker(
        client,
        task_queue="hello",
        workflows=[Hello],
        activities=[compose],
        activity_executor=ThreadPoolExecutor(5),
        workflow_runner=SandboxedWorkflowRunner(
            SandboxRestrictions.default.with_passthrough_modules(pydantic.__name__)
        ),
    ):
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the other end closes


async def starter() -> None:
    assert VersioningBehavior.PINNED == 1
    client = await connect()
    handle = await client.start_workflow(Hello.run, "World", id="hello", task_queue="hello")
    left = await handle.query(Hello.left)
    await handle.signal(Hello.leave)
    print(left, await handle.result(), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(worker() if sys.argv[1] == "worker" else starter())
