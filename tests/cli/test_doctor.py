"""`durable doctor`: what it finds in databases that are well, ill, busy, or not there at all."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import Result

from durable import Client
from durable.history.host import Machine
from durable.history.stores import mounts, open_store
from durable.history.upkeep import machine, postgres, postgres_judge, sqlite
from durable.history.upkeep.examination import examine
from durable.history.upkeep.finding import Finding, Grade, worst
from durable.history.upkeep.postgres_judge import Blocked, Seen, Sessions
from durable.history.upkeep.tables import upgrade
from tests.cli.databases import Database, postgres_database, sqlite_database
from tests.cli.flows import hello
from tests.cli.processes import Shell
from tests.history.worlds import worker
from tests.pooler import pooling
from tests.postgres import Server, elsewhere

Command = Callable[..., Result]

LINUX = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who has what locked")
MENDED = (3, 99, 0)


@pytest.fixture
def made(empty: Database) -> Database:
    """A database of either kind with today's tables."""
    elsewhere(lambda: upgrade(empty.url))
    return empty


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A SQLite file with today's tables."""
    path = tmp_path / "app.db"
    sqlite.upgrade(path)
    return path


@pytest.fixture
def made_postgres(empty_postgres: Database) -> Database:
    elsewhere(lambda: upgrade(empty_postgres.url))
    return empty_postgres


async def found(url: str) -> dict[str, Finding]:
    return {finding.check: finding for finding in await examine(url, Machine())}


async def found_in(path: Path) -> dict[str, Finding]:
    return await found(f"sqlite:///{path}")


async def started(url: str) -> None:
    """A run that waits for a worker."""
    async with await Client.connect(url) as client:
        await client.start_workflow(hello, "Ada", id="greet", task_queue="greetings")


# The command. -----------------------------------------------------------------------------------------------------


