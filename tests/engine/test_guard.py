"""What workflow code is refused while it runs, by name and line; what it is not; and how that is lifted."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import gc
import importlib
import locale
import logging
import multiprocessing
import os
import random
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import urllib.request
import uuid
import warnings
import zoneinfo
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import time as imported_clock
from typing import Any

import anyio
import pydantic
import pytest

from durable import Client, Worker, activity, workflow
from durable.client import WorkflowFailureError, WorkflowQueryFailedError, WorkflowUpdateFailedError
from durable.converter import DataConverter, DefaultPayloadConverter
from durable.exceptions import ApplicationError
from durable.history.events import WorkflowTaskFailed
from durable.history.values import TaskFailedCause
from durable.worker import UnsandboxedWorkflowRunner, lines
from durable.worker.guard import profiled_stepping
from durable.worker.suspicion import is_suspect
from durable.worker.workflow_sandbox import (
    RestrictedWorkflowAccessError,
    SandboxedWorkflowRunner,
    SandboxMatcher,
    SandboxRestrictions,
)
from tests.benchmarks.definitions import one_activity
from tests.engine.conftest import LONG_LEASE, MakeWorker
from tests.engine.histories import of_type, until

HERE = Path(__file__)
MINUTE = timedelta(minutes=1)


def now_of_helper() -> float:
    return imported_clock()


class Timed(pydantic.BaseModel):
    at: str = pydantic.Field(default_factory=lambda: datetime.now(UTC).isoformat())


class Moment(datetime): ...


@dataclasses.dataclass
class Numbered:
    id: uuid.UUID = dataclasses.field(default_factory=uuid.uuid4)


class Keyed(pydantic.BaseModel):
    id: uuid.UUID = pydantic.Field(default_factory=uuid.uuid4)


# What is refused, how it is told, and what is to be used instead.
REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "open": (lambda: open("/etc/passwd"), "open('/etc/passwd') at", "files in an activity"),
    "path": (lambda: Path("x").write_text("x"), "Path.write_text(), by open('x'), at", "files in an activity"),
    "listdir": (lambda: os.listdir("/"), "os.listdir('/') at", "files in an activity"),
    "mkdir": (lambda: os.mkdir("x"), "os.mkdir('x') at", "files in an activity"),
    "environ": (lambda: os.environ.__setitem__("X", "y"), "os.putenv(b'X') at", "in an activity"),
    "rmtree": (lambda: shutil.rmtree("x"), "shutil.rmtree('x')", "files in an activity"),
    "tempfile": (tempfile.mkdtemp, "tempfile.mkdtemp", "files in an activity"),
    "process": (lambda: subprocess.run(["true"]), "subprocess.run(), by subprocess.Popen('true'), at", "an activity"),
    "system": (lambda: os.system("true"), "os.system(b'true') at", "an activity"),
    "socket": (lambda: socket.create_connection(("127.0.0.1", 1)), "socket.create_connection()", "an activity"),
    "url": (lambda: urllib.request.urlopen("http://127.0.0.1:1"), "urllib.request.urlopen()", "an activity"),
    "sqlite": (lambda: sqlite3.connect(":memory:"), "sqlite3.connect(':memory:') at", "databases in an activity"),
    "input": (lambda: input(), "input() at", "send the workflow a signal"),
    "time": (lambda: time.time(), "time.time() at", "workflow.now()"),
    "helper": (lambda: now_of_helper(), "time.time() at", "workflow.now()"),
    "perf_counter": (lambda: time.perf_counter(), "time.perf_counter() at", "workflow.now()"),
    "now": (lambda: datetime.now(UTC), "datetime.datetime.now() at", "workflow.now()"),
    "subclass": (lambda: Moment.now(), "datetime.datetime.now() at", "workflow.now()"),
    "today": (lambda: date.today(), "datetime.date.today() at", "workflow.now()"),
    "sleep": (lambda: time.sleep(0), "time.sleep() at", "asyncio.sleep()"),
    "random": (lambda: random.random(), "random.random() at", "workflow.random()"),
    "choice": (lambda: random.choice("ab"), "random.Random.choice(), by random.getrandbits(), at", "workflow.random()"),
    "token": (lambda: secrets.token_hex(), "secrets.token_hex(), by os.urandom(), at", "workflow.random()"),
    "uuid4": (lambda: uuid.uuid4(), "uuid.uuid4(), by os.urandom(), at", "workflow.uuid4()"),
    "factory": (lambda: Numbered(), "uuid.uuid4(), by os.urandom(), at", "workflow.uuid4()"),
    "thread": (lambda: threading.Thread(target=print).start(), "threading.Thread.start(), by", "asyncio tasks"),
    "pool": (lambda: concurrent.futures.ThreadPoolExecutor().submit(print), "ThreadPoolExecutor.submit(), by", "use "),
    "keyed": (lambda: Keyed(), "pydantic.main.BaseModel.__init__(), by os.urandom(), at", "workflow.uuid4()"),
    "model": (lambda: Timed(), "datetime.datetime.now() at", "workflow.now()"),
}


@workflow.defn(failure_exception_types=[RestrictedWorkflowAccessError])
async def refused(what: str) -> None:
    REFUSED[what][0]()


async def test_what_a_replay_would_not_repeat_is_refused_by_name_and_line() -> None:
    async with await Client.connect("sqlite://") as client, Worker(client, workflows=[refused]):
        for what, (_, told, instead) in REFUSED.items():
            with pytest.raises(WorkflowFailureError) as failure:
                await client.execute_workflow(refused, what, id=what)
            message = str(failure.value.cause)
            assert told in message and instead in message, (what, message)
            assert f" {HERE}:" in message, message


@workflow.defn(name="reader")
async def reading() -> str:
    await workflow.sleep(0.001)
    return open("/etc/passwd").read()  # noqa: ASYNC230 - the line


@workflow.defn(name="reader")
async def mended() -> str:
    await workflow.sleep(0.001)
    return "mended"


async def test_a_run_whose_code_is_refused_something_is_parked_with_the_reason(
    client: Client, make_worker: MakeWorker, max_cached: int
) -> None:
    async with make_worker(reading, max_cached_workflows=max_cached):
        handle = await client.start_workflow(reading, id="r")

        async def reason() -> str | None:
            return (await handle.describe()).parked

        parked = str(await until(reason))
    (line,) = [number for number, text in enumerate(read().splitlines(), 1) if text.endswith("- the line")]
    assert f"open('/etc/passwd') at {HERE}:{line} can't be called in workflow code" in parked
    (failed,) = of_type(await handle.fetch_history(), WorkflowTaskFailed)
    assert failed.cause is TaskFailedCause.NON_DETERMINISTIC_ERROR
    assert failed.failure is not None and failed.failure.message in parked
    async with make_worker(mended):
        assert await handle.result() == "mended"


# -- what is not refused


class Named(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def check(cls, value: str) -> str:
        return value.strip()


class FileOpeningHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        open(HERE).close()
        time.time()


def log() -> None:
    logger = logging.Logger("of-its-own")
    logger.addHandler(FileOpeningHandler())
    logger.warning("told %s", "x", stack_info=True)


def import_anew() -> None:
    import colorsys
    import wsgiref.simple_server  # its body calls for versions and names

    assert colorsys and wsgiref


def format_traceback() -> str:
    try:
        raise ValueError("it has source lines")
    except ValueError:
        return traceback.format_exc()


async def use_asyncio() -> None:
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        await group.create_task(asyncio.sleep(0))
    await asyncio.gather(asyncio.sleep(0), asyncio.wait_for(asyncio.sleep(0), 5))


async def use_anyio() -> None:
    with anyio.move_on_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0)


ALLOWED: dict[str, Callable[[], Any]] = {
    "pydantic": lambda: Named.model_validate({"name": " x "}).model_dump_json(),
    "schema": lambda: pydantic.create_model("Made", name=(str, ...)).model_json_schema(),
    "dataclass": lambda: dataclasses.make_dataclass("Made", ["x"])(1),
    "logging": log,
    "workflow.logger": lambda: workflow.logger.warning("told", stack_info=True),
    "import": import_anew,
    "warning": lambda: warnings.formatwarning("it has a source line", UserWarning, read.__code__.co_filename, 1),
    "traceback": format_traceback,
    "zone": lambda: datetime(2020, 7, 1, tzinfo=zoneinfo.ZoneInfo.no_cache("Europe/Berlin")).isoformat(),
    "strptime": lambda: datetime.strptime("2020", "%Y"),
    "locale": locale.getlocale,
    "codec": lambda: "ä".encode("cp037"),
    "environ": lambda: os.environ.get("HOME"),
    "print": lambda: print("seen"),
    "own dice": lambda: (random.Random(7).random(), workflow.random().randint(1, 6), workflow.uuid4()),
    "own clock": lambda: (workflow.now(), workflow.time(), asyncio.get_running_loop().time()),
    "mere classes": lambda: (Moment.fromisoformat("2020-01-01"), Moment(2020, 1, 1).now),
    "uuid5": lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "x"),
    "join": lambda: os.path.join("a", "b"),
    "lock": lambda: threading.Lock().acquire(),
    "unhashable": lambda: [3, 1].sort(),
    "asyncio": use_asyncio,
    "anyio": use_anyio,
}


@workflow.defn(failure_exception_types=[RestrictedWorkflowAccessError])
async def allowed(what: str) -> str:
    done = ALLOWED[what]()
    if asyncio.iscoroutine(done):
        await done
    return "done"


async def test_what_workflow_code_does_all_day_is_not_refused() -> None:
    assert is_suspect(allowed)
    async with await Client.connect("sqlite://") as client, Worker(client, workflows=[allowed]):
        for what in ALLOWED:
            assert await client.execute_workflow(allowed, what, id=what) == "done", what


def touch() -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        return [time.time(), datetime.now(), uuid.uuid4().hex, random.random(), os.listdir(folder)][:0]


@activity.defn
async def in_the_loop() -> list[Any]:
    return touch()


@activity.defn
def in_a_thread() -> list[Any]:
    return touch()


@workflow.defn
async def calling() -> list[Any]:
    local = await workflow.execute_local_activity(in_a_thread, start_to_close_timeout=MINUTE)
    return [*await in_the_loop(), *await in_a_thread(), *local]


async def test_activities_may_do_all_and_do_not_make_a_workflow_suspect() -> None:
    assert not is_suspect(calling)
    assert not is_suspect(one_activity)
    activities = [in_the_loop, in_a_thread]
    async with await Client.connect("sqlite://") as client, Worker(client, workflows=[calling], activities=activities):
        assert await client.execute_workflow(calling, id="c") == []


class Folder:
    """Takes a folder away when it is collected."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.itself = self


