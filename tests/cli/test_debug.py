"""`durable debug` as a process: pdb at a terminal's other end, on runs that were recorded before."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from durable import Client, Worker
from durable.cli.commands import app
from durable.client import WorkflowFailureError
from tests import forked
from tests.cli import debugged
from tests.cli.processes import ROOT

FILE = "debugged.py"
SOURCE = Path(__file__).with_name(FILE)

Debug = Callable[..., "Talk"]


class Talk:
    """A session that is over: what it said at first, and what it answered to each command."""

    def __init__(self, ended: subprocess.CompletedProcess[str]) -> None:
        self.opening, *self.answers = ended.stdout.split("(Pdb) ")

    def __getitem__(self, index: int) -> str:
        return self.answers[index].strip()


def line_of(text: str) -> int:
    """The number of the first line of the definitions that has this in it."""
    return next(number for number, line in enumerate(SOURCE.read_text().splitlines(), 1) if text in line)


def stops_at(text: str, function: str) -> str:
    """What pdb says when it stands at this line."""
    return f"{FILE}({line_of(text)}){function}()"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the definitions, and a database in which they have run."""
    directory = tmp_path_factory.mktemp("recorded")
    shutil.copy(SOURCE, directory / FILE)
    asyncio.run(record(f"sqlite:///{directory / 'durable.db'}"))
    return directory


async def record(address: str) -> None:
    workflows = [debugged.sell, debugged.Box, debugged.split, debugged.refuse]
    async with await Client.connect(address) as client:
        async with Worker(client, workflows=workflows, activities=[debugged.charge]):
            await client.execute_workflow(debugged.sell, 7, id="sell")
            with pytest.raises(WorkflowFailureError):
                await client.execute_workflow(debugged.refuse, 7, id="refuse")
            box = await client.start_workflow("Box", id="box")
            for number in (21, 4):
                await box.signal("put", number)
                await box.query("so_far")
            split = await client.start_workflow(debugged.split, 7, id="split")
            while (await split.describe()).parked is None:  # noqa: ASYNC110 - nothing tells when a run is parked
                await asyncio.sleep(0.01)
            ended = await client.start_workflow("Box", id="ended")
            await ended.query("so_far")
            await ended.terminate(reason="enough")


@pytest.fixture
def debug(recorded: Path, tmp_path: Path) -> Debug:
    """Runs the command in a copy of that directory, with these lines on its stdin; it must end well, and quietly."""
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)

    def run(*args: str, types: str = "") -> Talk:
        lines = "".join(f"{line.strip()}\n" for line in types.split(";")) if types else ""
        ended = forked.run(
            "-m", "durable", "debug", *args, directory=tmp_path, environment=environment(tmp_path), typed=lines
        )
        assert ended.returncode == 0 and ended.stderr == "", ended
        return Talk(ended)

    return run