def test_a_database_that_is_well_exits_with_0(command: Command, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", MENDED)
    command("db", "upgrade")

    ended = command("doctor")

    assert (ended.exit_code, ended.stderr) == (0, "")
    assert "ok       schema: the tables are up to date" in ended.stdout
    assert ended.stdout.endswith("13 ok, 0 warning, 0 bad\n"), ended.stdout


def test_a_warning_exits_with_0_and_says_what_to_do(
    command: Command, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    command("db", "upgrade")

    ended = command("doctor")

    assert ended.exit_code == 0
    assert "warning  SQLite: " in ended.stdout and "\n    → use a Python with SQLite 3.51.3 or newer" in ended.stdout


def test_something_bad_exits_with_1(command: Command) -> None:
    ended = command("doctor")

    assert ended.exit_code == 1 and "bad      database: there is no file " in ended.stdout


def test_a_machine_reads_it_as_json(command: Command) -> None:
    ended = command("doctor", "--json")

    report = json.loads(ended.stdout)
    assert ended.exit_code == 1 and report["verdict"] == "bad"
    assert [check["check"] for check in report["checks"]] == ["versions", "SQLite", "database"]
    assert report["checks"][-1]["grade"] == "bad" and "durable db upgrade" in report["checks"][-1]["advice"]


@pytest.mark.parametrize("address", ["mysql://host/db", "sqlite://", "app.db", "postgresql://h/d?pooler=x"])
async def test_an_address_that_names_nothing_is_bad(address: str) -> None:
    assert (await found(address))["address"].grade is Grade.BAD


# Either kind. -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "check", "grade", "told"),
    [
        ("UPDATE durable_schema SET version_num = '9999'", "schema", Grade.BAD, "newer version"),
        ("DELETE FROM durable_schema", "schema", Grade.WARNING, "the tables are old"),
        ("DROP TABLE durable_schema", "schema", Grade.WARNING, "no tables yet"),
        ("DROP TABLE durable_replies", "tables", Grade.BAD, "durable_replies are gone"),
    ],
)
async def test_tables_that_do_not_fit_are_told(made: Database, spoil: str, check: str, grade: Grade, told: str) -> None:
    made.run(spoil)

    finding = (await found(made.url))[check]

    assert finding.grade is grade and told in finding.told and finding.advice


async def test_work_that_nobody_takes_is_told_with_its_queue(made: Database) -> None:
    await started(made.url)
    made.run("UPDATE durable_inbox SET due_us = due_us - 180 * 1000000")
    made.run(
        "INSERT INTO durable_activity_tasks SELECT run_id, 5, namespace, 'mails', task_queue, started_us - 600000000, "
        "NULL, NULL, 1, 0, cancelled, cancelled, '', '', 3, NULL FROM durable_runs, (SELECT 1 = 0 AS cancelled) AS no"
    )

    told = await found(made.url)

    assert told["task queues"].grade is Grade.WARNING
    assert "runs of 'greetings' ('default'): 1, since 3 minutes" in told["task queues"].told
    assert "activities of 'mails' ('default'): 1, since 10 minutes" in told["task queues"].told
    assert told["workers"].grade is Grade.WARNING and "0 alive" in told["workers"].told


async def test_an_activity_that_is_paused_is_no_work_that_nobody_takes(made: Database) -> None:
    await started(made.url)
    made.run(
        "INSERT INTO durable_activity_tasks SELECT run_id, 5, namespace, 'mails', task_queue, started_us - 600000000, "
        "NULL, NULL, 1, 0, cancelled, cancelled, '', '', 0, NULL FROM durable_runs, (SELECT 1 = 0 AS cancelled) AS no"
    )

    assert (await found(made.url))["task queues"].grade is Grade.OK


async def test_work_that_is_only_just_due_is_no_trouble(made: Database) -> None:
    await started(made.url)

    told = await found(made.url)

    assert (told["task queues"].grade, told["workers"].grade) == (Grade.OK, Grade.OK)


async def test_a_parked_run_is_told_by_its_id_and_not_as_one_that_waits(made: Database) -> None:
    await started(made.url)
    made.run("UPDATE durable_runs SET parked = 'no such workflow'")
    made.run("UPDATE durable_inbox SET due_us = due_us - 180 * 1000000")

    told = await found(made.url)

    assert told["parked runs"].grade is Grade.WARNING and told["parked runs"].told.startswith("1 can't go on")
    assert "durable describe greet --namespace default" in told["parked runs"].advice
    assert told["task queues"].grade is Grade.OK


async def test_workers_are_told_alive_late_and_dead(made: Database) -> None:
    async with open_store(made.url) as store:
        for name in ("w1", "w2", "w3"):
            await store.register(worker(name, lease_s=60.0))
        made.run("UPDATE durable_workers SET renewed_us = renewed_us - 120000000 WHERE worker_id = 'w2'")
        made.run("UPDATE durable_workers SET dead_us = renewed_us WHERE worker_id = 'w3'")

        told = (await found(made.url))["workers"]

        assert told.grade is Grade.WARNING and "1 alive, 1 late, 1 dead" in told.told and "(w2)" in told.told


async def test_examining_writes_nothing(made: Database) -> None:
    await started(made.url)
    tables = ("durable_runs", "durable_inbox", "durable_workers", "durable_pulse", "durable_schema")
    before = [made.run(f"SELECT * FROM {table}") for table in tables]

    await found(made.url)

    assert [made.run(f"SELECT * FROM {table}") for table in tables] == before


# A SQLite file. ---------------------------------------------------------------------------------------------------


async def test_a_file_that_nobody_has_open_stays_as_it_is_and_alone(file: Path) -> None:
    before = {path.name: path.read_bytes() for path in file.parent.iterdir()}

    await found_in(file)

    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == before


async def test_a_file_that_workers_have_open_is_read_with_what_is_in_its_wal(file: Path) -> None:
    async with open_store(f"sqlite:///{file}") as store:
        await store.register(worker("w1", lease_s=60.0))

        assert "1 alive" in (await found_in(file))["workers"].told


@pytest.mark.parametrize(
    "content", [b"this is no database at all, but long enough to have had a header" * 20, b"short"]
)
async def test_what_is_no_database_is_bad(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(content)

    finding = (await found_in(path))["database"]

    assert finding.grade is Grade.BAD and "the file is something else, or damaged" in finding.told


async def test_an_empty_file_is_a_database_without_tables(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.touch()

    told = await found_in(path)

    assert told["schema"].grade is Grade.WARNING and worst(told.values()) is Grade.WARNING


async def test_a_file_that_this_user_may_not_write_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)

    assert (await found_in(file))["file"].grade is Grade.WARNING


async def test_what_the_system_refuses_is_bad(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "disk_usage", refuse)

    finding = (await found_in(file))["database"]

    assert finding.grade is Grade.BAD and "look at the permissions of the file" in finding.told


async def test_a_directory_is_bad(tmp_path: Path) -> None:
    assert "is a directory" in (await found_in(tmp_path))["database"].told


def test_a_damaged_file_is_bad(file: Path) -> None:
    pages = bytearray(file.read_bytes())
    pages[4096 * 3 : 4096 * 9] = bytes([0xFF]) * 4096 * 6
    file.write_bytes(pages)

    finding = elsewhere(lambda: found_in(file))["database"]

    assert finding.grade is Grade.BAD and ("it is damaged" in finding.told or "malformed" in finding.told)


async def test_a_file_that_is_too_large_to_read_whole_is_only_opened(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKED_BYTES_MAX", 0)

    finding = (await found_in(file))["database"]

    assert finding.grade is Grade.OK and "PRAGMA quick_check" in finding.told


MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 22 0:27 / /data rw - tmpfs tmpfs rw
32 31 0:28 / /data/two\040words rw master:7 - nfs4 host:/x rw
33 22 0:29 / /data rw - xfs /dev/vdb rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/app.db", "ext4"),
        ("/data/app.db", "xfs"),
        ("/database/app.db", "ext4"),
        ("/data/two words/deep/app.db", "nfs4"),
    ],
)
def test_the_nearest_mount_tells_the_file_system(path: str, kind: str) -> None:
    assert mounts.file_system_in(MOUNTS, Path(path)) == kind


@LINUX
def test_this_machine_tells_its_file_systems() -> None:
    assert mounts.file_system(Path("/proc/locks")) == "proc"


@pytest.mark.parametrize(("free", "grade"), [(100 << 20, Grade.BAD), (500 << 20, Grade.WARNING), (5 << 30, Grade.OK)])
async def test_a_disk_that_fills_is_told(file: Path, monkeypatch: pytest.MonkeyPatch, free: int, grade: Grade) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(free))

    assert (await found_in(file))["disk"].grade is grade


