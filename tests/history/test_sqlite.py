"""What only a SQLite file promises: processes that share it, opening it, its costs, and what goes wrong with files."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from durable.history.errors import SchemaTooNew, StoreUnavailable, UnknownOutcome
from durable.history.host import Machine
from durable.history.migrations.upgrade import head, upgrade
from durable.history.stores import open_store
from durable.history.stores.sqlite import SqliteStore
from durable.history.stores.sqlite_file import prepare
from durable.history.stores.sqlite_sql import SqliteStatements, statements
from durable.history.stores.tables import SCHEMA
from durable.history.transition import Committed
from tests.history.worlds import (
    BEGINNING_US,
    NAMESPACE,
    SECOND_US,
    ClockedHost,
    claim,
    done,
    info,
    owned,
    send,
    start,
    step,
    taken,
    task,
    worker,
)
from tests.history.worlds import signal as signal_message

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import asyncio, sys
from durable.history.stores import open_store
from tests.history.worlds import *

url, name = sys.argv[1:3]

async def main():
    async with open_store(url) as store:
        {body}

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "durable.db"


@pytest.fixture
def spawned() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes, none of which outlives its test."""
    children: list[subprocess.Popen[str]] = []
    yield children
    for child in children:
        child.kill()
        child.communicate()


def names(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()}


def open_at(path: Path, host: ClockedHost | None = None, **options: float) -> SqliteStore:
    store = open_store(f"sqlite:///{path}", host, **options)
    assert isinstance(store, SqliteStore)
    return store


def spawn(children: list[subprocess.Popen[str]], path: Path, body: str, name: str = "") -> subprocess.Popen[str]:
    """A process that opens the file, and runs ``body`` with ``store`` and ``name``."""
    indented = "\n        ".join(body.strip().splitlines())
    command = [sys.executable, "-c", PROGRAM.format(body=indented), f"sqlite:///{path}", name]
    child = subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    children.append(child)
    return child


def said(child: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    if not line:
        pytest.fail(f"the process ended: {child.communicate()[1]}")
    return line


def succeeded(child: subprocess.Popen[str]) -> str:
    out, err = child.communicate(timeout=50)
    assert child.returncode == 0, err
    return out


# URLs and opening. ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("app.db", "sqlite:///app.db"),
        ("mysql://localhost/app", "no store is known for mysql"),
        ("sqlite://app.db", "sqlite:///app.db"),
        ("sqlite:///app.db?mode=ro", "the only one for SQLite is .file_system=any"),
    ],
)
def test_a_url_that_means_no_store_is_explained(url: str, hint: str) -> None:
    with pytest.raises(StoreUnavailable, match=hint):
        open_store(url)


async def test_a_relative_path_is_beside_the_program(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)

    async with open_store("sqlite:///durable.db"):
        assert "durable.db" in names(path.parent)


async def test_the_file_belongs_to_its_user_alone(path: Path) -> None:
    async with open_at(path) as store:
        await done(store, start())
        files = [each for each in path.parent.iterdir() if each.is_file()]

        assert {each.name for each in files} >= {"durable.db", "durable.db-wal", "durable.db-lock"}
        assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
async def test_a_database_in_memory_leaves_nothing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with open_store(url) as store:
        await store.register(worker())
        await done(store, start())
        assert len(names(tmp_path)) == 1

    assert names(tmp_path) == set()


async def test_what_was_written_is_there_when_the_file_is_opened_again(path: Path) -> None:
    async with open_at(path) as store:
        await done(store, start())

    async with open_at(path) as store:
        assert (await info(store, "run of order-7")).last_event_id == 1


@pytest.fixture
def picture(path: Path) -> Path:
    path.write_bytes(b"not a database at all, but long enough to look at" * 100)
    return path


async def opening(path: Path) -> str:
    """Why the file can't be opened."""
    with pytest.raises(StoreUnavailable) as caught:
        await open_at(path).__aenter__()
    assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)
    return str(caught.value)


