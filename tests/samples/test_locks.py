"""locks: one holder at a time, whoever breaks, is stuck or dies; and everybody's turn comes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import locks
from durable import Client, Worker
from durable.client import WorkflowFailureError
from locks import Deploy, Lock, Locksmith, install, switch
from tests.samples.conftest import Folder, ReplayOnTemporal

CHANGES = [f"{host} {state}" for host in ("left", "right") for state in ("out", "in")]


async def deployments(client: Client) -> int:
    return (await client.count_workflows("WorkflowType = 'Deploy'")).count


def assert_one_at_a_time(log: Path) -> None:
    """Leases in their order, each with one version; and within it one host out of service at a time.

    A line that an attempt left which was killed before it was over may be there twice, one after the other.
    """
    lines = list(dict.fromkeys(log.read_text().splitlines()))
    leases = [int(line.split()[0]) for line in lines]
    assert leases == sorted(leases)
    for lease in set(leases):
        versions, changes = zip(
            *[line.split(maxsplit=2)[1:] for line in lines if line.startswith(f"{lease} ")], strict=True
        )
        assert len(set(versions)) == 1
        assert list(changes) in (CHANGES, CHANGES[2:] + CHANGES[:2])
    assert len(set(leases)) == 3


async def test_whoever_breaks_or_is_stuck_keeps_nobody_waiting(
    folder: Folder, replay: Callable[..., None], replay_on_temporal: ReplayOnTemporal
) -> None:
    said = await folder.run("locks")

    assert said.splitlines() == [
        "stuck: has lease 1",
        "stuck: LeaseIsOver: lease 1 is over",
        "broken: it does not start",
        "1.1: deployed",
        "1.2: deployed",
        "1.3: deployed",
    ]
    assert_one_at_a_time(folder.path / "deployed.log")
    histories = await folder.histories()
    replay([history for history in histories if history.workflow_id.startswith("deploy")], Deploy)
    replay([history for history in histories if history.workflow_id.startswith("production")], Lock)
    await replay_on_temporal(histories, "locks")


async def test_a_worker_that_is_killed_takes_no_lock_with_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    log = folder.path / "deployed.log"
    monkeypatch.setattr(locks, "LOG", log)
    sample = await folder.start("locks")
    async with await folder.client() as client:
        while await deployments(client) < 5 or not log.exists():  # all wait, and somebody is in the middle
            pass
        sample.kill()
        await folder.end(sample)

        async with Worker(
            client,
            task_queue=locks.TASK_QUEUE,
            workflows=[Lock, Deploy],
            activities=[Locksmith(client).ask, install, switch],
        ):
            ended: dict[str, str] = {}
            async for run in client.list_workflows("WorkflowType = 'Deploy'"):
                version = run.id.split("-")[1]
                try:
                    ended[version] = await client.get_workflow_handle(run.id).result()
                except WorkflowFailureError as error:
                    ended[version] = str(error.cause.__cause__)

    assert ended == {
        "stuck": "LeaseIsOver: lease 1 is over",
        "broken": "it does not start",
        "1.1": "deployed",
        "1.2": "deployed",
        "1.3": "deployed",
    }
    assert_one_at_a_time(log)
