"""The commands that replay histories on today's code: `replay` and `debug`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from durable.cli import ask, reach, refusal, show
from durable.cli.options import Address, Machine, Modules, Namespace, RunId
from durable.client import WorkflowHistory
from durable.service.address import DEFAULT_ADDRESS

NOTHING_READ = 2


def replay(
    module: Modules,
    file: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Exported histories, or directories of them.", show_default=False),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(help="Instead: the runs in the database that pass this list filter.", show_default=False),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    json: Machine = False,
) -> None:
    """Check stored histories against today's code; 0: all replay, 1: some do not, 2: none could be read."""
    from durable.cli import histories, modules
    from durable.cli import replay as replaying

    if bool(file) == (query is not None):
        raise typer.BadParameter("name the files of histories, or a --query")

    async def check() -> replaying.Report:
        definitions = modules.collect(modules.load(module))
        tell: Callable[[str], None] = (lambda _: None) if json else show.lines
        if query is None:
            found = replaying.from_files(histories.find(file or ()))
            return await replaying.replay(found, definitions, namespace, tell)
        async with await reach.connect(address, namespace) as client:
            return await replaying.replay(replaying.from_database(client, query), definitions, namespace, tell)

    report = ask.run(check(), refused=NOTHING_READ)
    if json:
        show.as_json(report)
    else:
        show.line(report.summary)
    raise typer.Exit(report.exit_code)


def debug(
    module: Modules,
    id: Annotated[str | None, typer.Argument(metavar="ID", help="The workflow's id.", show_default=False)] = None,
    run_id: RunId = None,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead: a run's exported history.", show_default=False)
    ] = None,
    at: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="EVENT",
            help="Begin where the code read this event; the last one by default.",
            show_default=False,
        ),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
) -> None:
    """Open pdb in a run, replayed on today's code; nothing is written, no activity is run."""
    from durable.cli import debug as debugging
    from durable.cli import modules

    if (id is None) == (history is None):
        raise typer.BadParameter("name the ID of a workflow, or a --history file")

    async def fetch() -> WorkflowHistory:
        if id is None:
            return debugging.only(history or Path())
        async with await reach.connect(address, namespace) as client:
            return await client.get_workflow_handle(id, run_id=run_id).fetch_history()

    recorded = ask.run(fetch())
    try:
        # Pdb belongs to the main thread, and a workflow is never stepped within a task: no event loop runs here.
        debugging.debug(recorded, modules.collect(modules.load(module)), namespace, at)
    except KeyboardInterrupt:
        sys.exit(ask.INTERRUPTED)
    except refusal.CommandRefused as error:
        ask.refuse(error)