def is_there(path: Path) -> bool:
    return path.exists()


@workflow.defn
async def collecting() -> None:
    gc.collect()


@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")
async def test_what_the_garbage_collector_finds_in_a_step_is_finalized_as_elsewhere() -> None:
    path = Path((lost := Folder()).folder.name)
    async with await Client.connect("sqlite://") as client, Worker(client, workflows=[collecting]):
        gc.disable()
        try:
            del lost
            assert is_there(path)
            await client.execute_workflow(collecting, id="c")
        finally:
            gc.enable()
    assert not is_there(path)


# -- all workflow code is guarded


def read() -> str:
    return HERE.read_text()


class ReadingConverter(DefaultPayloadConverter):
    def to_payloads(self, values: Any) -> Any:
        if workflow.in_workflow() and list(values) == ["read"]:
            read()
        return super().to_payloads(values)


@workflow.defn
class Everywhere:
    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: False)
        return ""

    @workflow.query
    def ask(self) -> str:
        return read()

    @workflow.query
    def ask_converter(self) -> str:
        return "read"

    @workflow.update
    async def change(self) -> None: ...

    @change.validator
    def check(self) -> None:
        read()


@workflow.defn(failure_exception_types=[RestrictedWorkflowAccessError])
class Constructed:
    def __init__(self) -> None:
        self.text = read()

    @workflow.run
    async def run(self) -> str:
        return self.text


