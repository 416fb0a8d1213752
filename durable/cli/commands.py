"""The commands of `durable`: what each takes, and what it asks of the client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

import durable
from durable.cli import arguments, reach, refusal, show
from durable.cli.say import say
from durable.client import Client, WorkflowExecution, WorkflowFailureError, WorkflowHandle, WorkflowHistory
from durable.client.client import DEFAULT_ADDRESS, DEFAULT_TASK_QUEUE
from durable.converter.errors import ConversionError
from durable.exceptions import TemporalError
from durable.history.errors import HistoryError
from durable.history.values import IdConflictPolicy, RunStatus

T = TypeVar("T")

REFUSALS = (refusal.CommandRefused, TemporalError, HistoryError, ConversionError, ValueError, OSError)
"""What ends a command with a sentence; anything else is a bug, and shows where."""

INTERRUPTED = 130
NOTHING_READ = 2

app = typer.Typer(
    help="Durable workflows in a database: run workers, start workflows, look at them, talk to them.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

db = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(db, name="db", help="The database's tables: their revision, and what brings them up to date.")

# `-5` is a JSON value: what is no option is taken as an argument, and refused there when it is no value either.
TAKES_VALUES = {"ignore_unknown_options": True}


class ConflictPolicy(StrEnum):
    """`WorkflowIDConflictPolicy`, as it is written on the command line."""

    FAIL = "fail"
    USE_EXISTING = "use-existing"
    TERMINATE_EXISTING = "terminate-existing"


class Status(StrEnum):
    """`WorkflowExecutionStatus`, as it is written on the command line."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"
    CONTINUED_AS_NEW = "continued-as-new"
    TIMED_OUT = "timed-out"


Address = Annotated[
    str,
    typer.Option("--address", "-a", envvar="DURABLE_ADDRESS", metavar="URL", help="The database."),
]
Namespace = Annotated[str, typer.Option(help="The namespace in it.")]
TaskQueue = Annotated[str, typer.Option(help="The task queue that its worker serves.")]
WorkflowId = Annotated[str, typer.Argument(metavar="ID", help="The workflow's id.", show_default=False)]
RunId = Annotated[str | None, typer.Option(help="One of its runs; the latest one by default.", show_default=False)]
Values = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ARG]...", help="Arguments, each as JSON: 42, '\"text\"', '{\"a\": 1}'.", show_default=False
    ),
]
Modules = Annotated[
    list[str],
    typer.Option("--module", "-m", metavar="MODULE", help="A module with workflows: its name or file; repeatable."),
]
Machine = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wait = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Give up waiting after that.", show_default=False),
]


def _version(asked: bool) -> None:
    if asked:
        print(f"durable {durable.__version__}")
        raise typer.Exit


