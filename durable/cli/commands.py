"""The commands of `durable`: what each takes, and what it asks of the client."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

import durable
from durable.cli import arguments, ask, checking, refusal, replaying, show, upkeep
from durable.cli.options import (
    Address,
    ConflictPolicy,
    Converter,
    Machine,
    Namespace,
    RunId,
    Status,
    TaskQueue,
    Values,
    Wait,
    WorkflowId,
)
from durable.cli.say import say
from durable.client import Client, WorkflowExecution, WorkflowFailureError, WorkflowHandle
from durable.common import DEFAULT_TASK_QUEUE
from durable.history.values import IdConflictPolicy, RunStatus
from durable.service.address import DEFAULT_ADDRESS

app = typer.Typer(
    help="Durable workflows in a database: run workers, start workflows, look at them, talk to them.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# `-5` is a JSON value: what is no option is taken as an argument, and refused there when it is no value either.
TAKES_VALUES = {"ignore_unknown_options": True}

# With the two seconds that cancelled activities get to clean up, well within the ten that `docker stop` gives.
GRACE = 6.0


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
    ] = GRACE,
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
    from durable.worker.garbage import tune_garbage_collection

    patience = arguments.seconds(grace)
    try:
        definitions = modules.collect(modules.load(module))
    except refusal.CommandRefused as error:
        ask.refuse(error)
    to_stderr()
    tune_garbage_collection()
    ask.run(
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
    module: Converter = None,
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

    async def asking(client: Client) -> None:
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

    ask.with_client(asking, address, namespace, create=True, module=module)


@app.command()
def result(
    id: WorkflowId,
    run_id: RunId = None,
    timeout: Wait = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    module: Converter = None,
    json: Machine = False,
) -> None:
    """Wait for a workflow's result, and print it as JSON; if the workflow fails, print why, and exit with 1."""
    patience = None if timeout is None else arguments.seconds(timeout)

    async def asking(client: Client) -> None:
        await _show_result(client.get_workflow_handle(id, run_id=run_id), patience, json)

    ask.with_client(asking, address, namespace, module=module)


@app.command("list")
def list_(
    query: Annotated[
        str | None,
        typer.Option(help="Only runs that pass this list filter.", show_default=False),
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only runs that stand so.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    json: Machine = False,
) -> None:
    """The runs, newest first."""

    async def asking(client: Client) -> None:
        wanted = None if status is None else RunStatus[status.name]
        runs = client.list_workflows(query, status=wanted, limit=limit + 1)
        found: list[WorkflowExecution] = [run async for run in runs]
        if json:
            show.as_json(found[:limit])
        else:
            show.runs(found[:limit])
        if len(found) > limit:
            say(f"there are more than these {limit}: see --limit")

    ask.with_client(asking, address, namespace)


@app.command()
def describe(
    id: WorkflowId,
    run_id: RunId = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    module: Converter = None,
    json: Machine = False,
) -> None:
    """A run: how it stands, why it is parked, its activities under way, its unread messages."""

    async def asking(client: Client) -> None:
        description = await client.get_workflow_handle(id, run_id=run_id).describe()
        if json:
            show.as_json(description)
        else:
            show.description(description)

    ask.with_client(asking, address, namespace, module=module)


@app.command()
def history(
    id: WorkflowId,
    run_id: RunId = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    json: Annotated[bool, typer.Option("--json", help="Print the JSON that Temporal's tools read.")] = False,
) -> None:
    """All that happened to a run so far."""

    async def asking(client: Client) -> None:
        found = await client.get_workflow_handle(id, run_id=run_id).fetch_history()
        if json:
            show.history_json(found)
        else:
            show.history(found)

    ask.with_client(asking, address, namespace)


@app.command(context_settings=TAKES_VALUES)
def signal(
    id: WorkflowId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.", show_default=False)],
    args: Values = None,
    run_id: RunId = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    module: Converter = None,
) -> None:
    """Send a signal to a running workflow; it is durable when this returns."""
    values = arguments.values(args)

    async def asking(client: Client) -> None:
        await client.get_workflow_handle(id, run_id=run_id).signal(name, args=values)

    ask.with_client(asking, address, namespace, module=module)


@app.command(context_settings=TAKES_VALUES)
def query(
    id: WorkflowId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The query's name.", show_default=False)],
    args: Values = None,
    run_id: RunId = None,
    timeout: Wait = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
    module: Converter = None,
) -> None:
    """Ask a workflow's code, running or closed, and print the answer as JSON; a worker must be there to answer."""
    values = arguments.values(args)
    patience = None if timeout is None else arguments.seconds(timeout)

    async def asking(client: Client) -> None:
        handle = client.get_workflow_handle(id, run_id=run_id)
        show.value(await handle.query(name, args=values, rpc_timeout=patience))

    ask.with_client(asking, address, namespace, module=module)


@app.command()
def cancel(
    id: WorkflowId,
    reason: Annotated[str, typer.Option(help="Why, for the history.", show_default=False)] = "",
    run_id: RunId = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
) -> None:
    """Ask a workflow to end; its code may clean up first."""

    async def asking(client: Client) -> None:
        await client.get_workflow_handle(id, run_id=run_id).cancel(reason=reason)

    ask.with_client(asking, address, namespace)


@app.command()
def terminate(
    id: WorkflowId,
    reason: Annotated[str | None, typer.Option(help="Why, for the history.", show_default=False)] = None,
    run_id: RunId = None,
    address: Address = DEFAULT_ADDRESS,
    namespace: Namespace = "default",
) -> None:
    """End a workflow at once, without asking its code."""

    async def asking(client: Client) -> None:
        await client.get_workflow_handle(id, run_id=run_id).terminate(reason=reason)

    ask.with_client(asking, address, namespace)


app.command()(replaying.replay)
app.command()(replaying.debug)
app.command()(checking.check)
app.add_typer(upkeep.db, name="db", help="The database's tables: their revision, and what brings them up to date.")
app.command()(upkeep.doctor)


async def _show_result(handle: WorkflowHandle[Any, Any], timeout: timedelta | None, json: bool) -> None:
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