async def test_handlers_validators_constructors_and_converters_are_workflow_code() -> None:
    converter = DataConverter(payload_converter_class=ReadingConverter)
    async with (
        await Client.connect("sqlite://", data_converter=converter) as client,
        Worker(client, workflows=[Everywhere, Constructed]),
    ):
        handle = await client.start_workflow(Everywhere.run, id="e")
        for query in (Everywhere.ask, Everywhere.ask_converter):
            with pytest.raises(WorkflowQueryFailedError, match=r"Path\.read_text\(\), by open\("):
                await handle.query(query)
        with pytest.raises(WorkflowUpdateFailedError) as refusal:
            await handle.execute_update(Everywhere.change)
        assert "Path.read_text(), by open(" in str(refusal.value.cause)
        failed = await client.start_workflow(Constructed.run, id="c")
        with pytest.raises(WorkflowFailureError) as failure:
            await failed.result()
        assert isinstance(failure.value.cause, ApplicationError)
        assert failure.value.cause.type == "RestrictedWorkflowAccessError"


# -- who catches the refusal gains nothing


def swallow(*calls: Callable[[], Any]) -> list[str]:
    got: list[str] = []
    for call in calls:
        with contextlib.suppress(Exception):
            got.append(str(call()))
    return got


def clock() -> float:
    return time.time()


