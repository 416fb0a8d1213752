"""The commands for who looks after a database: `db` and `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from durable.cli import ask, show
from durable.cli.options import Address, Machine
from durable.cli.say import say
from durable.service.address import DEFAULT_ADDRESS

db = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@db.command("upgrade")
def db_upgrade(address: Address = DEFAULT_ADDRESS) -> None:
    """Bring the database's tables up to date; make them, and a SQLite file, if there are none.

    Where they are, add what workers of an older version have left out since.
    """
    from durable.cli import database

    show.line(ask.run(database.upgrade(address)))


@db.command("current")
def db_current(address: Address = DEFAULT_ADDRESS, json: Machine = False) -> None:
    """The revision of the database's tables, and the one that this version of durable knows."""
    from durable.cli import database

    found = ask.run(database.current(address))
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

    print(ask.run(database.sql(address, start)), end="")


@db.command("ledger")
def db_ledger(
    dialect: Annotated[str, typer.Argument(help="As SQLAlchemy names it: postgresql, sqlite, mysql …")],
) -> None:
    """Print, as SQL, the table that `activity.exactly_once` needs in a database of yours; nothing is opened."""
    from durable import ledger

    try:
        print(ledger.ddl(dialect), end="")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@db.command("check")
def db_check(address: Address = DEFAULT_ADDRESS) -> None:
    """Say whether the database's tables are up to date; 0: they are, 1: they are not, or can't be read."""
    from durable.cli import database

    told, fine = ask.run(database.check(address))
    if not fine:
        say(told)
        raise typer.Exit(1)
    show.line(told)


def doctor(address: Address = DEFAULT_ADDRESS, json: Machine = False) -> None:
    """Examine the database and what it depends on; only looks. 0: nothing is bad, though there may be warnings."""
    from durable.cli import doctor as examining

    report = ask.run(examining.examine(address))
    if json:
        show.as_json(report.for_machine)
    else:
        for line in report.lines:
            show.lines(line)
    raise typer.Exit(report.exit_code)
