"""A command's work, done: a refusal becomes a sentence on stderr and an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import typer

from durable.cli import reach, refusal
from durable.cli.say import say
from durable.client import Client
from durable.converter import DataConverter
from durable.converter.errors import ConversionError
from durable.exceptions import TemporalError
from durable.history.errors import HistoryError

T = TypeVar("T")

REFUSALS = (refusal.CommandRefused, TemporalError, HistoryError, ConversionError, ValueError, OSError)
"""What ends a command with a sentence; anything else is a bug, and shows where."""

INTERRUPTED = 130


def with_client(
    ask: Callable[[Client], Coroutine[Any, Any, None]],
    address: str,
    namespace: str,
    *,
    create: bool = False,
    module: str | None = None,
) -> None:
    """``module`` has the data converter of what goes in and comes out; the default one without it."""

    async def asking() -> None:
        async with await reach.connect(address, namespace, create=create, data_converter=converter) as client:
            await ask(client)

    converter = DataConverter.default if module is None else _converter_of(module)
    run(asking())


def _converter_of(module: str) -> DataConverter:
    # A command that names no module begins sooner without all that runs code.
    from durable.cli.modules import converter_of

    try:
        return converter_of(module)
    except refusal.CommandRefused as error:
        refuse(error)


def run(work: Coroutine[Any, Any, T], *, refused: int = 1) -> T:
    """Do it; a refusal becomes a sentence on stderr, and the exit code ``refused``."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        raise  # whoever read the output has enough: click's business
    except REFUSALS as error:
        refuse(error, refused)


def refuse(error: BaseException, code: int = 1) -> NoReturn:
    for line in refusal.lines(error):
        say(line)
    raise typer.Exit(code) from error
