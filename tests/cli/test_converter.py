"""What commands write and read goes through the `data_converter` of a module, if they are given one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from durable import Client, Worker, workflow
from tests.cli.processes import Shell
from tests.engine.codecs import converter

SEALED = """
from tests.engine.codecs import converter

data_converter = converter()
"""

Command = Callable[..., Result]


@workflow.defn
class Diary:
    @workflow.init
    def __init__(self, first: str) -> None:
        self.pages = [first]

    @workflow.run
    async def run(self, first: str) -> list[str]:
        await workflow.wait_condition(lambda: len(self.pages) > 1)
        return self.pages

    @workflow.signal
    def write(self, page: str) -> None:
        self.pages.append(page)

    @workflow.query
    def page(self, number: int) -> str:
        return self.pages[number]


@pytest.fixture
def sealed(command: Command, shell: Shell) -> Command:
    """The command in a directory with the module sealed_words, which has the converter that seals."""
    (shell.directory / "sealed_words.py").write_text(SEALED)
    return command


async def test_what_commands_write_is_sealed_and_what_they_read_is_opened(sealed: Command, shell: Shell) -> None:
    async def said(*args: str) -> str:
        ended = await asyncio.to_thread(sealed, *args)
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    async with (
        await Client.connect(shell.address, data_converter=converter()) as client,
        Worker(client, workflows=[Diary]),
    ):
        await said("start", "Diary", '"the first secret"', "--id", "d", "-m", "sealed_words")
        assert json.loads(await said("query", "d", "page", "0", "--module", "sealed_words.py")) == "the first secret"
        await said("signal", "d", "write", '"the second secret"', "-m", "sealed_words")
        assert json.loads(await said("result", "d", "-m", "sealed_words")) == ["the first secret", "the second secret"]
        assert "COMPLETED" in await said("describe", "d", "-m", "sealed_words")

    files = b"".join(file.read_bytes() for file in shell.directory.glob("durable.db*") if file.is_file())
    assert b"Diary" in files and b"secret" not in files


@pytest.mark.parametrize(
    "words",
    [["start", "Diary", '"a secret"'], ["signal", "d", "write"], ["query", "d", "page"], ["result", "d"]],
    ids=lambda words: words[0],
)
def test_a_module_without_a_converter_is_refused_and_nothing_is_written(
    command: Command, shell: Shell, words: list[str]
) -> None:
    ended = command(*words, "-m", "flows")

    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "module flows has no data_converter" in ended.stderr
    assert not (shell.directory / "durable.db").exists()
