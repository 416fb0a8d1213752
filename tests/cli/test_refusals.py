"""What the command refuses: one clear sentence each, the right exit code, nothing left behind."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from durable import Client
from durable.history.stores.tables import VERSION_TABLE
from tests.cli.processes import ROOT, Shell


def sentence(ended: Result) -> str:
    """The one line on stderr."""
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr.strip()


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("World", """as text, write '"World"'"""),
        ('{"a": ', "argument 1 is not JSON"),
        ("--wiat", "there is no option --wiat"),
        ("NaN", "is not JSON"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_an_argument_that_is_not_json_is_wrong_usage_and_starts_nothing(
    command: Callable[..., Result], shell: Shell, argument: str, hint: str
) -> None:
    ended = command("start", "hello", argument)

    assert ended.exit_code == 2 and hint in " ".join(ended.stderr.split()), ended.stderr
    assert not (shell.directory / "durable.db").exists()


@pytest.mark.parametrize(
    "words", [["result", "x", "--timeout", "nan"], ["start", "x", "--start-delay", "-1"], ["lsit"]]
)
def test_wrong_usage_exits_with_2(command: Callable[..., Result], words: list[str]) -> None:
    assert command(*words).exit_code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["start", "hello", '"\\ud800"'], "argument 1: "),
        (["start", "hello", "--id", ""], "a workflow id has 1 to 1000 characters"),
        (["start", "hello", "--id", "x" * 1001], "a workflow id has 1 to 1000 characters"),
        (["start", "hello", "--id", "\udcff"], "a workflow id has neither NUL nor lone surrogates"),
    ],
)
def test_what_no_history_can_hold_is_refused(command: Callable[..., Result], words: list[str], told: str) -> None:
    ended = command(*words)

    assert ended.exit_code == 1 and told in sentence(ended)


def test_an_id_in_use_is_refused_unless_the_policy_says_what_to_do(command: Callable[..., Result]) -> None:
    first, again, same, other = [
        command("start", "hello", "--id", "taken", "--json", "--id-conflict-policy", policy)
        for policy in ("fail", "fail", "use-existing", "terminate-existing")
    ]
    runs = json.loads(command("list", "--json").stdout)

    assert again.exit_code == 1 and "workflow 'taken' is in use" in sentence(again)
    assert json.loads(same.stdout) == json.loads(first.stdout)
    assert json.loads(other.stdout)["runId"] != json.loads(first.stdout)["runId"]
    assert [run["status"] for run in runs] == ["RUNNING", "TERMINATED"]


def test_a_list_shows_the_runs_that_pass_a_query(command: Callable[..., Result]) -> None:
    for name, queue in (("hello", "a"), ("hello", "b"), ("other", "b")):
        command("start", name, "--id", f"{name}-{queue}", "--task-queue", queue)
    passing = command("list", "--query", "WorkflowType = 'hello' AND TaskQueue = 'b'", "--status", "running", "--json")
    refused = command("list", "--query", "StartTime > 'x'")
    unknown = command("list", "--query", "CustomerId = 'c-7'")

    assert [run["id"] for run in json.loads(passing.stdout)] == ["hello-b"]
    assert refused.exit_code == 1 and "StartTime takes times as" in sentence(refused)
    assert unknown.exit_code == 1 and "has no mapping defined for search attribute 'CustomerId'" in sentence(unknown)


@pytest.mark.parametrize("words", [["list"], ["result", "x"], ["signal", "x", "y"]])
def test_commands_that_only_look_make_no_database(
    command: Callable[..., Result], shell: Shell, words: list[str]
) -> None:
    ended = command(*words)

    assert ended.exit_code == 1 and "there is no database file" in sentence(ended)
    assert not (shell.directory / "durable.db").exists()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("sqlite:///corrupt.db", "the file is something else, or damaged"),
        ("sqlite:///no/where.db", "there is no directory"),
        ("sqlite:///.", "is a directory"),
        ("sqlite:////proc/durable.db", "can't be used"),
        ("app.db", "write sqlite:///app.db"),
        ("sqlite://", "name a file"),
        ("mysql://host/db", "no store is known"),
        ("sqlite:///app.db?mode=ro", "the only one for SQLite is ?file_system=any"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_one_sentence(
    command: Callable[..., Result], shell: Shell, address: str, told: str
) -> None:
    (shell.directory / "corrupt.db").write_bytes(b"this is no database, whatever its name says" * 100)

    ended = command("start", "hello", "--address", address)

    assert ended.exit_code == 1 and told in sentence(ended)


async def test_a_worker_leaves_a_database_of_a_newer_version_alone(shell: Shell) -> None:
    async with await Client.connect(shell.address):
        pass
    with closing(sqlite3.connect(shell.directory / "durable.db")) as newer:
        newer.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        newer.commit()

    ended = await shell("worker", "flows")

    assert ended.code == 1 and "newer version of durable" in ended.sentence


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("nowhere", None, "there is no module 'nowhere'"),
        ("nowhere.py", None, "there is no file"),
        ("nothing_in_it.py", "answer = 42", "no workflow and no activity"),
        ("broken.py", "answer = 42\nundefined", "line 2: NameError: name 'undefined' is not defined"),
        ("garbled.py", "def", "SyntaxError"),
        ("needs.py", "import not_installed", "No module named 'not_installed'"),
        ("leaves.py", "raise SystemExit(0)", "importing leaves.py ends the program"),
        ("queue.py", "", "rename it"),
    ],
)
def test_a_module_that_a_worker_cannot_serve_is_told_in_one_sentence(
    command: Callable[..., Result], shell: Shell, name: str, source: str | None, told: str
) -> None:
    if source is not None:
        (shell.directory / name).write_text(f"{source}\n")

    ended = command("worker", name)
    sys.modules.pop("nothing_in_it", None)

    assert ended.exit_code == 1 and told in sentence(ended)
    assert not (shell.directory / "durable.db").exists()


def test_what_is_terminated_is_ended_without_a_worker_and_takes_no_more(command: Callable[..., Result]) -> None:
    command("start", "hello", "--id", "lost")
    ended = command("terminate", "lost", "--reason", "a typo")
    result, again, signal = [
        command(*words) for words in (["result", "lost"], ["terminate", "lost"], ["signal", "lost", "anything"])
    ]
    history = json.loads(command("history", "lost", "--json").stdout)

    assert ended.exit_code == 0
    assert result.exit_code == 1 and sentence(result) == "the workflow was terminated: a typo"
    assert again.exit_code == 1 and "already completed" in sentence(again)
    assert signal.exit_code == 1 and "already completed" in sentence(signal)
    assert history["events"][-1]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED"


def test_names_of_others_cannot_write_on_the_terminal(command: Callable[..., Result]) -> None:
    hostile = "\x1b]0;owned\x07\r\n[bold]x[/bold]\x9b31m\u202e"
    started = command("start", f"type{hostile}", json.dumps(hostile), "--id", f"id{hostile}", "--task-queue", hostile)
    listed, as_json, described, history = [
        command(*words).stdout
        for words in (["list"], ["list", "--json"], ["describe", f"id{hostile}"], ["history", f"id{hostile}"])
    ]

    for shown in (started.stdout, listed, as_json, described, history):
        assert shown and all(char.isprintable() or char == "\n" for char in shown), shown
    assert len(listed.splitlines()) == 2, "a name made a line of its own"
    assert r"id\x1b]0;owned\x07\r\n[bold]x[/bold]\x9b31m\u202e" in listed
    assert json.loads(as_json)[0]["id"] == f"id{hostile}"


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_its_extra_the_command_says_what_to_install(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from durable.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert ended.returncode == 1
    assert ended.stderr == (
        "the durable command needs two more packages; install them with: pip install 'durable[cli]'\n"
    )


def test_the_console_script_is_the_same_command() -> None:
    assert 'durable = "durable.cli:main"' in Path(ROOT / "pyproject.toml").read_text()
