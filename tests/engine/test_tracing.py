"""OpenTelemetry: one trace from the client to the activities; each span once, whoever dies, forgets or is refused."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from durable import Client, activity, workflow
from durable.client import WorkflowFailureError, WorkflowUpdateFailedError
from durable.common import HeaderCodecBehavior, RetryPolicy
from durable.contrib.opentelemetry import TracingInterceptor, TracingWorkflowInboundInterceptor
from durable.contrib.opentelemetry.workflow import completed_span
from durable.converter import DataConverter, PayloadConverter
from durable.exceptions import ApplicationError, ApplicationErrorCategory
from durable.worker import WorkflowInboundInterceptor, WorkflowInterceptorClassInput
from tests.chaos.places import Place
from tests.engine import traced
from tests.engine.conftest import worker_for
from tests.engine.histories import until
from tests.engine.masking import Masking, Notes
from tests.engine.traced import ACTIVITIES, SOON, WORKFLOWS, Child, Traced, fetch, gated, tracing
from tests.forkserver import processes

OWN = TraceContextTextMapPropagator()


class Spans:
    """What has been exported to a file."""

    def __init__(self, path: Path) -> None:
        self.all: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
        self._names = {span["id"]: span["name"] for span in self.all}

    def told(self) -> list[str]:
        """``parent > span ~ what it is linked to``, in the order of the alphabet."""
        return sorted(self._tell(span) for span in self.all)

    def _tell(self, span: dict[str, Any]) -> str:
        links = "".join(f" ~ {self._names[link]}" for link in span["links"])
        parent = "" if span["parent"] is None else f"{self._names[span['parent']]} > "
        return f"{parent}{span['name']}{links}"

    def of(self, name: str) -> dict[str, Any]:
        (span,) = [span for span in self.all if span["name"] == name]
        return span

    def assert_each_once(self) -> None:
        counted = Counter((span["name"], json.dumps(span["attributes"])) for span in self.all)
        assert len({span["id"] for span in self.all}) == len(self.all)
        assert [each for each, times in counted.items() if times > 1] == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spans"


@pytest.fixture
def traced_client(client: Client, path: Path) -> Client:
    return Client(**{**client.config(), "interceptors": [tracing(path)]})


async def test_a_trace_goes_from_the_client_through_workflows_to_activities_and_back(
    traced_client: Client, path: Path, max_cached: int
) -> None:
    async with worker_for(traced_client, *WORKFLOWS, *ACTIVITIES, max_cached_workflows=max_cached):
        handle = await traced_client.start_workflow(Traced.run, "tea", id="traced")
        await traced_client.start_workflow(Child.run, id="other")
        assert await handle.execute_update(Traced.add, "tea") == 1
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Traced.add, "coffee")
        await handle.signal(Traced.approve)
        assert await handle.result() == ["tea", True]
        assert await handle.query(Traced.items) == ["tea"]

    spans = Spans(path)
    root = "StartWorkflow:Traced"
    of_other = [span for span in spans.told() if "StartWorkflow:Child" in span and "StartChild" not in span]
    assert [span for span in spans.told() if span not in of_other] == sorted(
        [
            root,
            f"{root} > RunWorkflow:Traced",
            f"{root} > prepared",
            *[f"{root} > StartActivity:fetch"] * 3,
            *["StartActivity:fetch > RunActivity:fetch"] * 3,
            f"{root} > StartChildWorkflow:Child",
            "StartChildWorkflow:Child > RunWorkflow:Child",
            "StartChildWorkflow:Child > CompleteWorkflow:Child",
            f"{root} > SignalChildWorkflow:tell",
            "StartChildWorkflow:Child > HandleSignal:tell ~ SignalChildWorkflow:tell",
            f"{root} > SignalExternalWorkflow:tell",
            *["StartWorkflowUpdate:add"] * 2,
            *[f"{root} > ValidateUpdate:add ~ StartWorkflowUpdate:add"] * 2,
            *[f"{root} > judged"] * 2,
            f"{root} > HandleUpdate:add ~ StartWorkflowUpdate:add",
            "SignalWorkflow:approve",
            f"{root} > HandleSignal:approve ~ SignalWorkflow:approve",
            f"{root} > seen",
            f"{root} > CompleteWorkflow:Traced",
            "QueryWorkflow:items",
            f"QueryWorkflow:items > HandleQuery:items ~ {root}",
            "QueryWorkflow:items > shown",
        ]
    )
    assert of_other == [
        "StartWorkflow:Child",
        "StartWorkflow:Child > CompleteWorkflow:Child",
        "StartWorkflow:Child > HandleSignal:tell ~ SignalExternalWorkflow:tell",
        "StartWorkflow:Child > RunWorkflow:Child",
    ]
    kinds = {span["name"].partition(":")[0]: span["kind"] for span in spans.all}
    assert {name for name, kind in kinds.items() if kind == "INTERNAL"} == {
        "prepared", "judged", "seen", "shown", "CompleteWorkflow",
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if kind == "SERVER"} == {
        "RunWorkflow", "RunActivity", "SignalChildWorkflow", "ValidateUpdate", "HandleUpdate", "HandleSignal",
        "HandleQuery",
    }  # fmt: skip
    run_id = handle.first_execution_run_id
    assert spans.of(root)["attributes"] == {"temporalWorkflowID": "traced"}
    assert spans.of("prepared")["attributes"] == {
        "temporalWorkflowID": "traced",
        "temporalRunID": run_id,
        "item": "tea",
    }
    assert {
        "temporalWorkflowID": "traced",
        "temporalRunID": run_id,
        "temporalActivityID": "approval",
    } in [span["attributes"] for span in spans.all if span["name"] == "RunActivity:fetch"]


async def test_a_workflow_whose_worker_is_killed_has_each_span_once_and_in_one_trace(
    new_place: Callable[[], Place], tmp_path: Path, path: Path
) -> None:
    address = new_place().address
    workers = [processes.Process(target=traced.process, args=(address, tmp_path, False), daemon=True) for _ in range(2)]
    workers[0].start()
    async with await Client.connect(address, interceptors=[tracing(path)]) as client:
        handle = await client.start_workflow(gated, "tea", id="gated")
        await until(lambda: exists(tmp_path / "at the gate"))

        workers[0].kill()
        (tmp_path / "open").touch()
        workers[1].start()

        assert await handle.result() == workers[1].pid
        await until(lambda: told(path, "CompleteWorkflow"))  # which follows the commit that we have seen
    workers[1].kill()
    for worker in workers:
        worker.join()
    spans = Spans(path)
    spans.assert_each_once()
    assert len({span["trace"] for span in spans.all}) == 1
    root = "StartWorkflow:gated"
    assert spans.told() == sorted(
        [
            root,
            f"{root} > RunWorkflow:gated",
            *[f"{root} > StartActivity:{name}" for name in ("fetch", "gate", "pack")],
            "StartActivity:fetch > RunActivity:fetch",
            "StartActivity:pack > RunActivity:pack",
            "StartActivity:gate > RunActivity:gate",
            f"{root} > passed",
            f"{root} > CompleteWorkflow:gated",
        ]
    )


async def exists(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)


async def told(path: Path, what: str) -> bool:
    return what in await asyncio.to_thread(path.read_text)


async def test_a_step_that_is_refused_and_repeated_has_its_spans_once(traced_client: Client, path: Path) -> None:
    entered, go = threading.Event(), threading.Event()
    steps: list[bool] = []

    @workflow.defn
    class Closing:
        def __init__(self) -> None:
            self.told = 0

        @workflow.run
        async def run(self) -> int:
            await workflow.execute_activity(fetch, 1, start_to_close_timeout=SOON)
            completed_span("closing")
            steps.append(workflow.unsafe.is_replaying())
            entered.set()
            go.wait()  # a signal comes in, which the step that is about to close the run has not read
            return self.told

        @workflow.signal
        def tell(self) -> None:
            self.told += 1

    async with worker_for(traced_client, Closing, fetch, debug_mode=True):
        handle = await traced_client.start_workflow(Closing.run, id="closing")
        await asyncio.to_thread(entered.wait)
        await handle.signal(Closing.tell)
        go.set()
        assert await handle.result() == 1

    assert steps == [False, False]
    root = "StartWorkflow:Closing"
    assert Spans(path).told() == sorted(
        [
            root,
            f"{root} > RunWorkflow:Closing",
            f"{root} > StartActivity:fetch",
            "StartActivity:fetch > RunActivity:fetch",
            "SignalWorkflow:tell",
            f"{root} > HandleSignal:tell ~ SignalWorkflow:tell",
            f"{root} > closing",
            f"{root} > CompleteWorkflow:Closing",
        ]
    )


async def test_a_workflow_task_that_fails_leaves_no_span(traced_client: Client, path: Path) -> None:
    attempts: list[int] = []

    @workflow.defn
    async def faulty() -> None:
        completed_span("begun")
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("a fault in the code")

    async with worker_for(traced_client, faulty):
        handle = await traced_client.start_workflow(faulty, id="faulty")
    async with worker_for(traced_client, faulty):  # each worker that starts tries it again
        await handle.result()

    assert len(attempts) == 2
    root = "StartWorkflow:faulty"
    assert Spans(path).told() == [
        root,
        f"{root} > CompleteWorkflow:faulty",
        f"{root} > RunWorkflow:faulty",
        f"{root} > begun",
    ]


@pytest.mark.parametrize(
    ("category", "status"),
    [(ApplicationErrorCategory.UNSPECIFIED, "ERROR"), (ApplicationErrorCategory.BENIGN, "UNSET")],
)
async def test_what_fails_is_told_by_its_spans(
    traced_client: Client, path: Path, category: ApplicationErrorCategory, status: str
) -> None:
    @activity.defn
    async def failing() -> None:
        raise ApplicationError("no tea", category=category)

    @workflow.defn
    async def fails() -> None:
        once = RetryPolicy(maximum_attempts=1)
        await workflow.execute_activity(failing, start_to_close_timeout=SOON, retry_policy=once)

    async with worker_for(traced_client, fails, failing):
        with pytest.raises(WorkflowFailureError):
            await traced_client.execute_workflow(fails, id="fails")

    spans = Spans(path)
    attempt, end = spans.of("RunActivity:failing"), spans.of("CompleteWorkflow:fails")
    assert (attempt["status"], attempt["errors"]) == (status, ["durable.exceptions.ApplicationError"])
    assert (end["status"], end["errors"]) == ("UNSET", ["durable.exceptions.ActivityError"])


async def test_a_run_that_follows_another_goes_on_with_its_trace(traced_client: Client, path: Path) -> None:
    @workflow.defn
    async def twice(number: int) -> int:
        if number == 1:
            workflow.continue_as_new(2)
        return number

    async with worker_for(traced_client, twice):
        assert await traced_client.execute_workflow(twice, 1, id="twice") == 2

    root = "StartWorkflow:twice"
    assert Spans(path).told() == [
        root,
        f"{root} > CompleteWorkflow:twice",
        f"{root} > RunWorkflow:twice",
        f"{root} > RunWorkflow:twice",
    ]


@pytest.mark.parametrize("always", [True, False])
async def test_workflow_code_begins_a_trace_only_if_it_is_told_to(client: Client, path: Path, always: bool) -> None:
    interceptors = [tracing(path, always_create_workflow_spans=always)]

    @workflow.defn
    async def alone() -> None:
        completed_span("own")
        await workflow.execute_activity(fetch, 1, start_to_close_timeout=SOON)

    async with worker_for(client, alone, fetch, interceptors=interceptors):
        await client.execute_workflow(alone, id="alone")

    if always:
        assert Spans(path).told() == [
            "CompleteWorkflow:alone",
            "RunWorkflow:alone",
            "StartActivity:fetch",
            "StartActivity:fetch > RunActivity:fetch",
            "own",
        ]
    else:
        assert Spans(path).told() == ["RunActivity:fetch"]


async def test_a_header_and_a_propagator_of_ones_own_take_a_trace_along(client: Client, path: Path) -> None:
    class OwnInbound(TracingWorkflowInboundInterceptor):
        def __init__(self, next: WorkflowInboundInterceptor) -> None:
            super().__init__(next)
            self.header_key = "own"
            self.text_map_propagator = OWN

    class OwnTracing(TracingInterceptor):
        def __init__(self, tracer: Tracer) -> None:
            super().__init__(tracer)
            self.header_key = "own"
            self.text_map_propagator = OWN

        def workflow_interceptor_class(
            self, input: WorkflowInterceptorClassInput
        ) -> type[TracingWorkflowInboundInterceptor]:
            super().workflow_interceptor_class(input)
            return OwnInbound

    headers: list[Any] = []

    @workflow.defn
    async def own() -> None:
        headers.append(workflow.info().headers)
        await workflow.execute_activity(fetch, 1, start_to_close_timeout=SOON)

    own_client = Client(**{**client.config(), "interceptors": [OwnTracing(tracing(path).tracer)]})
    async with worker_for(own_client, own, fetch):
        await own_client.execute_workflow(own, id="own")

    root = "StartWorkflow:own"
    assert Spans(path).told() == [
        "StartActivity:fetch > RunActivity:fetch",
        root,
        f"{root} > CompleteWorkflow:own",
        f"{root} > RunWorkflow:own",
        f"{root} > StartActivity:fetch",
    ]
    (carrier,) = [PayloadConverter.default.from_payloads([each["own"]])[0] for each in headers]
    assert list(headers[0]) == ["own"] and list(carrier) == ["traceparent"]


async def test_a_span_that_can_not_be_exported_harms_nobody(
    traced_client: Client, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow.defn
    async def quiet() -> str:
        return "done"

    await asyncio.to_thread(path.mkdir)  # so nothing can be written there
    async with worker_for(traced_client, quiet):
        assert await traced_client.execute_workflow(quiet, id="quiet") == "done"

    assert "Exception while exporting Span" in caplog.text


async def test_a_trace_goes_on_through_a_codec_that_encodes_headers(client: Client, path: Path) -> None:
    @workflow.defn
    async def masked() -> None:
        await workflow.execute_activity(fetch, 1, start_to_close_timeout=SOON)

    notes = Notes()
    masking = Client(
        **{
            **client.config(),
            "interceptors": [tracing(path)],
            "data_converter": DataConverter(payload_codec=Masking(notes)),
            "header_codec_behavior": HeaderCodecBehavior.CODEC,
        }
    )
    async with worker_for(masking, masked, fetch):
        await masking.execute_workflow(masked, id="masked")

    assert any(b"traceparent" in payload.data for _, payload in notes.encoded)
    root = "StartWorkflow:masked"
    assert Spans(path).told() == [
        "StartActivity:fetch > RunActivity:fetch",
        root,
        f"{root} > CompleteWorkflow:masked",
        f"{root} > RunWorkflow:masked",
        f"{root} > StartActivity:fetch",
    ]


async def test_spans_that_an_activity_makes_are_children_of_its_attempt(client: Client, path: Path) -> None:
    interceptor = tracing(path)

    @activity.defn
    async def brew() -> None:
        with interceptor.tracer.start_as_current_span("brewing"):
            pass

    @activity.defn
    def pour() -> None:  # in a thread
        with interceptor.tracer.start_as_current_span("pouring"):
            pass

    @workflow.defn
    async def tea() -> None:
        await workflow.execute_activity(brew, start_to_close_timeout=SOON)
        await workflow.execute_activity(pour, start_to_close_timeout=SOON)

    traced_client = Client(**{**client.config(), "interceptors": [interceptor]})
    async with worker_for(traced_client, tea, brew, pour):
        await traced_client.execute_workflow(tea, id="tea")

    assert {"RunActivity:brew > brewing", "RunActivity:pour > pouring"} < set(Spans(path).told())