SWALLOWED: dict[str, Callable[[], Any]] = {"profiler": clock, "audit hook": read}


@workflow.defn(name="swallower")
async def swallowing(what: str) -> list[str]:
    return swallow(SWALLOWED[what], SWALLOWED[what])


@workflow.defn(name="swallower", failure_exception_types=[Exception])
async def swallowing_all_the_same(what: str) -> list[str]:
    return swallow(SWALLOWED[what], SWALLOWED[what])


@workflow.defn(name="swallower", failure_exception_types=[Exception])
async def failing(what: str) -> list[str]:
    SWALLOWED[what]()
    return []


@pytest.mark.parametrize("what", SWALLOWED)
@pytest.mark.parametrize("code", [swallowing, swallowing_all_the_same])
async def test_a_task_whose_code_swallows_a_refusal_fails_and_the_run_goes_on_when_mended(
    client: Client, make_worker: MakeWorker, code: Any, what: str
) -> None:
    async with make_worker(code):
        handle = await client.start_workflow("swallower", what, id="s", result_type=list[str])

        async def reason() -> str | None:
            return (await handle.describe()).parked

        assert "can't be called in workflow code" in str(await until(reason))
    async with make_worker(failing):
        with pytest.raises(WorkflowFailureError):
            await handle.result()


@workflow.defn
class Swallowing:
    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: False)
        return ""

    @workflow.query
    def ask(self, what: str) -> list[str]:
        return swallow(SWALLOWED[what])

    @workflow.query
    def fine(self) -> str:
        return "fine"

    @workflow.update
    async def change(self, what: str) -> None: ...

    @change.validator
    def check(self, what: str) -> None:
        swallow(SWALLOWED[what])


@pytest.mark.parametrize("what", SWALLOWED)
async def test_a_query_or_validator_that_swallows_a_refusal_spoils_only_its_own_answer(what: str) -> None:
    async with await Client.connect("sqlite://") as client, Worker(client, workflows=[Swallowing]):
        handle = await client.start_workflow(Swallowing.run, id="s")
        with pytest.raises(WorkflowQueryFailedError, match="can't be called in workflow code"):
            await handle.query(Swallowing.ask, what)
        with pytest.raises(WorkflowUpdateFailedError) as refusal:
            await handle.execute_update(Swallowing.change, what)
        assert "can't be called in workflow code" in str(refusal.value.cause)
        assert await handle.query(Swallowing.fine) == "fine"
        assert (await handle.describe()).parked is None


class Gone:
    """What is not there, or not yet, and says so."""

    def __get__(self, *_: Any) -> Any:
        raise RuntimeError("not configured")


class Settings:
    url = Gone()


class Proxy:
    @property
    def __class__(self) -> Any:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        raise RuntimeError("not bound")


class Table(dict[str, Any]):
    def values(self) -> Any:
        raise RuntimeError("not loaded")


def missing(name: str) -> Any:
    raise ImportError(f"{name} is not installed")


