"""What packages written for Temporal look up under its private names is there."""

from __future__ import annotations

from typing import Any

import pytest

from durable import workflow

private: Any = workflow


@workflow.defn(name="Shop", failure_exception_types=[LookupError])
class Orders:
    @workflow.run
    async def run(self) -> int:
        return 1

    @workflow.signal(name="go")
    def start(self) -> None: ...

    @workflow.query
    def left(self) -> int:
        return 1

    @workflow.update
    def add(self, number: int) -> str:
        return str(number)


@workflow.defn
async def ship() -> str:
    return "shipped"


def test_a_workflow_is_found_by_its_class_and_by_its_run_method() -> None:
    found = private._Definition.must_from_class(Orders)
    assert (found.name, found.cls, found.run_fn, found.ret_type) == ("Shop", Orders, Orders.run, int)
    assert (list(found.signals), list(found.queries), list(found.updates)) == (["go"], ["left"], ["add"])
    assert found.failure_exception_types == (LookupError,)
    assert private._Definition.from_class(Orders) == private._Definition.must_from_run_fn(Orders.run) == found
    assert private._Definition.from_run_fn(ship).cls is None
    assert private._Definition.from_class(int) is private._Definition.from_run_fn(print) is None
    with pytest.raises(ValueError, match="int is not a workflow"):
        private._Definition.must_from_class(int)


def test_names_and_result_types_are_told() -> None:
    assert private._Definition.get_name_and_result_type(Orders.run) == ("Shop", int)
    assert private._Definition.get_name_and_result_type("Other") == ("Other", None)
    assert private._SignalDefinition.must_name_from_fn_or_str(Orders.start) == "go"
    assert private._SignalDefinition.from_fn(Orders.start).name == "go"
    assert private._QueryDefinition.from_fn(Orders.start) is None
    assert private._UpdateDefinition.get_name_and_result_type(Orders.add) == ("add", str)
    assert private._UpdateDefinition.get_name_and_result_type("add") == ("add", None)


def test_outside_of_a_workflow_there_is_none() -> None:
    assert private._Runtime.maybe_current() is None
    with pytest.raises(private._NotInWorkflowEventLoopError, match="Not in workflow event loop"):
        private._Runtime.current()
