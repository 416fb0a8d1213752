"""OpenTelemetryPlugin: spans that last through many steps of a workflow, in whichever processes, each exported once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from durable import Client, workflow
from durable.client import WorkflowFailureError
from durable.contrib.opentelemetry import (
    OpenTelemetryPlugin,
    ReplaySafeLoggerProvider,
    ReplaySafeMeterProvider,
    ReplaySafeTracerProvider,
    TemporalIdGenerator,
)
from durable.exceptions import ApplicationError
from tests.chaos.places import Place
from tests.engine import traced
from tests.engine.conftest import worker_for
from tests.engine.histories import until
from tests.engine.test_tracing import Spans, exists, told
from tests.engine.traced import ACTIVITIES, SOON, WORKFLOWS, Child, Traced, fetch, lasting, replay_safe
from tests.forkserver import processes


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the spans of OpenTelemetry's global provider go, which can be set only once by its own means."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", replay_safe(tmp_path / "spans"))
    return tmp_path / "spans"


async def connected(client: Client, **options: Any) -> Client:
    return Client(**{**client.config(), "plugins": [OpenTelemetryPlugin(**options)]})


async def test_spans_are_nested_as_the_code_that_makes_them(
    client: Client, path: Path, max_cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    traced_client = await connected(client, add_temporal_spans=True)
    async with worker_for(traced_client, *WORKFLOWS, *ACTIVITIES, max_cached_workflows=max_cached):
        with trace.get_tracer("tests").start_as_current_span("request"):
            handle = await traced_client.start_workflow(Traced.run, "tea", id="traced")
        await traced_client.start_workflow(Child.run, id="other")
        assert await handle.execute_update(Traced.add, "tea") == 1
        await handle.signal(Traced.approve)
        assert await handle.result() == ["tea", True]
        assert await handle.query(Traced.items) == ["tea"]

    spans = Spans(path)
    root = "RunWorkflow:Traced"
    own = [span for span in spans.told() if "StartWorkflow:Child" not in span and "External" not in span]
    assert [span for span in own if not span.endswith(":Child")] == sorted(
        [
            "request",
            "request > StartWorkflow:Traced",
            f"StartWorkflow:Traced > {root}",
            *[f"{root} > StartActivity:fetch"] * 2,
            *["StartActivity:fetch > RunActivity:fetch"] * 3,
            f"{root} > SignalChildWorkflow:tell",
            "SignalChildWorkflow:tell > HandleSignal:tell",
            "StartWorkflowUpdate:add",
            "StartWorkflowUpdate:add > ValidateUpdate:add",
            "StartWorkflowUpdate:add > HandleUpdate:add",
            "SignalWorkflow:approve",
            "SignalWorkflow:approve > HandleSignal:approve",
            "HandleSignal:approve > StartActivity:fetch",
            "QueryWorkflow:items",
            "QueryWorkflow:items > HandleQuery:items",
        ]
    )
    assert f"{root} > StartChildWorkflow:Child" in own and "StartChildWorkflow:Child > RunWorkflow:Child" in own
    assert len({span["id"] for span in spans.all}) == len(spans.all)
    assert "Failed to detach context" not in caplog.text


async def test_a_span_outlives_the_process_that_began_it_and_is_exported_by_the_one_that_ends_it(
    new_place: Callable[[], Place], tmp_path: Path, path: Path
) -> None:
    address = new_place().address
    workers = [processes.Process(target=traced.process, args=(address, tmp_path, True), daemon=True) for _ in range(2)]
    workers[0].start()
    async with await Client.connect(address, plugins=[OpenTelemetryPlugin(add_temporal_spans=True)]) as client:
        handle = await client.start_workflow(lasting, "tea", id="lasting")
        await until(lambda: exists(tmp_path / "at the gate"))

        workers[0].kill()
        (tmp_path / "open").touch()
        workers[1].start()

        assert await handle.result() == workers[1].pid
        await until(lambda: told(path, '"RunWorkflow'))  # which follows the commit that we have seen
    workers[1].kill()
    for worker in workers:
        worker.join()
    spans = Spans(path)
    spans.assert_each_once()
    assert len({span["trace"] for span in spans.all}) == 1
    assert spans.told() == sorted(
        [
            "StartWorkflow:lasting",
            "StartWorkflow:lasting > RunWorkflow:lasting",
            "RunWorkflow:lasting > whole",
            "whole > StartActivity:fetch",
            "StartActivity:fetch > RunActivity:fetch",
            "whole > middle",
            "middle > StartActivity:gate",
            "StartActivity:gate > RunActivity:gate",
        ]
    )
    whole, middle = spans.of("whole"), spans.of("middle")
    assert whole["attributes"] == {"item": "tea", "passed": True}
    assert whole["time"][0] < middle["time"][0] < middle["time"][1] == whole["time"][1]


async def test_without_spans_of_temporal_a_trace_goes_on_all_the_same(
    client: Client, path: Path, max_cached: int
) -> None:
    @workflow.defn
    async def quiet() -> None:
        with trace.get_tracer("tests").start_as_current_span("own"):
            await workflow.execute_activity(fetch, 1, start_to_close_timeout=SOON)
            with trace.get_tracer("tests").start_as_current_span("inner"):
                raise ApplicationError("no tea")

    traced_client = await connected(client)
    async with worker_for(traced_client, quiet, fetch, max_cached_workflows=max_cached):
        with trace.get_tracer("tests").start_as_current_span("request"), pytest.raises(WorkflowFailureError):
            await traced_client.execute_workflow(quiet, id="quiet")

    spans = Spans(path)
    assert spans.told() == ["own > inner", "request", "request > own"]
    assert (spans.of("inner")["status"], spans.of("inner")["errors"]) == (
        "ERROR",
        ["durable.exceptions.ApplicationError"],
    )


async def test_a_worker_is_not_made_with_a_provider_that_knows_nothing_of_replay(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    traced_client = await connected(client)

    with pytest.raises(ValueError, match="create_tracer_provider"):
        worker_for(traced_client, *WORKFLOWS)


def test_a_provider_and_its_ids_belong_together() -> None:
    provider = TracerProvider(shutdown_on_exit=False)

    with pytest.raises(ValueError, match="create_tracer_provider"):
        ReplaySafeTracerProvider(provider, TemporalIdGenerator(RandomIdGenerator()))


async def test_what_workflow_code_measures_counts_once(client: Client, max_cached: int) -> None:
    reader = InMemoryMetricReader()
    provider = ReplaySafeMeterProvider(MeterProvider([reader], shutdown_on_exit=False))
    meter = provider.get_meter("tests")
    counter, change = meter.create_counter("count"), meter.create_up_down_counter("change")
    histogram, gauge = meter.create_histogram("spread"), meter.create_gauge("level")

    @workflow.defn
    async def measuring() -> None:
        for number in range(3):
            counter.add(1, {"kind": "tea"})
            change.add(-1)
            histogram.record(number)
            gauge.set(number)
            await workflow.execute_activity(fetch, number, start_to_close_timeout=SOON)

    async with worker_for(client, measuring, fetch, max_cached_workflows=max_cached):
        await client.execute_workflow(measuring, id="measuring")
    counter.add(1, {"kind": "tea"})  # outside

    data = reader.get_metrics_data()
    assert data is not None
    points = {metric.name: metric.data.data_points[0] for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert {name: getattr(point, "value", None) for name, point in points.items()} == {
        "count": 4,
        "change": -3,
        "spread": None,
        "level": 2,
    }
    assert points["spread"].count == 3 and points["count"].attributes == {"kind": "tea"}


async def test_what_workflow_code_logs_through_opentelemetry_is_logged_once(client: Client, max_cached: int) -> None:
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = ReplaySafeLoggerProvider(provider).get_logger("tests")

    @workflow.defn
    async def logging() -> int:
        logger.emit(body="begun")
        await workflow.execute_activity(fetch, 1, start_to_close_timeout=SOON)
        now = workflow.time_ns()
        logger.emit(LogRecord(body="ended"))
        return now

    async with worker_for(client, logging, fetch, max_cached_workflows=max_cached):
        ended = await client.execute_workflow(logging, id="logging")
    logger.emit(body="outside")

    records = [each.log_record for each in exporter.get_finished_logs()]
    assert [record.body for record in records] == ["begun", "ended", "outside"]
    assert records[1].timestamp == ended and logger.enabled()