OPTIONAL: Any = types.ModuleType("optional")
OPTIONAL.__getattr__ = missing
PROXY: Any = Proxy()
LOADED_LATE = Table()


@workflow.defn
async def careful() -> str:
    if workflow.info().attempt > 99:
        return str([OPTIONAL.thing, Settings.url, PROXY.thing, LOADED_LATE["x"]])
    return "careful"


async def test_what_a_workflow_names_is_not_run_to_find_out_whether_it_reads_a_clock() -> None:
    async with await Client.connect("sqlite://") as client, Worker(client, workflows=[careful]):
        assert await client.execute_workflow(careful, id="w") == "careful"
    assert not is_suspect(careful)


# -- what a signal's arguments are decoded by


class Listed(pydantic.BaseModel):
    country: str

    @pydantic.field_validator("country")
    @classmethod
    def is_known(cls, value: str) -> str:
        if LISTS_FILE:
            read()
        return value


LISTS_FILE = [True]


@workflow.defn
class Travels:
    def __init__(self) -> None:
        self.country = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self.country))
        return self.country

    @workflow.signal
    def go(self, to: Listed) -> None:
        self.country = to.country


@workflow.defn
async def travels() -> str:
    to = await workflow.receive("go", Listed)
    return str(to.country)


@pytest.mark.parametrize("code", [Travels, travels])
async def test_a_signal_whose_decoding_is_refused_something_is_not_lost(
    client: Client,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: Any,
) -> None:
    name = "Travels" if code is Travels else "travels"
    async with make_worker(code):
        handle = await client.start_workflow(name, id="t", result_type=str)
        await handle.signal("go", {"country": "Peru"})

        async def reason() -> str | None:
            return (await handle.describe()).parked

        assert "by open(" in str(await until(reason))
    assert "dropped" not in caplog.text
    monkeypatch.setattr(f"{__name__}.LISTS_FILE", [])
    async with make_worker(code):
        assert await handle.result() == "Peru"


# -- lifting it


def facts() -> list[bool]:
    assert read() and time.time() and uuid.uuid4()
    return [workflow.unsafe.in_sandbox(), workflow.unsafe.is_sandbox_unrestricted()]


@workflow.defn
async def in_a_block() -> list[bool]:
    with workflow.unsafe.sandbox_unrestricted():
        await asyncio.sleep(0)
        return await asyncio.create_task(asyncio.sleep(0, facts()))


@workflow.defn(failure_exception_types=[RestrictedWorkflowAccessError])
async def after_a_block() -> None:
    with workflow.unsafe.sandbox_unrestricted():
        read()
    read()


async def test_after_the_block_it_is_as_before() -> None:
    async with await Client.connect("sqlite://") as client, Worker(client, workflows=[after_a_block]):
        with pytest.raises(WorkflowFailureError) as failure:
            await client.execute_workflow(after_a_block, id="w")
        assert "by open(" in str(failure.value.cause)


@workflow.defn(sandboxed=False)
async def unsandboxed() -> list[bool]:
    return facts()


@workflow.defn
async def sandboxed() -> list[bool]:
    return facts()


def without(*names: str) -> SandboxedWorkflowRunner:
    members = SandboxRestrictions.invalid_module_members_default
    for name in names:
        members = members.with_child_unrestricted(*name.split("."))
    return SandboxedWorkflowRunner(dataclasses.replace(SandboxRestrictions.default, invalid_module_members=members))


@pytest.mark.parametrize(
    ("code", "options", "found"),
    [
        (in_a_block, {}, [True, True]),
        (unsandboxed, {}, [False, False]),
        (sandboxed, {"workflow_runner": UnsandboxedWorkflowRunner()}, [False, False]),
        (sandboxed, {"debug_mode": True}, [False, False]),
        (sandboxed, {"workflow_runner": without("__builtins__.open", "time.time", "os.urandom")}, [True, False]),
        (
            sandboxed,
            {
                "workflow_runner": SandboxedWorkflowRunner(
                    SandboxRestrictions(set(), SandboxMatcher(), SandboxMatcher())
                )
            },
            [False, False],
        ),
    ],
    ids=["block", "workflow", "worker", "debug", "names", "all-names"],
)
async def test_it_is_lifted_for_a_block_a_workflow_a_worker_or_a_name(
    code: Any, options: dict[str, Any], found: list[bool]
) -> None:
    async with await Client.connect("sqlite://") as client:
        async with Worker(client, workflows=[code], lease=LONG_LEASE, **options):
            assert await client.execute_workflow(code, id="w") == found


