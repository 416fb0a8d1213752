"""How `durable check` finds its way through the modules of a program, and which lines it leaves alone."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from durable.check import Unreadable, check

HELPERS = "import time\n\n\ndef late() -> float:\n    return time.time()\n"
FLOW = "from durable import workflow\n{}\n\n\n@workflow.defn\nasync def flow() -> float:\n    return {}\n"


@pytest.mark.parametrize(
    ("flow", "imported", "called"),
    [
        ("app/flows.py", "from app.helpers import late", "late()"),
        ("app/flows.py", "from app import helpers as h", "h.late()"),
        ("app/flows.py", "import app.helpers", "app.helpers.late()"),
        ("app/flows.py", "from .helpers import late as l", "l()"),
        ("app/flows.py", "from . import helpers", "helpers.late()"),
        ("app/sub/flows.py", "from ..helpers import late", "late()"),
        ("app/sub/__init__.py", "from ..helpers import late", "late()"),
        ("app/flows.py", "from app import late", "late()"),
        ("app/flows.py", "from helpers import late", "late()"),
        ("/home/me/src/app/flows.py", "from app.helpers import late", "late()"),
        ("app/flows.py", "try:\n    from app.helpers import late\nexcept ImportError:\n    late = None", "late()"),
    ],
)
def test_calls_are_followed_into_other_modules(flow: str, imported: str, called: str) -> None:
    base = flow.partition("app/")[0]
    sources = {
        f"{base}app/__init__.py": "from app.helpers import late\n",
        f"{base}app/helpers.py": HELPERS,
        flow: FLOW.format(imported, called),
    }

    (finding,) = check(sources)

    assert (finding.path, finding.line, finding.rule) == (f"{base}app/helpers.py", 5, "DUR101")
    assert finding.workflow == "flow"


def test_a_module_that_has_the_name_of_one_of_pythons_does_not_stand_for_it() -> None:
    sources = {
        "app/time.py": "def time() -> float:\n    return 0.0\n",
        "app/flows.py": FLOW.format("import time", "time.time()"),
    }

    assert [(each.path, each.rule) for each in check(sources)] == [("app/flows.py", "DUR101")]


@pytest.mark.parametrize(
    ("comment", "count"),
    [("# durable: ok the same everywhere", 0), ("# durable: ok - because", 0), ("# durable: ok", 1), ("# fine", 1)],
)
def test_a_line_is_left_alone_for_a_reason_only(comment: str, count: int) -> None:
    assert len(check({"flows.py": FLOW.format("import time", f"time.time()  {comment}")})) == count


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("odd", ["\f", "\v", "\x1c", "\x85", "\u2028"])
def test_a_line_is_where_python_counts_it(odd: str, end: str) -> None:
    source = FLOW.format(f"import time  # {odd}", "time.time()  # durable: ok the same everywhere")

    assert check({"flows.py": source.replace("\n", end)}) == []


def test_temporals_modules_count_as_ours() -> None:
    source = FLOW.format("import time", "time.time()").replace("from durable", "from temporalio")

    assert [each.rule for each in check({"flows.py": source})] == ["DUR101"]


def test_a_method_is_looked_up_from_the_class_that_runs() -> None:
    source = """\
from durable.workflow import defn, run
import time

class Base:
    @run
    async def run(self) -> float:
        return self.outer()
    def outer(self) -> float:
        return self.inner()
    def inner(self) -> float:
        return 0.0

@defn
class Timed(Base):
    @run
    async def run(self) -> float:
        return await super().run()
    def inner(self) -> float:
        return time.time()
