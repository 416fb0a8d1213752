"""`crash_sweep`, tried on tests of users: what is run, what is compared, what is told, and what stays as it was."""

from __future__ import annotations

import ast
import re

import pytest

from tests.testing.pytests import Pytest, Session

FLOWS = """
import asyncio
import itertools
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from durable import activity, workflow
from durable.client import WorkflowFailureError

LOG = Path(__file__).with_name("log.txt")

def log(line):
    with LOG.open("a") as file:
        print(line, file=file)

done = []

@pytest.fixture(autouse=True)
def nothing_is_done():
    done.clear()

@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def step(name: str) -> str:
    done.append(name)
    return name

@workflow.defn
async def work(name: str) -> str:
    return await step(name)
"""


# One session for all tests that need no other; see `swept`.
MANY = """
# -- none of the sweep's

@pytest.fixture
def broken():
    raise ValueError("this fixture is broken")

@pytest.fixture
def broken_later():
    yield
    raise ValueError("this fixture is broken")

@pytest.mark.skip(reason="not today")
@pytest.mark.crash_sweep
async def test_marked(durable_worker): ...

@pytest.mark.crash_sweep
async def test_skips(durable_worker):
    log("skips")
    pytest.skip("no card reader")

@pytest.mark.crash_sweep
async def test_fails(durable_worker):
    log("fails")
    assert 1 == 2

@pytest.mark.xfail(reason="known")
@pytest.mark.crash_sweep
async def test_known(durable_worker):
    log("known")
    assert 1 == 2

@pytest.mark.crash_sweep
async def test_set_up(broken, durable_worker): ...

@pytest.mark.crash_sweep
async def test_torn_down(broken_later, durable_client, durable_worker):
    log("torn down")
    await durable_worker(workflows=[work], activities=[step])
    await durable_client.execute_workflow(work, "a", id="a")

@pytest.mark.crash_sweep
async def test_without(durable_client): ...

@pytest.mark.crash_sweep
async def test_idle(durable_client, durable_worker):
    await durable_worker(workflows=[work], activities=[step])

# -- an effect that happens twice

@pytest.mark.crash_sweep
async def test_charged_twice(durable_client, durable_worker):
    await durable_worker(workflows=[work], activities=[step])
    assert await durable_client.execute_workflow(work, "a", id="order 7") == "a"
    assert done == ["a"]

@pytest.mark.crash_sweep
async def test_charged_twice_by_chance(durable_client, durable_worker):
    await durable_worker(workflows=[work], activities=[step])
    assert await durable_client.execute_workflow(work, "a", id=str(uuid.uuid4())) == "a"
    assert done == ["a"]

@pytest.mark.crash_sweep
@pytest.mark.parametrize("name", ["a b", "c"])
async def test_survives(durable_client, durable_worker, name):
    await durable_worker(workflows=[work], activities=[step])
    assert await durable_client.execute_workflow(work, name, id=name) == name

# -- payloads of their own

from dataclasses import replace
from durable.converter import DataConverter, DefaultPayloadConverter
from durable.testing import WorkflowEnvironment

class Scrambled(DefaultPayloadConverter):
    def to_payloads(self, values):
        return [turned(payload) for payload in super().to_payloads(values)]

    def from_payloads(self, payloads, type_hints=None):
        return super().from_payloads([turned(payload) for payload in payloads], type_hints)

def turned(payload):
    return type(payload)(metadata=payload.metadata, data=bytes(255 - byte for byte in payload.data))

class TestScrambled:
    @pytest.fixture
    async def durable_env(self):
        converter = replace(DataConverter.default, payload_converter_class=Scrambled)
        async with await WorkflowEnvironment.start_time_skipping(data_converter=converter) as env:
            yield env

    @pytest.mark.crash_sweep
    async def test_it(self, durable_client, durable_worker):
        await durable_worker(workflows=[work], activities=[step])
        assert await durable_client.execute_workflow(work, "a", id="a") == "a"

# -- known, or by chance

runs = itertools.count(1)

@pytest.mark.crash_sweep
@pytest.mark.xfail(reason="to be mended")
async def test_to_be_mended(durable_client, durable_worker):
    print("run", next(runs))
    await durable_worker(workflows=[work], activities=[step])
    await durable_client.execute_workflow(work, "a", id="a")
    assert done == ["a"]

talks = itertools.count(1)

@pytest.mark.crash_sweep
async def test_talks(durable_client, durable_worker):
    print("talk", next(talks))
    await durable_worker(workflows=[work], activities=[step])
    await durable_client.execute_workflow(work, "a", id="a")
    assert done == ["a"]

turns = itertools.count(1)

@pytest.mark.crash_sweep
async def test_once_more(durable_client, durable_worker):
    await durable_worker(workflows=[work], activities=[step])
    for name in ("a", "b") if next(turns) == 1 else ("a",):
        await durable_client.execute_workflow(work, name, id=name)

# -- results

@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def attempts() -> int:
    return activity.info().attempt

@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def lot() -> str:
    return str(uuid.uuid4())

@workflow.defn
async def count() -> int:
    return await attempts()

@workflow.defn
async def draw() -> str:
    return await lot()

@pytest.mark.crash_sweep
async def test_other_result(durable_client, durable_worker):
    await durable_worker(workflows=[count], activities=[attempts])
    await durable_client.execute_workflow(count, id="a")

@pytest.mark.crash_sweep
async def test_other_result_and_ids(durable_client, durable_worker):
    await durable_worker(workflows=[count], activities=[attempts])
    await durable_client.execute_workflow(count, id=str(uuid.uuid4()))

@pytest.mark.crash_sweep
async def test_lots(durable_client, durable_worker):
    await durable_worker(workflows=[draw], activities=[lot])
    await durable_client.execute_workflow(draw, id="a")

from durable import RetryPolicy

@activity.defn(start_to_close_timeout=timedelta(minutes=1), retry_policy=RetryPolicy(maximum_attempts=2))
async def never() -> None:
    raise ValueError("no")

@workflow.defn
async def hopeless() -> None:
    await never()

@pytest.mark.crash_sweep
async def test_hopeless(durable_client, durable_worker):
    await durable_worker(workflows=[hopeless], activities=[never])
    with pytest.raises(WorkflowFailureError):
        await durable_client.execute_workflow(hopeless, id="a")

# -- life and death

@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def long(name: str) -> None:
    attempt = activity.info().attempt
    try:
        if attempt == 1:
            await step_done.wait()
            await asyncio.sleep(0.01)
        done.append(f"{name}, attempt {attempt}")
    finally:
        done.append(f"{name}, attempt {attempt}, cleans up")

step_done = asyncio.Event()

@activity.defn(start_to_close_timeout=timedelta(minutes=1))
async def short() -> None:
    step_done.set()

@workflow.defn
async def both() -> None:
    await asyncio.gather(long("long"), short())

@pytest.mark.crash_sweep
async def test_interrupted(durable_client, durable_worker):
    global step_done
    step_done = asyncio.Event()
    await durable_worker(workflows=[both], activities=[long, short])
    await durable_client.execute_workflow(both, id="a")
    log(done)

@activity.defn(start_to_close_timeout=timedelta(minutes=1))
def blocking(name: str) -> str:
    return name

@workflow.defn
class Basket:
    def __init__(self) -> None:
        self.items = []
        self.paid = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.paid)
        config = {"start_to_close_timeout": timedelta(minutes=1)}
        here = [await workflow.execute_activity(blocking, item, **config) for item in self.items]
        there = await workflow.execute_activity(step, "there", task_queue="there", **config)
        return [*here, there]

    @workflow.signal
    def put(self, item: str) -> None:
        self.items.append(item)

    @workflow.signal
    def pay(self) -> None:
        self.paid = True

    @workflow.query
    def content(self) -> list[str]:
        return self.items

@pytest.mark.crash_sweep
async def test_basket(durable_client, durable_worker):
    await durable_worker(workflows=[Basket], activities=[blocking], task_queue="here")
    await durable_worker(activities=[step], task_queue="there")
    basket = await durable_client.start_workflow(Basket.run, id="basket", task_queue="here")
    for item in ("tea", "cups"):
        await basket.signal(Basket.put, item)
        assert item in await basket.query(Basket.content)
    await basket.signal(Basket.pay)
    assert await basket.result() == ["tea", "cups", "there"]
    assert await basket.query(Basket.content) == ["tea", "cups"]

@workflow.defn
async def family(name: str) -> str:
    child = await workflow.start_child_workflow(waits, name, id="the child")
    await child.signal("go", name)
    return await child

@workflow.defn
async def waits(name: str) -> str:
    return await workflow.receive("go", str)

@pytest.mark.crash_sweep
async def test_family(durable_client, durable_worker):
    await durable_worker(workflows=[family, waits])
    assert await durable_client.execute_workflow(family, "a", id="the parent") == "a"

@pytest.mark.crash_sweep
async def test_local(durable_client, durable_worker):
    @workflow.defn
    async def local() -> str:
        return await step("a")

    await durable_worker(workflows=[local], activities=[step])
    assert await durable_client.execute_workflow(local, id="a") == "a"
"""

