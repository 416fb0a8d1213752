"""What may be a workflow, and what is said of what may not: everything that is wrong at once, where it is decorated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import pytest

from durable import workflow
from durable.common import RawValue
from durable.worker.registry import Registry
from durable.workflow.definition import WorkflowDefinition
from durable.workflow.handlers import Kind


def refused(cls: type[Any], **options: Any) -> str:
    with pytest.raises(ValueError, match="Invalid workflow class") as caught:
        workflow.defn(**options)(cls)
    return str(caught.value)


class Base:
    @workflow.run
    async def run(self) -> None: ...

    @workflow.signal
    def told(self) -> None: ...

    @workflow.query
    def asked(self) -> None: ...

    @workflow.update
    def changed(self) -> None: ...


def test_everything_that_is_wrong_is_told_at_once() -> None:
    class Bad(Base):
        @workflow.run
        async def run(self) -> None: ...

        @workflow.run
        async def run_too(self) -> None: ...

        def told(self) -> None: ...

        def asked(self) -> None: ...

        def changed(self) -> None: ...

        @workflow.signal
        def one(self) -> None: ...

        @workflow.signal(name="one")
        def two(self) -> None: ...

        @workflow.query(dynamic=True)
        def any(self, name: str, args: Sequence[RawValue]) -> None: ...

        @workflow.query(dynamic=True)
        def any_too(self, name: str, args: Sequence[RawValue]) -> None: ...

        @workflow.update
        def judged(self, amount: int) -> None: ...

        @judged.validator
        def judge(self, amount: str) -> None: ...

    text = refused(Bad)
    assert text.startswith("Invalid workflow class for 7 reasons: ")
    for reason in (
        "Multiple @workflow.run methods found (at least on run_too and run)",
        "Multiple signal methods found for one (at least on two and one)",
        "Multiple query methods found for <dynamic> (at least on any_too and any)",
        "Update validator method judge parameters do not match update method judged parameters",
        "@workflow.signal defined on Base.told but not on the override",
        "@workflow.query defined on Base.asked but not on the override",
        "@workflow.update defined on Base.changed but not on the override",
    ):
        assert reason in text


def test_a_class_without_a_run_method_of_its_own_is_no_workflow() -> None:
    class Empty: ...

    class Inherits(Base): ...

    class Overrides(Base):
        async def run(self) -> None: ...

    workflow.defn(Base)
    borrows = type("Borrows", (), {"run": Base.run})
    assert "Missing @workflow.run method" in refused(Empty)
    assert "@workflow.run method run must be defined on" in refused(Inherits)
    assert "@workflow.run defined on Base.run but not on the override" in refused(Overrides)
    assert refused(borrows) == "Invalid workflow class: @workflow.run method run must be defined on Borrows"
    assert WorkflowDefinition.must_be(Base.run).name == "Base"


def test_a_constructor_takes_what_run_takes_or_nothing() -> None:
    class Differs:
        @workflow.init
        def __init__(self, text: str) -> None: ...

        @workflow.run
        async def run(self, number: int) -> None: ...

    class Demands:
        def __init__(self, text: str) -> None: ...

        @workflow.run
        async def run(self, text: str) -> None: ...

    class Fits:
        @workflow.init
        def __init__(self, text: str, count: int = 1) -> None: ...

        @workflow.run
        async def run(self, words: str, number: int = 2) -> None: ...

    assert "@workflow.init and @workflow.run method parameters do not match" in refused(Differs)
    assert "__init__ takes text" in refused(Demands)
    assert WorkflowDefinition.must_be(workflow.defn(Fits)).init_takes_arguments
    with pytest.raises(ValueError, match=r"@workflow\.init may only be used on the __init__ method"):
        workflow.init(refused)


def test_what_is_no_method_of_a_workflow_is_refused_where_it_is_decorated() -> None:
    def sync(self: object) -> None: ...

    with pytest.raises(ValueError, match="Workflow run method must be an async function"):
        workflow.run(sync)
    with pytest.raises(ValueError, match="must be an async function, or a class"):
        workflow.defn(sync)
    with pytest.raises(RuntimeError, match="Cannot provide name and dynamic boolean"):
        workflow.signal(name="one", dynamic=True)
    with pytest.raises(RuntimeError, match="must take self, a string name and the arguments"):

        @workflow.signal(dynamic=True)
        def takes_no_name(self: object) -> None: ...


def test_a_workflow_is_decorated_once() -> None:
    class Once:
        @workflow.run
        async def run(self) -> None: ...

    workflow.defn(Once)
    with pytest.raises(ValueError, match="Class already contains workflow definition"):
        workflow.defn(Once)


class Shape(Protocol):
    @workflow.run
    async def run(self, text: str) -> int: ...

    @workflow.signal(name="tell-it")
    def tell(self, text: str) -> None: ...


class Abstract(ABC):
    @workflow.run
    @abstractmethod
    async def run(self, text: str) -> int: ...

    @workflow.query
    @abstractmethod
    def ask(self) -> str: ...


@pytest.mark.parametrize(("cls", "kind", "handler"), [(Shape, Kind.SIGNAL, "tell-it"), (Abstract, Kind.QUERY, "ask")])
def test_a_protocol_or_an_abstract_class_describes_a_workflow_for_its_callers(
    cls: type[Any], kind: Kind, handler: str
) -> None:
    found = WorkflowDefinition.must_be(workflow.defn(name="somewhere else")(cls))
    assert (found.name, found.signature.return_hint, list(found.handlers[kind])) == ("somewhere else", int, [handler])


def test_handlers_of_a_base_belong_to_the_workflow_and_may_be_overridden() -> None:
    class Derived(Base):
        @workflow.run
        async def run(self) -> None: ...

        @workflow.signal
        def told(self) -> None: ...

    found = WorkflowDefinition.must_be(workflow.defn(Derived))
    assert found.handlers[Kind.SIGNAL]["told"].fn is Derived.told
    assert found.handlers[Kind.QUERY]["asked"].fn is Base.asked
    assert WorkflowDefinition.of(type("Undecorated", (Derived,), {})) is None


# Dynamic workflows. ---------------------------------------------------------------------------------------------------


def test_a_dynamic_workflow_takes_one_sequence_of_raw_values() -> None:
    class Untyped:
        @workflow.run
        async def run(self, args) -> None: ...  # type: ignore[no-untyped-def]  # pyright: ignore

    class Typed:
        @workflow.run
        async def run(self, args: Sequence[RawValue]) -> None: ...

    class Text:
        @workflow.run
        async def run(self, text: str) -> None: ...

    class Nothing:
        @workflow.run
        async def run(self) -> None: ...

    class Two:
        @workflow.run
        async def run(self, args: Sequence[RawValue], more: Sequence[RawValue]) -> None: ...

    for good in (Untyped, Typed):
        assert WorkflowDefinition.must_be(workflow.defn(dynamic=True)(good)).dynamic
    for bad in (Text, Nothing, Two):
        with pytest.raises(TypeError, match="Dynamic workflow must accept a single Sequence"):
            workflow.defn(dynamic=True)(bad)
    with pytest.raises(RuntimeError, match="Cannot provide name and dynamic boolean"):
        workflow.defn(name="one", dynamic=True)


def test_only_a_dynamic_workflow_is_configured_per_type_and_by_one_method() -> None:
    def config(self: object) -> workflow.DynamicWorkflowConfig:
        return workflow.DynamicWorkflowConfig()

    class Static:
        @workflow.run
        async def run(self) -> None: ...

        configure = workflow.dynamic_config(config)

    class Twice:
        @workflow.run
        async def run(self, args: Sequence[RawValue]) -> None: ...

        configure = workflow.dynamic_config(config)

        @workflow.dynamic_config
        def again(self) -> workflow.DynamicWorkflowConfig:
            return workflow.DynamicWorkflowConfig()

    assert "can only be used in dynamic workflows" in refused(Static)
    assert "@workflow.dynamic_config can only be defined once per workflow" in refused(Twice, dynamic=True)
    with pytest.raises(ValueError, match="must be synchronous"):

        @workflow.dynamic_config
        async def later(self: object) -> None: ...


def test_a_worker_has_one_dynamic_workflow_and_asks_it_last() -> None:
    @workflow.defn(dynamic=True)
    async def any_type(args: Sequence[RawValue]) -> None: ...

    @workflow.defn(dynamic=True)
    async def another(args: Sequence[RawValue]) -> None: ...

    @workflow.defn
    async def known() -> None: ...

    registry = Registry([any_type, known], ())
    assert registry.workflow("known") is WorkflowDefinition.of(known)
    assert registry.workflow("whatever") is WorkflowDefinition.of(any_type)
    with pytest.raises(TypeError, match="More than one dynamic workflow: any_type and another"):
        Registry([any_type, another], ())