async def test_a_file_that_left_wal_is_told(file: Path) -> None:
    sqlite_database(file).run("PRAGMA journal_mode=DELETE")

    assert (await found_in(file))["WAL"].grade is Grade.WARNING


async def test_a_clock_that_was_set_back_is_told(file: Path) -> None:
    async with open_store(f"sqlite:///{file}") as store:
        await store.register(worker("w1"))
        sqlite_database(file).run("UPDATE durable_workers SET renewed_us = renewed_us + 3600 * 1000000")

        finding = (await found_in(file))["clock"]

    assert finding.grade is Grade.WARNING and "set back" in finding.told


HOLD = (
    "import fcntl, signal, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); signal.pause()"
)


@contextmanager
def holding(file: Path) -> Iterator[int]:
    """A process that has the turnstile and does not let it go."""
    command = [sys.executable, "-c", HOLD, f"{file}-lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield holder.pid
        finally:
            holder.kill()


@LINUX
async def test_who_holds_the_turnstile_all_the_time_is_told(file: Path) -> None:
    with holding(file) as pid:
        finding = (await found_in(file))["locks"]

    assert finding.grade is Grade.WARNING and f"process {pid} (python" in finding.told


@LINUX
def test_a_stopped_process_that_holds_the_turnstile_is_bad(file: Path) -> None:
    with holding(file) as pid:
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)

        finding = elsewhere(lambda: found_in(file))["locks"]

    assert finding.grade is Grade.BAD and "it is stopped" in finding.told and f"kill -CONT {pid}" in finding.advice


