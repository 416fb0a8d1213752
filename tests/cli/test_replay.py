"""`durable replay`: what replays, what does not and why, and the exit code that CI looks at."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from durable import Client, Worker
from durable.cli.commands import app
from tests.cli import flows
from tests.cli.processes import Shell
from tests.engine.codecs import converter

SOURCE = Path(flows.__file__).read_text()
CHANGED = SOURCE.replace(
    "    return await greeting(name)", "    await asyncio.sleep(1)\n    return await greeting(name)"
)

Command = Callable[..., Result]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory: with the definitions as they were, and as they were changed since."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DURABLE_ADDRESS", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, source in (("as_it_was", SOURCE), ("changed", CHANGED), ("only_activities", ACTIVITIES)):
        (tmp_path / f"{name}.py").write_text(source)
    yield tmp_path
    for name in ("as_it_was", "changed", "only_activities"):
        sys.modules.pop(name, None)


ACTIVITIES = """
from durable import activity

@activity.defn
async def greeting(name: str) -> str:
    return name
"""


@pytest.fixture
def command(directory: Path) -> Command:
    return lambda *args: CliRunner().invoke(app, ["replay", *map(str, args)])


async def run_three() -> list[dict[str, Any]]:
    """In ./durable.db: two greetings that are done, one box that is open; their histories, oldest first."""
    async with await Client.connect("sqlite:///durable.db") as client:
        async with Worker(client, workflows=[flows.hello, flows.Box], activities=[flows.greeting]):
            for name in ("Ann", "Bob"):
                await client.execute_workflow(flows.hello, name, id=f"hello-{name}")
            box = await client.start_workflow(flows.Box.run, id="box")
            await box.query(flows.Box.so_far)
        found = [each.to_json_dict() async for each in client.list_workflows().map_histories()]
    return found[::-1]


@pytest.fixture
def three(directory: Path) -> list[dict[str, Any]]:
    return asyncio.run(run_three())


def write(path: str, *documents: Any, indent: int | None = None) -> str:
    Path(path).write_text("\n".join(json.dumps(each, indent=indent) for each in documents))
    return path


def run_id(history: dict[str, Any]) -> str:
    return str(history["events"][0]["workflowExecutionStartedEventAttributes"]["originalExecutionRunId"])


# Files. ---------------------------------------------------------------------------------------------------------------


def test_histories_that_replay_make_exit_code_0(command: Command, three: list[Any]) -> None:
    files = [write(f"{number}.json", history, indent=2) for number, history in enumerate(three)]

    ended = command("-m", "as_it_was.py", *files)

    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "histories: 3 replayed\n", "")


def test_one_that_does_not_makes_1_and_a_line_with_file_run_event_record_code_and_source(
    command: Command, three: list[Any]
) -> None:
    ann, _, box = three

    ended = command("-m", "changed", write("ann.json", ann), write("box.json", box))

    line, summary = ended.stdout.splitlines()
    source = Path("changed.py").absolute()
    at = CHANGED.splitlines().index("    await asyncio.sleep(1)") + 1
    assert ended.exit_code == 1
    assert line == (
        f"ann.json: workflow 'hello-Ann' (run {run_id(ann)}): the code no longer fits the history: event 5 recorded "
        "ActivityTaskScheduled of 'greeting' (activity id 1), but the code now starts a timer (timer id 1, 1 s) at "
        f"{source}:{at}"
    )
    assert summary == "histories: 1 replayed, 1 did not"


@pytest.mark.parametrize(
    "put",
    [
        lambda all: [write("lines.jsonl", *all)],
        lambda all: [write("list.json", all)],
        lambda all: [write("list.json", all, indent=1)],
        lambda all: [write("a.json", all[0], indent=1), write("answer.json", *[{"history": each} for each in all[1:]])],
        lambda all: [write("bare.json", all[0]["events"], indent=1), write("rest.json", all[1:])],
        lambda all: [write("bare-lines.jsonl", *[event for each in all for event in each["events"]])],
        lambda all: [write("bare-list.json", [event for each in all for event in each["events"]], indent=1)],
        lambda all: [write("mixed.json", [*all[0]["events"], all[1], *all[2]["events"]])],
        lambda all: [write("gaps.jsonl", all[0]), *put_in_a_directory(all[1:])],
    ],
    ids="lines list indented-list answers bare bare-lines bare-list mixed directory".split(),
)
def test_every_way_to_keep_histories_in_files_is_read(
    command: Command, three: list[Any], put: Callable[[list[Any]], list[str]]
) -> None:
    ended = command("-m", "as_it_was", *put(three))

    assert (ended.exit_code, ended.stdout) == (0, "histories: 3 replayed\n")


def put_in_a_directory(histories: list[Any]) -> list[str]:
    Path("kept/deep").mkdir(parents=True)
    write("kept/one.json", histories[0])
    write("kept/deep/other.ndjson", histories[1])
    Path("kept/README.md").write_text("no history")
    return ["kept"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no.json: this file can't be read: No such file or directory"),
        (b"", "no.json: there is no history here: it is empty"),
        (b"\n \n", "no.json: there is no history here: it is empty"),
        (b"[]", "no.json: there is no history here: it is empty"),
        (b"garbage", "no.json: this is no history: it can't be read as JSON ("),
        (b"\xff\xfe", "no.json: this is no history: it can't be read as JSON ("),
        (b'{\n"events": [\n', "no.json: this is no history: it can't be read as JSON ("),
        (b"[" * 100_000, "no.json: this is no history: it can't be read as JSON ("),
        (
            b"7",
            'no.json: this is no history: it must be a JSON object with a list "events" (expected an object',
        ),
        (b"\n7\n8", "no.json, line 2: this is no history"),
        (b"[7]", "no.json, entry 1: this is no history"),
        (b'{\n"events": 7}', "no.json: this is no history: it must be a JSON object with a list"),
        (b'{"events": []}', "no.json: this is no whole history: it does not begin with WorkflowExecutionSta"),
    ],
)
def test_a_file_without_a_history_makes_2_and_a_sentence_that_names_it(
    command: Command, directory: Path, content: bytes | None, told: str
) -> None:
    if content is not None:
        Path("no.json").write_bytes(content)

    ended = command("-m", "as_it_was", "no.json")

    line, *_, summary = ended.stdout.splitlines()
    assert ended.exit_code == 2 and line.startswith(told), line
    assert summary.startswith("histories: 0 replayed, ") and summary.endswith(" could not be read")


def test_a_directory_without_a_history_makes_2(command: Command, directory: Path) -> None:
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("{}")

    ended = command("-m", "as_it_was", "empty")

    assert ended.exit_code == 2
    assert ended.stdout.startswith("empty: there is no history here: no file in it ends in .json, .jsonl, .ndjson")


def test_the_second_half_of_a_history_is_told_as_such(command: Command, three: list[Any]) -> None:
    ended = command("-m", "as_it_was", write("half.json", {"events": three[0]["events"][4:]}, indent=1))

    assert ended.exit_code == 2
    assert ended.stdout.startswith(
        "half.json: this is no whole history: it does not begin with WorkflowExecutionStarted"
    )


def test_an_event_of_a_kind_that_is_not_known_is_named(command: Command, three: list[Any]) -> None:
    three[0]["events"][4] |= {"eventType": "EVENT_TYPE_NEXUS_OPERATION_SCHEDULED"}

    ended = command("-m", "as_it_was", write("marked.json", three[0], indent=1))

    assert ended.exit_code == 2
    assert ended.stdout.startswith(
        "marked.json: event 5 of this history has the type 'EVENT_TYPE_NEXUS_OPERATION_SCHEDULED', which this "
        "version of durable does not have"
    )


def test_a_workflow_that_the_modules_do_not_have_is_named_with_what_they_have(
    command: Command, three: list[Any]
) -> None:
    three[0]["events"][0]["workflowExecutionStartedEventAttributes"]["workflowType"]["name"] = "farewell"

    ended = command("-m", "as_it_was", write("other.json", three[0], indent=1))

    assert ended.exit_code == 1
    assert ended.stdout.startswith(
        f"other.json: workflow 'hello-Ann' (run {run_id(three[0])}): these modules have no workflow 'farewell', only "
        "Box, blocking, deafening, failing, hello, holding: add its module with -m\n"
    )


def test_what_can_not_be_read_does_not_keep_the_rest_from_being_replayed(command: Command, three: list[Any]) -> None:
    lines = [json.dumps(each) for each in three]
    Path("many.jsonl").write_text("\n".join([lines[0], lines[1][:500], "", lines[2]]))

    ended = command("-m", "as_it_was", "missing.json", "many.jsonl")

    missing, garbled, summary = ended.stdout.splitlines()
    assert ended.exit_code == 1
    assert missing.startswith("missing.json: this file can't be read")
    assert garbled.startswith("many.jsonl, line 2: this is no history: it can't be read as JSON")
    assert summary == "histories: 2 replayed, 2 could not be read"


def test_text_of_a_history_can_not_write_on_the_terminal(command: Command, three: list[Any]) -> None:
    three[0]["events"][0]["workflowExecutionStartedEventAttributes"]["workflowId"] = "a\x1b[31m\nhistories: 9 replayed"

    ended = command("-m", "changed", write("evil.json", three[0], indent=1))

    assert ended.exit_code == 1 and len(ended.stdout.splitlines()) == 2
    assert r"workflow 'a\x1b[31m\nhistories: 9 replayed' (run" in ended.stdout


# A database. ----------------------------------------------------------------------------------------------------------


def test_a_query_replays_the_runs_of_a_database_that_pass_it(command: Command, three: list[Any]) -> None:
    fine = command("-m", "changed", "--query", "WorkflowType = 'Box' AND ExecutionStatus = 'Running'")
    all_of_them = command("-m", "changed", "--query", "")

    assert (fine.exit_code, fine.stdout) == (0, "histories: 1 replayed\n")
    bob, ann, summary = all_of_them.stdout.splitlines()
    assert all_of_them.exit_code == 1
    assert bob.startswith(
        f"workflow 'hello-Bob' (run {run_id(three[1])}): the code no longer fits the history: event 5"
    )
    assert ann.startswith(
        f"workflow 'hello-Ann' (run {run_id(three[0])}): the code no longer fits the history: event 5"
    )
    assert summary == "histories: 1 replayed, 2 did not"


def test_a_query_that_no_run_passes_is_fine(command: Command, three: list[Any]) -> None:
    ended = command("-m", "as_it_was", "--query", "ExecutionStatus = 'Failed'")

    assert (ended.exit_code, ended.stdout) == (0, "histories: 0 replayed\n")


def test_a_query_in_another_namespace_finds_nothing_of_this_one(command: Command, three: list[Any]) -> None:
    ended = command("-m", "changed", "--query", "", "--namespace", "other", "--address", "sqlite:///durable.db")

    assert (ended.exit_code, ended.stdout) == (0, "histories: 0 replayed\n")


def test_a_run_whose_stored_bytes_are_damaged_is_told_and_the_rest_replayed(command: Command, three: list[Any]) -> None:
    with closing(sqlite3.connect("durable.db")) as file:
        file.execute("UPDATE durable_history SET data = x'00' WHERE run_id = ?", [run_id(three[0])])
        file.commit()

    ended = command("-m", "as_it_was", "--query", "")

    line, summary = ended.stdout.splitlines()
    assert ended.exit_code == 1
    assert line.startswith(f"workflow 'hello-Ann' (run {run_id(three[0])}): stored events can't be read")
    assert summary == "histories: 2 replayed, 1 could not be read"


# For machines; and wrong usage. ---------------------------------------------------------------------------------------


def test_json_tells_all_to_a_machine(command: Command, three: list[Any]) -> None:
    files = [write("all.json", three), "missing.json"]

    ended = command("-m", "changed", "--json", *files)

    report = json.loads(ended.stdout)
    assert (ended.exit_code, report["replayed"], len(report["failed"])) == (1, 1, 2)
    failure = report["failed"][0]
    assert failure.pop("error").startswith("the code no longer fits the history: event 5")
    assert failure == {
        "place": "all.json, entry 1",
        "workflowId": "hello-Ann",
        "runId": run_id(three[0]),
        "workflowType": "hello",
    }
    assert [each["place"] for each in report["unreadable"]] == ["missing.json"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-m", "as_it_was"], "name the files of histories, or a --query"),
        (["-m", "as_it_was", "a.json", "--query", ""], "name the files of histories, or a --query"),
        (["a.json"], "Missing option '--module'"),
        (["-m", "nowhere", "a.json"], "there is no module 'nowhere'"),
        (["-m", "only_activities", "a.json"], "these modules have no workflow, only activities"),
        (["-m", "as_it_was", "--query", "StartTime > 7"], "StartTime is none of its attributes"),
        (["-m", "as_it_was", "--query", "", "-a", "sqlite:///no.db"], "there is no database file"),
        (["-m", "as_it_was", "--query", "", "-a", "app.db"], "write sqlite:///app.db"),
    ],
)
def test_wrong_usage_makes_2(command: Command, three: list[Any], words: list[str], told: str) -> None:
    ended = command(*words)

    assert ended.exit_code == 2 and told in ended.stderr, ended.stderr
    assert ended.stdout == ""


async def test_the_real_command_does_it(shell: Shell) -> None:
    async with shell.worker("flows"):
        await shell.fine("start", "hello", '"Ann"', "--id", "a", "--wait")
    (shell.directory / "a.json").write_text(await shell.fine("history", "a", "--json"))
    (shell.directory / "changed.py").write_text(CHANGED)

    fine, broken = await shell("replay", "-m", "flows", "a.json"), await shell("replay", "-m", "changed", "a.json")
    stored = await shell("replay", "-m", "flows.py", "--query", "WorkflowId = 'a'", "--address", shell.address)

    assert (fine.code, fine.out, fine.err) == (0, "histories: 1 replayed\n", "")
    assert (stored.code, stored.out) == (0, "histories: 1 replayed\n")
    assert broken.code == 1 and broken.out.startswith("a.json: workflow 'a' (run ")


SEALED = (
    SOURCE
    + """
from tests.engine.codecs import converter

data_converter = converter()
"""
)


async def run_sealed() -> None:
    async with await Client.connect("sqlite:///durable.db", data_converter=converter()) as client:
        async with Worker(client, workflows=[flows.hello], activities=[flows.greeting]):
            await client.execute_workflow(flows.hello, "Ann", id="hello")


def test_a_history_is_read_with_the_modules_data_converter(directory: Path, command: Command) -> None:
    asyncio.run(run_sealed())
    (directory / "as_it_was.py").write_text(SEALED)

    read = command("-m", "as_it_was", "--query", 'WorkflowId = "hello"')
    assert (read.exit_code, read.output) == (0, "histories: 1 replayed\n")
    assert command("-m", "changed", "--query", 'WorkflowId = "hello"').exit_code == 1
