"""How `durable check` finds its way through the modules of a program, and which lines it leaves alone."""

from __future__ import annotations

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


@pytest.mark.parametrize("source", ["def f(:", "x = '\0'", "(" * 2000 + ")" * 2000], ids=["syntax", "nul", "deep"])
def test_what_is_no_python_is_told_by_its_path(source: str) -> None:
    with pytest.raises(Unreadable, match=r"^flows\.py is no Python: "):
        check({"flows.py": source})