"""
    assert [(each.line, each.rule, each.workflow) for each in check({"flows.py": source})] == [(19, "DUR101", "Timed")]


def test_modules_that_import_each_other_and_functions_that_call_themselves_come_to_an_end() -> None:
    sources = {
        "a.py": "from b import x\nfrom b import y as x2\nz = x\n",
        "b.py": "from a import x\nfrom a import z as y\n",
        "flows.py": FLOW.format(
            "from a import x, z\ng = g\n\nclass C(C): ...\n\ndef f(): return f() + g() + C()", "x() + z() + f()"
        ),
    }

    assert check(sources) == []


@pytest.mark.parametrize(
    "imported",
    ["from time import *", "from time import *\nfrom math import *", "from helpers import *", "from .helpers import *"],
)
def test_a_name_may_come_from_an_import_of_all(imported: str) -> None:
    called = "late()" if "helpers" in imported else "time()"

    assert [each.rule for each in check({"helpers.py": HELPERS, "flows.py": FLOW.format(imported, called)})] == [
        "DUR101"
    ]


def test_an_import_of_all_gives_no_name_that_is_bound_otherwise() -> None:
    source = FLOW.format(
        "from time import *\nfrom requests import *\n\ndef time(): return 0", "time() + len('') + abs(1)"
    )

    assert check({"flows.py": source}) == []


NESTED = """\
{around}
    from temporalio import workflow as w
    import time as t

    @w.defn
    class Timed:
        @w.run
        async def run(self) -> float:
            return self.helper()
        def helper(self) -> float:
            return t.time()

    @w.defn
    async def timed() -> float:
        return t.time()
"""


@pytest.mark.parametrize(
    "around",
    [
        "def make():",
        "class Tests:\n  def test(self):",
        "class Outer:",
        "for _ in range(2):",
        "while True:",
        "match 1:\n  case 1:",
        "try: ...\nfinally:",
        "def make():\n  class Inner:",
    ],
)
def test_a_workflow_is_found_wherever_it_is_defined(around: str) -> None:
    source = NESTED.format(around=around)
    if around == "class Outer:" or around.endswith("Inner:"):  # what a class imports, the methods inside it do not see
        imports = "    from temporalio import workflow as w\n    import time as t\n"
        source = imports.replace("    ", "") + source.replace(imports, "")
    last = source.count("\n")

    assert [(each.line, each.rule, each.workflow) for each in check({"flows.py": source})] == [
        (last - 4, "DUR101", "Timed"),
        (last, "DUR101", "timed"),
    ]


def test_a_name_of_the_function_around_a_workflow_is_not_the_modules() -> None:
    source = """\
import time, random
from durable import workflow
def make(open, at):
    random = at
    def late(): return at
    @workflow.defn
    async def flow() -> None:
        open(); random.random(); late(); time.time()
def late():
    time.sleep(1)
"""
    assert [each.what for each in check({"flows.py": source})] == ["time.time()"]


@pytest.mark.parametrize("source", ["def f(:", "x = '\0'", "(" * 2000 + ")" * 2000], ids=["syntax", "nul", "deep"])
def test_what_is_no_python_is_told_by_its_path(source: str) -> None:
    with pytest.raises(Unreadable, match=r"^flows\.py is no Python: "):
        check({"flows.py": source})


@pytest.mark.parametrize(
    "source",
    ["x = " + "-" * 9000 + "1", FLOW.format("", "list(set('a') | " + "|".join("x" * 3000) + ")")],
    ids=["for the parser", "for us"],
)
def test_what_is_nested_too_deeply_is_told_and_the_others_are_checked(source: str) -> None:
    unreadable: list[Unreadable] = []
    sources = {"deep.py": source, "flows.py": FLOW.format("import time", "time.time()")}

    findings = check(sources, unreadable=unreadable.append)

    assert [each.path for each in findings] == ["flows.py"]
    assert [str(each).partition(":")[0] for each in unreadable] == ["deep.py is nested too deeply to be read"]
    with pytest.raises(Unreadable, match=r"^deep\.py is nested too deeply"):
        check(sources)


@pytest.mark.parametrize(
    ("line", "count"),
    [("    time.time()\n", 60), ("    for a in s:\n        y.append(a)\n    y.sort()\n", 30)],
    ids=["findings", "loops over sets"],
)
def test_a_function_four_times_as_long_takes_four_times_the_steps(line: str, count: int) -> None:
    def steps(times: int) -> int:
        taken = 0

        def step(frame: FrameType, event: str, given: Any) -> Any:
            nonlocal taken
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            taken += 1
            return step

        source = FLOW.format("import time", "0").replace("flow()", "flow(s: set[str])") + line * times
        before = sys.gettrace()
        sys.settrace(step)
        try:
            check({"flows.py": source})
        finally:
            sys.settrace(before)
        return taken

    assert steps(4 * count) < 4.3 * steps(count)