def take_terminal() -> None:
    """In the child: its stdin is the terminal that ^C interrupts, also when these tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def shows(terminal: int, text: str) -> str:
    """What the terminal shows up to this text."""
    shown = ""
    while text not in shown:
        shown += os.read(terminal, 4096).decode()
    return shown


def environment(directory: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name != "DURABLE_ADDRESS"}
    return {**env, "PYTHONPATH": str(ROOT), "HOME": str(directory)}


def test_it_opens_in_the_replayed_coroutine_with_the_runs_variables(debug: Debug) -> None:
    talk = debug("sell", "-m", "debugged", "--at", "1", types="p order, tries; up; p label; down; where; pp locals()")

    assert "workflow task 1 of 4: it read event 1 WorkflowExecutionStarted" in talk.opening
    assert "waits for activity 'charge' (event 5)" in talk.opening
    assert stops_at("await charge(order)", "pay") in talk.opening
    assert talk[0] == "(7, 1)"
    assert stops_at("await pay(order)", "sell") in talk[1]
    assert talk[2] == "'order 7'"
    assert talk[4].index("sell()") < talk[4].index("pay()")
    assert talk[5] == "{'order': 7, 'tries': 1}"


def test_it_opens_at_the_end_of_a_closed_run_which_still_has_its_variables(debug: Debug) -> None:
    talk = debug("sell", "-m", FILE, types="p label, more; tasks; forward; bk; p more; q")

    assert "workflow task 4 of 4" in talk.opening and "the run completed: event " in talk.opening
    assert '["order 7","receipt 7","receipt 1","receipt 2"]' in talk.opening
    assert talk[0] == "('order 7', ['receipt 1', 'receipt 2'])"
    assert talk[1] == "no task is left: the code has ended"
    assert talk[2] == "this is the end of the history"
    assert "workflow task 3 of 4" in talk[3] and stops_at("asyncio.sleep(0.01)", "sell") in talk[3]
    assert talk[4] == "['receipt 1', 'receipt 2']"


def test_forward_back_and_at_go_along_the_history(debug: Debug) -> None:
    talk = debug("sell", "-m", FILE, "--at", "3", types="fw; forward 2; back 2; at 1; bk; bk; fw 99; at 99; at x; fw x")

    assert "workflow task 1 of 4" in talk.opening
    assert [answer.split(":")[0].strip() for answer in talk.answers[:5]] == [
        "workflow task 2 of 4",
        "workflow task 4 of 4",
        "workflow task 2 of 4",
        "workflow task 1 of 4",
        "before the first of 4 workflow tasks",
    ]
    assert talk[5] == "this is the beginning of the history"
    assert "workflow task 4 of 4" in talk[6]
    assert "there is no event 99" in talk[7] and "at takes the number of an event" in talk[8]
    assert "forward takes a number of workflow tasks" in talk[9]


def test_event_and_history_tell_what_the_task_read_and_asked_for(debug: Debug) -> None:
    talk = debug("sell", "-m", FILE, "--at", "7", types="ev; hi")

    read, asked = talk[0].split("it asked for:")
    assert "event 7 ActivityTaskCompleted result=" in read and "receipt 7" in read
    assert "event 11 ActivityTaskScheduled" in asked and "event 12 ActivityTaskScheduled" in asked
    marked = [line for line in talk[1].splitlines() if line.startswith("->")]
    assert len(marked) == 1 and marked[0].split()[1:3] == ["7", "ActivityTaskCompleted"]
    assert "WorkflowExecutionCompleted" in talk[1]


def test_breakpoints_stop_the_code_while_it_reads_an_event(debug: Debug) -> None:
    inside = line_of("tries += 1")
    talk = debug(
        "sell", "-m", FILE, "--at", "3",
        types=f"b {FILE}:{inside}, order == 2; tbreak sell; fw; c; p order, tries; n; c; restart; c; args; fw; p tries",
    )  # fmt: skip

    assert "Breakpoint 1" in talk[0]
    assert "workflow task 2 of 4" in talk[2], "the condition keeps the first payment from stopping"
    assert stops_at("tries += 1", "pay") in talk[3]
    assert talk[4] == "(2, 1)"
    assert stops_at("return receipt", "pay") in talk[5]
    assert "workflow task 3 of 4" in talk[6], "where the code waits again, a step is over"
    assert "before the first" in talk[7]
    assert stops_at('label = f"order', "sell") in talk[8] and "Deleted breakpoint" in talk[8]
    assert talk[9] == "order = 7"
    assert "workflow task 1 of 4" in talk[10]
    assert talk[11] == "1"


def test_steps_go_from_one_waiting_line_to_the_next_through_the_users_code_only(debug: Debug) -> None:
    talk = debug("sell", "-m", FILE, "--at", "3", types="restart; s; s; s; s; s; return; n; n; n")

    stops = [answer.split("-> ")[0].split(FILE)[-1].split("\n")[0] for answer in talk.answers[1:10]]
    expected = [
        ('label = f"order', "sell"),
        ("receipt = await pay(order)", "sell"),
        ("tries = 1", "pay"),
        ("receipt = await charge(order)", "pay"),
        ("receipt = await charge(order)", "pay"),  # here it waits
        ("return receipt", "pay"),
        ("asyncio.gather", "sell"),
        ("asyncio.gather", "sell"),  # here it waits
        ("asyncio.sleep", "sell"),
    ]
    assert [stop.split("->")[0] for stop in stops] == [f"({line_of(text)}){name}()" for text, name in expected]
    assert "waits for activity" in talk[5] and "--Return--" in talk[6] and "->'receipt 7'" in talk[6]


def test_from_a_waiting_line_next_and_return_go_to_where_they_would_in_running_code(debug: Debug) -> None:
    talk = debug("sell", "-m", FILE, "--at", "1", types="n; c; at 1; return; n")

    assert stops_at("tries += 1", "pay") in talk[0]
    assert "workflow task 2 of 4" in talk[1]
    assert "--Return--" in talk[3] and stops_at("return receipt", "pay") in talk[3]
    assert stops_at("asyncio.gather", "sell") in talk[4] and "workflow task" not in talk[4]


def test_what_the_code_makes_of_being_left_is_forgotten(debug: Debug, tmp_path: Path) -> None:
    catching = 'try: tries += 1\n    except Exception: receipt = "nothing"'
    (tmp_path / FILE).write_text(SOURCE.read_text().replace("tries += 1", catching))

    talk = debug("sell", "-m", FILE, "--at", "1", types=f"b {FILE}:{line_of('tries += 1')}; fw; at 7; p receipt")

    assert stops_at("tries += 1", "pay") in talk[1]
    assert "workflow task 2 of 4" in talk[2]
    assert talk[3] == "'receipt 7'"


def test_going_back_amid_a_step_leaves_the_task_undone(debug: Debug) -> None:
    talk = debug(
        "sell", "-m", FILE, "--at", "3", types=f"b {FILE}:{line_of('tries += 1')}; fw; bk; p order, tries; fw; q"
    )

    assert stops_at("tries += 1", "pay") in talk[1]
    assert "workflow task 1 of 4" in talk[2] and stops_at("await charge(order)", "pay") in talk[2]
    assert talk[3] == "(7, 1)"
    assert stops_at("tries += 1", "pay") in talk[4]


def test_the_tasks_of_a_gather_are_looked_at_one_by_one(debug: Debug) -> None:
    talk = debug("sell", "-m", FILE, "--at", "7", types="tasks; task 3; p order; task 1; p label; task 9")

    main, first, second = talk[0].splitlines()
    assert main.startswith("-> 1  workflow") and "2 of 2 gathered: activity 'charge' (event 11), task " in main
    assert "activity 'charge' (event 11)" in first
    assert f"{FILE}({line_of('await charge(order)')})pay" in second and "(event 12)" in second
    assert stops_at("await charge(order)", "pay") in talk[1]
    assert talk[2] == "2"
    assert talk[4] == "'order 7'"
    assert "task takes the number of a task" in talk[5]


def test_signal_handlers_of_a_class_workflow_are_tasks_and_its_queries_can_be_asked(debug: Debug) -> None:
    talk = debug(
        "box", "-m", FILE, types="p self.so_far(); tasks; task 2; p number, doubled; workflow.info().workflow_id"
    )

    assert stops_at("wait_condition", "run") in talk.opening and "waits for a condition" in talk.opening
    assert talk[0] == "[21, 4]"
    assert talk[1].count("signal-put") == 2 and "waits for timer 2 (event " in talk[1]
    assert "put()" in talk[2] and talk[3] == "(21, 42)"
    assert talk[4] == "'box'"


def test_what_is_typed_may_fail_and_cannot_change_the_run(debug: Debug) -> None:
    timer = "asyncio.get_running_loop().call_later(5, print)"
    talk = debug("sell", "-m", FILE, "--at", "1", types=f"p 1 / 0; 1 / 0; {timer}; raise SystemExit; p order")

    assert "ZeroDivisionError" in talk[0] and "ZeroDivisionError" in talk[1]
    assert "While in read-only function" in talk[2]
    assert talk[4] == "7"


def test_a_run_whose_code_raises_is_looked_at_where_it_raises(debug: Debug) -> None:
    talk = debug("split", "-m", FILE, types="p sum, by; up; p receipt, parts; bk; n; n; n; n; p by; q")

    assert "WorkflowTaskFailed" in talk.opening and "no completed" not in talk.opening
    assert "ZeroDivisionError: division by zero" in talk.opening
    assert stops_at("return sum / by", "divide") in talk.opening
    assert talk[0] == "(9, 0)" and talk[2] == "('receipt 7', 0)"
    assert stops_at("receipt = await charge(sum)", "split") in talk[3]
    assert stops_at("parts = 0", "split") in talk[4]
    assert "ZeroDivisionError" in talk[6]


def test_mended_code_shows_what_it_would_do_next(debug: Debug, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(SOURCE.read_text().replace("parts = 0", "parts = 3"))

    talk = debug("split", "-m", FILE, types="ev")

    assert "the code now completes the workflow" in talk.opening
    assert talk[0].startswith("read, by no completed workflow task:\n  event 7 ActivityTaskCompleted")


def test_a_failed_run_tells_how_it_closed_and_has_the_frames_that_raised(debug: Debug) -> None:
    talk = debug("refuse", "-m", FILE, types="p reason; back; p receipt; fw; p receipt")

    assert "the run failed: event 11 WorkflowExecutionFailed failure=receipt 7: no stock" in talk.opening
    assert "ApplicationError: receipt 7: no stock" in talk.opening and "durable/worker" not in talk.opening
    assert talk[0] == "'no stock'"
    assert "NameError" in talk[2]
    assert talk[4] == "'receipt 7'"


def test_a_terminated_run_says_so(debug: Debug) -> None:
    talk = debug("ended", "-m", FILE)

    assert "the run was terminated: event 5 WorkflowExecutionTerminated reason=enough" in talk.opening
    assert stops_at("wait_condition", "run") in talk.opening


def test_code_that_no_longer_fits_stops_at_the_last_task_that_does(debug: Debug, tmp_path: Path) -> None:
    edited = SOURCE.read_text().replace("asyncio.gather(charge(1), pay(2))", "[await asyncio.sleep(5)]")
    (tmp_path / FILE).write_text(edited)

    talk = debug("sell", "-m", FILE, types="p order; c; n; n; n; n; q")

    difference = "event 11 recorded ActivityTaskScheduled of 'charge' (activity id 2), but the code now starts a timer"
    assert difference in talk.opening and f"{FILE}:{line_of('asyncio.gather')}" in talk.opening
    assert "workflow task 1 of 4" in talk.opening and stops_at("await charge(order)", "pay") in talk.opening
    assert talk[0] == "7"
    assert difference in talk[1]
    assert stops_at("tries += 1", "pay") in talk[2]
    assert difference in talk[5] and "workflow task 1 of 4" in talk[5]


def test_breakpoint_in_the_code_stops_when_it_is_run_and_not_when_it_is_replayed(debug: Debug, tmp_path: Path) -> None:
    marked = SOURCE.read_text().replace("tries += 1", "breakpoint(); tries += 1")
    (tmp_path / FILE).write_text(marked)

    talk = debug("sell", "-m", FILE, types="at 1; fw; p tries; fw; q")

    assert "workflow task 4 of 4" in talk.opening
    assert "workflow task 1 of 4" in talk[0]
    assert stops_at("return receipt", "pay") in talk[1] and talk[2] == "2"
    assert "workflow task 2 of 4" in talk[3]


def test_quitting_amid_the_code_ends_it_quietly(debug: Debug) -> None:
    talk = debug("sell", "-m", FILE, "--at", "3", types=f"b {FILE}:{line_of('tries += 1')}; fw; q")

    assert stops_at("tries += 1", "pay") in talk[1]


def test_nothing_is_written(debug: Debug, tmp_path: Path) -> None:
    def contents() -> list[str]:
        with closing(sqlite3.connect(tmp_path / "durable.db")) as database:
            return list(database.iterdump())

    before = contents()
    debug("box", "-m", FILE, types="bk 9; c; task 2; self.contents.append(1); bk; fw; q")

    assert contents() == before


def test_a_history_from_a_file_needs_no_database(debug: Debug, tmp_path: Path) -> None:
    exported = subprocess.run(
        [sys.executable, "-m", "durable", "history", "sell", "--json"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True,
    )  # fmt: skip
    (tmp_path / "sell.json").write_text(exported.stdout)
    (tmp_path / "durable.db").unlink()

    talk = debug("--history", "sell.json", "-m", FILE, "--at", "5", types="p order; q")

    assert talk[0] == "7"


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["nobody", "-m", FILE], 1, "no workflow 'nobody'"),
        (["sell", "-m", FILE, "--at", "99"], 1, "there is no event 99 in run "),
        (["sell", "-m", "other.py"], 1, "is of workflow 'sell', which these modules do not have (they have only)"),
        (["sell", "-m", "nowhere"], 1, "there is no module 'nowhere'"),
        (["--history", "nowhere.json", "-m", FILE], 1, "nowhere.json: "),
        (["--history", FILE, "-m", FILE], 1, f"{FILE}: this is no history"),
        (["--history", "two.json", "-m", FILE], 1, "two.json holds several histories"),
        (["sell"], 2, "Missing option '--module'"),
        (["sell", "--history", "x.json", "-m", FILE], 2, "name the ID of a workflow, or a --history file"),
        (["-m", FILE], 2, "name the ID of a workflow, or a --history file"),
        (["sell", "-m", FILE, "--at", "0"], 2, "--at"),
    ],
)
def test_what_cannot_be_debugged_is_refused(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], code: int, told: str
) -> None:
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    (tmp_path / "other.py").write_text("from durable import workflow\n@workflow.defn\nasync def only() -> None: ...\n")
    (tmp_path / "two.json").write_text('{"events": []}\n{"events": []}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DURABLE_ADDRESS", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("debugged", "other"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    refused = CliRunner().invoke(app, ["debug", *args])

    assert refused.exit_code == code
    assert told in " ".join(refused.stderr.split())
    assert code == 2 or refused.stderr.count("\n") == 1, refused.stderr


def test_at_a_terminal_an_interrupt_stops_code_that_never_waits_and_control_d_ends_it(
    recorded: Path, tmp_path: Path
) -> None:
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    endless = """while True:
        tries += 1
        if tries == 1000:
            print("turning", flush=True)"""
    (tmp_path / FILE).write_text(SOURCE.read_text().replace("tries += 1", endless))
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "durable", "debug", "sell", "-m", FILE, "--at", "1"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment(tmp_path),
        start_new_session=True, preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(theirs)
    try:
        shows(terminal, "(Pdb) ")
        os.write(terminal, b"fw\n")
        shows(terminal, "turning")
        os.write(terminal, b"\x03")
        told = shows(terminal, "(Pdb) ")
        os.write(terminal, b"p 'tries', tries >= 1000\n")
        variables = shows(terminal, "(Pdb) ")
        os.write(terminal, b"\x04")
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        os.close(terminal)

    assert "KeyboardInterrupt" in told and "pay()" in told
    assert "('tries', True)" in variables
    assert code == 0