async def test_a_sqlite_that_is_too_old_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")

    with pytest.raises(StoreUnavailable, match=r"has SQLite 3\.34\.1, durable needs 3\.35\.0 or newer: use a newer P"):
        await open_at(path).__aenter__()

    assert names(path.parent) == set()


async def test_a_path_that_cannot_be_a_database_is_explained(path: Path) -> None:
    assert "is a directory" in await opening(path.parent)
    assert "create it first" in await opening(path.parent / "missing" / "durable.db")


async def test_a_file_that_is_something_else_is_explained(picture: Path) -> None:
    assert "another file" in await opening(picture)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a directory that even root can't write to")
async def test_a_directory_that_cannot_be_written_is_explained() -> None:
    assert "/proc" in await opening(Path("/proc/durable.db"))


async def test_a_database_of_a_newer_version_is_refused(path: Path) -> None:
    async with open_at(path):
        pass
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE durable_schema SET version_num = '9999'")
    raw.close()

    with pytest.raises(SchemaTooNew, match=r"newer version.*9999"):
        await open_at(path).__aenter__()


def schema(path: Path) -> dict[str, str]:
    raw = sqlite3.connect(path)
    rows = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name LIKE 'durable_%'").fetchall()
    raw.close()
    return {name: " ".join(sql.replace('"', "").split()).replace("( ", "(").replace(" )", ")") for name, sql in rows}


def test_the_migrations_lead_to_the_tables_that_a_new_file_gets(tmp_path: Path) -> None:
    made, migrated = tmp_path / "made.db", tmp_path / "migrated.db"
    prepare(made, synchronous="FULL", busy_timeout_s=10)
    upgrade(migrated)

    expected = schema(made)
    found = schema(migrated)
    # Alembic makes the table of its own version itself.
    expected.pop("durable_schema"), found.pop("durable_schema")
    assert found == expected
    assert head() == SCHEMA