def test_a_matcher_of_the_users_own_says_which_names_are_refused() -> None:
    def refused_by(matcher: SandboxMatcher) -> set[str]:
        return set(SandboxedWorkflowRunner(SandboxRestrictions(set(), SandboxMatcher.none, matcher)).refused)

    files = refused_by(SandboxMatcher(children={"os": SandboxMatcher(use={"*"}, exclude={"urandom"})}))
    assert {"os.listdir", "os.open"} <= files and all(name.startswith("os.") for name in files)
    assert "os.urandom" not in files
    assert refused_by(SandboxMatcher(children={"time": SandboxMatcher.all})) >= {"time.time", "time.sleep"}


# -- whose steps are profiled


def through_a_table() -> float:
    return TABLE["now"]()


TABLE = {"now": now_of_helper}


class Base:
    def late(self) -> bool:
        return datetime.now() > datetime.max


@workflow.defn
class Inherits(Base):
    @workflow.run
    async def run(self) -> bool:
        return False


@workflow.defn
async def imports_inside() -> None:
    import time as t

    t.time()


@workflow.defn
async def by_table() -> float:
    return through_a_table()


@workflow.defn
async def by_subclass() -> str:
    return Moment.now().isoformat()


@workflow.defn
async def starts_processes() -> None:
    multiprocessing.Process(target=print).start()


@workflow.defn
async def parses(id: uuid.UUID) -> str:
    return datetime.fromisoformat("2020-01-01").isoformat() + str(random.Random(7).random()) + str(id)


def test_only_a_workflow_that_may_come_to_a_clock_or_to_chance_is_suspect() -> None:
    suspects = [Inherits, imports_inside, by_table, by_subclass, refused]
    assert [is_suspect(each) for each in suspects] == [True] * len(suspects)
    assert [is_suspect(each) for each in (parses, starts_processes, mended, Everywhere)] == [False] * 4


def test_a_profiler_that_somebody_has_set_is_left_in_place() -> None:
    def profiler(*_: Any) -> None: ...

    run: Any = object()
    sys.setprofile(profiler)
    try:
        with profiled_stepping(run):
            during = sys.getprofile()
        after = sys.getprofile()
    finally:
        sys.setprofile(None)
    assert during is after is profiler


def test_a_refusal_in_a_validator_does_not_end_the_watch_over_the_step_around_it() -> None:
    run: Any = object()
    with profiled_stepping(run):
        watch = sys.getprofile()
        with profiled_stepping(run):
            sys.setprofile(None)  # as Python does when a profiler raises
        again = sys.getprofile()
    assert watch is not None and again is watch and sys.getprofile() is None


def measuring_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A library that reads the clock, and files, installed in the folder."""
    (folder / "measuring.py").write_text(
        "import time\n\ndef took():\n    return time.time()\n\ndef read():\n    return open(__file__).read()\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(lines, "_INSTALLED", (f"{folder}/",))
    return importlib.import_module("measuring")


async def test_a_library_may_read_the_clock_for_itself_but_not_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = measuring_library(tmp_path, monkeypatch)

    @workflow.defn
    async def measured(late: bool) -> bool:
        took: float = time.time() if late else library.took()
        return took > 0

    @workflow.defn(failure_exception_types=[RestrictedWorkflowAccessError])
    async def reads() -> str:
        return str(library.read())

    assert is_suspect(measured)
    async with await Client.connect("sqlite://") as client, Worker(client, workflows=[measured, reads]):
        assert await client.execute_workflow(measured, False, id="m")
        with pytest.raises(WorkflowFailureError) as failure:
            await client.execute_workflow(reads, id="r")
    assert f"measuring.read(), by open('{str(tmp_path)[:5]}" in str(failure.value.cause)
    assert f" at {HERE}:" in str(failure.value.cause)
