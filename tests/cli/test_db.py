"""`durable db`: tables brought up to date, told about, and printed as SQL that a DBA runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from durable import Client, Worker
from durable.history.stores.tables import SCHEMA
from durable.ledger import ddl
from tests.cli.databases import Database
from tests.cli.flows import greeting, hello
from tests.cli.processes import Shell
from tests.postgres import Server, database_of, elsewhere

Command = Callable[..., Result]

NEWER = "UPDATE durable_schema SET version_num = '9999'"
BEFORE_THE_FIRST = "CREATE TABLE durable_schema (version_num varchar(32) PRIMARY KEY)"


def sentence(ended: Result) -> str:
    """The one line that it printed."""
    assert ended.output.count("\n") == 1, ended.output
    return ended.output.strip()


def greet(url: str) -> str:
    """What a workflow there says, with a worker of this process."""

    async def run() -> str:
        async with await Client.connect(url) as client, Worker(client, workflows=[hello], activities=[greeting]):
            return await client.execute_workflow(hello, "Ada", id="greet")

    return elsewhere(run)


def test_upgrade_makes_the_tables_and_says_so(command: Command, empty: Database) -> None:
    ended = command("db", "upgrade", "-a", empty.url)

    assert (ended.exit_code, sentence(ended)) == (0, f"from no tables to revision {SCHEMA}")
    assert greet(empty.url) == "Hello, Ada!"


def test_upgrade_brings_old_tables_up_to_date(command: Command, empty: Database) -> None:
    empty.run(BEFORE_THE_FIRST)

    ended = command("db", "upgrade", "-a", empty.url)

    assert (ended.exit_code, sentence(ended)) == (0, f"from a revision before the first to revision {SCHEMA}")
    assert command("db", "check", "-a", empty.url).exit_code == 0


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_ledger_prints_the_table_of_effects_exactly_once(command: Command, dialect: str) -> None:
    ended = command("db", "ledger", dialect)

    assert (ended.exit_code, ended.output) == (0, ddl(dialect))
    if dialect == "sqlite":
        with closing(sqlite3.connect(":memory:")) as database:
            database.executescript(ended.output)
            assert database.execute("SELECT key, result, created FROM durable_effects").fetchall() == []


def test_ledger_refuses_a_dialect_that_is_not_known(command: Command) -> None:
    ended = command("db", "ledger", "nosuch")

    assert ended.exit_code == 2 and "SQLAlchemy knows no dialect 'nosuch'" in ended.output


def test_upgrade_changes_nothing_where_nothing_is_to_do(command: Command, empty: Database) -> None:
    command("db", "upgrade", "-a", empty.url)
    greet(empty.url)

    ended = command("db", "upgrade", "-a", empty.url)

    assert (ended.exit_code, sentence(ended)) == (
        0,
        f"nothing to do; the tables are up to date: revision {SCHEMA}",
    )
    assert empty.run("SELECT count(*) FROM durable_runs")[0][0] == 1


def test_upgrade_says_what_it_has_made_whole(command: Command, empty: Database) -> None:
    command("db", "upgrade", "-a", empty.url)
    greet(empty.url)
    empty.run("UPDATE durable_runs SET kind = 1")

    ended = command("db", "upgrade", "-a", empty.url)

    told = f"runs of an older version's workers that lists find again: 1; the tables are up to date: revision {SCHEMA}"
    assert (ended.exit_code, sentence(ended)) == (0, told)


def test_upgrade_refuses_newer_tables(command: Command, empty: Database) -> None:
    command("db", "upgrade", "-a", empty.url)
    empty.run(NEWER)

    ended = command("db", "upgrade", "-a", empty.url)

    assert ended.exit_code == 1 and "newer version of durable" in sentence(ended)
    assert empty.run("SELECT version_num FROM durable_schema")[0][0] == "9999"


def test_upgrade_says_what_a_role_may_not_do(command: Command, empty_postgres: Database) -> None:
    empty_postgres.run("CREATE ROLE db_upgrade_no_ddl LOGIN")

    ended = command("db", "upgrade", "-a", empty_postgres.url.replace("postgres@", "db_upgrade_no_ddl@"))

    empty_postgres.run("DROP ROLE db_upgrade_no_ddl")
    assert ended.exit_code == 1 and "this role may not make them" in sentence(ended)


@pytest.mark.parametrize(
    ("spoil", "revision", "code", "told"),
    [
        (None, SCHEMA, 0, f"the tables are up to date: revision {SCHEMA}"),
        (NEWER, "9999", 1, "a newer version of durable made the tables: revision 9999; this one knows"),
        ("DROP TABLE durable_schema", None, 1, "there are no tables yet"),
        ("DELETE FROM durable_schema", "", 1, "the tables are old: a revision before the first"),
    ],
)
def test_current_and_check_tell_how_the_tables_stand(
    command: Command, empty: Database, spoil: str | None, revision: str | None, code: int, told: str
) -> None:
    command("db", "upgrade", "-a", empty.url)
    if spoil:
        empty.run(spoil)

    current, check = command("db", "current", "-a", empty.url, "--json"), command("db", "check", "-a", empty.url)

    assert (current.exit_code, json.loads(current.stdout)) == (0, {"revision": revision, "known": SCHEMA})
    assert (check.exit_code, told in sentence(check)) == (code, True), check.output


def test_current_says_it_to_people_too(command: Command, empty: Database) -> None:
    command("db", "upgrade", "-a", empty.url)

    told = sentence(command("db", "current", "-a", empty.url))

    assert told == f"revision {SCHEMA} (this version of durable knows {SCHEMA})"


@pytest.mark.parametrize("words", [["db", "current"], ["db", "check"], ["db", "sql"]])
def test_only_upgrade_makes_a_file(command: Command, shell: Shell, words: list[str]) -> None:
    ended = command(*words)

    assert ended.exit_code == (0 if words[1] == "sql" else 1)
    assert [path.name for path in shell.directory.iterdir()] == ["flows.py"]


def test_looking_at_a_file_leaves_no_other_file_beside_it(command: Command, shell: Shell) -> None:
    command("db", "upgrade")
    before = sorted(shell.directory.iterdir())

    assert command("db", "check").exit_code == 0

    assert sorted(shell.directory.iterdir()) == before


@pytest.mark.parametrize("words", [["upgrade"], ["current"], ["check"], ["sql"]])
@pytest.mark.parametrize(
    ("address", "told"), [("sqlite://", "name a file"), ("mysql://host/db", "no store is known"), ("app.db", "sqlite:")]
)
def test_what_names_no_lasting_database_is_refused(command: Command, words: list[str], address: str, told: str) -> None:
    ended = command("db", *words, "-a", address)

    assert ended.exit_code == 1 and told in sentence(ended)


# As SQL. ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_ddl(empty_postgres: Database) -> Iterator[str]:
    """The name of a role that may make no tables."""
    empty_postgres.run("CREATE ROLE worker_of_test_db LOGIN")
    yield "worker_of_test_db"
    empty_postgres.run("DROP OWNED BY worker_of_test_db")
    empty_postgres.run("DROP ROLE worker_of_test_db")


def test_psql_runs_the_sql_as_it_is_and_then_workers_need_no_right_to_make_tables(
    command: Command, empty_postgres: Database, no_ddl: str, postgres_server: Server
) -> None:
    script = command("db", "sql", "-a", empty_postgres.url).stdout

    postgres_server.psql(script, database_of(empty_postgres.url))
    empty_postgres.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {no_ddl}")
    empty_postgres.run(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {no_ddl}")

    as_worker = empty_postgres.url.replace("postgres@", f"{no_ddl}@")
    assert command("db", "check", "-a", as_worker).exit_code == 0
    assert greet(as_worker) == "Hello, Ada!"


def test_sqlite_runs_the_sql_as_it_is(command: Command, shell: Shell) -> None:
    script = command("db", "sql").stdout

    with closing(sqlite3.connect(shell.directory / "durable.db")) as raw:
        raw.executescript(script)

    assert command("db", "check").exit_code == 0
    assert greet(shell.address) == "Hello, Ada!"


def test_sql_is_one_transaction_so_what_fails_leaves_nothing(command: Command, tmp_path: Path) -> None:
    script = command("db", "sql").stdout

    with closing(sqlite3.connect(tmp_path / "other.db")) as raw:
        raw.execute("CREATE TABLE durable_pulse (taken)")
        with pytest.raises(sqlite3.OperationalError, match="durable_pulse already exists"):
            raw.executescript(script)
        raw.rollback()
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("durable_pulse",)]


def test_sql_from_the_newest_revision_does_nothing(command: Command) -> None:
    script = command("db", "sql", "--from", SCHEMA).stdout

    assert script.split() == ["BEGIN;", "COMMIT;"]


def test_sql_from_an_unknown_revision_is_refused(command: Command) -> None:
    ended = command("db", "sql", "--from", "7777")

    assert ended.exit_code == 1 and f"no revision '7777' to begin from, the newest is {SCHEMA}" in sentence(ended)
