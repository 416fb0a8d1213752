"""The parts of the command that need no database."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable import activity, workflow
from durable.cli import modules, visible
from durable.cli.refusal import CommandRefused


@workflow.defn
async def one() -> None: ...


@workflow.defn(name="one")
async def another() -> None: ...


@activity.defn
async def deed() -> None: ...


JSON_VALUES = st.recursive(
    st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def module(name: str, **names: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(names)
    return made


@given(st.text(st.characters(codec=None)))
def test_shown_text_is_one_printable_line(text: str) -> None:
    assert visible.text(text).isprintable()
    assert not text.isprintable() or visible.text(text) == text


@settings(max_examples=50)
@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_shown_json_is_printable_and_reads_back_as_the_same(value: Any) -> None:
    shown = visible.as_json(value)

    assert all(char.isprintable() or char == "\n" for char in shown)
    assert json.loads(shown) == value


def test_a_definition_that_several_modules_name_is_served_once() -> None:
    found = modules.collect([module("a", one=one, same=one, deed=deed), module("b", imported=one)])

    assert (list(found.workflows), list(found.activities)) == (["one"], ["deed"])


def test_two_definitions_of_one_name_are_refused() -> None:
    with pytest.raises(CommandRefused, match=r"a\.one and b\.other are both workflow 'one'"):
        modules.collect([module("a", one=one), module("b", other=another)])


def test_an_object_that_answers_to_every_name_is_no_definition() -> None:
    class Anything:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("asked outside its context")

    found = modules.collect([module("a", one=one, proxy=Anything())])

    assert list(found.workflows) == ["one"]
