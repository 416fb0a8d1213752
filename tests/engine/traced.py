"""Workflows that are traced, and a process that works on them: its spans go to a file."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from durable import Client, Worker, activity, workflow
from durable.contrib.opentelemetry import (
    OpenTelemetryPlugin,
    ReplaySafeTracerProvider,
    TracingInterceptor,
    create_tracer_provider,
)
from durable.contrib.opentelemetry.workflow import completed_span
from tests.engine.orders import LEASE

SOON = timedelta(minutes=1)


class Exporter(SpanExporter):
    """Writes each span as a line of JSON, at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._path.open("a") as file:
            for span in spans:
                assert span.context is not None
                line = {
                    "name": span.name,
                    "kind": span.kind.name,
                    "id": span.context.span_id,
                    "trace": span.context.trace_id,
                    "parent": span.parent.span_id if span.parent else None,
                    "links": [link.context.span_id for link in span.links],
                    "attributes": dict(span.attributes or {}),
                    "time": (span.start_time, span.end_time),
                    "status": span.status.status_code.name,
                    "errors": [(event.attributes or {}).get("exception.type") for event in span.events],
                }
                file.write(json.dumps(line) + "\n")
        return SpanExportResult.SUCCESS


def tracing(path: Path, **options: Any) -> TracingInterceptor:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Exporter(path)))
    return TracingInterceptor(provider.get_tracer("tests"), **options)


@activity.defn
async def fetch(item: Any) -> Any:
    return item


@activity.defn
async def pack(item: str) -> str:
    return f"{item}, packed"


@activity.defn
async def gate() -> int:
    """Waits until the test opens it."""
    folder = Path(os.environ["TRACED_FOLDER"])
    (folder / "at the gate").touch()
    while not (folder / "open").exists():  # noqa: ASYNC110 (another process opens it)
        await asyncio.sleep(0.01)
    return os.getpid()


@workflow.defn
class Child:
    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._told)
        return "told"

    @workflow.signal
    def tell(self) -> None:
        self._told = True


@workflow.defn
class Traced:
    """Does everything that has a span."""

    def __init__(self) -> None:
        self._approved = False
        self._items: list[str] = []

    @workflow.run
    async def run(self, item: str) -> list[Any]:
        completed_span("prepared", attributes={"item": item})
        drawn = workflow.random().random()
        fetched = await workflow.execute_activity(fetch, drawn, start_to_close_timeout=SOON)
        await workflow.execute_local_activity(fetch, "near", start_to_close_timeout=SOON)
        child = await workflow.start_child_workflow(Child.run, id=f"{workflow.info().workflow_id}-child")
        await child.signal(Child.tell)
        await child
        other = workflow.get_external_workflow_handle_for(Child.run, "other")
        await other.signal(Child.tell)
        await workflow.wait_condition(lambda: self._approved)
        return [*self._items, drawn == fetched]

    @workflow.signal
    async def approve(self) -> None:
        completed_span("seen")
        await workflow.execute_activity(fetch, "approval", activity_id="approval", start_to_close_timeout=SOON)
        self._approved = True

    @workflow.update
    async def add(self, item: str) -> int:
        self._items.append(item)
        return len(self._items)

    @add.validator
    def only_tea(self, item: str) -> None:
        completed_span("judged")
        if item != "tea":
            raise ValueError("only tea")

    @workflow.query
    def items(self) -> list[str]:
        completed_span("shown")
        return self._items


@workflow.defn
async def gated(item: str) -> int:
    await workflow.execute_activity(fetch, item, start_to_close_timeout=SOON)
    passed = await workflow.execute_activity(gate, start_to_close_timeout=SOON)
    completed_span("passed", attributes={"item": item})
    await workflow.execute_activity(pack, item, start_to_close_timeout=SOON)
    return passed


@workflow.defn
async def lasting(item: str) -> int:
    """OpenTelemetry as anywhere else."""
    tracer = trace.get_tracer("tests")
    with tracer.start_as_current_span("whole", attributes={"item": item}) as whole:
        await workflow.execute_activity(fetch, item, start_to_close_timeout=SOON)
        with tracer.start_as_current_span("middle"):
            await workflow.sleep(0.01)
            passed = await workflow.execute_activity(gate, start_to_close_timeout=SOON)
        whole.add_event("passed")
        trace.get_current_span().set_attribute("passed", True)
    return passed


WORKFLOWS: Sequence[Any] = (Traced, Child, gated, lasting)
ACTIVITIES: Sequence[Callable[..., Any]] = (fetch, pack, gate)


def replay_safe(path: Path) -> ReplaySafeTracerProvider:
    provider = create_tracer_provider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Exporter(path)))
    return provider


async def serve(address: str, folder: Path, options: dict[str, Any]) -> None:
    async with await Client.connect(address, **options) as client:
        async with Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES, lease=LEASE):
            tests = multiprocessing.parent_process()
            assert tests is not None
            await asyncio.to_thread(tests.join)


def process(address: str, folder: Path, with_plugin: bool) -> None:
    """The main function of a worker process; it serves until it is killed."""
    logging.disable(logging.CRITICAL)
    os.environ["TRACED_FOLDER"] = str(folder)
    if with_plugin:
        trace.set_tracer_provider(replay_safe(folder / "spans"))
        options: dict[str, Any] = {"plugins": [OpenTelemetryPlugin(add_temporal_spans=True)]}
    else:
        options = {"interceptors": [tracing(folder / "spans")]}
    asyncio.run(serve(address, folder, options))