@app.callback()
def entrance(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Durable workflows in a database: run workers, start workflows, look at them, talk to them."""


@app.command()
def worker(
    module: Annotated[
        list[str],
        typer.Argument(metavar="MODULE...", help="Modules with definitions: names or files.", show_default=False),
    ],
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    task_queue: TaskQueue = DEFAULT_TASK_QUEUE,
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="What running activities get to end when the worker stops; the rest is handed back.",
        ),
    ] = 0.0,
    max_activities: Annotated[int, typer.Option(min=1, help="How many activities run at once.")] = 1000,
    identity: Annotated[
        str | None, typer.Option(help="Its name in histories; PID@HOST by default.", show_default=False)
    ] = None,
) -> None:
    """Run the workflows and activities of these modules until SIGINT or SIGTERM."""
    # The other commands begin sooner without all that runs code.
    from durable.cli import modules
    from durable.cli.logs import to_stderr
    from durable.cli.serve import serve

    patience = arguments.seconds(grace)
    try:
        definitions = modules.collect(modules.load(module))
    except refusal.CommandRefused as error:
        _refuse(error)
    to_stderr()
    _run(
        serve(
            definitions,
            address=address,
            namespace=namespace,
            task_queue=task_queue,
            grace=patience,
            max_activities=max_activities,
            identity=identity,
        )
    )


@app.command(context_settings=TAKES_VALUES)
def start(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.", show_default=False)],
    args: Values = None,
    id: Annotated[str | None, typer.Option("--id", help="Its id; a new one by default.", show_default=False)] = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    task_queue: TaskQueue = DEFAULT_TASK_QUEUE,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its result, and print that.")] = False,
    start_delay: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Begin that much later.", show_default=False),
    ] = 0.0,
    id_conflict_policy: Annotated[
        ConflictPolicy, typer.Option(help="What to do when a workflow of this id runs.")
    ] = ConflictPolicy.FAIL,
    json: Machine = False,
) -> None:
    """Start a workflow and print its id; it is durable then, worker or no worker."""
    values = arguments.values(args)
    delay = arguments.seconds(start_delay)

    async def ask(client: Client) -> None:
        handle = await client.start_workflow(
            workflow,
            args=values,
            id=client.database.store.new_id() if id is None else id,
            task_queue=task_queue,
            start_delay=delay,
            id_conflict_policy=IdConflictPolicy[id_conflict_policy.name],
        )
        if wait:
            say(f"started {handle.id} (run {handle.result_run_id}); waiting for its result")
            await _show_result(handle, None, json)
        elif json:
            show.as_json({"id": handle.id, "runId": handle.result_run_id})
        else:
            show.line(handle.id)

    _with_client(ask, address, namespace, create=True)


@app.command()
def result(
    id: WorkflowId,
    run_id: RunId = None,
    timeout: Wait = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    json: Machine = False,
) -> None:
    """Wait for a workflow's result, and print it as JSON; if the workflow fails, print why, and exit with 1."""
    patience = None if timeout is None else arguments.seconds(timeout)

    async def ask(client: Client) -> None:
        await _show_result(client.get_workflow_handle(id, run_id=run_id), patience, json)

    _with_client(ask, address, namespace)


@app.command("list")
def list_(
    status: Annotated[Status | None, typer.Option(help="Only runs that stand so.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    json: Machine = False,
) -> None:
    """The runs, newest first."""

    async def ask(client: Client) -> None:
        wanted = None if status is None else RunStatus[status.name]
        found: list[WorkflowExecution] = [run async for run in client.list_workflows(status=wanted, limit=limit + 1)]
        if json:
            show.as_json(found[:limit])
        else:
            show.runs(found[:limit])
        if len(found) > limit:
            say(f"there are more than these {limit}: see --limit")

    _with_client(ask, address, namespace)


@app.command()
def describe(
    id: WorkflowId,
    run_id: RunId = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    json: Machine = False,
) -> None:
    """A run: how it stands, why it is parked, its activities under way, its unread messages."""

    async def ask(client: Client) -> None:
        description = await client.get_workflow_handle(id, run_id=run_id).describe()
        if json:
            show.as_json(description)
        else:
            show.description(description)

    _with_client(ask, address, namespace)


@app.command()
def history(
    id: WorkflowId,
    run_id: RunId = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    json: Annotated[bool, typer.Option("--json", help="Print the JSON that Temporal's tools read.")] = False,
) -> None:
    """All that happened to a run so far."""

    async def ask(client: Client) -> None:
        found = await client.get_workflow_handle(id, run_id=run_id).fetch_history()
        if json:
            show.history_json(found)
        else:
            show.history(found)

    _with_client(ask, address, namespace)


@app.command(context_settings=TAKES_VALUES)
def signal(
    id: WorkflowId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.", show_default=False)],
    args: Values = None,
    run_id: RunId = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
) -> None:
    """Send a signal to a running workflow; it is durable when this returns."""
    values = arguments.values(args)

    async def ask(client: Client) -> None:
        await client.get_workflow_handle(id, run_id=run_id).signal(name, args=values)

    _with_client(ask, address, namespace)


@app.command(context_settings=TAKES_VALUES)
def query(
    id: WorkflowId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The query's name.", show_default=False)],
    args: Values = None,
    run_id: RunId = None,
    timeout: Wait = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
) -> None:
    """Ask a workflow's code, running or closed, and print the answer as JSON; a worker must be there to answer."""
    values = arguments.values(args)
    patience = None if timeout is None else arguments.seconds(timeout)

    async def ask(client: Client) -> None:
        handle = client.get_workflow_handle(id, run_id=run_id)
        show.value(await handle.query(name, args=values, rpc_timeout=patience))

    _with_client(ask, address, namespace)


@app.command()
def cancel(
    id: WorkflowId,
    reason: Annotated[str, typer.Option(help="Why, for the history.", show_default=False)] = "",
    run_id: RunId = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
) -> None:
    """Ask a workflow to end; its code may clean up first."""

    async def ask(client: Client) -> None:
        await client.get_workflow_handle(id, run_id=run_id).cancel(reason=reason)

    _with_client(ask, address, namespace)


@app.command()
def terminate(
    id: WorkflowId,
    reason: Annotated[str | None, typer.Option(help="Why, for the history.", show_default=False)] = None,
    run_id: RunId = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
) -> None:
    """End a workflow at once, without asking its code."""

    async def ask(client: Client) -> None:
        await client.get_workflow_handle(id, run_id=run_id).terminate(reason=reason)

    _with_client(ask, address, namespace)


@app.command()
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
            return await replaying.replay(found, definitions, tell)
        async with await reach.connect(address, namespace) as client:
            return await replaying.replay(replaying.from_database(client, query), definitions, tell)

    report = _run(check(), refused=NOTHING_READ)
    if json:
        show.as_json(report)
    else:
        show.line(report.summary)
    raise typer.Exit(report.exit_code)


@app.command()
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

    recorded = _run(fetch())
    try:
        # Pdb belongs to the main thread, and a workflow is never stepped within a task: no event loop runs here.
        debugging.debug(recorded, modules.collect(modules.load(module)), namespace, at)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except refusal.CommandRefused as error:
        _refuse(error)


@db.command("upgrade")
def db_upgrade(address: Address = DEFAULT_ADDRESS) -> None:
    """Bring the database's tables up to date; make them, and a SQLite file, if there are none."""
    from durable.cli import database

    show.line(_run(database.upgrade(address)))


@db.command("current")
def db_current(address: Address = DEFAULT_ADDRESS, json: Machine = False) -> None:
    """The revision of the database's tables, and the one that this version of durable knows."""
    from durable.cli import database

    found = _run(database.current(address))
    if json:
        show.as_json({"revision": found, "known": database.SCHEMA})
    else:
        show.line(database.in_words(found))


@db.command("sql")
def db_sql(
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="REVISION", help="From these tables on; by default from none."),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Print what `upgrade` does as SQL, for psql or sqlite3; the database is not opened."""
    from durable.cli import database

    print(_run(database.sql(address, start)), end="")


@db.command("check")
def db_check(address: Address = DEFAULT_ADDRESS) -> None:
    """Say whether the database's tables are up to date; 0: they are, 1: they are not, or can't be read."""
    from durable.cli import database

    told, fine = _run(database.check(address))
    if not fine:
        say(told)
        raise typer.Exit(1)
    show.line(told)


@app.command()
def doctor(address: Address = DEFAULT_ADDRESS, json: Machine = False) -> None:
    """Examine the database and what it depends on; only looks. 0: nothing is bad, though there may be warnings."""
    from durable.cli import doctor as examining

    report = _run(examining.examine(address))
    if json:
        show.as_json(report.for_machine)
    else:
        for line in report.lines:
            show.lines(line)
    raise typer.Exit(report.exit_code)


async def _show_result(handle: WorkflowHandle[Any], timeout: timedelta | None, json: bool) -> None:
    try:
        result = await handle.result(rpc_timeout=timeout)
    except WorkflowFailureError as error:
        if json:
            show.as_json({"id": handle.id, "failure": refusal.chain(error.cause)})
        raise
    if json:
        show.as_json({"id": handle.id, "result": result})
    else:
        show.value(result)


def _with_client(
    ask: Callable[[Client], Coroutine[Any, Any, None]], address: str, namespace: str, *, create: bool = False
) -> None:
    async def asking() -> None:
        async with await reach.connect(address, namespace, create=create) as client:
            await ask(client)

    _run(asking())


def _run(work: Coroutine[Any, Any, T], *, refused: int = 1) -> T:
    """Do it; a refusal becomes a sentence on stderr, and the exit code ``refused``."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        raise  # whoever read the output has enough: click's business
    except REFUSALS as error:
        _refuse(error, refused)


def _refuse(error: BaseException, code: int = 1) -> NoReturn:
    for line in refusal.lines(error):
        say(line)
    raise typer.Exit(code) from error
