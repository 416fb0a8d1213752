"""The pytest plugin, tried on tests of its own, each in a pytest process of its own."""

from __future__ import annotations

from tests.testing.pytests import Pytest

FLOWS = """
import random
from datetime import timedelta

import pytest
from durable import activity, workflow


@activity.defn
async def charge(cents: int) -> str:
    raise RuntimeError("no test charges a card")


@workflow.defn
async def buy(cents: int) -> str:
    await workflow.sleep(timedelta(days=1))
    return await charge(cents)


luck = iter(range(100))


@activity.defn
async def step(name: str) -> None: ...


@workflow.defn
async def moody() -> None:
    await step("again" if next(luck) else "first")
    if next(luck) > 1:
        await step("more")


async def fake(cents: int) -> str:
    return f"receipt over {cents}"
"""


def test_a_worker_comes_from_a_fixture_and_its_activities_can_be_replaced(users: Pytest) -> None:
    session = users.run(
        FLOWS
        + """
@pytest.mark.parametrize("place", [charge, "charge"], ids=["function", "name"])
async def test_it(durable_client, durable_worker, place):
    await durable_worker(workflows=[buy], activities=[charge], replace={place: fake})
    assert await durable_client.execute_workflow(buy, 5, id="a") == "receipt over 5"
"""
    )
    assert session.outcomes == {"test_it[function]": "passed", "test_it[name]": "passed"}, session.output


def test_a_workflow_that_does_not_replay_fails_its_test(users: Pytest) -> None:
    text = """
async def test_it(durable_client, durable_worker):
    await durable_worker(workflows=[moody], activities=[step])
    await durable_client.execute_workflow(moody, id="a")
"""
    session = users.run(FLOWS + text)
    assert session.only.outcome == "error"
    assert "what ran in this test does not replay" in session.only.told
    assert "the code no longer fits the history" in session.only.told
    session = users.run(FLOWS + text.replace("\nasync def", "\n@pytest.mark.durable(replay=False)\nasync def"))
    assert session.only.outcome == "passed"


def test_a_test_on_another_loop_is_told_so(users: Pytest) -> None:
    session = users.run("""
import pytest
from durable.testing import WorkflowEnvironment

@pytest.mark.asyncio(loop_scope="module")
async def test_it(durable_client):
    pass
""")
    assert session.only.outcome == "error"
    assert "the durable fixtures are made on an event loop per test, and this test runs on that of its module" in (
        session.only.told
    )


def test_a_session_that_needs_no_engine_does_not_load_it(users: Pytest) -> None:
    text = """
import sys

def test_it():
    assert "durable.testing.plugin" in sys.modules
    assert [name for name in ("sqlalchemy", "pydantic", "durable.client") if name in sys.modules] == []
"""
    session = users.run(text, fresh=True)
    assert session.outcomes == {"test_it": "passed"}, session.output
