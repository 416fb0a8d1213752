"""F45–F50: faults of SQLite, its file and the disk under it. `tests/engine/test_kill.py` kills at every commit."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from durable import Client
from durable.history.errors import StoreUnavailable
from durable.history.host import Machine
from durable.history.stores import mounts, open_store
from durable.history.stores.sqlite import SqliteStore
from durable.history.upkeep import sqlite
from durable.history.upkeep.examination import examine
from durable.history.upkeep.finding import Finding, Grade
from durable.history.upkeep.tables import upgrade
from tests.faults import sqlite_processes
from tests.faults.sqlite_processes import BATCH
from tests.forkserver import processes
from tests.history.worlds import NAMESPACE, claim, done, start, worker

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who has what locked")

MIB = 1 << 20
KIB = 1 << 10
SYNCHRONOUS_FULL = 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "durable.db"


def address(path: Path) -> str:
    return f"sqlite:///{path}"


def open_at(path: Path, **options: Any) -> SqliteStore:
    store = open_store(address(path), **options)
    assert isinstance(store, SqliteStore)
    return store


def wal(path: Path) -> Path:
    return Path(f"{path}-wal")


def size(path: Path) -> int:
    return path.stat().st_size


def content(path: Path) -> bytes:
    return path.read_bytes()


def ask(path: Path, question: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(question).fetchall()


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A stranger's transaction that reads, from here to the end of the block."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("BEGIN")
        raw.execute("SELECT count(*) FROM durable_runs").fetchone()
        yield raw


async def write(store: SqliteStore, name: str, batches: int) -> None:
    for number in range(batches):
        await store.commit([start(f"{name}-{number}-{place}") for place in range(BATCH)])


async def found(path: Path) -> dict[str, Finding]:
    return {finding.check: finding for finding in await examine(address(path), Machine())}


# F45: many writers. -----------------------------------------------------------------------------------------------


async def test_f45_twenty_writers_readers_and_a_long_reader_never_find_it_locked(path: Path) -> None:
    names = [[f"p{process}-{number}" for number in range(5)] for process in range(4)]
    async with open_at(path):
        with reading(path) as long:
            writers = [
                processes.Process(target=sqlite_processes.write, args=(address(path), each, 3), daemon=True)
                for each in names
            ]
            for each in writers:
                each.start()
            for each in writers:
                each.join()

            assert [each.exitcode for each in writers] == [0] * 4
            assert long.execute("SELECT count(*) FROM durable_runs").fetchone() == (0,)

    assert ask(path, "SELECT count(*), sum(last_event_id) FROM durable_runs") == [(60, 120)]


# F46: a reader that never ends. -----------------------------------------------------------------------------------


async def test_f46_a_reader_that_never_ends_is_warned_of_once_and_when_it_ends_the_wal_is_short_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_at(path, wal_bytes_max=MIB, synchronous="OFF") as store:
        for time in ("first", "second"):
            caplog.clear()
            with reading(path) as reader:
                before = reader.execute("SELECT count(*) FROM durable_runs").fetchone()
                for number in range(1000):
                    await write(store, f"{time}, {number}", 1)
                    if size(wal(path)) > 2 * MIB:
                        break
                assert reader.execute("SELECT count(*) FROM durable_runs").fetchone() == before

            await done(store, start(f"{time}, after it"))
            await done(store, start(f"{time}, after that"))

            assert size(wal(path)) <= MIB
            (record,) = [each for each in caplog.records if each.name == "durable.store"]
            assert record.levelno == logging.WARNING
            assert record.getMessage().startswith(f"{wal(path)} has grown to 1 MiB: a transaction that does not end")
            assert "end that transaction (`durable doctor` names the process)" in record.getMessage()


async def test_f46_readers_that_overlap_do_not_let_the_wal_grow(path: Path) -> None:
    """Each of them ends, but there is no moment when none reads: SQLite alone would never begin its WAL anew."""
    ended, longest = threading.Event(), 0
    async with open_at(path, wal_bytes_max=MIB, synchronous="OFF") as store:
        relay = threading.Thread(target=read_in_turns, args=(path, ended))
        relay.start()
        try:
            for number in range(40):
                await write(store, f"{number}", 5)
                longest = max(longest, size(wal(path)))
        finally:
            ended.set()
            relay.join()

    assert longest < 2 * MIB


def read_in_turns(path: Path, ended: threading.Event) -> None:
    """Two read transactions, of which one begins before the other one ends."""
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as one,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        begun: list[sqlite3.Connection] = []
        while not ended.wait(0.005):
            begun.append(other if begun == [one] else one)
            begun[-1].execute("BEGIN")
            begun[-1].execute("SELECT count(*) FROM durable_runs").fetchone()
            if len(begun) == 2:
                begun.pop(0).execute("COMMIT")


@LINUX
async def test_f46_doctor_names_the_reader_that_keeps_the_wal_from_shrinking(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WAL_BYTES_MAX", 20_000)
    async with open_at(path) as store:
        with reading(path):
            await write(store, "order", 1)

            finding = (await found(path))["WAL"]

    assert finding.grade is Grade.WARNING and f"({os.getpid()})" in finding.told


# F47: no local disk. ----------------------------------------------------------------------------------------------


@contextmanager
def mounted(kind: str, point: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The system says that a file system of this kind is there."""
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 254:0 / / rw - ext4 /dev/vda rw\n31 22 0:27 / {point} rw - {kind} somewhere rw\n")
    with monkeypatch.context() as patch:
        patch.setattr(mounts, "MOUNTS", table)
        yield