async def test_a_file_from_before_the_first_revision_is_brought_up_to_date(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE durable_schema (version_num VARCHAR(32) NOT NULL)")
        raw.execute("CREATE TABLE mine (something TEXT)")
    raw.close()

    async with open_at(path) as store:
        await done(store, start())
        assert not store.changed()


async def test_opening_a_file_that_is_up_to_date_does_not_load_the_migrations(
    path: Path, spawned: list[subprocess.Popen[str]]
) -> None:
    loaded = "print('alembic' in sys.modules)"

    assert succeeded(spawn(spawned, path, loaded)).strip() == "False"
    assert succeeded(spawn(spawned, path, loaded)).strip() == "False"


def test_ten_processes_open_a_new_file_at_once(path: Path, spawned: list[subprocess.Popen[str]]) -> None:
    body = "await done(store, start(name))"
    children = [spawn(spawned, path, body, f"order-{i}") for i in range(10)]

    for child in children:
        succeeded(child)

    raw = sqlite3.connect(path)
    assert raw.execute("SELECT count(*) FROM durable_runs").fetchone() == (10,)
    assert raw.execute("SELECT version_num FROM durable_schema").fetchall() == [(SCHEMA,)]
    raw.close()


# Many processes. --------------------------------------------------------------------------------------------------


async def test_what_another_process_commits_is_noticed(path: Path, spawned: list[subprocess.Popen[str]]) -> None:
    async with open_at(path) as store:
        assert not store.changed()

        succeeded(spawn(spawned, path, "await done(store, start())"))

        assert store.changed()
        assert not store.changed()


async def test_what_another_store_of_the_same_process_commits_is_noticed(path: Path) -> None:
    async with open_at(path) as store, open_at(path) as other:
        await done(store, start())
        await done(other, start("other"))
        await done(store, start("third"))

        assert store.changed() and other.changed()
        assert not store.changed() and not other.changed()


async def test_neither_own_commits_nor_leases_nor_strangers_tables_count_as_changes(path: Path) -> None:
    host = ClockedHost()
    async with open_at(path, host) as store, open_at(path, host) as other:
        await other.register(worker("w2"))
        await store.register(worker("w1"))
        await done(store, start(messages=()))
        await other.renew(worker("w2"))
        await store.renew(worker("w1"))
        with sqlite3.connect(path) as raw:
            raw.execute("CREATE TABLE mine (something TEXT)")
        raw.close()

        assert not store.changed()
        assert other.changed()


async def test_a_worker_whose_process_was_killed_is_declared_dead_without_waiting_for_its_lease(
    path: Path, spawned: list[subprocess.Popen[str]]
) -> None:
    body = """
await store.register(worker("killed", host="here", lease_s=3600))
await owned(store, "killed", messages=(due(0),))
print("ready", flush=True)
sys.stdin.read()
"""
    child = spawn(spawned, path, body)
    assert said(child) == "ready"
    me = worker("me", host="here")
    async with open_at(path) as store:
        await store.register(me)
        assert (await store.renew(me)).died == []
        child.kill()
        child.wait()

        assert (await store.renew(me)).died == ["killed"]

        assert taken(await store.claim(claim("me"))) == ["run of order-7"]
        assert not (path.parent / "durable.db-workers" / "killed").exists()


async def test_a_new_worker_finds_the_dead_of_its_host_at_once(
    path: Path, spawned: list[subprocess.Popen[str]]
) -> None:
    body = """
await store.register(worker("killed", host="here", lease_s=3600))
await owned(store, "killed", messages=(due(0),))
os.kill(os.getpid(), 9)
"""
    spawn(spawned, path, "import os\n" + body).wait()

    async with open_at(path) as store:
        await store.register(worker("me", host="here"))

        assert taken(await store.claim(claim("me"))) == ["run of order-7"]


async def test_the_child_of_a_dead_worker_does_not_keep_it_alive(
    path: Path, spawned: list[subprocess.Popen[str]]
) -> None:
    body = """
import os, time
await store.register(worker("killed", host="here", lease_s=3600))
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, b"!")
    time.sleep(3600)
os.read(reader, 1)
print("ready", flush=True)
sys.stdin.read()
"""
    body = body.replace("if os.fork() == 0:", "child = os.fork()\nif child == 0:").replace('"ready"', "child")
    parent = spawn(spawned, path, body)
    child = int(said(parent))
    try:
        parent.kill()
        parent.wait()
        async with open_at(path) as store:
            me = worker("me", host="here")
            await store.register(me)
            died = (await store.renew(me)).died

            assert not (await store.renew(worker("killed"))).alive and died == []
    finally:
        os.kill(child, signal.SIGKILL)


async def test_a_dead_host_of_another_name_is_told_by_its_lease_only(path: Path) -> None:
    host = ClockedHost()
    async with open_at(path, host) as gone:
        await gone.register(worker("w1", host="there"))
    async with open_at(path, host) as store:
        me = worker("w2", host="here")
        await store.register(me)
        for _ in range(5):
            host.pass_time(1)
            assert (await store.renew(me)).died == []
        host.pass_time(1)
        assert (await store.renew(me)).died == ["w1"]


async def test_a_worker_that_has_renewed_since_it_was_looked_at_is_not_declared_dead(path: Path) -> None:
    host = ClockedHost()
    async with open_at(path, host) as store:
        await store.register(worker("w1"))
        looked_at_us = store.now_us()
        host.pass_time(1)
        await store.renew(worker("w1"))

        with sqlite3.connect(path) as raw:
            changed = raw.execute(statements().workers.declare_dead, (store.now_us(), "w1", looked_at_us)).rowcount
        raw.close()

        assert changed == 0 and (await store.renew(worker("w1"))).alive


async def test_a_dead_worker_is_remembered_for_an_hour(path: Path) -> None:
    host = ClockedHost()
    async with open_at(path, host) as store:
        await store.register(worker("w1"))
        await store.register(worker("w2"))
        for _ in range(3):
            host.pass_time(2)
            await store.renew(worker("w2"))
        assert worker_ids(path) == {"w1", "w2"}

        host.pass_time(3601)
        await store.renew(worker("w2"))

        assert worker_ids(path) == {"w2"}


def worker_ids(path: Path) -> set[str]:
    raw = sqlite3.connect(path)
    ids = {row[0] for row in raw.execute("SELECT worker_id FROM durable_workers")}
    raw.close()
    return ids


async def test_a_clock_that_was_set_is_set_right_by_the_next_renewal(path: Path) -> None:
    wrong, right = Machine(), Machine()
    wrong.adjust(right.now_us() - 3600 * SECOND_US)
    async with open_store(f"sqlite:///{path}", wrong) as store:
        await store.register(worker())
        await store.renew(worker())

        assert abs(store.now_us() - right.now_us()) < SECOND_US


# What goes wrong. -------------------------------------------------------------------------------------------------


async def test_a_stranger_who_holds_the_lock_makes_the_store_unavailable_for_a_while(path: Path) -> None:
    async with open_at(path, busy_timeout_s=0.05) as store:
        stranger = sqlite3.connect(path, isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnavailable, match="another program"):
            await store.commit([start()])
        assert await store.list_runs(NAMESPACE) == []

        stranger.execute("ROLLBACK")
        stranger.close()
        await done(store, start())


async def test_a_commit_that_fails_has_an_unknown_outcome(path: Path) -> None:
    def refuse_commit(action: int, what: str | None, *_: str | None) -> int:
        return sqlite3.SQLITE_DENY if (action, what) == (sqlite3.SQLITE_TRANSACTION, "COMMIT") else sqlite3.SQLITE_OK

    async with open_at(path) as store:
        store._db._raw.set_authorizer(refuse_commit)
        with pytest.raises(UnknownOutcome, match="read again"):
            await store.commit([start()])

        store._db._raw.set_authorizer(None)
        await done(store, start())
        assert not store.changed()


async def test_a_file_that_was_replaced_under_the_store_is_explained(path: Path) -> None:
    async with open_at(path) as store:
        with sqlite3.connect(path) as raw:
            raw.execute("DROP TABLE durable_inbox")
        raw.close()

        with pytest.raises(StoreUnavailable, match="no such table"):
            await store.commit([start()])
        with pytest.raises(StoreUnavailable, match="no such table"):
            await store.inbox("run of order-7")


# Costs. -----------------------------------------------------------------------------------------------------------

SMALL = {"durable_workers", "durable_pulse"}
"""A row per worker, or one row: reading all of it is right."""


@pytest.fixture
def plans(path: Path) -> Iterator[sqlite3.Connection]:
    prepare(path, synchronous="OFF", busy_timeout_s=10)
    raw = sqlite3.connect(path)
    yield raw
    raw.close()


def hot(every: SqliteStatements) -> dict[str, str]:
    return {name: text for group in vars(every).values() for name, text in vars(group).items()}


@pytest.mark.parametrize("name", hot(statements()))
def test_no_statement_of_the_engine_reads_a_whole_table_or_sorts(plans: sqlite3.Connection, name: str) -> None:
    text = hot(statements())[name]
    count = text.count("?") if "?1" not in text else len({part[0] for part in text.split("?")[1:]})

    rows = plans.execute(f"EXPLAIN QUERY PLAN {text}", [None] * count).fetchall()

    steps = [row[3] for row in rows]
    scans = [step for step in steps if step.startswith("SCAN durable_") and step.split()[1] not in SMALL]
    sorts = [step for step in steps if "TEMP B-TREE" in step]
    assert (scans, sorts) == ([], [])


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("due_messages", "durable_inbox_due"),
        ("due_tasks", "durable_activity_tasks_due"),
        ("standing", "durable_inbox_due"),
        ("standing", "durable_activity_tasks_deadline"),
        ("standing", "durable_activity_tasks_due"),
        ("standing", "durable_activity_tasks_cancelled"),
        ("overdue_tasks", "durable_activity_tasks_deadline"),
        ("cancelled_tasks", "durable_activity_tasks_cancelled"),
        ("with_booked", "durable_activity_tasks_owner"),
        ("free_runs", "durable_runs_owner"),
        ("parked_due", "durable_runs_parked"),
        ("delete_timer", "durable_inbox_timer"),
        ("due_inbox", "durable_inbox_run"),
        ("runs_by_request", "durable_runs_request"),
        ("latest_runs", "sqlite_autoindex_durable_runs_2"),
        ("held_by_key", "sqlite_autoindex_durable_activity_tasks_1"),
    ],
)
def test_what_is_asked_all_the_time_is_asked_of_its_index(plans: sqlite3.Connection, name: str, index: str) -> None:
    text = hot(statements())[name]
    count = text.count("?") if "?1" not in text else len({part[0] for part in text.split("?")[1:]})

    steps = [row[3] for row in plans.execute(f"EXPLAIN QUERY PLAN {text}", [None] * count)]

    assert any(f"INDEX {index} (" in step for step in steps), steps