@LINUX
async def test_a_stranger_that_writes_past_the_turnstile_is_told(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")

        finding = (await found_in(file))["locks"]

    assert finding.grade is Grade.WARNING and f"process {os.getpid()} " in finding.told


@pytest.mark.parametrize("later", [78, None])
async def test_locks_that_come_and_go_are_commits(
    file: Path, monkeypatch: pytest.MonkeyPatch, later: int | None
) -> None:
    holders = iter([77, later])

    def locks(path: Path) -> list[machine.Lock]:
        pid = next(holders) if path.name.endswith("-lock") else None
        return [] if pid is None else [machine.Lock("FLOCK", True, pid, 0, None, waits=False)]

    monkeypatch.setattr(machine, "locks", locks)

    finding = (await found_in(file))["locks"]

    assert (finding.grade, finding.told) == (Grade.OK, "commits go on")


def test_locks_are_read_with_who_waits() -> None:
    told = """
1: FLOCK  ADVISORY  WRITE 77 fe:1a:901 0 EOF
1: -> FLOCK  ADVISORY  WRITE 78 fe:1a:901 0 EOF
2: POSIX  ADVISORY  READ 79 fe:1a:902 123 127
""".strip()

    assert machine.locks_in(told, (0xFE, 0x1A, 901)) == [
        machine.Lock("FLOCK", True, 77, 0, None, waits=False),
        machine.Lock("FLOCK", True, 78, 0, None, waits=True),
    ]
    (read,) = machine.locks_in(told, (0xFE, 0x1A, 902))
    assert not read.exclusive and [read.covers(byte) for byte in (122, 123, 127, 128)] == [False, True, True, False]


# A PostgreSQL. ----------------------------------------------------------------------------------------------------


async def test_a_server_that_is_well_has_nothing_to_complain_of(own_postgres_server: Server) -> None:
    for setting in ("fsync", "full_page_writes"):
        own_postgres_server.run(f"ALTER SYSTEM SET {setting} = on")
    own_postgres_server.run("SELECT pg_reload_conf()")
    database = postgres_database(own_postgres_server, own_postgres_server.create())

    told = await found(database.url)

    assert {finding.check: finding for finding in told.values() if finding.grade is not Grade.OK} == {}
    assert {"pooler", "PostgreSQL", "primary", "settings", "connections", "clock", "locks", "rights"} <= told.keys()


async def test_a_server_without_fsync_is_bad(made_postgres: Database) -> None:
    assert (await found(made_postgres.url))["settings"].grade is Grade.BAD


async def test_a_database_that_can_not_be_written_is_bad(made_postgres: Database) -> None:
    name = made_postgres.run("SELECT current_database()")[0][0]
    made_postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    told = await found(made_postgres.url)

    assert told["primary"].grade is Grade.BAD and told["schema"].grade is Grade.OK


async def test_a_server_that_is_not_there_is_bad() -> None:
    finding = (await found("postgresql://user:secret@localhost:1/app"))["database"]

    assert finding.grade is Grade.BAD and "does the server run" in finding.told and "secret" not in finding.told


async def test_a_role_that_lacks_a_right_is_bad(made_postgres: Database) -> None:
    made_postgres.run("CREATE ROLE looks_only LOGIN")
    try:
        url = made_postgres.url.replace("postgres@", "looks_only@")
        blind = (await found(url))["rights"]
        made_postgres.run("GRANT SELECT ON durable_schema TO looks_only")
        purblind = await found(url)
        made_postgres.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO looks_only")
        reader = await found(url)
        made_postgres.run("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO looks_only")
        writer = (await found(url))["rights"]
        made_postgres.run("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO looks_only")
        worker = (await found(url))["rights"]
    finally:
        made_postgres.run("DROP OWNED BY looks_only")
        made_postgres.run("DROP ROLE looks_only")

    assert blind.grade is Grade.BAD and "may not read" in blind.told
    assert purblind["rights"].grade is Grade.BAD and "database" not in purblind
    assert reader["rights"].grade is Grade.BAD and "durable_runs" in reader["rights"].told
    assert reader["task queues"].grade is Grade.OK
    assert writer.grade is Grade.BAD and writer.told.endswith("write the sequence of durable_inbox")
    assert worker.grade is Grade.OK


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Any]:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


