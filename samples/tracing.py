"""Tracing with OpenTelemetry: one trace from the client through workflow and activities, and no replay repeats it.

    python samples/tracing.py

prints the trace as a tree. Nothing stays in memory between two steps here, so the workflow's code is run again and
again from its history: what it has told before is not told again.
"""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import timedelta

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from durable import activity, workflow
from durable.client import Client
from durable.contrib.opentelemetry import TracingInterceptor
from durable.contrib.opentelemetry.workflow import completed_span
from durable.worker import Worker

TASK_QUEUE = "greenhouse"
A_MINUTE = timedelta(minutes=1)


@activity.defn
async def plant(seed: str) -> str:
    return f"a {seed}"


@workflow.defn
class Grow:
    def __init__(self) -> None:
        self._watered = 0

    @workflow.run
    async def run(self, seed: str) -> str:
        what = await workflow.execute_activity(plant, seed, start_to_close_timeout=A_MINUTE)
        await workflow.wait_condition(lambda: self._watered == 2)
        completed_span("it blooms", attributes={"water": self._watered})
        return f"{what} in bloom"

    @workflow.signal
    def water(self) -> None:
        self._watered += 1


def tree(spans: Sequence[ReadableSpan], parent: int | None = None, depth: int = 0) -> list[str]:
    lines: list[str] = []
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        if span.context is not None and parent == (span.parent.span_id if span.parent else None):
            lines += [f"{'  ' * depth}{span.name}", *tree(spans, span.context.span_id, depth + 1)]
    return lines


async def main() -> None:
    exporter = InMemorySpanExporter()  # in earnest: an exporter to your collector, behind a BatchSpanProcessor
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("greenhouse")
    async with (
        await Client.connect(interceptors=[TracingInterceptor(tracer)]) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[Grow], activities=[plant], max_cached_workflows=0),
    ):
        with tracer.start_as_current_span("a day in the greenhouse"):
            rose = await client.start_workflow(Grow.run, "rose", id=f"rose-{uuid.uuid4()}", task_queue=TASK_QUEUE)
            for _ in range(2):
                await rose.signal(Grow.water)
            print(await rose.result())
    print(*tree(exporter.get_finished_spans()), sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