async def test_a_batch_costs_one_commit_and_a_few_statements_more_than_a_single_write(path: Path) -> None:
    async with open_at(path, ClockedHost()) as store:
        await store.register(worker("w1"))

        def spent() -> tuple[int, int]:
            return store.counters.commits, store.counters.statements

        async def costs(size: int) -> tuple[int, int]:
            before = spent()
            answers = await store.commit(
                [
                    start(f"{size}-{i}", new_owner="w1", tasks=(task(f"run of {size}-{i}", 5),), messages=())
                    for i in range(size)
                ]
            )
            assert all(isinstance(answer, Committed) for answer in answers)
            after = spent()
            return after[0] - before[0], after[1] - before[1]

        one, many = await costs(1), await costs(200)

        # 200 rows of a table are three statements for 64 of them, and one for 8.
        tables_written = 3
        assert (one[0], many[0]) == (1, 1)
        assert one[1] <= 11 and many[1] == one[1] + 3 * tables_written


async def test_an_idle_claim_does_not_write_and_costs_one_statement(path: Path) -> None:
    async with open_at(path, ClockedHost()) as store:
        await store.register(worker("w1"))
        await owned(store)
        before = msgspec.structs.replace(store.counters)

        await store.claim(claim())

        assert store.counters == msgspec.structs.replace(before, statements=before.statements + 1)


async def test_a_renewal_that_finds_nothing_to_do_costs_two_statements(path: Path) -> None:
    async with open_at(path, ClockedHost()) as store:
        for number in range(3):
            await store.register(worker(f"w{number}"))
        await owned(store, "w1", tasks=(task("run of order-7", 5, owner="w1"),))
        await store.renew(worker("w1"))  # the first one looks for what has expired
        asked: list[str] = []
        assert store._workers is not None
        store._workers._db._raw.set_trace_callback(asked.append)

        renewal = await store.renew(worker("w1"))

        assert len(asked) == 2 and [token.scheduled_event_id for token in renewal.attempts] == [5]


async def test_a_claim_of_the_claimers_own_runs_does_not_write(path: Path) -> None:
    async with open_at(path, ClockedHost()) as store:
        await store.register(worker("w1"))
        run = await owned(store)
        await done(store, send(signal_message("a", BEGINNING_US)))
        before = store.counters.commits

        found = await store.claim(claim(cached={run.run_id: 1}))

        assert taken(found) == [run.run_id] and store.counters.commits == before
        await done(store, step(run, found.runs[0].messages))