@pytest.fixture
def share(tmp_path: Path) -> Path:
    directory = tmp_path / "share"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "virtiofs", "9p"])
async def test_f47_a_file_on_a_network_file_system_is_refused_with_a_way_out(
    share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with mounted(kind, share, monkeypatch, tmp_path):
        with pytest.raises(StoreUnavailable) as refusal:
            await Client.connect(f"sqlite:///{share}/app.db")
        with pytest.raises(StoreUnavailable, match=f"is on {kind}"):
            await upgrade(f"sqlite:///{share}/app.db")
        assert os.listdir(share) == []

        async with await Client.connect(f"sqlite:///{share}/app.db?file_system=any"):
            pass
        await upgrade(f"sqlite:///{share}/app.db?file_system=any")

        assert (await found(share / "app.db"))["file system"].grade is Grade.BAD
    told = str(refusal.value)
    assert told.startswith(f"{share}/app.db is on {kind}, which is no local disk")
    assert "move it to a local disk" in told and "or use PostgreSQL" in told and "?file_system=any" in told


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "apfs", "overlay", "tmpfs"])
async def test_f47_a_local_file_system_is_fine(
    share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with mounted(kind, share, monkeypatch, tmp_path):
        async with await Client.connect(f"sqlite:///{share}/app.db"):
            finding = (await found(share / "app.db"))["file system"]

    assert finding.grade is (Grade.WARNING if kind == "tmpfs" else Grade.OK) and kind in finding.told


async def test_f47_a_file_is_where_its_link_leads_and_a_temporary_one_is_fine_anywhere(
    share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(share)
    monkeypatch.setattr("tempfile.tempdir", str(share))
    with mounted("nfs4", share, monkeypatch, tmp_path):
        with pytest.raises(StoreUnavailable, match="is on nfs4"):
            await Client.connect(f"sqlite:///{tmp_path}/link/app.db")
        async with await Client.connect("sqlite://"):
            assert os.listdir(share)


async def test_f47_where_the_system_does_not_tell_a_file_is_opened(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "missing")

    async with await Client.connect(address(path)):
        assert "does not tell" in (await found(path))["file system"].told


# F48: the WAL-reset race, which needs a checkpoint beside a commit. -----------------------------------------------


@pytest.mark.parametrize(
    ("version", "grade"), [((3, 34, 1), Grade.BAD), ((3, 51, 2), Grade.WARNING), ((3, 51, 3), Grade.OK)]
)
async def test_f48_doctor_warns_of_a_sqlite_that_has_the_fault(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], grade: Grade
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)

    assert (await found(path))["SQLite"].grade is grade


def is_held(path: Path) -> bool:
    """Does anybody have the turnstile?"""
    with open(f"{path}-lock", "rb+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def having_the_turn(path: Path) -> Iterator[None]:
    with open(f"{path}-lock", "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def test_f48_whatever_may_write_or_checkpoint_does_so_in_its_turn(path: Path) -> None:
    statements: list[str] = []
    out_of_turn: list[str] = []

    def look(statement: str) -> None:
        statements.append(statement)
        if statement.startswith(("INSERT", "UPDATE", "DELETE", "BEGIN IMMEDIATE", "PRAGMA wal_checkpoint")):
            out_of_turn.extend([] if is_held(path) else [statement])

    async with open_at(path, wal_bytes_max=64 * KIB, synchronous="OFF") as store:
        for connection in store._connections:
            connection._raw.set_trace_callback(look)
        await store.register(worker("w1"))
        await write(store, "order", 10)
        await store.claim(claim("w1"))
        await store.renew(worker("w1"))
        await store.unpark(NAMESPACE, ["orders"], "w1")
        await store.release("w1")

    assert out_of_turn == []
    assert {"BEGIN IMMEDIATE", "PRAGMA wal_checkpoint(TRUNCATE)"} <= set(statements)
    assert any(each.startswith("UPDATE durable_workers") for each in statements)


async def test_f48_who_has_not_got_the_turn_copies_nothing_from_the_wal(path: Path) -> None:
    """Neither who reads, nor who comes and goes, nor who waits for the turn."""
    async with open_at(path) as store:
        await store.register(worker("w1"))
        await write(store, "order", 5)
    # From here on a commit is to be followed by a checkpoint at once, and there is something to copy.
    async with open_at(path, wal_bytes_max=16 * KIB) as store, open_at(path, wal_bytes_max=16 * KIB) as other:
        with reading(path):
            await write(store, "in the WAL", 5)
        before = content(path)
        with having_the_turn(path):
            waiting = store._writing.run(store._db.empty_wal)
            assert len(await other.list_runs(NAMESPACE)) == 10 * BATCH and other.changed()
            async with open_at(path, wal_bytes_max=16 * KIB) as third:
                assert len(await third.list_runs(NAMESPACE)) == 10 * BATCH
            assert content(path) == before
        assert await waiting
        assert content(path) != before


# F49: killed, cut off, and full. ----------------------------------------------------------------------------------


class Killed(NamedTuple):
    acknowledged: int
    """The last batch that was acknowledged; -1: none."""
    lengths: dict[str, int]


def killed_in_mid_write(path: Path, wal_bytes_max: int, bytes_max: int) -> Killed:
    ours, theirs = processes.Pipe(duplex=False)
    arguments = (address(path), wal_bytes_max, bytes_max, theirs)
    child = processes.Process(target=sqlite_processes.write_until_killed, args=arguments, daemon=True)
    child.start()
    theirs.close()
    acknowledged = -1
    for acknowledged in heard(ours):  # noqa: B007
        pass
    child.join()
    assert child.exitcode == -signal.SIGXFSZ
    return Killed(acknowledged, {each.name: each.stat().st_size for each in path.parent.iterdir() if each.is_file()})


def heard(pipe: Connection) -> Iterator[int]:
    with pipe:
        while True:
            try:
                yield pipe.recv()
            except EOFError:
                return


async def assert_it_goes_on(path: Path, acknowledged: int) -> None:
    """What was acknowledged is there; what was not, wholly or not at all; and the file is sound."""
    async with open_at(path) as store:
        ids = {run.workflow_id for run in await store.list_runs(NAMESPACE, limit=1_000_000)}
        batches, rest = divmod(len(ids), BATCH)
        assert rest == 0 and batches in (acknowledged + 1, acknowledged + 2)
        assert ids == {f"{number}-{place}" for number in range(batches) for place in range(BATCH)}
        await done(store, start("and it goes on"))
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]


def made(directory: Path) -> tuple[Path, int]:
    """A file with today's tables in a new directory, and its length."""
    directory.mkdir()
    path = directory / "durable.db"
    sqlite.upgrade(path)
    return path, size(path)


async def die_in_the_wal(directory: Path, bytes_max: int) -> None:
    path, _ = made(directory)

    killed = killed_in_mid_write(path, 64 * MIB, bytes_max)

    assert killed.lengths["durable.db-wal"] == bytes_max, "it died elsewhere"
    await assert_it_goes_on(path, killed.acknowledged)


async def die_in_a_checkpoint(directory: Path, more_bytes: int) -> None:
    path, length = made(directory)
    bytes_max = length + more_bytes

    killed = killed_in_mid_write(path, 64 * KIB, bytes_max)

    assert killed.lengths["durable.db"] == bytes_max, "it died elsewhere"
    await assert_it_goes_on(path, killed.acknowledged)


async def test_f49_a_process_killed_in_the_middle_of_a_commit_leaves_what_it_acknowledged(tmp_path: Path) -> None:
    for bytes_max in (299_999, 700_001):
        await die_in_the_wal(tmp_path / str(bytes_max), bytes_max)


async def test_f49_a_process_killed_in_the_middle_of_a_checkpoint_leaves_what_it_acknowledged(tmp_path: Path) -> None:
    for more_bytes in (4_000, 99_999):
        await die_in_a_checkpoint(tmp_path / str(more_bytes), more_bytes)


@pytest.mark.all
@pytest.mark.timeout(600)
async def test_f49_a_process_killed_at_any_write_leaves_what_it_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(49)
    for _ in range(40):
        bytes_max, more_bytes = chance.randrange(200_000, 2_000_000), chance.randrange(1, 2_000_000)
        await die_in_the_wal(tmp_path / f"wal {bytes_max}", bytes_max)
        await die_in_a_checkpoint(tmp_path / f"checkpoint {more_bytes}", more_bytes)


async def test_f49_a_power_cut_leaves_what_was_acknowledged(path: Path, tmp_path: Path) -> None:
    """With FULL all that is acknowledged was synced; of the WAL beyond that, any part may be there, or zeros."""
    async with open_at(path) as store:
        writers = [each for each in store._connections if each.one("PRAGMA query_only") == 0]
        assert [each.one("PRAGMA synchronous") for each in writers] == [SYNCHRONOUS_FULL] * 2
        synced = [0]
        for number in range(6):
            await store.commit([start(f"{number}-{place}") for place in range(BATCH)])
            synced.append(size(wal(path)))
        file, log = content(path), content(wal(path))

    chance = random.Random(49)
    cuts = [*synced, *(length - 1 for length in synced[1:]), *(chance.randrange(len(log)) for _ in range(20))]
    for cut in cuts:
        for zeros in (0, 10_000):
            after = tmp_path / "after.db"
            after.write_bytes(file)
            wal(after).write_bytes(log[:cut] + bytes(zeros))

            (count,) = ask(after, "SELECT count(*) FROM durable_runs")[0]

            assert count == BATCH * max(number for number, length in enumerate(synced) if length <= cut)
            assert ask(after, "PRAGMA integrity_check") == [("ok",)]


async def test_f49_a_database_that_may_not_grow_takes_nothing_of_a_batch_and_goes_on_when_it_may(path: Path) -> None:
    async with open_at(path) as store:
        await done(store, start("before"))
        pages = store._db.one("PRAGMA page_count")
        store._db.read(f"PRAGMA max_page_count={pages}").fetchall()

        with pytest.raises(StoreUnavailable, match="disk space"):
            await store.commit([start(f"order-{i}") for i in range(1000)])
        assert [run.workflow_id for run in await store.list_runs(NAMESPACE)] == ["before"]

        store._db.read("PRAGMA max_page_count=1000000").fetchall()
        await done(store, start("after"))


def disk_full(command: Sequence[str]) -> dict[str, Any]:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert ended.returncode == 0, ended.stderr
    facts: dict[str, Any] = json.loads(ended.stdout)
    return facts


PROGRAM = [sys.executable, "-m", "tests.faults.disk_full"]


def assert_nothing_is_lost(facts: dict[str, Any]) -> None:
    assert facts["acknowledged"], "there was no room at all"
    assert facts["result"] == ["kept", *facts["acknowledged"]]
    assert (facts["integrity"], facts["rows left"]) == ("ok", 0)


def test_f49_a_worker_on_a_full_disk_says_so_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    small_disk = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=1m small "$0"'
    if not shutil.which("unshare") or subprocess.run([*small_disk, mount, tmp_path], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")

    facts = disk_full([*small_disk, f'{mount} && exec "$@"', str(tmp_path), *PROGRAM, str(tmp_path), "really"])

    assert_nothing_is_lost(facts)
    assert facts["refusal"].startswith("StoreUnavailable") and "free some disk space" in facts["refusal"]
    told = [line for line in facts["heard"] if "did not land" in line]
    assert told and all("disk is full; nothing was written: free some disk space" in line for line in told)


def test_f49_a_worker_whose_writes_fail_says_so_and_goes_on_when_they_no_longer_do(tmp_path: Path) -> None:
    facts = disk_full([*PROGRAM, str(tmp_path), "limit"])

    assert_nothing_is_lost(facts)
    assert facts["refusal"].startswith("UnknownOutcome") and "disk I/O error" in facts["refusal"]
    assert [line for line in facts["heard"] if "did not land" in line and f"at the directory {tmp_path}" in line]


# F50: a second process. -------------------------------------------------------------------------------------------


async def test_f50_a_second_process_that_opens_the_file_shares_its_work(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "met"
    folder.mkdir()
    ours, theirs = processes.Pipe(duplex=False)
    second = processes.Process(target=sqlite_processes.work, args=(address(path), theirs), daemon=True)
    async with await Client.connect(address(path)) as client, sqlite_processes.sharing(client):
        second.start()
        theirs.close()
        try:
            pid = ours.recv()
            met = await client.execute_workflow(sqlite_processes.together, str(folder), id="together")
        finally:
            second.kill()
            second.join()

    assert sorted(met) == sorted([os.getpid(), pid])
