"""The pytest plugin, tried on tests of its own, each in a pytest process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.fixture
def outcome(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run the tests in a text; (exit code, output)."""

    def run(text: str) -> tuple[int, str]:
        (tmp_path / "test_it.py").write_text(FLOWS + text)
        options = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
        if "durable.testing.plugin" not in installed_plugins():
            options += ["-p", "durable.testing.plugin"]
        command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
        return done.returncode, done.stdout + done.stderr

    return run


def installed_plugins() -> set[str]:
    from importlib.metadata import entry_points

    return {entry.value for entry in entry_points(group="pytest11")}


def test_a_worker_comes_from_a_fixture_and_its_activities_can_be_replaced(outcome) -> None:  # type: ignore[no-untyped-def]
    code, said = outcome("""
@pytest.mark.parametrize("place", [charge, "charge"])
async def test_it(durable_client, durable_worker, place):
    await durable_worker(workflows=[buy], activities=[charge], replace={place: fake})
    assert await durable_client.execute_workflow(buy, 5, id="a") == "receipt over 5"
""")
    assert code == 0, said
    assert "2 passed" in said


def test_a_workflow_that_does_not_replay_fails_its_test(outcome) -> None:  # type: ignore[no-untyped-def]
    text = """
async def test_it(durable_client, durable_worker):
    await durable_worker(workflows=[moody], activities=[step])
    await durable_client.execute_workflow(moody, id="a")
"""
    code, said = outcome(text)
    assert code == 1, said
    assert "what ran in this test does not replay" in said
    assert "the code no longer fits the history" in said
    code, said = outcome(text.replace("\nasync def", "\n@pytest.mark.durable(replay=False)\nasync def"))
    assert code == 0, said
