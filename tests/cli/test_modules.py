"""What a module named on the command line gives a worker to run."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import pytest

from durable import activity
from durable.cli.modules import collect
from durable.cli.refusal import CommandRefused
from durable.common import RawValue


@activity.defn
class Shout:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __call__(self, text: str) -> str:
        return text.upper() + self.mark

    @activity.defn
    def whisper(self, text: str) -> str:
        return text.lower() + self.mark


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> None: ...


class Answering:
    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"asked for {name}")


def module(**names: object) -> ModuleType:
    made = ModuleType("flows")
    vars(made).update(names)
    return made


def test_objects_of_callable_classes_and_bound_methods_are_activities() -> None:
    shout = Shout("!")
    flows = module(shout=shout, whisper=shout.whisper, Shout=Shout, anything=anything, other=Answering())
    assert collect([flows]).activities == {"Shout": shout, "whisper": shout.whisper, "": anything}


def test_a_class_alone_is_no_activity() -> None:
    with pytest.raises(CommandRefused, match="has no workflow and no activity"):
        collect([module(Shout=Shout)])