ON_THEIR_OWN = {
    "test_marked": "skipped",
    "test_skips": "skipped",
    "test_fails": "failed",
    "test_known": "skipped",
    "test_set_up": "error",
    "test_torn_down": "error",
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Pytest:
    """A folder with the tests in ``MANY``, to run some of them again."""
    return Pytest(tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def swept(many: Pytest) -> Session:
    """How the tests in ``MANY`` went, as their users hear it."""
    return many.run(FLOWS + MANY)


def log_of(users: Pytest) -> list[str]:
    return (users.folder / "log.txt").read_text().splitlines()


# -- what is run


SCOPES = """
def scope(name):
    @pytest.fixture(scope=name)
    def fixture():
        log(f"{name} begins")
        yield
        log(f"{name} ends")
    return fixture

session, module, class_, function = scope("session"), scope("module"), scope("class"), scope("function")

class TestTwo:
    @pytest.mark.crash_sweep
    @pytest.mark.durable(replay=False)
    async def test_one(self, session, module, class_, function, durable_client, durable_worker):
        log("one")
        await durable_worker(workflows=[work], activities=[step])
        await durable_client.execute_workflow(work, "a", id="a")
        FAILS

    @pytest.mark.crash_sweep
    @pytest.mark.durable(replay=False)
    async def test_two(self, session, module, class_, function, durable_client, durable_worker):
        log("two")
        await durable_worker(workflows=[work], activities=[step])
        await durable_client.execute_workflow(work, "a", id="a")

def test_three(session, module, function):
    log("three")
"""
FRAME = ["session begins", "module begins", "class begins"]


def once(name: str) -> list[str]:
    return ["function begins", name, "function ends"]


def test_fixtures_of_a_test_are_set_up_for_each_run_and_those_of_wider_scope_once(users: Pytest) -> None:
    session = users.run(FLOWS + SCOPES.replace("FAILS", ""))

    assert session.code == 0, session.output
    twice_and_at_four_points = 2 + 4
    assert log_of(users) == [
        *FRAME,
        *once("one") * twice_and_at_four_points,
        *once("two") * twice_and_at_four_points,
        "class ends",
        *once("three"),
        "module ends",
        "session ends",
    ]
    assert len(session.verdicts) == 3


def test_fixtures_are_torn_down_in_the_same_order_when_a_sweep_fails(users: Pytest) -> None:
    session = users.run(FLOWS + SCOPES.replace("FAILS", "assert done == ['a']"))

    assert session.outcomes == {"TestTwo::test_one": "failed", "TestTwo::test_two": "passed", "test_three": "passed"}
    assert log_of(users) == [
        *FRAME,
        *once("one") * (2 + 3),
        *once("two") * (2 + 4),
        "class ends",
        *once("three"),
        "module ends",
        "session ends",
    ]


def test_with_x_nothing_is_run_after_the_sweep_that_fails_and_all_is_torn_down(users: Pytest) -> None:
    session = users.run(FLOWS + SCOPES.replace("FAILS", "assert done == ['a']"), "-x")

    assert session.outcomes == {"TestTwo::test_one": "failed"}
    assert log_of(users) == [*FRAME, *once("one") * (2 + 3), "class ends", "module ends", "session ends"]


def test_tests_of_several_processes_are_swept_alike(users: Pytest) -> None:
    session = users.run(FLOWS + SCOPES.replace("FAILS", "assert done == ['a']"), "-n", "2")

    assert session.outcomes == {"TestTwo::test_one": "failed", "TestTwo::test_two": "passed", "test_three": "passed"}
    assert "at durable point 3 of 4" in session.verdicts["TestTwo::test_one"].told
    assert "survived the death of its worker at each of 4 points" in session.output


# -- outcomes that are none of the sweep's


def test_what_skips_or_fails_when_nothing_happens_is_reported_as_ever_and_run_once(
    swept: Session, many: Pytest
) -> None:
    assert {name: swept.outcomes[name] for name in ON_THEIR_OWN} == ON_THEIR_OWN
    assert "no card reader" in swept.verdicts["test_skips"].told
    assert "assert 1 == 2" not in swept.verdicts["test_known"].told
    assert "assert 1 == 2" in swept.verdicts["test_fails"].told
    assert log_of(many)[:4] == ["skips", "fails", "known", "torn down"]
    assert [name for name in ON_THEIR_OWN if "crash sweep" in swept.verdicts[name].told] == []


def test_a_test_without_workers_or_whose_workers_have_nothing_to_do_is_refused(swept: Session) -> None:
    without, idle = swept.verdicts["test_without"], swept.verdicts["test_idle"]

    assert (without.outcome, idle.outcome) == ("failed", "failed")
    assert "kills workers of the fixture durable_worker: this test does not use it" in without.told
    assert "no worker of this test has committed anything" in idle.told


# -- what is told


def test_the_smallest_point_is_named_and_its_command_runs_it_alone(swept: Session, many: Pytest) -> None:
    told = swept.verdicts["test_charged_twice"].told

    assert (
        "crash sweep: this test passes when nothing happens, and fails when the worker dies at durable point 3 of 4:\n"
        "  before it commits, for workflow 'order 7', events 6 to 11: "
        "ActivityTaskCompleted of 'step', WorkflowExecutionCompleted\n"
    ) in told
    assert "assert ['a', 'a'] == ['a']" in told
    command = "python -m pytest test_it.py::test_charged_twice --durable-crash-at 'order 7/6:before'"
    assert f"To run it again: {command}" in told
    again = many.again("test_it.py::test_charged_twice", "--durable-crash-at", "order 7/6:before").only
    assert again.outcome == "failed"
    assert "assert ['a', 'a'] == ['a']" in again.told
    assert "when nothing happens" not in again.told


def test_workflows_whose_ids_are_drawn_anew_have_numbers_in_the_names_of_points(swept: Session, many: Pytest) -> None:
    told = swept.verdicts["test_charged_twice_by_chance"].told

    assert re.search(r"--durable-crash-at '?#1/6:before'?$", told, re.MULTILINE)
    again = many.again("test_it.py::test_charged_twice_by_chance", "--durable-crash-at", "#1/6:before").only
    assert "assert ['a', 'a'] == ['a']" in again.told


def test_a_point_that_is_not_there_is_refused_with_those_that_are(swept: Session, many: Pytest) -> None:
    told = many.again("test_it.py::test_charged_twice", "--durable-crash-at", "nowhere/3:before").only.told

    points = "order 7/3:before, order 7/3:after, order 7/6:before, order 7/6:after"
    assert f"this test does not get to point 'nowhere/3:before'; it has {points}" in told


def test_a_test_that_survives_has_a_line_in_the_summary(swept: Session) -> None:
    assert re.search(r"^=+ crash sweep =+$", swept.output, re.MULTILINE)
    assert "test_it.py::test_survives[a b]: survived the death of its worker at each of 4 points\n" in swept.output
    assert "test_it.py::test_survives[c]: survived the death of its worker at each of 4 points\n" in swept.output


def test_what_was_printed_in_the_run_that_failed_is_shown_and_no_other(swept: Session) -> None:
    assert re.findall(r"^talk \d+$", swept.output, re.MULTILINE) == ["talk 5"]


def test_points_that_only_one_undisturbed_run_has_are_no_deaths_survived(swept: Session) -> None:
    line = "test_once_more: survived the death of its worker at each of 4 points, and did not get to 4 more again\n"
    assert line in swept.output


def test_a_sweep_that_fails_where_it_is_expected_to_is_an_expected_failure(swept: Session) -> None:
    assert swept.outcomes["test_to_be_mended"] == "skipped"
    assert "2 xfailed" in swept.output


# -- what is compared


def test_a_workflow_that_ends_otherwise_after_a_crash_fails_a_test_that_does_not_look(swept: Session) -> None:
    told = swept.verdicts["test_other_result"].told

    assert "dies at durable point 2 of 4:\n  after it commits, for workflow 'a', events 3 to 5" in told
    assert "workflow 'a' ends otherwise:\n  undisturbed: completed with 1\n  now: completed with 2" in told


def test_so_does_one_whose_id_is_another_each_time(swept: Session) -> None:
    told = swept.verdicts["test_other_result_and_ids"].told

    assert "end otherwise:\n  undisturbed: completed with 1\n  now: completed with 2" in told


def test_a_result_that_is_another_each_time_is_not_compared(swept: Session) -> None:
    assert swept.outcomes["test_lots"] == "passed"


def test_a_failure_is_the_same_whether_the_last_attempt_failed_or_was_lost(swept: Session) -> None:
    assert swept.verdicts["test_hopeless"].told == ""


# -- what dies, and what lives on


def test_an_interrupted_activity_does_not_clean_up_before_the_test_is_over_and_its_late_work_changes_nothing(
    swept: Session, many: Pytest
) -> None:
    assert swept.outcomes["test_interrupted"] == "passed"
    runs = [ast.literal_eval(line) for line in log_of(many) if line.startswith("[")]
    once = ["long, attempt 1", "long, attempt 1, cleans up"]
    again = ["long, attempt 2", "long, attempt 2, cleans up"]
    assert runs[:2] == [once, once]
    assert again in runs
    assert {tuple(run) for run in runs} <= {tuple(once), tuple(again), (*once, *again)}


def test_sync_activities_several_workers_signals_and_queries_are_swept_as_well(swept: Session) -> None:
    assert swept.verdicts["test_basket"].told == ""
    assert re.search(r"test_basket: survived the death of its worker at each of \d+ points", swept.output)


def test_what_workflows_do_at_each_other_is_swept_as_well(swept: Session) -> None:
    assert swept.verdicts["test_family"].told == ""
    assert re.search(r"test_family: survived the death of its worker at each of \d\d points", swept.output)


# -- other processes


def test_a_workflow_inside_a_function_is_swept_and_a_warning_says_what_is_not_replayed_elsewhere(
    swept: Session,
) -> None:
    assert "test_local: survived the death of its worker at each of 4 points" in swept.output
    assert "not all was replayed in another process: defined inside a function: local" in swept.output


def test_payloads_of_a_converter_of_ones_own_are_read_by_it(swept: Session) -> None:
    assert swept.verdicts["TestScrambled::test_it"].told == ""
    assert "not all was replayed in another process: only the default data converter is known there" in swept.output


def test_a_module_that_can_not_be_imported_elsewhere_is_a_warning_and_the_next_is_replayed_there(
    users: Pytest,
) -> None:
    other = """
@workflow.defn
async def unsteady(names: set[str]) -> None:
    for name in names:
        await workflow.execute_activity(step, name, activity_id=name, start_to_close_timeout=timedelta(minutes=1))

@pytest.mark.crash_sweep
async def test_it(durable_client, durable_worker):
    await durable_worker(workflows=[work, unsteady], activities=[step])
    await durable_client.execute_workflow(work, "a", id="a")
    await durable_client.execute_workflow(unsteady, {"a", "b", "c", "d"}, id="b")
"""
    session = users.run_files(
        {
            "test_a.py": "import sys\nassert 'pytest' in sys.modules, 'not here'\n" + FLOWS + other,
            "test_b.py": FLOWS + other,
        }
    )

    assert session.outcomes == {"test_a::test_it": "passed", "test_b::test_it": "failed"}, session.output
    assert "AssertionError: not here" in session.output
    assert "does not replay in another process" in session.verdicts["test_b::test_it"].told
