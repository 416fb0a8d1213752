"""F51: values that some database, codec or parser would choke on are stored, or refused by name, wherever they come."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, activity, workflow
from durable.client import WorkflowFailureError, WorkflowQueryFailedError
from durable.common import RetryPolicy
from durable.contrib.pydantic import pydantic_data_converter
from durable.converter import ConversionError, DataConverter, PayloadTooLarge
from durable.exceptions import ActivityError, ApplicationError
from samples.encryption import encrypting
from tests.engine.conftest import worker_for

CONVERTERS = {
    "default": DataConverter.default,
    "pydantic": pydantic_data_converter,
    "encrypting": encrypting({"a": bytes(32)}, "a"),
}
NESTED: list[Any] = []
for _ in range(150):
    NESTED = [NESTED]
DEEP: list[Any] = []
for _ in range(10_000):
    DEEP = [DEEP]

STORED = {
    "nul": "a\u0000b",
    "a key with nul": {"\u0000": "\u0000"},
    "large integers": [2**70, -(2**70), 10**4000],
    "no numbers": [math.inf, -math.inf],
    "bytes": [0, 255],
    "text of every plane": "\u202e\U0001f4a9\ufeff\uffff",
    "names of ours": {"metadata": {"encoding": "binary/null"}, "data": "", "kind": "application", "type": "Signal"},
    "nested": NESTED,
    "large": "x" * 1_000_000,
}
REFUSED = {
    "a lone surrogate": ("a\ud800", "lone surrogate"),
    "a lone surrogate as key": ({"a\udfff": 1}, "lone surrogate"),
    "3 MB": ("x" * 3_000_000, "3,000,002 bytes are more than"),
    "deep nesting": (DEEP, "nested deeper than 200 levels"),
    "a long integer": (10**5000, "more than 4300 digits"),
    "an object": (object(), "object of type object can't be converted"),
}
ERROR_TEXT = "a\u0000b \ud800 " + "x" * 3_000_000


@activity.defn
async def echo(name: str, value: Any) -> Any:
    return REFUSED[name][0] if value == "refused" else value


@activity.defn
async def complain(number: int) -> None:
    raise ApplicationError(ERROR_TEXT, "a\u0000b", math.nan, 2**70, "a\ud800", "x" * 3_000_000, type="Hostile")


ONCE = {"start_to_close_timeout": timedelta(seconds=30), "retry_policy": RetryPolicy(maximum_attempts=1)}


@workflow.defn
class Hostile:
    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    @workflow.run
    async def run(self, values: dict[str, Any]) -> dict[str, Any]:
        await workflow.wait_condition(lambda: len(self.told) == len(values))
        made = {
            name: await workflow.execute_activity(echo, args=[name, value], **ONCE) for name, value in values.items()
        }
        assert made == values == self.told
        refusals: dict[str, str] = {}
        for name, (value, _) in REFUSED.items():
            try:
                await workflow.execute_activity(echo, args=[name, value], **ONCE)
            except ConversionError as error:
                refusals[name] = str(error)
        return made | {"refusals": refusals}

    @workflow.signal
    def hear(self, name: str, value: Any) -> None:
        self.told[name] = value

    @workflow.query
    def what(self, name: str) -> Any:
        return REFUSED[name][0] if name in REFUSED else self.told[name]


@workflow.defn
class Complaining:
    @workflow.run
    async def run(self, what: str) -> None:
        if what == "activity":
            await workflow.execute_activity(complain, 1, **ONCE)
        raise ApplicationError(ERROR_TEXT, "a\u0000b", type="Hostile\u0000")


@workflow.defn
class Refusing:
    @workflow.run
    async def run(self, name: str) -> Any:
        return await workflow.execute_activity(echo, args=[name, "refused"], **ONCE)


@pytest.fixture(params=CONVERTERS)
async def client(store: str, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    address = "sqlite://" if store == "sqlite" else request.getfixturevalue("address")
    async with await Client.connect(address, data_converter=CONVERTERS[request.param]) as client:
        yield client


async def test_f51_what_can_be_stored_goes_everywhere_and_comes_back_equal(client: Client) -> None:
    async with worker_for(client, Hostile, echo):
        handle = await client.start_workflow(Hostile.run, STORED, id="hostile", memo=STORED)
        for name, value in STORED.items():
            await handle.signal(Hostile.hear, args=[name, value])
            assert await handle.query(Hostile.what, name) == value
        result = await handle.result()

    refusals = result.pop("refusals")
    assert result == STORED
    assert {name for name, (_, said) in REFUSED.items() if said in refusals.get(name, "")} == set(REFUSED)
    assert await (await handle.describe()).memo() == STORED


async def test_f51_nan_is_stored_as_such(client: Client) -> None:
    handle = await client.start_workflow("Unheard", math.nan, id="nan", memo={"a": math.nan})
    assert math.isnan(await (await handle.describe()).memo_value("a"))


async def test_f51_what_can_not_be_stored_is_refused_by_name_where_it_is_handed_over(client: Client) -> None:
    for name, (value, said) in REFUSED.items():
        for call in (
            client.start_workflow(Hostile.run, value, id="refused"),
            client.start_workflow("Unheard", args=[1, value], id="refused"),
            client.start_workflow("Unheard", id="refused", memo={"a": value}),
            client.get_workflow_handle("refused").signal("hear", value),
            client.get_workflow_handle("refused").query("what", value),
        ):
            with pytest.raises(PayloadTooLarge if name == "3 MB" else ConversionError) as refused:
                await call
            assert said in str(refused.value)
    assert [run async for run in client.list_workflows()] == []


async def test_f51_results_that_can_not_be_stored_fail_by_name(client: Client) -> None:
    async with worker_for(client, Refusing, Hostile, echo):
        for name, (_, said) in REFUSED.items():
            with pytest.raises(WorkflowFailureError) as failed:
                await client.execute_workflow(Refusing.run, name, id=f"refusing {name}")
            assert isinstance(failed.value.cause, ActivityError)
            cause = failed.value.cause.cause
            assert isinstance(cause, ApplicationError) and said in cause.message
        handle = await client.start_workflow(Hostile.run, STORED, id="asked")
        for name, (_, said) in REFUSED.items():
            with pytest.raises(WorkflowQueryFailedError) as refused:
                await handle.query(Hostile.what, name)
            assert said in str(refused.value) + str(refused.value.__cause__)


@pytest.mark.parametrize("what", ["activity", "workflow"])
async def test_f51_an_error_with_hostile_text_and_details_arrives_escaped_and_cut(client: Client, what: str) -> None:
    async with worker_for(client, Complaining, complain):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(Complaining.run, what, id="complaining")

    error = failed.value.cause.__cause__ if what == "activity" else failed.value.cause
    assert isinstance(error, ApplicationError)
    assert error.message.startswith("a\\u0000b \\ud800 xxx") and len(error.message) < 40_000
    assert error.details[0] == "a\u0000b"
    if what == "workflow":
        assert error.type == "Hostile\\u0000"
        return
    assert math.isnan(error.details[1]) and error.details[2] == 2**70
    assert "lone surrogate" in error.details[3] and "3000002 bytes are more" in error.details[4]