async def test_a_transaction_that_is_open_for_long_is_told(
    made_postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F40."""
    monkeypatch.setattr(postgres, "LONG_S", 0.0)
    async with session(made_postgres.url) as idle:
        await idle.execute("BEGIN; SELECT count(*) FROM durable_runs")

        finding = (await found(made_postgres.url))["transactions"]

        assert finding.grade is Grade.WARNING
        assert f": {idle.get_server_pid()}, role postgres, idle in transaction since " in finding.told


async def test_a_prepared_transaction_that_was_forgotten_is_told(
    made_postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F40."""
    monkeypatch.setattr(postgres, "LONG_S", 0.0)
    async with session(made_postgres.url) as stranger:
        await stranger.execute("BEGIN; UPDATE durable_pulse SET commits = 7; PREPARE TRANSACTION 'forgotten'")

        finding = (await found(made_postgres.url))["transactions"]

        await stranger.execute("ROLLBACK PREPARED 'forgotten'")
    assert finding.grade is Grade.WARNING and ": forgotten, role postgres, prepared since " in finding.told


async def test_who_waits_for_a_lock_on_our_tables_is_told_with_who_has_it(
    made_postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "BLOCKED_S", 0.0)
    async with session(made_postgres.url) as holder, session(made_postgres.url) as waiter:
        await holder.execute("BEGIN; UPDATE durable_pulse SET commits = 7")
        waits = asyncio.ensure_future(waiter.execute("UPDATE durable_pulse SET commits = 8"))
        is_waiting = f"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {waiter.get_server_pid()}"
        async with session(made_postgres.url) as onlooker:
            while not await onlooker.fetchval(is_waiting):
                pass

        finding = (await found(made_postgres.url))["locks"]

        await holder.execute("ROLLBACK")
        await waits
        assert finding.grade is Grade.WARNING
        assert f": {waiter.get_server_pid()} at durable_pulse since " in finding.told
        assert finding.told.endswith(f", for {holder.get_server_pid()}")


async def test_tables_that_somebody_has_locked_whole_are_told(
    made_postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "PATIENCE", "SET LOCAL lock_timeout = '1ms'")
    async with session(made_postgres.url) as stranger:
        await stranger.execute("BEGIN; LOCK TABLE durable_schema, durable_runs IN ACCESS EXCLUSIVE MODE")

        told = await found(made_postgres.url)

        assert told["database"].grade is Grade.BAD and "its tables are locked" in told["database"].told
        assert told["locks"].grade is Grade.OK


async def test_a_transaction_pooler_that_the_url_does_not_tell_is_bad(made_postgres: Database) -> None:
    """F39."""
    # A socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="pooler-") as directory:
        async with pooling(made_postgres.url, Path(directory)) as url:
            hidden = await found(url)
            told = await found(f"{url}&pooler=transaction")

    assert hidden["pooler"].grade is Grade.BAD and "pooler=transaction" in hidden["pooler"].advice
    assert told["pooler"] == Finding("pooler", Grade.OK, "there is a transaction pooler, as the URL says")
    assert hidden["schema"].grade is Grade.OK


def test_sessions_that_move_or_are_shared_are_a_transaction_pooler_s() -> None:
    direct, shared, moving, fixed = (
        postgres_judge.pooler(Sessions(7, seen), told=False)
        for seen in ([Seen(7, 8)] * 2, [Seen(7, 7)] * 2, [Seen(7, 8), Seen(9, 8)], [Seen(9, 8)] * 2)
    )

    assert [each.grade for each in (direct, shared, moving, fixed)] == [Grade.OK, Grade.BAD, Grade.BAD, Grade.OK]
    assert "none" in direct.told and "in front of the server" in fixed.told


FINE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "default_transaction_read_only": "off",
    "idle_in_transaction_session_timeout": "300000",
}


@pytest.mark.parametrize(
    ("finding", "grade", "told"),
    [
        (postgres_judge.settings(FINE), Grade.OK, "idle_in_transaction_session_timeout 5 minutes"),
        (postgres_judge.settings(FINE | {"synchronous_commit": "off"}), Grade.WARNING, "acknowledged may be gone"),
        (postgres_judge.settings(FINE | {"full_page_writes": "off"}), Grade.BAD, "damages"),
        (postgres_judge.primary(True, FINE), Grade.BAD, "standby"),
        (postgres_judge.connections(3), Grade.WARNING, "3 left"),
        (postgres_judge.connections(-1), Grade.WARNING, "0 left"),
        (postgres_judge.connections(50), Grade.OK, "50 left"),
        (postgres_judge.clock(-5_000_000, 1000), Grade.WARNING, "5.0 s behind"),
        (postgres_judge.clock(5_000_000, 1000), Grade.WARNING, "5.0 s ahead"),
        (postgres_judge.clock(5_000_000, 4_500_000), Grade.OK, "5.0 s ahead"),
        (postgres_judge.transactions([], 3), Grade.OK, "3 sessions can't be seen"),
        (
            postgres_judge.blocked([Blocked(7, "durable", "durable_runs", [0], 5.0)]),
            Grade.WARNING,
            "for a prepared transaction",
        ),
    ],
)
def test_what_facts_of_a_server_mean(finding: Finding, grade: Grade, told: str) -> None:
    assert finding.grade is grade and told in finding.told
