"""Workers and clients as processes on one file."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from durable import Client
from durable.client import RPCError, RPCStatusCode
from durable.history import database
from tests.cli.processes import Shell


async def test_what_one_process_starts_another_one_runs_and_a_third_one_reads(shell: Shell) -> None:
    assert await shell.fine("start", "hello", '"World"', "--id", "greet") == "greet\n"
    async with shell.worker("flows") as worker:
        assert json.loads(await shell.fine("result", "greet")) == "Hello, World!"
        stopped = await worker.stop()

    assert "task queue default of sqlite:///durable.db" in worker.said
    assert "Box, blocking, deafening, failing, hello, holding" in worker.said and "greeting" in worker.said
    assert stopped.code == 0, stopped


async def test_several_workers_and_clients_share_one_file(shell: Shell) -> None:
    names = [f"client {number}" for number in range(3)]
    async with shell.worker("flows.py") as one, shell.worker("flows.py") as other:
        ended = await asyncio.gather(*[shell("start", "hello", json.dumps(name), "--wait") for name in names])
        stopped = [await one.stop(), await other.stop()]

    assert [json.loads(each.out) for each in ended] == [f"Hello, {name}!" for name in names]
    assert [each.code for each in stopped] == [0, 0]
    assert "locked" not in "".join(each.err for each in [*ended, *stopped])


async def test_a_result_wakes_its_waiter_in_another_process(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOOK_INTERVAL", 3600.0)  # only the sign that somebody committed is left to wake it
    async with shell.worker("flows"), await Client.connect(shell.address) as client:
        handle = await client.start_workflow("Box", id="box")
        assert await handle.query("so_far") == []
        waiting = asyncio.ensure_future(handle.result())
        await handle.signal("put", 7)
        await handle.signal("close")
        assert await waiting == [7]


async def test_sigterm_hands_a_running_activity_to_another_worker_as_if_it_had_not_begun(shell: Shell) -> None:
    async with shell.worker("flows", "--grace", "0") as first:
        await shell.fine("start", "holding", "--id", "held")
        assert await first.prints() == "holding"
        stopped = await first.stop()
    assert stopped.code == 0, stopped

    async with shell.worker("flows") as second:
        first_attempt, second_attempt, pid = json.loads(await shell.fine("result", "held"))

    assert (first_attempt, second_attempt, pid) == (1, 1, second.pid)


async def test_a_second_signal_stops_a_worker_at_once_even_while_an_activity_blocks_its_loop(shell: Shell) -> None:
    async with shell.worker("flows", "--grace", "3600") as worker:
        await shell.fine("start", "blocking", "--id", "blocked")
        assert await worker.prints() == "blocking"
        worker.process.send_signal(signal.SIGTERM)
        worker.process.send_signal(signal.SIGINT)
        ended = await worker.ended()

    assert ended.code in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert "stopped at once" in ended.err


async def test_signals_that_another_thread_gets_stop_a_worker_whose_loop_is_blocked(shell: Shell) -> None:
    async with shell.worker("flows", "--grace", "3600") as worker:
        await shell.fine("start", "deafening", "--id", "deafened")
        ended = await worker.ended()

    assert ended.code in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert "stopped at once" in ended.err


async def test_signals_and_queries_reach_a_workflow_and_a_cancel_ends_it(shell: Shell) -> None:
    async with shell.worker("flows"), await Client.connect(shell.address) as client:
        await client.start_workflow("Box", id="box")
        await shell.fine("signal", "box", "put", "-5")
        known, unknown = await asyncio.gather(shell("query", "box", "so_far"), shell("query", "box", "nothing"))
        await shell.fine("cancel", "box", "--reason", "enough")
        cancelled = await shell("result", "box", "--json")

    assert json.loads(known.out) == [-5]
    assert unknown.code == 1 and "known queries" in unknown.sentence and "so_far" in unknown.sentence
    assert cancelled.code == 1 and cancelled.sentence == "the workflow was cancelled"
    assert json.loads(cancelled.out)["failure"][0]["type"] == "CancelledError"


async def test_a_failed_workflow_is_told_as_the_chain_of_what_failed(shell: Shell) -> None:
    async with shell.worker("flows"):
        failed = await shell("start", "failing", "--id", "bad", "--wait")
        history = await shell.fine("history", "bad")

    assert failed.code == 1 and failed.out == ""
    _started, *told = failed.err.splitlines()
    assert told[0] == "the workflow failed:"
    assert told[1].startswith("  activity explode")
    assert told[2].startswith("  caused by KeyError: ") and r"\x1b[31m" in failed.err
    assert "\x1b" not in failed.err + history and "\r" not in failed.err + history
    assert "ActivityTaskFailed" in history and "activity_type=explode" in history


async def test_a_workflow_that_no_worker_knows_is_parked_and_seen_to_be(shell: Shell) -> None:
    async with shell.worker("flows"), await Client.connect(shell.address) as client:
        handle = await client.start_workflow("nobody's", id="lost")
        while (await handle.describe()).parked is None:  # noqa: ASYNC110 - another process parks it
            await asyncio.sleep(0.02)
        described, listed = await asyncio.gather(shell.fine("describe", "lost"), shell.fine("list"))

    for shown in (described, listed):
        assert "RUNNING (parked)" in shown and "nobody's is not registered on this worker" in shown


async def test_waiting_for_a_run_that_does_not_exist_is_an_error_and_no_wait(shell: Shell) -> None:
    async with await Client.connect(shell.address) as client:
        with pytest.raises(RPCError) as refused:
            await client.get_workflow_handle("nobody", run_id="no-run").result()

    assert refused.value.status is RPCStatusCode.NOT_FOUND
